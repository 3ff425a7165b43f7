"""Data frames of what was found: their columns, and that they agree with the files and with the metric."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

import avvp_pl
from avvp_pl import InputError, Parsing, ParsingScores, ParsingSet, Scores, Source, VideoSet
from avvp_pl.tasks.parsed import Parsed
from avvp_pl.types import Detections


def parsing(truth: bool = True) -> Parsing:
    """Two videos of 3 and 2 half-second segments, two modalities, two events."""
    timelines = torch.zeros(5, 2, 2, dtype=torch.bool)
    timelines[0:2, 0, 1] = True  # Cat, heard in the first second of v
    timelines[4, 1, 0] = True  # Dog, seen in the last half second of w
    probs = torch.arange(20).view(5, 2, 2) / 20
    streams = {"s": torch.zeros(5, 1)}
    lengths = torch.tensor([3, 2])
    videos = VideoSet(("v", "w"), lengths, streams, torch.zeros(2, 2), truth=timelines.clone() if truth else None)
    data = ParsingSet(("Dog", "Cat"), {"audio": ("s",), "visual": ("s",)}, None, None, videos, segment_seconds=0.5)
    return Parsing(videos, Parsed(lengths, timelines, probs, torch.zeros(2, 2, 2)), data, "common")


def test_the_frame_has_a_row_for_every_event_that_was_found() -> None:
    frame = parsing().frame()
    assert list(frame.columns) == ["video", "modality", "event", "onset", "offset", "probability"]
    rows = [tuple(row) for row in frame.itertuples(index=False)]
    assert rows[0][:5] == ("v", "audio", "Cat", 0.0, 1.0)
    assert rows[0][5] == pytest.approx((1 / 20 + 5 / 20) / 2)
    assert rows[1][:5] == ("w", "visual", "Dog", 0.5, 1.0)
    assert rows[1][5] == pytest.approx(18 / 20)
    assert len(rows) == len(parsing().found()) == 2


def test_a_frame_of_nothing_has_the_same_columns() -> None:
    found = parsing()
    found.parsed.timelines.zero_()
    frame = found.frame()
    assert len(frame) == 0
    assert list(frame.columns) == ["video", "modality", "event", "onset", "offset", "probability"]
    assert frame["onset"].dtype == frame["probability"].dtype == np.float64


def test_the_frame_of_segments_has_every_probability() -> None:
    found = parsing()
    frame = found.segments_frame()
    columns = ["video", "segment", "onset", "offset", "modality", "event", "probability", "found"]
    assert list(frame.columns) == columns
    assert len(frame) == 5 * 2 * 2
    row = frame[(frame.video == "w") & (frame.segment == 1) & (frame.modality == "visual") & (frame.event == "Dog")]
    assert row[columns[2:4] + columns[6:]].to_numpy().tolist() == [[0.5, 1.0, pytest.approx(0.9), True]]
    assert frame["found"].sum() == found.parsed.timelines.sum()


def test_the_files_have_what_the_frame_has(tmp_path: Path) -> None:
    found = parsing()
    found.write(tmp_path)
    content = json.loads((tmp_path / "timelines.json").read_text())
    jsonschema.validate(content, avvp_pl.schema("timelines"))
    entries = [
        (video, modality, *entry.values())
        for video, of_video in content["videos"].items()
        for modality, events in of_video["events"].items()
        for entry in events
    ]
    assert entries == [tuple(row) for row in found.frame().round({"probability": 4}).itertuples(index=False)]
    assert not (tmp_path / "pictures").exists()


def test_scores_against_a_truth() -> None:
    found = parsing(truth=False)
    truth = [timeline.clone() for timeline in found.timelines]
    assert found.score(truth).average == 100
    truth[0][2, 0, 1] = True
    scores = found.score([timeline.numpy() for timeline in truth])
    assert isinstance(scores.values, ParsingScores)
    assert scores.values.segment["audio"] == pytest.approx((100 * 4 / 5 + 100) / 2)
    assert parsing().score().average == 100  # the annotation that came with the videos


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (None, "the annotation of these videos is not known"),
        ([torch.zeros(3, 2, 2, dtype=torch.bool)], "truth: there are 1 timelines for 2 videos"),
        ([torch.zeros(2, 2, 2, dtype=torch.bool)] * 2, r"truth of v: it is torch.bool [2, 2, 2], but must be booleans"),
        (torch.zeros(2, 3, 2, 2), r"truth of v: it is torch.float32 [3, 2, 2], but must be booleans [3, 2, 2]"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(truth: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        parsing(truth=False).score(truth)
    assert message in str(error.value)


def test_a_video_is_drawn_by_number_or_name() -> None:
    assert parsing().draw("w").get_suptitle() == parsing().draw(1).get_suptitle() == "w"
    with pytest.raises(InputError, match="'x' is not among the videos"):
        parsing().draw("x")
    with pytest.raises(InputError, match="there is no video 2; 2 videos were parsed"):
        parsing().draw(2)


def test_each_video_has_a_timeline() -> None:
    found = parsing()
    assert [timeline.name for timeline in found] == ["v", "w"]
    first, last = found[0], found["w"]
    assert found[-1].name == found[1].name == "w"
    assert [tuple(one) for one in first.intervals()] == [
        ("audio", "Cat", 0.0, 1.0, pytest.approx((1 / 20 + 5 / 20) / 2))
    ]
    assert [tuple(one) for one in last.intervals()] == [("visual", "Dog", 0.5, 1.0, pytest.approx(18 / 20))]
    np.testing.assert_array_equal(last.probs, found.probs[1].numpy())
    assert (first.seconds, last.seconds) == (1.5, 1.0)
    for wrong in (2, -3, "x"):
        with pytest.raises(InputError):
            found[wrong]


def test_what_is_known_of_the_files_is_in_the_timelines(tmp_path: Path) -> None:
    sources = {"w": Source(tmp_path / "w.mp4", 0.9, ("audio",))}
    known = dataclasses.replace(parsing(), sources=sources, made_by={"checkpoint": "best.ckpt"})
    assert (known["w"].media, known["w"].duration, known["w"].missing) == sources["w"]
    assert (known["v"].media, known["v"].duration, known["v"].missing) == Source()
    assert known["w"].intervals()[0].end == 0.9
    assert known["v"].made_by == {"checkpoint": "best.ckpt"}


def test_a_parsing_prints_the_tables_of_some_videos() -> None:
    assert str(parsing()) == f"{parsing()[0]}\n\n{parsing()[1]}"
    names, lengths = tuple(f"v{n}" for n in range(12)), torch.ones(12, dtype=torch.int64)
    data = parsing().data
    videos = VideoSet(names, lengths, {"s": torch.zeros(12, 1)}, torch.zeros(12, 2))
    parsed = Parsed(lengths, torch.zeros(12, 2, 2, dtype=torch.bool), torch.zeros(12, 2, 2), torch.zeros(12, 2, 2))
    text = str(Parsing(videos, parsed, data, "common"))
    assert text.count(" 1 segment\n") == 10
    assert text.endswith("... and 2 more videos: parsing[NAME] has each of them")


def test_detections_are_in_the_timelines() -> None:
    found = parsing()
    numbers = torch.tensor([1, 0, 1]), torch.tensor([0, 1, 0])  # of the videos, and of the events
    bounds = torch.tensor([[0.2, 0.7], [0.0, 1.5], [0.5, 2.5]]).double()
    detections = Detections(*numbers, bounds, torch.tensor([0.5, -1.0, 2.0]).double())
    localized = dataclasses.replace(found, parsed=found.parsed._replace(detections=detections))
    assert localized["v"].intervals() == [("audio+visual", "Cat", 0.0, 1.5, -1.0)]
    assert [one[1:] for one in localized["w"].intervals()] == [
        ("Dog", pytest.approx(0.2), pytest.approx(0.7), 0.5),
        ("Dog", 0.5, 1.0, 2.0),
    ]


def test_timelines_are_saved_into_one_file_or_a_folder(tmp_path: Path) -> None:
    found = parsing()
    assert found.save(tmp_path / "page.html") == [tmp_path / "page.html"]
    paths = found.save(tmp_path / "all", ["json", "html"])
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["all/v.json", "all/w.json", "all/index.html"]
    assert json.loads(paths[1].read_text())["intervals"][0]["event"] == "Dog"
    with pytest.raises(InputError, match="this is one file, but there are 2 videos"):
        found.save(tmp_path / "v.vtt")
    found.write(tmp_path / "written", formats="srt")
    assert sorted(path.name for path in (tmp_path / "written" / "timelines").iterdir()) == ["v.srt", "w.srt"]


def test_frames_of_scores() -> None:
    names = {"audio": 80.0, "type_av": 80.0, "event_av": 70.0}
    per_event: dict[str, dict[str, list[float | None]]] = {
        level: {"audio": [50.0, None]} for level in ("segment", "event")
    }
    scores = Scores(ParsingScores(names, names, per_event, listed=2, with_predictions=1), ("Dog", "Cat"))
    frame = scores.frame()
    assert [tuple(row) for row in frame.itertuples(index=False)][:2] == [
        ("segment", "audio", 80.0),
        ("segment", "type_av", 80.0),
    ]
    assert frame["score"].mean() == pytest.approx(scores.average)
    of_events = scores.per_event()
    assert list(of_events.columns) == ["level", "track", "event", "score"]
    assert of_events["score"].tolist()[0] == 50.0
    assert np.isnan(of_events["score"].tolist()[1])
