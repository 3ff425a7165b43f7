"""A timeline: its intervals, what of it is not known, and how it prints."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from avvp_pl.timelines.timeline import Interval, Timeline
from tests.timelines.made import EVENTS, INTERVALS, clip, detected


def test_intervals_are_maximal_and_end_with_the_video() -> None:
    assert clip().intervals() == INTERVALS


def test_without_a_duration_the_video_has_whole_segments() -> None:
    timeline = clip(duration=None)
    assert timeline.seconds == 4.0
    assert [one.end for one in timeline.intervals()] == [2.0, 4.0, 4.0, 4.0]


def test_a_video_may_go_on_after_its_last_segment() -> None:
    timeline = clip(duration=4.4)
    assert timeline.seconds == 4.4
    assert max(one.end for one in timeline.intervals()) == 4.0


def test_what_begins_after_the_end_is_left_out() -> None:
    assert [(one.modality, one.start, one.end) for one in clip(duration=2.5).intervals()] == [
        ("audio", 0.0, 2.0),
        ("visual", 2.0, 2.5),
    ]


def test_a_missing_modality_is_not_known() -> None:
    timeline = clip(missing=("audio",))
    assert {one.modality for one in timeline.intervals()} == {"visual"}
    assert timeline.tracks == ("audio", "visual")
    assert timeline.known == ("visual",)
    assert "audio: not known, the video has no such track" in str(timeline)
    assert "nothing was found" not in str(timeline)


def test_detections_take_the_place_of_segments() -> None:
    timeline = detected(
        ("Dog", 2.0, 9.0, 3.5), ("Speech", -0.5, 1.0, 0.25), ("Dog", 0.5, 2.5, -1.0), ("Dog", 4, 5, 1.0)
    )
    assert timeline.tracks == ("audio+visual",)
    assert timeline.intervals() == [
        ("audio+visual", "Speech", 0.0, 1.0, 0.25),
        ("audio+visual", "Dog", 0.5, 2.5, -1.0),
        ("audio+visual", "Dog", 2.0, 3.6, 3.5),
    ]


@settings(deadline=None)
@given(
    arrays(np.bool_, (7, 2, 3)),
    st.floats(0.05, 3.0),
    st.one_of(st.none(), st.floats(0.1, 25.0)),
)
def test_intervals_cover_what_was_found(found: Any, seconds: float, duration: float | None) -> None:
    """Drawn back onto a fine grid, they are the segments that were found, up to the end of the video."""
    probs = np.random.default_rng(0).random(found.shape)
    timeline = clip(found=found, probs=probs, segment_seconds=seconds, duration=duration)
    grid = (np.arange(7 * 4) + 0.5) * seconds / 4  # four moments in each segment
    inside = grid < timeline.seconds
    drawn = np.zeros((len(grid), 2, 3), dtype=bool)
    for one in timeline.intervals():
        place = timeline.modalities.index(one.modality), EVENTS.index(one.event)
        covered = (one.start <= grid) & (grid < one.end)
        assert not drawn[covered, *place].any()
        drawn[covered, *place] = True
        assert one.end <= timeline.seconds
        first, last = round(one.start / seconds), min(7, int(np.ceil(one.end / seconds - 1e-9)))
        assert found[first:last, *place].all()
    np.testing.assert_array_equal(drawn[inside], np.repeat(found, 4, axis=0)[inside])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"probs": np.zeros((3, 2, 3))}, r"probs of clip has the shape \(3, 2, 3\); it must have \(4, 2, 3\)"),
        ({"video_probs": np.zeros((3, 2))}, r"video_probs of clip has the shape \(3, 2\); it must have \(2, 3\)"),
        ({"found": np.zeros((4, 2, 3))}, "found of clip must be booleans, but is float64"),
        ({"missing": ("touch",)}, "missing of clip: touch is not among audio, visual"),
        ({"duration": 0.0}, "duration of clip is 0.0; it must be a number of seconds above 0"),
        ({"duration": float("nan")}, "duration of clip is nan"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clip(**changed)


def test_it_prints_as_a_table() -> None:
    assert clip().table() == (
        "clip: 3.6 s, 4 segments\n"
        "audio\n"
        "  Dog     ██·█  0-2 s (0.62), 3-3.6 s (0.62)\n"
        "visual\n"
        "  Speech  ···█  3-3.6 s (0.75)\n"
        "  Dog     ··██  2-3.6 s (0.94)"
    )
    assert repr(clip()) == "Timeline('clip', 3.6 s, 4 intervals)"


def test_a_terminal_without_unicode_gets_what_it_can_show() -> None:
    table = clip(name="Föhn", events=("Speech", "犬", "x")).table("ascii")
    assert table.isascii()
    assert "##.#" in table
    assert r"F\xf6hn: 3.6 s" in table
    assert r"\u72ac" in table


def test_signs_that_are_two_columns_wide_do_not_move_the_bars() -> None:
    rows = [row for row in clip(events=("Speech", "犬", "x")).table().split("\n") if row.startswith("  ")]
    assert rows[0].startswith("  犬      █")  # the name is two columns and followed by four, and two
    assert rows[1].startswith("  Speech  ·")


def test_control_characters_do_not_reach_the_terminal() -> None:
    table = str(clip(name="a\x1b[31m\nb\u202e", events=("x\x07", "y\ty", "z")))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", table)
    assert table.startswith("a\\x1b[31m b\\u202e: ")


def test_a_long_video_has_a_short_bar_and_many_intervals_are_counted() -> None:
    found = np.zeros((400, 2, 3), dtype=bool)
    found[:200:10, 0, 0] = True  # twenty intervals in the first half
    timeline = clip(found=found, probs=0.5 * found, duration=None)
    row = next(row for row in str(timeline).split("\n") if row.startswith("  Speech"))
    assert "█" * 20 + "·" * 20 + "  0-1 s (0.50), 10-11 s (0.50)" in row
    assert row.endswith(" and 14 more")


def test_nothing_found_and_no_segments() -> None:
    none = np.zeros((0, 2, 3), dtype=bool)
    timeline = clip(found=none, probs=none.astype(float), duration=None)
    assert timeline.intervals() == []
    assert timeline.seconds == 0
    assert str(timeline) == "clip: 0 s, 0 segments\naudio: nothing was found\nvisual: nothing was found"


class Outline(HTMLParser):
    """The tags of a document, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.bars: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag == "i":
            self.bars.append(dict(attrs)["title"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        assert not {"b", "script"} & set(self.open)
        self.text += data


def test_a_notebook_gets_a_table_in_which_names_are_text() -> None:
    evil = "</td><script>alert(1)</script><b>&amp;"
    outline = Outline()
    outline.feed(clip(name=evil, events=("Speech", evil, "x"), missing=("audio",))._repr_html_())
    assert outline.open == []
    assert outline.text.count(evil) == 2  # the video, and the event that was seen
    assert "audio: not known, the video has no such track" in outline.text
    assert outline.bars == ["3 to 3.6 s, 0.75", "2 to 3.6 s, 0.94"]


def test_it_can_be_imported_without_lightning_and_matplotlib(tmp_path: Path) -> None:
    """Its modules say what they import; the page alone takes the colors of figures."""
    import ast

    import avvp_pl

    room = Path(avvp_pl.__file__).parent / "timelines"
    for file in room.rglob("*.py"):
        names = {
            node.module or ""
            for node in ast.parse(file.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ImportFrom)
        }
        own = {name for name in names if name.startswith("avvp_pl.")}
        rooms = {name.split(".")[1] for name in own}
        assert rooms <= {"timelines", "pages", "errors", "files", "data"} | (
            {"figures"} if file.stem == "page" else set()
        )


def test_intervals_are_what_the_documentation_says() -> None:
    assert Interval._fields == ("modality", "event", "start", "end", "confidence")
    assert isinstance(clip(), Timeline)
