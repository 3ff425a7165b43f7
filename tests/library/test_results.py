"""Data frames of what was found: their columns, and that they agree with the files and with the metric."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

import avvp_pl
from avvp_pl import InputError, Parsing, ParsingScores, ParsingSet, Scores, VideoSet
from avvp_pl.tasks.parsed import Parsed


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
