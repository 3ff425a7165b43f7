"""Which segments of a long video a training batch has: pure functions of the seed, the epoch and the video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Picks(NamedTuple):
    """The videos of a batch, the numbers of the segments that were picked of each, and which of them are no padding."""

    rows: Int[Tensor, " B"]
    segment: Int[Tensor, "B T"]
    mask: Bool[Tensor, "B T"]


class SegmentSampling(ABC):
    """Picks segments of every video of a training batch, anew in every epoch."""

    @abstractmethod
    def __call__(
        self, lengths: Int[Tensor, " B"], rows: Int[Tensor, " B"], seed: int, epoch: int, longest: int
    ) -> tuple[Int[Tensor, "B T"], Bool[Tensor, "B T"]]:
        """Return the positions of the picked segments in each video, from 0, and which of them are no padding.

        ``longest`` is the number of segments of the longest video of this step in all processes: all of them have to
        return the same T.
        """


class Bins(SegmentSampling):
    """One random segment of each of ``segments`` equal bins of a video; a video that is shorter is taken whole.

    ``repeat``: a shorter video is sampled as well, so that its segments are repeated and nothing is padding.

    ``inclusive``, as in the public code of BaS-Net, UM, CO2-Net and DELU: a bin has also the first segment of the next
    one, so that two neighbors can be the same segment. A bin that begins in the same segment as the next one has only
    this segment, and a video with as many segments as bins is taken whole.
    """

    def __init__(self, segments: int, repeat: bool = False, inclusive: bool = False) -> None:
        self.segments, self.repeat, self.inclusive = segments, repeat, inclusive

    def __call__(
        self, lengths: Int[Tensor, " B"], rows: Int[Tensor, " B"], seed: int, epoch: int, longest: int
    ) -> tuple[Int[Tensor, "B T"], Bool[Tensor, "B T"]]:
        """Pick."""
        width = self.segments if self.repeat else max(1, min(self.segments, longest))
        steps, lengths = torch.arange(width), lengths[:, None]
        starts = steps * lengths // width  # of the bins
        ends = (steps + 1) * lengths // width
        sizes = ends - starts
        if self.inclusive:
            sizes = (ends.clamp(max=lengths - 1) - starts + 1).where((sizes > 0) & (lengths != width), 1)
        drawn = starts + (uniform(seed, epoch, rows, width) * sizes).long().clamp(max=(sizes - 1).clamp(min=0))
        drawn = drawn.clamp(max=(lengths - 1).clamp(min=0))
        if self.repeat:
            return drawn, (lengths > 0).expand_as(drawn)
        whole = lengths <= width
        position = torch.where(whole, torch.minimum(steps, (lengths - 1).clamp(min=0)), drawn)
        return position, ~whole | (steps < lengths)


def uniform(seed: int, epoch: int, rows: Int[Tensor, " B"], count: int) -> Float[Tensor, "B count"]:
    """Return numbers in [0, 1) that depend on nothing but these four: ``count`` of them for each of the rows."""
    generators = (generator_of(seed, epoch, row) for row in rows.tolist())
    drawn = [torch.rand(count, generator=generator, dtype=torch.float64) for generator in generators]
    return torch.stack(drawn) if drawn else torch.zeros(0, count, dtype=torch.float64)


def generator_of(seed: int, epoch: int, number: int) -> torch.Generator:
    """Return a generator whose numbers depend on nothing but these three."""
    return torch.Generator().manual_seed(((seed * 1_000_003 + epoch) * 1_000_003 + number) % 2**63)
