"""Every format, read back by a reader that knows nothing of its writer."""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import avvp_pl
from avvp_pl.data.annotations import Oddities, read_timelines
from avvp_pl.errors import InputError
from avvp_pl.timelines.formats import audacity, elan, srt, vtt
from avvp_pl.timelines.formats import csv as tables
from avvp_pl.timelines.formats import json as jsons
from avvp_pl.timelines.timeline import Timeline
from tests.timelines.made import EVENTS, INTERVALS, at, clip, detected
from tests.timelines.readers import Cue, read_srt, read_webvtt

HOSTILE = "<b>&amp; --> \"x'\t\r\n\n\u2028y\x00\x1b\x9b\ud7ff\udcff\ufffe\u202e{\\an8}"
RIGHT_TO_LEFT = "כלב נובח"
HERE = Path("folder")


def read_elan(text: str, folder: Path) -> dict[str, list[tuple[int, int, str]]]:
    """The tiers of a file as pympi reads them, after a check of what ELAN demands and pympi does not notice."""
    from pympi import Elan

    root = ElementTree.fromstring(text.encode())
    slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE") or "") for slot in root.iter("TIME_SLOT")}
    assert len(slots) == len(list(root.iter("TIME_SLOT")))
    assert list(slots.values()) == sorted(slots.values())
    numbers = [one.get("ANNOTATION_ID") for one in root.iter("ALIGNABLE_ANNOTATION")]
    assert len(set(numbers)) == len(numbers)
    names = [tier.get("TIER_ID") for tier in root.iter("TIER")]
    assert len(set(names)) == len(names)
    types = {one.get("LINGUISTIC_TYPE_ID") for one in root.iter("LINGUISTIC_TYPE")}
    for tier in root.iter("TIER"):
        assert tier.get("LINGUISTIC_TYPE_REF") in types
        spans = [
            (slots[one.get("TIME_SLOT_REF1")], slots[one.get("TIME_SLOT_REF2")])
            for one in tier.iter("ALIGNABLE_ANNOTATION")
        ]
        assert all(start < end for start, end in spans)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert [child.tag for child in root if child.tag != "TIER"] == ["HEADER", "TIME_ORDER", "LINGUISTIC_TYPE"]
    path = folder / "read.eaf"
    path.write_text(text, encoding="utf-8", newline="")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = Elan.Eaf(str(path))
    return {
        name: sorted(span[:3] for span in read.get_annotation_data_for_tier(name)) for name in read.get_tier_names()
    }


def test_json_has_everything(tmp_path: Path) -> None:
    timeline = clip(missing=("visual",), media=at(tmp_path, "clip ü.mp4"))
    text = timeline.save(tmp_path / "out" / "clip.json").read_text(encoding="ascii")
    content = json.loads(text)
    jsonschema.validate(content, avvp_pl.schema("timeline"))
    assert set(content) == set(avvp_pl.schema("timeline")["properties"])  # type: ignore[call-overload]
    assert content["media"] == "../media/clip ü.mp4"
    assert (content["duration"], content["segments"], content["segment_seconds"]) == (3.6, 4, 1.0)
    assert content["missing"] == ["visual"]
    assert [tuple(one.values()) for one in content["intervals"]] == INTERVALS[:2]
    assert content["probabilities"]["visual"] is None
    assert content["probabilities"]["audio"]["Dog"] == {"video": 0.9, "segments": [0.75, 0.5, 0.125, 0.625]}
    assert content["made_by"] == {"avvp_pl": "0.1.0", "segments": 4, "rate": 0.5, "protocol": None}
    assert '"segments": [ 0.75, 0.5, 0.125, 0.625 ]' in text  # one line for each event


def test_json_does_not_change_names(tmp_path: Path) -> None:
    lists = "[ 1,  2 ]"  # looks like a list of numbers, and has two spaces
    content = json.loads(jsons.write(clip(name=HOSTILE, events=(HOSTILE, lists, RIGHT_TO_LEFT)), HERE))
    jsonschema.validate(content, avvp_pl.schema("timeline"))
    assert content["name"] == HOSTILE
    assert content["events"] == [HOSTILE, lists, RIGHT_TO_LEFT]


def test_a_table_is_read_back_as_it_was_found(tmp_path: Path) -> None:
    """By the reader of LLP's tables, in which fractions of a segment would be cut off."""
    timeline = clip()
    rows = timeline.save(tmp_path / "clip.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    assert rows[0] == "filename\tonset\toffset\tevent_labels\tmodality\tconfidence\n"
    assert rows[1] == "clip\t0\t2\tDog\taudio\t0.6250\n"
    assert rows[-1] == "clip\t2\t4\tDog\tvisual\t0.9375\n"
    for m, modality in enumerate(timeline.modalities):
        (tmp_path / "own.csv").write_text("".join([rows[0], *(row for row in rows if f"\t{modality}\t" in row)]))
        read = read_timelines(tmp_path / "own.csv", EVENTS, 4, oddities := Oddities())
        np.testing.assert_array_equal(read["clip"], timeline.found[:, m])
        assert not oddities.counts


def test_a_table_tells_nothing_found_from_not_known() -> None:
    found = np.zeros((4, 2, 3), dtype=bool)
    rows = list(csv.reader(tables.write(clip(found=found, missing=("audio",)), HERE).splitlines(), dialect="excel-tab"))
    assert rows[1:] == [["clip", "", "", "", "visual", ""]]


def test_a_table_of_detections_has_their_seconds() -> None:
    rows = tables.write(detected(("Dog", 0.25, 1.123456789, 2.0)), HERE).splitlines()
    assert rows[1:] == ["clip\t0.25\t1.12345679\tDog\taudio+visual\t2.0000"]


def test_subtitles_say_what_is_heard_and_seen() -> None:
    expected = [
        Cue(0, 2000, "audio: Dog (0.62)"),
        Cue(2000, 3600, "visual: Dog (0.94)"),
        Cue(3000, 3600, "audio: Dog (0.62)"),
        Cue(3000, 3600, "visual: Speech (0.75)"),
    ]
    assert read_webvtt(vtt.write(clip(), HERE)) == (expected, [])
    assert read_srt(srt.write(clip(), HERE)) == expected


def test_subtitles_of_hours_and_of_less_than_a_millisecond() -> None:
    timeline = detected(("Dog", 0.0001, 0.0002, 1.0), ("Frying_(food)", 35999.9996, 36001.0, 1.0), duration=40000.0)
    expected = [
        Cue(0, 1, "audio+visual: Dog (1.00)"),
        Cue(36_000_000, 36_001_000, "audio+visual: Frying (food) (1.00)"),
    ]
    assert read_webvtt(vtt.write(timeline, HERE))[0] == expected
    assert read_srt(srt.write(timeline, HERE)) == expected


def test_webvtt_says_what_is_not_known() -> None:
    cues, notes = read_webvtt(vtt.write(clip(name="a --> b", missing=("audio",)), HERE))
    assert notes == ["audio: not known, because a --> b has no such track"]
    assert {cue.text.partition(":")[0] for cue in cues} == {"visual"}


def test_hostile_names_in_subtitles() -> None:
    timeline = clip(events=(HOSTILE, RIGHT_TO_LEFT, "x"))
    shown = "<b>&amp; --> \"x' y" + r"\x00\x1b\x9b\ud7ff\udcff\ufffe\u202e{\an8}"
    texts = {cue.text for cue in read_webvtt(vtt.write(timeline, HERE))[0]}
    assert f"visual: {shown} (0.75)" in texts
    assert f"audio: {RIGHT_TO_LEFT} (0.62)" in texts
    harmless = shown.translate(str.maketrans("<>{}", "\u2039\u203a()"))
    assert f"visual: {harmless} (0.75)" in {cue.text for cue in read_srt(srt.write(timeline, HERE))}


def test_labels_for_audacity() -> None:
    rows = [row.split("\t") for row in audacity.write(clip(events=(HOSTILE, "Dog", "x")), HERE).splitlines()]
    assert [len(row) for row in rows] == [3] * 4
    assert rows[0] == ["0.000000", "2.000000", "audio: Dog"]
    assert rows[1] == ["2.000000", "3.600000", "visual: Dog"]


def test_elan_has_a_tier_for_each_modality_and_event_that_was_found(tmp_path: Path) -> None:
    assert read_elan(elan.write(clip(), tmp_path), tmp_path) == {
        "audio: Speech": [],
        "audio: Dog": [(0, 2000, "0.62"), (3000, 3600, "0.62")],
        "visual: Speech": [(3000, 3600, "0.75")],
        "visual: Dog": [(2000, 3600, "0.94")],
    }
    tiers = read_elan(elan.write(clip(missing=("audio",)), tmp_path), tmp_path)
    assert set(tiers) == {"visual: Speech", "visual: Dog"}


def test_elan_finds_the_media_and_has_the_facts(tmp_path: Path) -> None:
    media = at(tmp_path, "a b#ü.webm")
    root = ElementTree.fromstring(elan.write(clip(media=media, missing=("audio",)), tmp_path / "out"))
    (described,) = root.iter("MEDIA_DESCRIPTOR")
    assert described.get("RELATIVE_MEDIA_URL") == "./../media/a%20b%23%C3%BC.webm"
    assert (described.get("MEDIA_URL") or "").startswith("file:///")
    assert described.get("MIME_TYPE") == "video/webm"
    facts = {one.get("NAME"): one.text for one in root.iter("PROPERTY")}
    assert facts["video"] == "clip"
    assert facts["missing audio"] == "no such track"
    assert facts["avvp_pl"] == "0.1.0"


def test_elan_puts_what_overlaps_on_further_tiers(tmp_path: Path) -> None:
    spans = [(0.0, 2.0, 1.0), (1.0, 3.0, 0.5), (2.0, 3.5, 0.25), (2.5, 3.0, 0.75), (3.0, 3.0002, 0.1)]
    tiers = read_elan(elan.write(detected(*(("Dog", *span) for span in spans)), tmp_path), tmp_path)
    assert tiers == {
        "audio+visual: Dog": [(0, 2000, "1.00"), (2000, 3500, "0.25")],
        "audio+visual: Dog (2)": [(1000, 3000, "0.50"), (3000, 3001, "0.10")],
        "audio+visual: Dog (3)": [(2500, 3000, "0.75")],
    }


def test_elan_keeps_hostile_names_apart(tmp_path: Path) -> None:
    """XML has no sign for most control characters; two events may look alike without them."""
    timeline = clip(name=HOSTILE, events=("a\x01", r"a\x01", RIGHT_TO_LEFT), missing=("visual",), media=Path("x\n.mp4"))
    found = timeline.found.copy()
    found[:] = True
    tiers = read_elan(elan.write(clip(events=timeline.events, found=found), tmp_path), tmp_path)
    assert [name for name in tiers if name.startswith("audio")] == [
        r"audio: a\x01",
        r"audio: a\x01 (2)",
        f"audio: {RIGHT_TO_LEFT}",
    ]
    root = ElementTree.fromstring(elan.write(timeline, tmp_path).encode())
    (name,) = [one.text for one in root.iter("PROPERTY") if one.get("NAME") == "video"]
    legal = (
        "<b>&amp; --> \"x'" + r"\t\r\n\n" + "\u2028y" + r"\x00\x1b\x9b" + "\ud7ff" + r"\udcff\ufffe" + "\u202e{\\an8}"
    )
    assert name == legal


NAMES = st.text(st.characters(codec=None), min_size=1, max_size=8) | st.sampled_from(
    [HOSTILE, RIGHT_TO_LEFT, "-->", "]]>"]
)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(
    name=NAMES,
    events=st.lists(NAMES, min_size=3, max_size=3, unique=True),
    found=arrays(np.bool_, (5, 2, 3)),
    duration=st.floats(0.01, 6.0),
)
def test_whatever_was_found_is_read_back(
    tmp_path: Path, name: str, events: list[str], found: np.ndarray[Any, Any], duration: float
) -> None:
    """Every reader gets all intervals, with bounds to the millisecond, whatever the names are."""
    probs = np.random.default_rng(0).random(found.shape)
    timeline = clip(name=name, events=tuple(events), found=found, probs=probs, duration=duration)
    expected = sorted((one.start, one.end) for one in timeline.intervals())
    milliseconds = sorted((round(1000 * a), max(round(1000 * b), round(1000 * a) + 1)) for a, b in expected)

    def near(bounds: list[tuple[int, int]]) -> bool:
        return len(bounds) == len(milliseconds) and bool(
            np.abs(np.array(sorted(bounds)) - np.array(milliseconds)).max(initial=0) <= 1
        )

    assert near([(cue.start, cue.end) for cue in read_webvtt(vtt.write(timeline, HERE))[0]])
    assert near([(cue.start, cue.end) for cue in read_srt(srt.write(timeline, HERE))])
    tiers = read_elan(elan.write(timeline, tmp_path), tmp_path)
    assert near([(start, end) for spans in tiers.values() for start, end, _ in spans])
    labels = [row.split("\t") for row in audacity.write(timeline, HERE).split("\n")[:-1]]
    assert near([(round(1000 * float(start)), round(1000 * float(end))) for start, end, _ in labels])
    content = json.loads(jsons.write(timeline, HERE))
    jsonschema.validate(content, avvp_pl.schema("timeline"))
    assert [(one["event"], one["start"], one["end"]) for one in content["intervals"]] == [
        one[1:4] for one in timeline.intervals()
    ]
    text = tables.write(timeline, HERE)
    text.encode("utf-8")
    rows = list(csv.DictReader(text.splitlines(keepends=True), dialect="excel-tab", strict=True))
    if not re.search(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029\0]", "".join([name, *events])):  # splitlines would split
        whole = clip(name=name, events=tuple(events), found=found, probs=probs, duration=None)
        assert [
            (row["modality"], float(row["onset"]), float(row["offset"])) for row in rows if row["event_labels"]
        ] == [(one.modality, one.start, one.end) for one in whole.intervals()]


@pytest.mark.parametrize("write", [jsons.write, tables.write, vtt.write, srt.write, audacity.write, elan.write])
def test_the_same_timeline_is_the_same_file(write: Callable[[Timeline, Path], str]) -> None:
    assert write(clip(), HERE) == write(clip(), HERE)


def test_an_event_is_no_event_of_another_format(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clip\.mp4: the ending is that of no format; give one of \.json \(json\)"):
        clip().save(tmp_path / "clip.mp4")
    with pytest.raises(InputError, match=r"vvt is no format of timelines; .* Did you mean 'vtt'\?"):
        clip().save(tmp_path / "clip", "vvt")
    with pytest.raises(InputError, match="only a page"):
        clip().save(tmp_path / "clip.vtt", embed_media=True)
    assert list(tmp_path.iterdir()) == []
