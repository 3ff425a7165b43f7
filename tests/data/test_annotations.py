"""Annotation tables: what is read, what is odd and counted, what is wrong and said with file and line."""

from __future__ import annotations

import csv
import errno
import logging
import re
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from avvp_pl.data.annotations import (
    Oddities,
    found_at,
    intervals,
    join_timelines,
    read_classes,
    read_events,
    read_names,
    read_timelines,
    read_weak_labels,
    stack_timelines,
    write_timelines,
)
from avvp_pl.errors import InputError

EVENTS = ("Speech", "Dog", "Frying_(food)")
HEADER = "filename\tonset\toffset\tevent_labels"


def table(folder: Path, *lines: str) -> Path:
    path = folder / "table.csv"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def found(oddities: Oddities) -> dict[str, int]:
    return dict(oddities.counts)


def timeline_of(folder: Path, *times: tuple[object, object], segments: int = 10) -> tuple[list[int], dict[str, int]]:
    """Segments of one video with Speech at the given times, and the oddities met."""
    oddities = Oddities()
    rows = [f"v\t{onset}\t{offset}\tSpeech" for onset, offset in times]
    timelines = read_timelines(table(folder, HEADER, *rows), EVENTS, segments, oddities)
    assert not timelines["v"][:, 1:].any()
    return np.flatnonzero(timelines["v"][:, 0]).tolist(), found(oddities)


@pytest.mark.parametrize(
    ("times", "active"),
    [
        ([(0, 10)], list(range(10))),
        ([(2, 5)], [2, 3, 4]),
        ([(9, 10)], [9]),
        ([("2.0", "4.00")], [2, 3]),
        ([(1, 2), (8, 9)], [1, 8]),
    ],
)
def test_ordinary_rows_are_not_odd(tmp_path: Path, times: list[tuple[object, object]], active: list[int]) -> None:
    assert timeline_of(tmp_path, *times) == (active, {})


@pytest.mark.parametrize(
    ("times", "active", "oddity", "count"),
    [
        ([(2, 4), (4, 6)], [2, 3, 4, 5], "adjoin another of the same event", 1),
        ([(4, 6), (2, 4), (0, 1)], [0, 2, 3, 4, 5], "adjoin another of the same event", 1),
        ([(3, 3)], [], "start where they end", 1),
        ([(0, 0), (10, 10), (1, 3)], [1, 2], "start where they end", 2),
        ([(5, 3)], [], "end before they start", 1),
        ([(1, 4), (3, 6)], [1, 2, 3, 4, 5], "overlap another", 1),
        ([(1, 4), (1, 4)], [1, 2, 3], "overlap another", 1),
        ([(1, 4), (5, 7), (0, 9)], list(range(9)), "overlap another", 1),  # two rows below it, one row over them
        ([(0, 9), (1, 4), (5, 7)], list(range(9)), "overlap another", 2),
        ([(8, 12)], [8, 9], "reach past the end", 1),
        ([(20, 30)], [], "reach past the end", 1),
        ([(1.5, 3)], [1, 2], "truncated", 1),
        ([(1, 3.9)], [1, 2], "truncated", 1),
        ([(0.25, 2.75), (4, 5)], [0, 1, 4], "truncated", 1),
    ],
)
def test_each_kind_of_odd_row_is_counted_under_its_own_name_and_fixed(
    tmp_path: Path, times: list[tuple[object, object]], active: list[int], oddity: str, count: int
) -> None:
    segments, oddities = timeline_of(tmp_path, *times)
    assert segments == active
    assert len(oddities) == 1
    [(met, times_met)] = oddities.items()
    assert oddity in met
    assert met.startswith(f"{tmp_path / 'table.csv'}: ")
    assert times_met == count


def test_the_same_time_in_another_event_or_video_is_no_overlap(tmp_path: Path) -> None:
    oddities = Oddities()
    path = table(tmp_path, HEADER, "v\t0\t5\tSpeech", "v\t0\t5\tDog", "w\t0\t5\tSpeech")
    timelines = read_timelines(path, EVENTS, 10, oddities)
    assert list(timelines) == ["v", "w"]
    assert timelines["v"].sum(axis=0).tolist() == [5, 5, 0]
    assert timelines["w"].sum(axis=0).tolist() == [5, 0, 0]
    assert not found(oddities)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("vw"), st.integers(0, 24), st.integers(0, 24), st.sampled_from(EVENTS)), min_size=1
    )
)
def test_timelines_are_those_of_the_public_scoring_code(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int, str]]
) -> None:
    expected = {name: np.zeros((3, 10), dtype=int) for name, *_ in rows}
    overlaps = 0
    for name, onset, offset, event in rows:  # times are halves of a second, here counted in halves
        here = (EVENTS.index(event), slice(int(onset / 2), int(offset / 2)))
        overlaps += int(expected[name][here].any())
        expected[name][here] = 1
    path = table(
        tmp_path_factory.mktemp("rows"), HEADER, *(f"{v}\t{on / 2}\t{off / 2}\t{event}" for v, on, off, event in rows)
    )
    oddities = Oddities()
    timelines = read_timelines(path, EVENTS, 10, oddities)
    assert list(timelines) == list(dict.fromkeys(name for name, *_ in rows))
    for name, timeline in timelines.items():
        np.testing.assert_array_equal(timeline, expected[name].T.astype(bool))
    assert sum(count for oddity, count in found(oddities).items() if "overlap" in oddity) == overlaps


def test_times_are_seconds_whatever_a_segment_lasts(tmp_path: Path) -> None:
    path = table(tmp_path, HEADER, "v\t2\t6\tSpeech", "v\t1\t3\tDog")
    oddities = Oddities()
    timeline = read_timelines(path, EVENTS, 4, oddities, segment_seconds=2.0)["v"]
    assert np.flatnonzero(timeline[:, 0]).tolist() == [1, 2]
    assert np.flatnonzero(timeline[:, 1]).tolist() == [0]
    assert [(oddity.split(" (")[1], count) for oddity, count in found(oddities).items()] == [("truncated)", 1)]


@pytest.mark.parametrize("columns", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_columns_are_found_by_name(tmp_path: Path, columns: tuple[int, ...]) -> None:
    lines = ["\t".join(line.split("\t")[column] for column in columns) for line in (HEADER, "v\t2\t4\tDog")]
    timeline = read_timelines(table(tmp_path, *lines), EVENTS, 10, Oddities())["v"]
    assert np.argwhere(timeline).tolist() == [[2, 1], [3, 1]]


def test_additional_columns_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    path = table(tmp_path, f"note\t{HEADER}", "", "mine\tv\t2\t3\tDog", "   ", "")
    assert np.argwhere(read_timelines(path, EVENTS, 10, Oddities())["v"]).tolist() == [[2, 1]]


@pytest.mark.parametrize(
    ("encoding", "newline"), [("utf-8-sig", "\n"), ("utf-8", "\r\n"), ("utf-8-sig", "\r\n"), ("utf-8", "\r")]
)
def test_byte_order_mark_and_other_line_ends_are_accepted(tmp_path: Path, encoding: str, newline: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(f"{HEADER}\nüv\t2\t3\tDog\n".replace("\n", newline).encode(encoding))
    timelines = read_timelines(path, EVENTS, 10, Oddities())
    assert list(timelines) == ["üv"]
    assert np.argwhere(timelines["üv"]).tolist() == [[2, 1]]


@pytest.mark.parametrize("side", ["onset", "offset"])
@pytest.mark.parametrize("time", ["-1", "-0.001", "nan", "NaN", "inf", "-inf", "1e999", "", "two", "1,5"])
def test_impossible_times_name_file_line_and_column(tmp_path: Path, side: str, time: str) -> None:
    cells = {"onset": "1", "offset": "2"} | {side: time}
    path = table(tmp_path, HEADER, "v\t0\t1\tSpeech", f"v\t{cells['onset']}\t{cells['offset']}\tSpeech")
    with pytest.raises(InputError, match=rf"{re.escape(str(path))}, line 3: {side} is '{re.escape(time)}'"):
        read_timelines(path, EVENTS, 10, Oddities())


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("v\t0\t1\tSpeach", r"line 4: 'Speach' is not among the 3 events. Did you mean 'Speech'\?"),
        ("v\t0\t1\tFrying", r"line 4: 'Frying' is not among the 3 events. Did you mean 'Frying_\(food\)'\?"),
        ("v\t0\t1\txyzzy", "line 4: 'xyzzy' is not among the 3 events. Events other"),
        ("v\t0\t1\tSpeech,Dog", "line 4: 'Speech,Dog'"),
        ("v\t0\t1\t", "line 4: ''"),
        ("v\t0\t1\tDog\tCat", "line 4: the row has 5 tab-separated cells, but the header has 4"),
        ("v\t0", "line 4: the row has 2 tab-separated cells, but the header has 4"),
        ("v,0,1,Dog", "line 4: the row has 1 tab-separated cells, but the header has 4"),
        ("\t0\t1\tDog", "line 4: the filename is empty"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path, row: str, said: str) -> None:
    path = table(tmp_path, HEADER, "v\t0\t1\tSpeech", "", row)
    with pytest.raises(InputError, match=re.escape(str(path)) + ", " + said):
        read_timelines(path, EVENTS, 10, Oddities())


@pytest.mark.parametrize(
    ("header", "lacking", "comma"),
    [
        ("filename\tonset\tevent_labels", "offset", False),
        ("video\tonset\toffset\tevent", "filename, event_labels", False),
        ("v\t0\t1\tSpeech", "filename, onset, offset, event_labels", False),
        ("filename,onset,offset,event_labels", "filename, onset, offset, event_labels", True),
        ("", "filename, onset, offset, event_labels", False),
    ],
)
def test_a_wrong_header_names_the_columns_it_lacks(tmp_path: Path, header: str, lacking: str, comma: bool) -> None:
    path = table(tmp_path, header, "v\t0\t1\tSpeech")
    with pytest.raises(InputError) as caught:
        read_timelines(path, EVENTS, 10, Oddities())
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert f"; {lacking} {'are' if ',' in lacking else 'is'} missing." in message
    assert ("use tabs" in message) == comma


@pytest.mark.parametrize(
    ("row", "name", "event"),
    [
        ('"v"\t"2"\t"3"\t"Dog"', "v", "Dog"),
        ('"v" \t2\t3\tDog', None, None),
        ('v\t2\t3\t"Dog" ', "v", "Dog"),
        (' "v"\t "2"\t3\t " Dog "', "v", "Dog"),
        ('"say ""hi"""\t2\t3\tDog', 'say "hi"', "Dog"),
        ('say "hi"\t2\t3\tDog', 'say "hi"', "Dog"),
        ("'v'\t2\t3\tDog", "'v'", "Dog"),
        ('"v\t2\t3\tDog', None, None),
        ('"v"x\t2\t3\tDog', None, None),
        ('v\t2\t3\t"Dog', None, None),
        ('"v\tw"\t2\t3\tDog', None, None),
        ('v\t2\t3\t"Dog\tSpeech"', None, None),
    ],
)
def test_quotes_are_read_as_in_any_csv_file_or_refused(
    tmp_path: Path, row: str, name: str | None, event: str | None
) -> None:
    path = table(tmp_path, '"filename"\tonset\t"offset"\t"event_labels"', "u\t0\t1\tSpeech", row)
    if name is None:
        with pytest.raises(InputError, match=rf"{re.escape(str(path))}, line 3: .*quotes"):
            read_timelines(path, EVENTS, 10, Oddities())
        return
    timelines = read_timelines(path, EVENTS, 10, Oddities())
    assert list(timelines) == ["u", name]
    assert np.argwhere(timelines[name]).tolist() == [[2, EVENTS.index(event or "")]]


def test_a_tab_within_quotes_is_accepted_in_a_column_that_is_not_read(tmp_path: Path) -> None:
    path = table(tmp_path, f"note\t{HEADER}", '"mine,\tand ""yours"""\tv\t2\t3\tDog')
    assert np.argwhere(read_timelines(path, EVENTS, 10, Oddities())["v"]).tolist() == [[2, 1]]


def test_a_row_without_times_and_event_is_a_video_without_events(tmp_path: Path) -> None:
    oddities = Oddities()
    path = table(tmp_path, HEADER, "v\t2\t3\tDog", "w\t\t\t", 'x\t""\t \t', "v\t\t\t")
    timelines = read_timelines(path, EVENTS, 10, oddities)
    assert {name: int(timeline.sum()) for name, timeline in timelines.items()} == {"v": 1, "w": 0, "x": 0}
    assert not found(oddities)
    with pytest.raises(
        InputError, match=r"line 2: '' is not among the 3 events; for a video without events, leave onset"
    ):
        read_timelines(table(tmp_path, HEADER, "v\t2\t3\t"), EVENTS, 10, Oddities())


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["a", "filename", "b"], "line 3: the header stands here again; remove this line"),
        (["a", "Filename"], "line 3: the header stands here again; remove this line"),
        (["a", "\x1a"], r"line 3: '\x1a' is no name of a video"),
        (["a", "b\x1a"], r"line 3: 'b\x1a' is no name of a video"),
        (["---", "a"], "line 2: '---' is no name of a video"),
        (['""', "a"], "line 2: the filename is empty"),
    ],
)
def test_rows_of_a_list_that_are_no_videos(tmp_path: Path, rows: list[str], said: str) -> None:
    path = table(tmp_path, "filename", *rows)
    with pytest.raises(InputError, match=re.escape(f"{path}, {said}")):
        read_names(path)
    path = table(tmp_path, "filename\tevent_labels", *rows)
    with pytest.raises(InputError, match=re.escape(f"{path}, {said}")):
        read_weak_labels(path, EVENTS, Oddities())


@pytest.mark.parametrize("name", ["1", "_a", "\N{CJK UNIFIED IDEOGRAPH-4E2D}", "\N{PARTY POPPER}", "a, b"])
def test_names_of_any_kind(tmp_path: Path, name: str) -> None:
    assert read_names(table(tmp_path, "filename", name)) == [name]


def test_composed_and_decomposed_unicode_are_one_name(tmp_path: Path) -> None:
    path = table(tmp_path, "filename", "Cafe\u0301")
    assert read_names(path) == ["Caf\xe9"]
    assert found_at(path, "Caf\xe9") == "'Caf\xe9' in line 2"
    with pytest.raises(InputError, match=r"lines 2, 3: 'Caf\xe9' is listed 2 times"):
        read_names(table(tmp_path, "filename", "Cafe\u0301", "Caf\xe9"))
    (tmp_path / "classes.txt").write_text("Cafe\u0301\n", encoding="utf-8")
    events = read_classes(tmp_path / "classes.txt")
    assert events == ("Caf\xe9",)
    timelines = read_timelines(table(tmp_path, HEADER, "Cafe\u0301\t2\t3\tCafe\u0301"), events, 10, Oddities())
    assert np.argwhere(timelines["Caf\xe9"]).tolist() == [[2, 0]]


def test_places_of_videos_in_words(tmp_path: Path) -> None:
    path = table(tmp_path, "filename\tevent_labels", "a\tDog", '"b"\tDog', '"say ""hi"""\tDog', "b\tSpeech", '"open')
    assert found_at(path, "b") == "'b' in line 3"
    assert found_at(path, 'say "hi"') == "'say \"hi\"' in line 4"
    assert found_at(path, "c") == found_at(tmp_path / "nowhere.csv", "c") == "'c'"


COMMAS = ("Dog", "Male speech, man speaking", "a", "b", "a,b", "b, c", "c")


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("Dog", [0]),
        ("Male speech, man speaking", [1]),
        ("Dog,Male speech, man speaking", [0, 1]),
        ("Male speech,man speaking , Dog", [0, 1]),
        ("Male speech, man speaking,,Male speech, man speaking", [1]),
        ("a", [2]),
        ("Dog,b", [0, 3]),
        ("", []),
    ],
)
def test_weak_labels_with_commas_in_events(tmp_path: Path, cell: str, labels: list[int]) -> None:
    path = table(tmp_path, "filename\tevent_labels", f"v\t{cell}")
    assert read_weak_labels(path, COMMAS, Oddities()) == {"v": labels}


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("a,b", "'a,b' can be read as 'a' and 'b' or as 'a,b'; rename an event in classes.txt"),
        ("Dog,b,c", "'Dog,b,c' can be read as 'Dog' and 'b' and 'c' or as 'Dog' and 'b, c'"),
        ("a,b" + ",c,b" * 200, "can be read as "),
        ("Male speech,Dog", "'Male speech' is not among the 7 events, but a part of 'Male speech, man speaking'"),
        ("a,cat", "'cat' is not among the 7 events"),
    ],
)
def test_weak_labels_that_do_not_say_which_events_are_meant(tmp_path: Path, cell: str, said: str) -> None:
    path = table(tmp_path, "filename\tevent_labels", f"v\t{cell}")
    with pytest.raises(InputError) as caught:
        read_weak_labels(path, COMMAS, Oddities())
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}, line 2: ")


def test_a_header_alone_is_an_empty_prediction(tmp_path: Path) -> None:
    assert read_timelines(table(tmp_path, HEADER), EVENTS, 10, Oddities()) == {}


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\xff\xfeh\x00", b"filename\tonset\toffset\tevent_labels\n\xe9", None]
)
def test_files_that_are_no_tables(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_bytes(content)
    for read in (
        lambda: read_timelines(path, EVENTS, 10, Oddities()),
        lambda: read_weak_labels(path, EVENTS, Oddities()),
        lambda: read_names(path),
        lambda: read_classes(path),
    ):
        with pytest.raises(InputError, match=re.escape(str(path))):
            read()


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_timelines(tmp_path, EVENTS, 10, Oddities())


def test_weak_labels(tmp_path: Path) -> None:
    rows = ["filename\tevent_labels", "b\tDog,Speech", "a\tDog,Dog", "d\tSpeech,Dog,Speech", "c", "e\tFrying_(food)"]
    oddities, path = Oddities(), table(tmp_path, *rows)
    labels = read_weak_labels(path, EVENTS, oddities)
    assert list(labels.items()) == [("b", [0, 1]), ("a", [1]), ("d", [0, 1]), ("c", []), ("e", [2])]
    twice, none = f"{path}: rows with an event named twice (counted once)", f"{path}: videos without any event"
    assert found(oddities) == {twice: 2, none: 1}
    assert oddities.examples == {twice: "'a' in line 3", none: "'c' in line 5"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["v\tSpeech", "w\tDog", "v\tDog"], "line 4: 'v' is listed twice"),
        (["v\tSpeech,Dgo"], "line 2: 'Dgo' is not among the 3 events. Did you mean 'Dog'?"),
        (["v\tSpeech\tDog"], "line 2: the row has 3 tab-separated cells"),
        (["\tSpeech"], "line 2: the filename is empty"),
    ],
)
def test_broken_weak_labels(tmp_path: Path, rows: list[str], said: str) -> None:
    path = table(tmp_path, "filename\tevent_labels", *rows)
    with pytest.raises(InputError, match=re.escape(f"{path}, {said}")):
        read_weak_labels(path, EVENTS, Oddities())


def test_a_list_of_videos_must_list_some_once(tmp_path: Path) -> None:
    assert read_names(table(tmp_path, "filename", "b", "a")) == ["b", "a"]
    assert read_names(table(tmp_path, "event_labels\tfilename", "nonsense\tb")) == ["b"]
    with pytest.raises(InputError, match="'b' is listed 3 times"):
        read_names(table(tmp_path, "filename", "b", "a", "b", "b"))
    with pytest.raises(InputError, match="no rows"):
        read_names(table(tmp_path, "filename"))
    with pytest.raises(InputError, match="no rows"):
        read_weak_labels(table(tmp_path, "filename\tevent_labels"), EVENTS, Oddities())


def test_events_of_a_table_with_the_lines_where_they_occur_first(tmp_path: Path) -> None:
    rows = ["a\t0\t1\tDog", "a\t0\t1\tMale speech, man speaking", "b\t\t\t", "a\t1\t2\tDog"]
    assert read_events(table(tmp_path, HEADER, *rows)) == {"Dog": 2, "Male speech, man speaking": 3}


def test_classes_file(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes("\ufeffOwl\r\n\r\n  Dog \r\nCafé".encode())
    assert read_classes(path) == ("Owl", "Dog", "Café")
    path.write_text('Male speech, man speaking\n"Bark, woof"\n"Say ""hi"""\n', encoding="utf-8")
    assert read_classes(path) == ("Male speech, man speaking", "Bark, woof", 'Say "hi"')
    path.write_text("Owl\n0\tDog\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"classes.txt, line 2: '0\\tDog' is not one event; write one on each line"):
        read_classes(path)
    path.write_text("Owl\nDog\nOwl \n", encoding="utf-8")
    with pytest.raises(InputError, match=r"classes.txt: 'Owl' is listed 2 times"):
        read_classes(path)


def test_oddities_are_reported_once_each_and_only_those_met(caplog: pytest.LogCaptureFixture) -> None:
    oddities = Oddities()
    oddities.note("b: rows", "'v' in line 7")
    oddities.note("a: rows", "'v' in line 2")
    oddities.note("b: rows", "'w' in line 9", count=2)
    with caplog.at_level(logging.WARNING):
        oddities.report(logging.getLogger("avvp_pl.test"))
    assert caplog.messages == ["1 x a: rows, such as 'v' in line 2", "3 x b: rows, such as 'v' in line 7"]


def bool_arrays(dimensions: int) -> st.SearchStrategy[npt.NDArray[np.bool_]]:
    return hnp.arrays(np.bool_, hnp.array_shapes(min_dims=dimensions, max_dims=dimensions, max_side=6))


@settings(max_examples=60, deadline=None)
@given(bool_arrays(2))
def test_intervals_against_a_loop(timeline: npt.NDArray[np.bool_]) -> None:
    segments, events = timeline.shape
    expected = []
    for event in range(events):
        onset = None
        for t in range(segments + 1):
            active = t < segments and timeline[t, event]
            if active and onset is None:
                onset = t
            elif not active and onset is not None:
                expected.append((event, onset, t))
                onset = None
    assert intervals(timeline) == expected


def test_written_table_to_the_letter(tmp_path: Path) -> None:
    timelines = np.zeros((3, 4, 2), dtype=bool)
    timelines[0, [0, 1, 3], 1] = True
    timelines[0, 2, 0] = True
    timelines[2, :, 0] = True
    path = tmp_path / "new" / "table.csv"
    write_timelines(path, ["a", "b", "c"], timelines, EVENTS[:2], segment_seconds=2.5)
    assert path.read_bytes().decode() == (
        f"{HEADER}\na\t5\t7.5\tSpeech\na\t0\t5\tDog\na\t7.5\t10\tDog\nc\t0\t10\tSpeech\n"
    )


@pytest.mark.parametrize("word", ["", " a", "a ", "a\tb", "a\nb", "a\rb"])
def test_what_no_table_can_hold_is_refused_and_not_written(tmp_path: Path, word: str) -> None:
    timelines = np.ones((1, 4, 1), dtype=bool)
    for names, events in (([word], ["Dog"]), (["v"], [word])):
        with pytest.raises(InputError, match=re.escape(f"{word!r} cannot be written into a table")):
            write_timelines(tmp_path / "table.csv", names, timelines, events)
    assert not list(tmp_path.iterdir())


def test_a_table_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root may read everything, by a system that says so."""

    def refuse(path: Path, *_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(InputError, match=r"table\.csv: cannot be read \(Permission denied\)$"):
        read_names(tmp_path / "table.csv")


def test_names_and_timelines_must_be_equally_many(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        write_timelines(tmp_path / "table.csv", ["a", "b"], np.ones((1, 4, 1), dtype=bool), ["Dog"])
    assert not list(tmp_path.iterdir())


def round_trip(
    folder: Path, names: list[str], timelines: npt.NDArray[np.bool_], events: list[str], segment_seconds: float
) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    path, oddities = folder / "table.csv", Oddities()
    segments, num_events = timelines.shape[1:]
    write_timelines(path, names, timelines, events, segment_seconds)
    tables = {"audio": read_timelines(path, events, segments, oddities, segment_seconds)}
    return stack_timelines(names, tables, segments, num_events)[:, :, 0], found(oddities)


@settings(max_examples=40, deadline=None)
@given(bool_arrays(3), st.sampled_from([1.0, 0.5, 2.5]))
def test_what_is_written_is_sorted_maximal_and_read_again(
    tmp_path_factory: pytest.TempPathFactory, timelines: npt.NDArray[np.bool_], segment_seconds: float
) -> None:
    folder = tmp_path_factory.mktemp("round")
    names = [f"video_{number}" for number in range(len(timelines))]
    events = [f"event_{number}" for number in range(timelines.shape[2])]
    again, oddities = round_trip(folder, names, timelines, events, segment_seconds)
    np.testing.assert_array_equal(again, timelines)
    assert not oddities

    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            (row["filename"], row["event_labels"], float(row["onset"]), float(row["offset"]))
            for row in csv.DictReader(file, delimiter="\t")
        ]
    assert rows == sorted(rows)
    assert all(onset < offset for _, _, onset, offset in rows)
    for (name, event, _, offset), (next_name, next_event, onset, _) in pairwise(rows):
        assert (name, event) != (next_name, next_event) or offset < onset


@pytest.mark.parametrize("segment_seconds", [0.1, 0.64, 16 / 30, 1 / 3])
def test_segments_of_a_fraction_of_a_second_are_read_where_they_were_written(
    tmp_path: Path, segment_seconds: float
) -> None:
    timelines = np.eye(50, dtype=bool)[:, :, None]
    again, _ = round_trip(tmp_path, [f"v{n:02}" for n in range(50)], timelines, ["Dog"], segment_seconds)
    wrong = np.flatnonzero((again != timelines).any(axis=(1, 2)))
    assert not len(wrong), f"of 50 segments these come back elsewhere: {wrong}"


@pytest.mark.parametrize(
    "odd", ['5" gun', '"quoted"', "o'clock", "a,b", "ünïcode", "two\u2028lines", "two\x0cpages", "#hash", '"x', 'x""y"']
)
def test_odd_names_of_videos_and_events_survive_a_round_trip(tmp_path: Path, odd: str) -> None:
    timelines = np.array([[[1], [0], [1]]], dtype=bool)
    again, oddities = round_trip(tmp_path, [odd], timelines, ["Dog"], 1.0)
    np.testing.assert_array_equal(again, timelines)
    again, oddities = round_trip(tmp_path, ["v"], timelines, [odd], 1.0)
    np.testing.assert_array_equal(again, timelines)
    assert not oddities
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:  # and so do others read it
        assert {row["event_labels"] for row in csv.DictReader(file, delimiter="\t")} == {odd}


def test_each_video_is_cut_at_its_own_length(tmp_path: Path) -> None:
    """Of 10 segments: `short` has 3, `none` has 0, and `other` is not in the lengths."""
    rows = ["short\t1\t3\tSpeech", "short\t2\t4\tDog", "short\t5\t7\tDog", "none\t0\t1\tDog", "other\t8\t10\tDog"]
    oddities = Oddities()
    timelines = read_timelines(table(tmp_path, HEADER, *rows), EVENTS, 10, oddities, lengths={"short": 3, "none": 0})
    assert {name: timeline.shape for name, timeline in timelines.items()} == {
        "short": (3, 3),
        "none": (0, 3),
        "other": (10, 3),
    }
    assert timelines["short"].T.astype(int).tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert np.argwhere(timelines["other"]).tolist() == [[8, 1], [9, 1]]
    assert found(oddities) == {f"{tmp_path / 'table.csv'}: rows that reach past the end (cut off)": 3}


def test_joined_timelines_follow_lengths_and_modalities() -> None:
    heard = {"b": np.array([[True], [False], [True]]), "unlisted": np.ones((9, 1), dtype=bool)}
    seen = {"a": np.array([[True]]), "b": np.array([[False], [True], [True]])}
    joined = join_timelines({"b": 3, "none": 2, "empty": 0, "a": 1}, {"audio": heard, "visual": seen}, 1)
    assert joined.shape == (6, 2, 1)
    assert joined[:, 0, 0].astype(int).tolist() == [1, 0, 1, 0, 0, 0]
    assert joined[:, 1, 0].astype(int).tolist() == [0, 1, 1, 0, 0, 1]
    with pytest.raises(ValueError, match="a: a timeline of 1 segments for 2 segments"):
        join_timelines({"a": 2}, {"visual": seen}, 1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6), st.randoms(use_true_random=False), st.sampled_from([1.0, 0.5])
)
def test_timelines_of_any_lengths_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], random: Random, segment_seconds: float
) -> None:
    path = tmp_path_factory.mktemp("ragged") / "table.csv"
    names = [f"v{number}" for number in range(len(lengths))]
    timelines = [
        np.array([random.random() < 0.5 for _ in range(2 * length)], dtype=bool).reshape(length, 2)
        for length in lengths
    ]
    write_timelines(path, names, timelines, EVENTS[:2], segment_seconds)
    oddities, own = Oddities(), dict(zip(names, lengths, strict=True))
    tables = {"audio": read_timelines(path, EVENTS[:2], max(lengths), oddities, segment_seconds, own)}
    np.testing.assert_array_equal(join_timelines(own, tables, 2)[:, 0], np.concatenate(timelines))
    assert not found(oddities)


def test_stacked_timelines_follow_names_and_modalities(tmp_path: Path) -> None:
    ones, half = np.ones((2, 1), dtype=bool), np.array([[True], [False]])
    stacked = stack_timelines(["b", "none", "a"], {"audio": {"a": ones}, "visual": {"b": half, "c": ones}}, 2, 1)
    assert stacked.shape == (3, 2, 2, 1)
    assert stacked.dtype == np.bool_
    assert stacked[..., 0].astype(int).tolist() == [[[0, 1], [0, 0]], [[0, 0], [0, 0]], [[1, 0], [1, 0]]]
