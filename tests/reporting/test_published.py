from __future__ import annotations

from pathlib import Path

import pytest

from avvp_pl.errors import InputError
from avvp_pl.reporting.published import inconsistencies, read_published

HEAD = "table,row,score,value,source\n"


def file(folder: Path, text: str) -> Path:
    path = folder / "printed.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def test_what_is_known_of_the_paper() -> None:
    published = read_published()
    assert set(published) == {"table1", "table2"}  # of the others nothing was at hand
    assert set(published["table1"]) == {"HAN", "MA", "Base", "PPL"}
    assert published["table1"]["PPL"]["event/type_av"].value == 59.9
    assert "UWAV" in published["table1"]["PPL"]["event/type_av"].source
    for table in ("table1", "table2"):
        base = {score: cell.value for score, cell in published[table]["Base"].items()}
        assert base == {"segment/audio": 59.5, "segment/visual": 58.7}


def test_contradictions_are_computed() -> None:
    said = [
        sentence
        for row, cells in read_published()["table1"].items()
        for sentence in inconsistencies(row, {score: cell.value for score, cell in cells.items()})
    ]
    assert said == [  # (60.3 + 60.0 + 55.1) / 3 and (57.3 + 64.3 + 54.3) / 3
        "As printed, the segment-level Type@AV of MA is 58.9; the mean of its columns A, V and AV is 58.5.",
        "As printed, the event-level Type@AV of PPL is 59.9; the mean of its columns A, V and AV is 58.6.",
    ]


@pytest.mark.parametrize(("type_av", "wrong"), [(20.0, 0), (20.1, 0), (19.9, 0), (20.2, 1), (19.8, 1)])
def test_rounding_is_no_contradiction(type_av: float, wrong: int) -> None:
    printed = {"event/audio": 10.0, "event/visual": 20.0, "event/audio_visual": 30.0, "event/type_av": type_av}
    assert len(inconsistencies("x", printed)) == wrong
    for score in printed:  # where one of them is not known, nothing can be said
        assert inconsistencies("x", {name: value for name, value in printed.items() if name != score}) == []


def test_a_file_adds_to_it_and_takes_precedence(tmp_path: Path) -> None:
    path = file(
        tmp_path, "\ufeff" + HEAD + 'table2,PPL_S,event/audio,57.25,"the paper, p. 7"\ntable1,PPL,average,1,me\n'
    )
    published = read_published(path)
    assert published["table2"]["PPL_S"]["event/audio"] == (57.25, "the paper, p. 7")
    assert published["table2"]["Base"]["segment/audio"].value == 59.5
    assert published["table1"]["PPL"]["average"] == (1.0, "me")
    over = read_published(file(tmp_path, HEAD + "table1,PPL,segment/audio,66,me\n"))
    assert over["table1"]["PPL"]["segment/audio"] == (66.0, "me")
    assert over["table1"]["PPL"]["segment/visual"].value == 66.7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "table9,x,average,1,y\n", "line 2: 'table9' is not a table; .* Did you mean"),
        (
            HEAD + "table1,x,segment/typ_av,1,y\n",
            r"'segment/typ_av' is not a score; .* Did you mean 'segment/type_av'\?",
        ),
        (HEAD + "table1,x,average,1,y\ntable1,x,average,101,y\n", "line 3: the value is '101'; it must be in percent"),
        (HEAD + "table1,x,average,-1,y\n", "'-1'"),
        (HEAD + "table1,x,average,nan,y\n", "'nan'"),
        (HEAD + "table1,x,average,,y\n", "the value is ''"),
        (HEAD + "table1,,average,1,y\n", "the row is empty"),
        (HEAD + "table1,x,average,1, \n", "the source is empty"),
        (
            HEAD + "table1,x,average,1,y\n\ntable1,x,average,2,y\n",
            "line 4: .* in table1 is in line 2 as well",
        ),
        (HEAD + "table1,x,average,1\n", "line 2: the number of cells is not that of the header"),
        (HEAD + "table1,x,average,1,y,z\n", "line 2: the number of cells is not that of the header"),
        ("table,row,score,value\n", "source is missing"),
        ("", "table, row, score, value, source are missing"),
        (HEAD + 'table1,"x,average,1,y\n', "not comma-separated text"),
        (HEAD + "table1,x,average,1,\udcff\n", "not comma-separated text in UTF-8"),
    ],
)
def test_a_wrong_file_is_refused_by_line(tmp_path: Path, text: str, said: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(InputError, match=said) as error:
        read_published(path)
    assert str(path) in str(error.value)


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_published(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_published(tmp_path)
