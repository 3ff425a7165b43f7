"""Scoring: the vectorized metric against the loop over videos, events and runs, on one thread.

Once with timelines as they are, the truth of the embedded data and a prediction that is late, misses and invents; and
once with a tenth of everything active at random, where nothing can be left out.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from avvp_pl.data.synthetic import generate
from avvp_pl.metrics import score_timelines
from benchmarks.measure import Row, Scale, alternate, threads
from benchmarks.plain import Array, score


def measure(scale: Scale) -> Iterator[Row]:
    """Both kinds of timelines."""
    with threads(1):
        for kind, (prediction, truth) in timelines(scale.scored_videos).items():
            # either starts from what it gets from its network: a tensor, or matrices [C, T] a video
            lists = matrices(prediction), matrices(truth)
            pair = alternate(
                lambda p=prediction, t=truth: score_timelines(p, t),  # type: ignore[misc]
                lambda lists=lists: score(*lists),  # type: ignore[misc]
                scale.repeats,
            )
            yield pair.row(f"scoring {scale.scored_videos} videos, {kind}", "at least 100")


def timelines(videos: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Prediction and truth of each kind, [N, T, M, C]."""
    draw = torch.Generator().manual_seed(0)
    streams, modalities = {"vggish": 1, "res152": 1}, {"audio": ["vggish"], "visual": ["res152"]}
    made = generate({"test": videos}, streams, modalities, seed=0, splits=["test"]).test
    assert made is not None
    assert made.truth is not None
    truth = made.padded(made.truth)
    late = truth.roll(1, dims=1)
    fate = torch.rand(videos, 1, *truth.shape[2:], generator=draw)
    invented = (torch.rand(fate.shape, generator=draw) < 0.01) & (torch.rand(truth.shape, generator=draw) < 0.5)
    prediction = torch.where(fate < 0.5, truth, (fate < 0.8) & late) | invented
    dense_prediction, dense_truth = torch.rand(2, *truth.shape, generator=draw) < 0.1
    return {"realistic": (prediction, truth), "dense": (dense_prediction, dense_truth)}


def matrices(timelines: Tensor) -> list[tuple[Array, Array]]:
    """What is heard and what is seen in each video, each [C, T]."""
    return [(video[0], video[1]) for video in timelines.permute(0, 2, 3, 1).float().contiguous().numpy()]
