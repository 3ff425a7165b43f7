"""Tables that do not fit together, or do not fit the segments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avvp_pl.data.annotations import Oddities, Timelines
from avvp_pl.data.joins import check_annotated, check_grid, check_list, check_names
from avvp_pl.errors import InputError

HEADER = "filename\tonset\toffset\tevent_labels"


def table(path: Path, *rows: str) -> Path:
    path.write_text("".join(f"{row}\n" for row in (HEADER, *rows)), encoding="utf-8")
    return path


def listing(path: Path, *names: str) -> Path:
    path.write_text("".join(f"{name}\n" for name in ("filename", *names)), encoding="utf-8")
    return path


def timelines(*names: str) -> Timelines:
    return {name: np.zeros((1, 1), dtype=bool) for name in names}


def test_names_that_are_not_listed(tmp_path: Path) -> None:
    videos = listing(tmp_path / "videos.csv", "v", "w")
    path = table(tmp_path / "table.csv", "x\t0\t1\tDog", "v\t0\t1\tDog", "y\t0\t1\tDog")
    listed, oddities = dict.fromkeys(("v", "w"), videos), Oddities()
    check_names(path, timelines("x", "v", "y"), listed, oddities)
    kind = f"{path}: videos that are not listed (ignored)"
    assert (dict(oddities.counts), oddities.examples) == ({kind: 2}, {kind: "'x' in line 2"})
    check_names(path, timelines("w"), listed, oddities)
    assert oddities.counts.total() == 2
    check_names(path, timelines(), listed, oddities)
    assert oddities.counts.pop(f"{path}: tables that have no rows (no video has an event there)") == 1
    assert oddities.counts.total() == 2


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("v_2.mp4", "v_2"),
        ("clips/v_2", "v_2"),
        (r"C:\clips\V_2.MP4", "v_2"),
        ("V_2", "v_2"),
        ("w_1", "w_1.webm"),
        ("w_1.WEBM", "w_1.webm"),
        ("AP0061o0Nvk_101.8_111.8.mp4", "AP0061o0Nvk_101.8_111.8"),
    ],
)
def test_names_that_are_listed_in_another_spelling(tmp_path: Path, name: str, similar: str) -> None:
    """Their events would be missing, with nothing but a count that most tables have."""
    names = ("v_1", "v_2", "w_1.webm", "AP0061o0Nvk_101.8_111.8")
    videos = listing(tmp_path / "videos.csv", *names)
    path = table(tmp_path / "table.csv", "v_1\t0\t1\tDog", f"{name}\t0\t1\tDog", "other\t0\t1\tDog")
    said = f"{path}: 1 of its 3 videos would be listed under another name: it has {name!r} in line 3, and {videos} has "
    with pytest.raises(InputError, match=re.escape(f"{said}{similar!r} in line {names.index(similar) + 2}. Write")):
        check_names(path, timelines("v_1", name, "other"), dict.fromkeys(names, videos), Oddities())


@pytest.mark.parametrize("name", ["v_1.webm", "b/v_2", "AP0061o0Nvk_101.8_111", "v_1.mp4.txt", "v_1x"])
def test_names_of_other_videos(tmp_path: Path, name: str) -> None:
    """Another ending, or another folder, is that of another video."""
    names = ("v_1.mp4", "a/v_2", "AP0061o0Nvk_101.8_111.8")
    videos, oddities = listing(tmp_path / "videos.csv", *names), Oddities()
    path = table(tmp_path / "table.csv", f"{name}\t0\t1\tDog")
    check_names(path, timelines("v_1.mp4", name), dict.fromkeys(names, videos), oddities)
    assert oddities.counts.total() == 1


CLIPS = tuple(f"clip_{number}" for number in range(6))
YOUTUBE = ("BjCEufrlXm4_20_30", "-3-abcdefgh_0_10", "AP0061o0Nvk_101.8_111.8", "00000000000_30_40")


@pytest.mark.parametrize(
    ("names", "row", "said"),
    [
        (CLIPS, "Total\t6", "it has no digit; it has the number 6 in place of events; it reads like a total"),
        (CLIPS, "6 videos\t", "it has a space in it; it reads like a total"),
        (CLIPS, "6", "it has no letter"),
        (CLIPS, "X\t6.0", "it has no digit; it has the number 6.0 in place of events"),
        (CLIPS, "=COUNTA(A2:A7)", None),
        (CLIPS, "(the end)", "it has no digit; it has a space in it"),
        (CLIPS, "clip_7", None),
        (CLIPS, "Total_1", "it reads like a total"),
        (YOUTUBE, "n=4", "it has not the form ID_START_END"),
        (YOUTUBE, "_bcdefghijk_0_10", None),
        (("a.avi", "b.avi", "c.avi"), "d", "it has no ending such as .mp4"),
        (("a", "b", "c"), "Total", "it reads like a total"),
        (("a", "b", "c"), "video 1", "it has a space in it"),
        (("a", "b_1", "two words"), "video 1", None),
        (("v1", "v2"), "kitchen", None),  # two names have too much in common by chance
        ((), "kitchen", None),
    ],
)
def test_a_row_of_the_list_that_is_no_video(tmp_path: Path, names: Sequence[str], row: str, said: str | None) -> None:
    """It would have a perfect score: nothing is true there, and nothing is predicted."""
    path = tmp_path / "videos.csv"
    rows = [f"{name}\tDog" for name in names] + [row if "\t" in row else f"{row}\t"]
    path.write_text("filename\tevent_labels\n" + "".join(f"{text}\n" for text in rows))
    listed = [*names, row.partition("\t")[0]]
    tables = [timelines(*names[:1]), timelines(*names[1:])]
    if said is None:
        check_list(path, listed, tables, ["Dog"])
        return
    place = f"{path}: {listed[-1]!r} in line {len(listed) + 1}"
    with pytest.raises(
        InputError, match=re.escape(f"{place} is in none of the tables and unlike the videos that are (")
    ):
        check_list(path, listed, tables, ["Dog"])
    with pytest.raises(InputError, match=re.escape(f"({said})")):
        check_list(path, listed, tables, ["Dog"])
    check_list(path, listed, [*tables, timelines(listed[-1])], ["Dog"])  # a table says that it has no events


def test_numbers_may_be_events(tmp_path: Path) -> None:
    path = tmp_path / "videos.csv"
    path.write_text("filename\tevent_labels\nv\t6\n")
    check_list(path, ["v"], [timelines("w")], ["6", "7"])


def test_many_rows_that_differ_from_those_in_the_tables_are_videos(tmp_path: Path) -> None:
    """If few videos have events, what these have in common may be chance."""
    names = [*CLIPS[:4], "Anna", "Ben"]
    path = listing(tmp_path / "videos.csv", *names)
    check_list(path, names, [timelines(*CLIPS[:4])], [])


@pytest.mark.parametrize("name", ["ABC_2.mp4", "abc_2", "ABC_2\u200b"])
def test_a_table_of_other_names_shows_the_most_similar_ones(tmp_path: Path, name: str) -> None:
    videos = listing(tmp_path / "videos.csv", "ABC_1", "ABC_2", "ABC_3")
    path = table(tmp_path / "table.csv", f"{name}\t0\t1\tDog")
    said = f"{path}: names none of the 3 listed videos: it has {name!r} in line 2, and {videos} has 'ABC_2' in line 3."
    with pytest.raises(InputError, match=re.escape(said)):
        check_names(path, timelines(name), dict.fromkeys(("ABC_1", "ABC_2", "ABC_3"), videos), Oddities())


def test_very_long_names(tmp_path: Path) -> None:
    videos, path = listing(tmp_path / "videos.csv", "y" * 10**6), table(tmp_path / "t.csv", "x" * 10**6 + "\t0\t1\tDog")
    with pytest.raises(InputError) as caught:
        check_names(path, timelines("x" * 10**6), {"y" * 10**6: videos}, Oddities())
    assert len(str(caught.value)) < 1000


def test_listed_videos_without_annotation(tmp_path: Path) -> None:
    videos, oddities = listing(tmp_path / "videos.csv", "u", "v", "w"), Oddities()
    audio, visual = table(tmp_path / "a.csv", "w\t0\t1\tDog"), table(tmp_path / "v.csv", "x\t0\t1\tDog")
    truth = {audio: timelines("w"), visual: timelines("x")}
    check_annotated(videos, ["u", "v", "w"], truth, oddities)
    kind = f"{videos}: listed videos without any annotation (no event counts as true)"
    assert (dict(oddities.counts), oddities.examples) == ({kind: 2}, {kind: "'u' in line 2"})
    check_annotated(videos, ["w"], truth, oddities)
    assert oddities.counts.total() == 2
    said = (
        f"{videos}: none of the 2 listed videos, such as 'u' in line 2, is annotated in {audio}, {visual}; {audio} has"
    )
    with pytest.raises(InputError, match=re.escape(said + " 'w' in line 2. Write the same names in both")):
        check_annotated(videos, ["u", "v"], truth, oddities)
    check_annotated(videos, ["u", "v"], {audio: timelines()}, oddities)  # nobody is annotated
    assert oddities.counts == {kind: 4}


def refused(folder: Path, rows: Sequence[str], segments: int = 10, segment_seconds: float = 1.0) -> str | None:
    """What is said about these rows; None where they fit."""
    try:
        check_grid([table(folder / "table.csv", *rows)], {"v", "w"}, segments, segment_seconds)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "rows",
    [
        [],
        ["v\t0\t10\tDog", "w\t3\t4\tDog", "w\t\t\t"],
        ["v\t3.0000000001\t4\tDog"],
        ["nobody\t0.5\t40\tDog"],  # whoever is not listed is not scored
        ["v\t5.5\t3.5\tDog", "v\t3.5\t3.5\tDog"],  # no event at all, which is counted elsewhere
    ],
)
def test_rows_that_fit_the_segments(tmp_path: Path, rows: list[str]) -> None:
    assert refused(tmp_path, rows) is None


@pytest.mark.parametrize(
    ("rows", "proposal"),
    [
        (["v\t0\t12\tDog"], "give segments=12, or correct the time"),
        (["v\t0\t11\tDog", "w\t20\t40\tDog"], "give segments=40, or correct the time"),
        (["v\t0.5\t2\tDog"], "give segment_seconds=0.5 segments=20, which fit all rows"),
        (["v\t0\t9\tDog", "w\t1.5\t4.5\tDog"], "give segment_seconds=1.5 segments=7, which fit all rows"),
        (["v\t0\t1.92\tDog", "w\t0.64\t12.8\tDog"], "give segment_seconds=0.64 segments=20, which fit all rows"),
        (["v\t0\t0.9\tDog", "w\t0.6\t7.2\tDog"], "give segment_seconds=0.3 segments=34, which fit all rows"),
        (["v\t0.021\t3.402\tDog", "w\t3\t5.003\tDog"], "give segment_seconds=0.001 segments=10000, which fit all"),
        (["v\t0.0214\t3.4021\tDog", "w\t3\t5.00377\tDog"], "give times of all tables that are whole segments"),
        (["v\t0\t1e300\tDog"], "give times of all tables that are whole segments of one duration"),
        (["v\t0.5\t1e300\tDog"], "give times of all tables that are whole segments of one duration"),
        (["v\t1e-300\t2\tDog"], "give times of all tables that are whole segments of one duration"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_settings_that_do(tmp_path: Path, rows: list[str], proposal: str) -> None:
    said = refused(tmp_path, ["w\t\t\t", "w\t1\t1\tDog", *rows])
    assert said is not None
    assert said.startswith(f"{tmp_path / 'table.csv'}, line 4: the event of 'v' from ") or "line 5" in said
    assert proposal in said
    if proposed := re.search(r"give (?:segment_seconds=(\S+) )?segments=(\d+)", said):
        assert refused(tmp_path, rows, int(proposed[2]), float(proposed[1] or 1)) is None


def test_the_proposal_fits_all_tables(tmp_path: Path) -> None:
    truth, predicted = table(tmp_path / "t.csv", "v\t0\t2\tDog"), table(tmp_path / "p.csv", "v\t0.5\t14.25\tDog")
    with pytest.raises(
        InputError, match=r"p\.csv, line 2: the event of 'v' from 0\.5 to 14\.25 s .* segments=57, which"
    ):
        check_grid([truth, predicted, truth], ["v"], 10, 1.0)


@settings(max_examples=60, deadline=None)
@given(
    step=st.sampled_from([0.5, 0.64, 1 / 3, 16 / 30, 0.1, 2.5, 1 / 7, 0.04]),
    starts=st.lists(st.integers(0, 2000), min_size=1, max_size=8),
)
def test_any_grid_is_found_in_times_with_nine_digits(
    tmp_path_factory: pytest.TempPathFactory, step: float, starts: list[int]
) -> None:
    """As ``write_timelines`` writes them. The proposal may be coarser: a multiple of the step that fits all rows."""
    rows = [f"v\t{start * step:.9g}\t{(start + 1) * step:.9g}\tDog" for start in starts]
    folder = tmp_path_factory.mktemp("grid")
    said = refused(folder, rows, 10_000, 0.77777)
    if said is not None:
        proposed = re.search(r"segment_seconds=(\S+) segments=(\d+), which fit all rows", said)
        assert proposed, said
        assert float(proposed[1]) / step == pytest.approx(round(float(proposed[1]) / step), rel=1e-6)
        assert refused(folder, rows, int(proposed[2]), float(proposed[1])) is None
