"""Files of proposals: what is written is read, and what is wrong with a file is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from avvp_pl.data.activitynet import read_detections
from avvp_pl.data.proposals import digest, with_proposals, write_proposals
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError
from avvp_pl.types import Detections

CHECKPOINT = "0" * 64


def videos_of(seconds: float = 0.5) -> ParsingSet:
    """Two training videos, of 6 and 4 segments, and a test video of 5."""

    def split(names: tuple[str, ...], lengths: list[int], weak_labels: list[list[float]]) -> VideoSet:
        return VideoSet(names, torch.tensor(lengths), {"s": torch.zeros(sum(lengths), 2)}, torch.tensor(weak_labels))

    train = split(("a", "b"), [6, 4], [[1, 1, 0], [0, 0, 1]])
    return ParsingSet(("Run", "Jump", "Dive"), {"video": ("s",)}, train, None, split(("c",), [5], [[0, 0, 0]]), seconds)


def found(*rows: tuple[int, int, float, float, float]) -> Detections:
    """Rows of video, event, start, end and score."""
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)
    return Detections(table[:, 0].long(), table[:, 1].long(), table[:, 2:4], table[:, 4])


def written(path: Path) -> Path:
    train = found((0, 1, 0.5, 1.5, 0.2), (0, 0, 0.25, 3.0, 0.3), (0, 1, 1.0, 2.0, 0.9))
    write_proposals(path, videos_of(), {"train": train, "test": found((0, 2, 0.0, 0.5, -0.1))}, CHECKPOINT)
    return path


def test_what_is_written_is_read_by_event_and_falling_score(tmp_path: Path) -> None:
    path = written(tmp_path / "proposals.json")
    assert json.loads(path.read_text())["checkpoint_sha256"] == CHECKPOINT
    assert read_detections(path).videos == ("a", "b", "c")
    videos = with_proposals(videos_of(), path)
    train, test = videos.splits["train"].proposals, videos.splits["test"].proposals
    assert train is not None
    assert test is not None
    assert train.mask.tolist() == [[True, True, True], [False, False, False]]
    assert train.events[0].tolist() == [0, 1, 1]
    assert train.scores[0].tolist() == [0.3, 0.9, 0.2]
    assert train.bounds[0].tolist() == [[0.5, 6.0], [2.0, 4.0], [1.0, 3.0]]  # in segments
    assert (test.mask.tolist(), test.scores.tolist()) == ([[True]], [[-0.1]])
    assert digest(train) == digest(with_proposals(videos_of(), path).splits["train"].proposals)  # type: ignore[arg-type]
    assert digest(train) != digest(train._replace(scores=train.scores + 1e-9))


def test_batches_have_those_of_their_videos(tmp_path: Path) -> None:
    train = with_proposals(videos_of(), written(tmp_path / "proposals.json")).splits["train"]
    assert train.proposals is not None
    batch = train[torch.tensor([1, 0])]
    assert batch.proposals is not None
    assert batch.proposals.mask.any(1).tolist() == [False, True]
    assert torch.equal(batch.proposals.bounds[1], train.proposals.bounds[0])
    moved = train.to(torch.device("cpu"))
    assert moved.proposals is not None
    with pytest.raises(ValueError, match="proposals has 1 rows; the videos need 2"):
        replace(train, proposals=train.proposals.of(torch.tensor([0])))


def test_no_video_needs_a_proposal(tmp_path: Path) -> None:
    write_proposals(tmp_path / "none.json", videos_of(), {"train": found(), "test": found()}, CHECKPOINT)
    proposals = with_proposals(videos_of(), tmp_path / "none.json").splits["train"].proposals
    assert proposals is not None
    assert proposals.mask.tolist() == [[False], [False]]


def test_an_end_that_is_hardly_beyond_the_video_is_cut(tmp_path: Path) -> None:
    """Features may be a row shorter than those of another system."""
    path = tmp_path / "long.json"
    rows = found((0, 0, 2.0, 3.4, 0.5), (0, 0, 3.1, 3.4, 0.5))
    write_proposals(path, videos_of(), {"train": rows, "test": found()}, CHECKPOINT)
    proposals = with_proposals(videos_of(), path).splits["train"].proposals
    assert proposals is not None
    assert proposals.bounds[proposals.mask].tolist() == [[4.0, 6.0]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda results: results.pop("b"), "does not list the train video 'b'"),
        (lambda results: results.pop("c"), "does not list the test video 'c'"),
        (lambda results: (results.pop("a"), results.pop("b")), "'a', and 1 more train videos are missing"),
        (lambda results: results["a"][0].update(label="Jmp"), "results['a'][0]['label'] is 'Jmp', which is no event"),
        (lambda results: results["a"][0].update(label="Dive"), "'Dive', which is not in the weak label"),
        (lambda results: results["a"][2].update(segment=[1.0, 9.0]), "ends at 9 s, but the video has 6 segments"),
        (lambda results: results["a"][2].update(segment=[2.0, 1.0]), "it must end after its start"),
        (lambda results: results["a"][2].update(score="high"), "it must be a finite number"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: Any, said: str) -> None:
    path = written(tmp_path / "proposals.json")
    content = json.loads(path.read_text())
    change(content["results"])
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        with_proposals(videos_of(), path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_a_name_in_two_splits_is_refused(tmp_path: Path) -> None:
    videos = videos_of()
    assert videos.test is not None
    twice = replace(videos, test=replace(videos.test, names=("a",)))
    with pytest.raises(InputError, match="the video 'a' is in two splits"):
        write_proposals(tmp_path / "twice.json", twice, {"train": found(), "test": found()}, CHECKPOINT)
