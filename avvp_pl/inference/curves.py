"""What the curves of BaS-Net and UM have in common: a fixed number of segments of each video, and a range of 0 to 1."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avvp_pl.models.one_modality import extremes_over_segments
from avvp_pl.parts import CurveAxis, Evidence
from avvp_pl.types import Batch


class Resampled(NamedTuple):
    """A batch of some segments of the same videos: where they are in each video, and which one stands for a segment.

    ``source`` has, for each of the T segments of the original batch, the number
    of the first one of the sample that is not before it, or else the last one.
    """

    batch: Batch
    axis: CurveAxis
    source: Int[Tensor, "B T"]

    def back(self, values: Float[Tensor, "B P ..."]) -> Float[Tensor, "B T ..."]:
        """Return values of the sample as those of the segments of the original batch."""
        return values[torch.arange(len(values), device=values.device)[:, None], self.source]

    def of_segments(self, evidence: Evidence) -> Evidence:
        """Return the evidence of the sample with probabilities of the original segments, and the axis of its curves."""
        return evidence._replace(segment_probs=self.back(evidence.segment_probs), axis=self.axis)


def resample(batch: Batch, segments: int, repeat: bool) -> Resampled:
    """Take segment floor(i L / ``segments``) of a video of L segments, for all i below ``segments``.

    With ``repeat``, the segments of a shorter video are repeated in this way; without it, such a video is taken whole.
    """
    mask = batch.mask
    lengths = mask.sum(1, keepdim=True)  # [B, 1]
    width = segments if repeat else min(segments, mask.shape[1])
    points = torch.full_like(lengths, segments) if repeat else lengths.clamp(max=segments)
    points = points * (lengths > 0)
    steps = torch.arange(width, device=mask.device)
    picked = (steps * lengths).div(points.clamp(min=1), rounding_mode="floor")
    picked = torch.minimum(picked, (lengths - 1).clamp(min=0))  # [B, P]
    own = torch.arange(mask.shape[1], device=mask.device)
    source = -(own * points).neg().div(lengths.clamp(min=1), rounding_mode="floor")  # the ceiling
    rows, real = torch.arange(len(mask), device=mask.device)[:, None], steps < points
    sample = replace(
        batch,
        features_in={name: x[rows, picked] * real[:, :, None] for name, x in batch.features_in.items()},
        mask=real,
        segment=batch.segment[rows, picked],
        truth=None if batch.truth is None else batch.truth[rows, picked] & real[:, :, None, None],
    )
    axis = CurveAxis.even(points[:, 0], lengths[:, 0])
    return Resampled(sample, axis, torch.minimum(source, (points - 1).clamp(min=0)))


def from_0_to_1(x: Float[Tensor, "B T ..."], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T ..."]:
    """Return (x - [min]_+) / ([max]_+ - [min]_+), with extremes over the real segments; x - [min]_+ if both are equal.

    Negative numbers stay negative.

    >>> from_0_to_1(torch.tensor([[2.0, 4.0, 3.0], [-1.0, 2.0, 1.0]]), torch.ones(2, 3, dtype=torch.bool))
    tensor([[ 0.0000,  1.0000,  0.5000],
            [-0.5000,  1.0000,  0.5000]])
    """
    low, high = (bound.clamp(min=0)[:, None] for bound in extremes_over_segments(x, mask))
    return (x - low) / (high - low).masked_fill(high <= low, 1)
