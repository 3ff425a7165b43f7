"""mAP of resampled videos, against literal copies of videos that a slow scorer scores."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
import torch

from avvp_pl.metrics import tal
from avvp_pl.metrics.tal import THRESHOLDS, resampled_scores, score_detections
from avvp_pl.types import Detections, Instances
from tests.metrics.reference_tal import Found, Truth, reference
from tests.metrics.test_tal import detections, instances


def made(seed: int, videos: int = 6, events: int = 3) -> tuple[list[Found], list[Truth]]:
    """Detections, with equal scores among them and one in a video that is not listed, and instances."""
    rng = random.Random(seed)

    def interval() -> tuple[float, float]:
        start = rng.uniform(0, 20)
        return start, start + rng.uniform(1, 5)

    found = [Found(rng.randrange(videos), rng.randrange(events), *interval(), rng.randrange(8) / 8) for _ in range(60)]
    truth = [Truth(rng.randrange(videos), rng.randrange(events - 1), *interval()) for _ in range(14)]
    return [*found, Found(videos, 0, 1.0, 3.0, 0.6)], truth


def copied(found: list[Found], truth: list[Truth], drawn: list[int]) -> tuple[list[Found], list[Truth]]:
    """Every video as often as it was drawn, each copy a video of its own; others stay."""

    def copies(video: int) -> list[int]:
        return [100 * video + copy for copy in range(drawn[video] if video < len(drawn) else 1)]

    return (
        [one._replace(video=copy) for one in found for copy in copies(one.video)],
        [one._replace(video=copy) for one in truth for copy in copies(one.video)],
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_resample_is_scored_as_copies_of_its_videos(seed: int) -> None:
    found, truth = made(seed)
    rng = np.random.default_rng(seed)
    drawn = [np.bincount(rng.integers(6, size=6), minlength=6).tolist() for _ in range(12)]
    scores = resampled_scores(detections(found), instances(truth), 3, torch.tensor(drawn))
    for number, counts in enumerate(drawn):
        expected = reference(*copied(found, truth, counts), list(THRESHOLDS))
        for threshold in THRESHOLDS:
            assert scores[f"{threshold:g}"][number].item() == pytest.approx(expected[threshold], abs=1e-9)
        of_range = [expected[k / 10] for k in range(3, 8)]
        assert scores["average_0.3_0.7"][number].item() == pytest.approx(sum(of_range) / 5, abs=1e-9)


def test_every_video_once_is_the_score_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    found, truth = made(7)
    own = score_detections(detections(found), instances(truth), 3, 6).map
    once = resampled_scores(detections(found), instances(truth), 3, torch.ones(3, 6, dtype=torch.int64))
    assert list(once) == list(own)
    for name, values in once.items():
        assert values.tolist() == pytest.approx([own[name]] * 3, abs=1e-9)
    drawn = torch.from_numpy(np.random.default_rng(0).integers(3, size=(50, 6)))
    whole = resampled_scores(detections(found), instances(truth), 3, drawn)
    monkeypatch.setattr(tal, "WEIGHED_AT_ONCE", 1)  # the size of a block changes nothing
    for name, values in resampled_scores(detections(found), instances(truth), 3, drawn).items():
        assert torch.equal(values, whole[name])


def test_without_detections_or_instances_it_is_nothing() -> None:
    _, truth = made(1)
    drawn = torch.ones(2, 6, dtype=torch.int64)
    assert resampled_scores(detections([]), instances(truth), 3, drawn)["0.1"].tolist() == [0, 0]
    found, _ = made(1)
    assert resampled_scores(detections(found), instances([]), 3, drawn)["0.1"].tolist() == [0, 0]
    assert resampled_scores(detections(found), instances(truth), 3, 0 * drawn)["0.1"].tolist() == [0, 0]


def test_a_thousand_resamples_of_thumos_take_seconds() -> None:
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 200, 30_000)
    bounds = np.stack([start, start + rng.uniform(1, 20, 30_000)], 1)
    found = Detections(
        torch.from_numpy(rng.integers(212, size=30_000)),
        torch.from_numpy(rng.integers(20, size=30_000)),
        torch.from_numpy(bounds),
        torch.from_numpy(rng.random(30_000)),
    )
    truth = Instances(*(column[:3_000] for column in found[:3]))
    drawn = torch.from_numpy(rng.multinomial(212, [1 / 212] * 212, size=1000))
    began = time.process_time()
    scores = resampled_scores(found, truth, 20, drawn)
    assert time.process_time() - began < 20
    assert scores["0.5"].shape == (1000,)
