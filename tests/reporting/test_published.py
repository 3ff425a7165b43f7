"""The printed numbers: against the paper itself, against sums by hand, and what contradicts itself in them."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from avvp_pl.data.known import LLP_TEST_VIDEOS, THUMOS14_EVENTS, THUMOS14_TEST_VIDEOS, digest_of
from avvp_pl.data.llp import LLP_EVENTS
from avvp_pl.errors import InputError
from avvp_pl.reporting.published import (
    OWN,
    Printed,
    Published,
    Rows,
    check_beside,
    contradictions,
    of_data,
    read_published,
    values_of,
)
from avvp_pl.reporting.rows import tables
from avvp_pl.runs.reading import Run
from tests.reporting.drawn import a_run

HEAD = "table,row,score,value,source\n"


def file(folder: Path, text: str) -> Path:
    path = folder / "printed.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


# Sums of the ten numbers of every printed row of tables 1 to 4, added up by hand
SUMS_OF_TEN = {
    "table1": {
        "AVE*": 379.9, "AVSDN*": 413.6, "HAN": 510.2, "MA": 554.8, "CVCM-MA": 569.6, "MGN-MA": 559.0, "JoMoLD": 573.4,
        "PoiBin": 579.7, "CMPAE": 601.1, "PPL": 616.7,
    },
    "table2": {"Base": 537.8, "NPL_H": 533.4, "NPL_S": 539.4, "PPL_H": 590.2, "PPL_S": 616.7},
    "table3": {
        "HAN": 510.2, "HAN + PPL_Test, Eq. (9)": 539.3, "MA": 554.8, "MA + PPL_Test, Eq. (9)": 573.5,
    },
    "table4": {"Base": 537.8, "No-CL": 579.3, "With-CL": 616.7},
}  # fmt: skip
# The sums of the seven tIoU of every row of Table 5, and of methods that are not in it, from their own papers
OTHERS = {"BaS-Net": 247.1, "UM": 293.1, "CO2-Net": 312.0}
SUMS_OF_SEVEN = {"EM-MIL": 263.7, "ASM-Loc": 315.8, "DELU": 324.9, "PPL": 328.7, **OTHERS}

# Printed Type@AV, and the mean of A, V and AV, worked out by hand; by level
SEGMENT = {
    ("MA", 58.9, 58.5),  # 175.4 / 3
    ("PPL_H", 61.9, 61.7),  # 185.0 / 3
    ("HAN + PPL_Test, Eq. (9)", 56.0, 56.7),  # 170.1 / 3
    ("MA + PPL_Test, Eq. (9)", 60.6, 60.3),  # 181.0 / 3
    ("No-CL", 61.2, 60.3),  # 180.8 / 3
    ("MM-Pyramid-MA", 59.7, 59.1),  # 177.2 / 3
}
EVENT = {
    ("PPL", 59.9, 58.6),  # 175.9 / 3
    ("PPL_H", 56.3, 57.0),  # 171.0 / 3
    ("HAN + PPL_Test, Eq. (9)", 50.9, 51.1),  # 153.4 / 3
    ("No-CL", 56.4, 54.4),  # 163.3 / 3
    ("MM-Pyramid-MA", 54.1, 53.3),  # 159.9 / 3
    ("CoLeaF", 57.9, 58.3),  # 175.0 / 3
}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reports.md"
SAME = {"PPL_S": "PPL", "With-CL": "PPL"}  # rows of several tables
SENTENCE = re.compile(
    r"As printed, the (segment|event)-level Type@AV of (.+) is ([\d.]+); "
    r"the mean of its columns A, V and AV is ([\d.]+)\."
)


def run_of(events: tuple[str, ...], **scores: float) -> Run:
    run = a_run(per_event={"segment": {"audio": dict.fromkeys(events, 1.0)}}, test_videos=LLP_TEST_VIDEOS)
    return replace(run, scores=scores) if scores else run


def numbers(rows: Rows) -> dict[str, dict[str, float]]:
    return {row: {score: cell.value for score, cell in cells.items()} for row, cells in rows.items()}


def of_one_row(printed: Mapping[str, float], table: str = "table1", row: str = "x") -> list[str]:
    return contradictions(table, {row: {score: Printed(value, "here") for score, value in printed.items()}})


def of_the_paper() -> Published:
    """The tables of the paper, without that of later methods, and without other methods of Table 5."""
    published = {table: rows for table, rows in read_published().items() if table != "after"}
    of_paper = {row: cells for row, cells in published["table5"].items() if row not in OTHERS}
    return {**published, "table5": of_paper}


def test_all_numbers_are_there() -> None:
    with OWN.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert Counter(line["table"] for line in lines) == {
        "table1": 100, "table2": 50, "table3": 40, "table4": 30, "table5": 70, "after": 70,
    }  # fmt: skip
    published = read_published()
    assert {table: len(rows) for table, rows in published.items()} == {
        "table1": 10, "table2": 5, "table3": 4, "table4": 3, "table5": 7, "after": 7,
    }  # fmt: skip
    assert {len(cells) for rows in published.values() for cells in rows.values()} == {10}
    assert "Base" not in published["table1"]
    for table, rows in published.items():  # in the order of rows.csv, which may have rows of ours between them
        assert [row.label for row in tables()[table] if row.label in rows] == list(rows)
        for cells in of_the_paper().get(table, {}).values():
            assert all(f"Table {table[-1]}" in cell.source and "CVPR 2024" in cell.source for cell in cells.values())


def test_means_are_those_of_sums_by_hand() -> None:
    published = read_published()
    for table, sums in SUMS_OF_TEN.items():
        assert list(published[table]) == list(sums)
        for row, values in values_of(published[table]).items():
            assert values["average"] == pytest.approx(sums[row] / 10), (table, row)
    rounded = {row: round(values["average"], 1) for row, values in values_of(published["table2"]).items()}
    assert rounded == {"Base": 53.8, "NPL_H": 53.3, "NPL_S": 53.9, "PPL_H": 59.0, "PPL_S": 61.7}
    for row, values in values_of(published["table5"]).items():
        assert sum(values[f"map/0.{i}"] for i in range(1, 8)) == pytest.approx(SUMS_OF_SEVEN[row])
        assert "average" not in values


def test_a_row_of_several_tables_has_the_same_numbers_in_each() -> None:
    in_table = {table: numbers(rows) for table, rows in read_published().items()}
    assert in_table["table1"]["PPL"] == in_table["table2"]["PPL_S"] == in_table["table4"]["With-CL"]
    assert in_table["table2"]["Base"] == in_table["table4"]["Base"]
    assert {row: in_table["table1"][row] for row in ("HAN", "MA")} == {
        row: in_table["table3"][row] for row in ("HAN", "MA")
    }


def test_numbers_are_those_of_the_paper(shared: Path) -> None:
    """Every line of ten numbers in its text, in order: segments and events of A, V, AV, Type and Event; Table 5."""
    text = (shared / "paper" / "ppl_cvpr2024.txt").read_text(encoding="utf-8")
    printed = [list(map(float, line.split())) for line in re.findall(r"((?:\d\d\.\d *){9}\d\d\.\d) *$", text, re.M)]
    names = ("audio", "visual", "audio_visual", "type_av", "event_av")
    columns = [f"{level}/{name}" for name in names for level in ("segment", "event")]
    tious = [f"map/0.{i}" for i in range(1, 8)] + [f"map/average_{x}" for x in ("0.1_0.5", "0.3_0.7", "0.1_0.7")]
    stored = [
        [cells[column].value for column in (tious if table == "table5" else columns)]
        for table, rows in of_the_paper().items()
        for cells in rows.values()
    ]
    assert stored == printed
    assert len(printed) == 26


def test_numbers_are_those_of_the_tables_that_were_copied_from_the_paper(shared: Path) -> None:
    known = {
        (table, row, score): cell.value
        for table, rows in of_the_paper().items()
        for row, cells in rows.items()
        for score, cell in cells.items()
    }
    copied = {}
    for name in ("published_tables1-4.csv", "published_table5.csv"):
        with (shared / "paper" / name).open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                of_table5 = ("table5", line.get("method"), f"map/{line.get('tiou')}")
                key = of_table5 if "tiou" in line else (line["table"], line["row"], line["score"])
                copied[key] = float(line["value"])
    assert copied == known


# Contradictions


def test_contradictions_are_twelve_differences_and_one_claim() -> None:
    said = [sentence for table, rows in read_published().items() for sentence in contradictions(table, rows)]
    found: dict[str, set[tuple[str, float, float]]] = {"segment": set(), "event": set()}
    others = []
    for sentence in said:
        if parts := SENTENCE.fullmatch(sentence):
            found[parts[1]].add((SAME.get(parts[2], parts[2]), float(parts[3]), float(parts[4])))
        else:
            others.append(sentence)
    assert found == {"segment": SEGMENT, "event": EVENT}
    assert len(SEGMENT) + len(EVENT) == 12
    assert others == [
        "The text of the paper says that PPL is 1.86 points above CMPAE, averaged over all metrics; by the printed "
        "numbers it is 1.56."  # 61.67 - 60.11
    ]
    assert len(said) == 12 + 4 + 1  # MA is in two tables, and PPL in four


def test_the_page_lists_these_contradictions_and_no_others() -> None:
    page = PAGE.read_text(encoding="utf-8")
    listed = re.findall(
        r"^\| (segment|event) \| (.+?) \(tables? (?:[\d, ]+|after)\) \| ([\d.]+) \| ([\d.]+) \|$", page, re.M
    )
    found = {(level, row.split(",")[0], float(one), float(other)) for level, row, one, other in listed}
    by_hand = {"segment": SEGMENT, "event": EVENT}
    assert found == {(level, row.split(",")[0], *both) for level, rows in by_hand.items() for row, *both in rows}
    assert len(listed) == 12
    assert "PPL is 1.86 points above CMPAE, averaged over all metrics; by Table 1 it is 1.56." in " ".join(page.split())


@pytest.mark.parametrize(("type_av", "wrong"), [(20.0, 0), (20.1, 0), (19.9, 0), (20.2, 1), (19.8, 1)])
def test_rounding_is_no_contradiction(type_av: float, wrong: int) -> None:
    printed = {"event/audio": 10.0, "event/visual": 20.0, "event/audio_visual": 30.0, "event/type_av": type_av}
    assert len(of_one_row(printed)) == wrong
    for score in printed:  # where one of them is not known, nothing can be said
        assert of_one_row({name: value for name, value in printed.items() if name != score}) == []


@pytest.mark.parametrize(("average", "wrong"), [(22.0, 0), (22.1, 0), (22.2, 1)])
def test_an_average_over_tious_is_checked_as_well(average: float, wrong: int) -> None:
    printed = {f"map/0.{i}": x for i, x in zip(range(3, 8), (40.0, 30.0, 20.0, 15.0, 5.0), strict=True)}
    said = of_one_row({**printed, "map/average_0.3_0.7": average}, "table5")
    assert (
        said
        == ["As printed, the average mAP of tIoU 0.3 to 0.7 of x is 22.2; the mean of its columns 0.3 to 0.7 is 22.0."]
        * wrong
    )


def test_a_claim_is_compared_with_the_numbers_that_are_known() -> None:
    rows = {row: dict(cells) for row, cells in read_published()["table1"].items()}
    assert any("1.86" in sentence for sentence in contradictions("table1", rows))
    assert not any("1.86" in sentence for sentence in contradictions("table2", rows))  # it is of another table
    some = {
        "CMPAE": dict(rows["CMPAE"]),
        "PPL": {score: cell for score, cell in rows["PPL"].items() if "event/" in score},
    }
    assert not any("1.86" in sentence for sentence in contradictions("table1", some))
    for score in ("segment/audio", "segment/visual", "segment/event_av"):  # with 3 points more, the claim is right
        rows["PPL"][score] = Printed(rows["PPL"][score].value + 1, "another")
    assert not any("1.86" in sentence for sentence in contradictions("table1", rows))
    # 2.6 points for audio-visual events: (61.9 - 59.2 + 54.3 - 51.8) / 2, which is true
    assert not any("audio-visual events" in sentence for sentence in contradictions("table1", rows))
    rows["PPL"]["event/audio_visual"] = Printed(53.9, "another")
    said = [sentence for sentence in contradictions("table1", rows) if "audio-visual events" in sentence]
    assert said == [
        "The text of the paper says that PPL is 2.6 points above CMPAE, for audio-visual events; by the printed "
        "numbers it is 2.40."
    ]


# Beside which data


def test_numbers_only_stand_beside_the_events_and_videos_of_their_data() -> None:
    published = read_published()
    llp = ["table1", "table2", "table3", "table4", "after"]
    assert list(of_data(published, [run_of(LLP_EVENTS)])) == llp
    assert list(of_data(published, [run_of(LLP_EVENTS[::-1])] * 2)) == llp
    mean_ap = dict.fromkeys(published["table5"]["PPL"], 1.0)
    for known in THUMOS14_TEST_VIDEOS:
        of_thumos = replace(run_of(THUMOS14_EVENTS, **mean_ap), test_videos=known)
        assert list(of_data(published, [of_thumos])) == ["table5"]
        assert of_data(published, [replace(run_of(THUMOS14_EVENTS), test_videos=known)]) == {}  # F1 is another score
    assert of_data(published, [run_of(THUMOS14_EVENTS, **mean_ap)]) == {}  # with other test videos
    for events in ((), ("Dog", "Cat"), LLP_EVENTS[:-1], (*LLP_EVENTS, "Rain"), (*LLP_EVENTS[:-1], "Rain")):
        assert of_data(published, [run_of(events)]) == {}
        assert of_data(published, [run_of(LLP_EVENTS), run_of(events)]) == {}
    assert of_data(published, [run_of(LLP_EVENTS, **{"segment/touch": 1.0})]) == {}
    for videos in (None, digest_of([]), digest_of(["synthetic_test_000000"])):
        assert of_data(published, [replace(run_of(LLP_EVENTS), test_videos=videos)]) == {}


def test_the_events_are_those_of_the_data_sets(shared: Path) -> None:
    assert len(set(LLP_EVENTS)) == 25
    assert len(set(THUMOS14_EVENTS)) == 20
    assert set(THUMOS14_EVENTS) == set((shared / "thumos14" / "classes.txt").read_text().split())


def test_none_leaves_all_out() -> None:
    assert read_published("none") == {}
    check_beside("none", [run_of(("Dog",))])


def test_a_file_of_other_data_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, HEAD + "table2,Mine,event/audio,57.25,me\n")
    check_beside(path, [run_of(LLP_EVENTS)])
    check_beside(None, [run_of(("Dog",))])
    with pytest.raises(
        InputError, match=r"printed.csv: printed numbers only stand beside .* the 25 events and the test videos of LLP"
    ) as error:
        check_beside(path, [run_of(("Dog",))])
    assert str(path) in str(error.value)
    path = file(tmp_path, HEAD + "table5,Mine,map/0.5,57.25,me\n")
    with pytest.raises(InputError, match="the 20 events and the test videos of THUMOS14"):
        check_beside(path, [run_of(LLP_EVENTS)])


# A file of the user's


def test_a_file_adds_to_it_and_takes_precedence(tmp_path: Path) -> None:
    path = file(
        tmp_path, "\ufeff" + HEAD + 'table2,PPL_S,event/audio,57.25,"the paper, p. 7"\ntable1,PPL,average,1,me\n'
    )
    published = read_published(path)
    assert published["table2"]["PPL_S"]["event/audio"] == (57.25, "the paper, p. 7")
    assert published["table2"]["PPL_S"]["event/visual"].value == 64.3
    assert published["table2"]["Base"]["segment/audio"].value == 59.5
    assert published["table1"]["PPL"]["average"] == (1.0, "me")
    assert values_of(published["table1"])["PPL"]["average"] == 1.0
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
        (
            HEAD + "table5,x,segment/audio,1,y\n",
            "'segment/audio' is not a score; there are map/0.1, .*map/average_0.1_0.7",
        ),
        (HEAD + "table1,x,map/0.5,1,y\n", "'map/0.5' is not a score; there are segment/audio, "),
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
    with pytest.raises(InputError, match="no such file; published= takes a table of printed numbers, or none"):
        read_published(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_published(tmp_path)
