"""ASM-Loc (He et al., CVPR 2022): what the intervals found by one network tell the next one.

There are three uses of :class:`~avvp_pl.types.Proposals`. They say how densely a video is sampled
(:func:`sampling_weights`, :class:`Warp`), which segments attend to one another (:func:`covering`), and which events
a segment shows (:func:`segment_labels`). All of them are functions of whole batches.

A video has three axes. Its *segments* are numbered from 0. A segment that counts g times has g of the *outputs*, also
numbered from 0. A network sees the *samples*, J of the outputs. Places between two numbers are interpolated.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avvp_pl.types import Proposals


class Warp(NamedTuple):
    """Where segments are among the outputs of their video, and the inverse of that.

    ``cumulative`` is G [B, T + 1], the running sum of the weights g of segments, from 0. Segment i, with i + 1 segments
    up to its end, is at output G(i + 1) - 1. Between two segments, and beyond the first and the last one, G is linear.
    """

    cumulative: Float[Tensor, "B T1"]
    lengths: Int[Tensor, " B"]

    @property
    def counts(self) -> Int[Tensor, " B"]:
        """The number of outputs of each video."""
        return self.cumulative.gather(1, self.lengths[:, None])[:, 0].round().long()

    def to_outputs(self, segments: Float[Tensor, "B X"]) -> Float[Tensor, "B X"]:
        """Return the places of segments among the outputs."""
        numbers = torch.arange(self.cumulative.shape[1], dtype=segments.dtype, device=segments.device)
        return interpolated(segments + 1, numbers.expand_as(self.cumulative), self.cumulative, self.lengths) - 1

    def to_segments(self, outputs: Float[Tensor, "B X"]) -> Float[Tensor, "B X"]:
        """Return the places of outputs among the segments: the inverse of :meth:`to_outputs`."""
        return self.ends_to_segments(outputs + 1) - 1

    def ends_to_segments(self, outputs: Float[Tensor, "B X"]) -> Float[Tensor, "B X"]:
        """Return G^-1, by which the public code places detections.

        It is no inverse of :meth:`to_outputs`: where a segment has g outputs, it is 1 - 1/g segments later.
        """
        numbers = torch.arange(self.cumulative.shape[1], dtype=outputs.dtype, device=outputs.device)
        return interpolated(outputs, self.cumulative, numbers.expand_as(self.cumulative), self.lengths)


class Samples(NamedTuple):
    """The J samples of each video: their places among the outputs, which rise, and which of them are no padding.

    ``exact`` says whether intervals are placed by where the samples really are. Otherwise they are placed as if the
    samples were spread evenly over the outputs, and detections by :meth:`Warp.ends_to_segments`: the public code does
    both.
    """

    places: Float[Tensor, "B J"]
    mask: Bool[Tensor, "B J"]
    warp: Warp
    exact: bool = True

    def of(self, row: int) -> Samples:
        """Return those of one video, on the CPU."""
        one = slice(row, row + 1)
        warp = Warp(self.warp.cumulative[one].cpu(), self.warp.lengths[one].cpu())
        return Samples(self.places[one].cpu(), self.mask[one].cpu(), warp, self.exact)

    @property
    def density(self) -> Float[Tensor, "B 1"]:
        """The number of samples for each output, if they were spread evenly."""
        return self.mask.sum(1, keepdim=True) / self.warp.counts.clamp(min=1)[:, None].to(self.places.dtype)

    def of_segments(self, count: int) -> Float[Tensor, "B T"]:
        """Return the places among the samples of the first ``count`` segments, not beyond the first or last sample."""
        segments = torch.arange(count, dtype=self.places.dtype, device=self.places.device)
        outputs = self.warp.to_outputs(segments.expand(len(self.places), -1))
        numbers, knots, last = self._knots()
        places = interpolated(outputs, knots, numbers, last)
        return places.clamp(min=0).minimum((last[:, None] - 1).clamp(min=0).to(places.dtype))

    def to_segments(self, samples: Float[Tensor, "B X"]) -> Float[Tensor, "B X"]:
        """Return the places among the segments of what is found at these places among the samples."""
        if not self.exact:
            return self.warp.ends_to_segments(samples / self.density)
        numbers, knots, last = self._knots()
        return self.warp.to_segments(interpolated(samples, numbers, knots, last))

    def _knots(self) -> tuple[Float[Tensor, "B J1"], Float[Tensor, "B J1"], Int[Tensor, " B"]]:
        """Return the numbers of samples, their places, and the last number: the end of all is that of the outputs."""
        count = self.mask.sum(1)
        ends = self.warp.counts.to(self.places.dtype)[:, None]
        places = F.pad(self.places, (0, 1)).scatter(1, count[:, None], ends)
        numbers = torch.arange(places.shape[1], dtype=places.dtype, device=places.device)
        return numbers.expand_as(places), places, count

    def read(self, segments: Float[Tensor, "B T D"]) -> Float[Tensor, "B J D"]:
        """Return the values of the samples: between the two outputs beside each, which are between two segments."""
        lengths = self.warp.lengths
        first = self.places.floor()
        second = (first + 1).minimum((self.warp.counts[:, None] - 1).to(first.dtype)).maximum(first)
        ends = (between(segments, self.warp.to_segments(outputs), lengths) for outputs in (first, second))
        before, after = ends
        return torch.lerp(before, after, (self.places - first).to(segments.dtype)[:, :, None])


def interpolated(
    x: Float[Tensor, "B X"], at: Float[Tensor, "B N"], values: Float[Tensor, "B N"], last: Int[Tensor, " B"]
) -> Float[Tensor, "B X"]:
    """Return a piecewise linear function that has ``values`` at rising places ``at``, of which ``last`` is the last.

    Beyond the first and the last place it goes on in a straight line.

    >>> x, at = torch.tensor([[-1.0, 0.5, 4.0]]), torch.tensor([[0.0, 1.0, 2.0]])
    >>> interpolated(x, at, torch.tensor([[0.0, 2.0, 3.0]]), torch.tensor([2]))
    tensor([[-2.,  1.,  5.]])
    """
    right = torch.searchsorted(at.contiguous(), x.contiguous()).minimum(last[:, None]).clamp(min=1)
    left = right - 1
    run, rise = at.gather(1, right) - at.gather(1, left), values.gather(1, right) - values.gather(1, left)
    # stretched samples of one output are all at the same place
    return values.gather(1, left) + (x - at.gather(1, left)) * (rise / run.where(run > 0, 1.0))


def between(
    x: Float[Tensor, "B T D"], places: Float[Tensor, "B X"], lengths: Int[Tensor, " B"]
) -> Float[Tensor, "B X D"]:
    """Return values between two neighbors of the first ``lengths``; beyond them, they go on in a straight line."""
    left = places.floor().long().minimum(lengths[:, None] - 2).clamp(min=0)
    right = (left + 1).minimum((lengths[:, None] - 1).clamp(min=0))
    rows = torch.arange(len(x), device=x.device)[:, None]
    return torch.lerp(x[rows, left], x[rows, right], (places - left).to(x.dtype)[:, :, None])


def random_places(counts: Int[Tensor, " B"], samples: int) -> Float[Tensor, "B J"]:
    """Return the places of the samples of training: as many for every video, whatever number of outputs it has.

    A video with more outputs has a random one of each of so many bins, of which the last one ends before the last
    output. One with fewer is stretched: its first and last sample are its first and last output.
    """
    last = (counts[:, None] - 1).clamp(min=0).double()  # [B, 1]
    steps = torch.arange(samples + 1, dtype=torch.float64, device=counts.device)
    edges = (steps * last / samples).round()
    drawn = torch.rand(len(counts), samples, dtype=torch.float64, device=counts.device)
    picked = edges[:, :-1] + (drawn * (edges[:, 1:] - edges[:, :-1])).floor()
    stretched = steps[:-1] * last / max(1, samples - 1)
    return torch.where(counts[:, None] > samples, picked, stretched)


def even_places(counts: Int[Tensor, " B"], samples: int | None) -> tuple[Float[Tensor, "B J"], Bool[Tensor, "B J"]]:
    """Return the places of the samples of a test, and which are no padding: all outputs, or ``samples`` of them."""
    taken = counts if samples is None else counts.clamp(max=samples)
    steps = torch.arange(max(1, int(taken.max())), device=counts.device)
    step = (counts.clamp(min=1)[:, None], taken.clamp(min=1)[:, None])
    places = torch.div(steps * step[0], step[1], rounding_mode="floor")  # padding goes on rising
    return places.double(), steps < taken[:, None]


def sampling_weights(
    proposals: Proposals, mask: Bool[Tensor, "B T"], outputs: float = 12.0, share: float = 0.7, widening: float = 2.0
) -> Float[Tensor, "B T"]:
    """Return how many times each segment counts: those of short and certain proposals count more than once.

    Of each event, the best proposals are taken whose running sum of scores is at most ``share`` of the largest sum; so
    a lone one is not. Each is widened about its middle by the factor ``widening``, to n > 1 segments. If n is at most
    ``outputs``, its segments count at least outputs / n times. Neighbors that count more than once are then scaled so
    that they have a whole number of outputs together. Padding counts once.
    """
    lengths, segments = mask.sum(1), mask.shape[1]
    first, last = _rounded(_widened(proposals.bounds, widening))
    first, last = first.clamp(min=0), last.minimum((lengths[:, None] - 1).to(last.dtype))
    size = last - first + 1
    dense = proposals.mask & confident(proposals, share) & (size > 1) & (size <= outputs)
    covered = _within(torch.arange(segments, device=mask.device)[None], first, last) & dense[:, :, None]  # [B, K, T]
    times = torch.where(covered, outputs / size.clamp(min=1)[:, :, None], 1.0)
    weights = times.amax(1)  # [B, T]
    more = weights > 1
    begins = more & ~F.pad(more, (1, 0))[:, :-1]
    group = begins.long().cumsum(1) * more  # 0: counts once
    sums = weights.new_zeros(len(weights), segments + 1).scatter_add(1, group, weights)
    return torch.where(more, sums.round().gather(1, group) * weights / sums.gather(1, group), weights)


def warp_of(weights: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Warp:
    """Return where the segments with these weights are among the outputs."""
    return Warp(F.pad(weights.double().cumsum(1), (1, 0)), mask.sum(1))


def confident(proposals: Proposals, share: float) -> Bool[Tensor, "B K"]:
    """Return which proposals are among the best of their event in the video.

    They are as many as there are running sums of the scores, from the best proposal down, that are at most ``share`` of
    the largest one.
    """
    found = proposals.mask
    events = torch.where(found, proposals.events, -1)
    same = events[:, :, None] == events[:, None]  # [B, K, K]
    before = torch.ones(same.shape[1:], dtype=torch.bool, device=same.device).tril()  # itself included
    sums = torch.where(same & before, proposals.scores[:, None], 0.0).cumsum(2)[:, :, -1]
    highest = torch.where(same, sums[:, None], -torch.inf).amax(2)
    count = (same & (sums <= share * highest)[:, None]).sum(2)
    rank = (same & before).sum(2)  # from 1
    return found & (rank <= count)


def apart(proposals: Proposals) -> Proposals:
    """Return the proposals by their start, without those that end no later than one that stands before them.

    So equal ones, whatever their events, and those inside others become one. Among equal starts, the last one is first.
    """
    start = proposals.bounds[:, :, 0].masked_fill(~proposals.mask, torch.inf)
    order = start.flip(1).argsort(dim=1, stable=True)
    order = start.shape[1] - 1 - order
    rows = torch.arange(len(order), device=order.device)[:, None]
    sorted_ = Proposals(*(column[rows, order] for column in proposals))
    end = sorted_.bounds[:, :, 1].masked_fill(~sorted_.mask, -torch.inf)
    before = F.pad(end, (1, 0), value=-torch.inf)[:, :-1].cummax(1).values
    return sorted_._replace(mask=sorted_.mask & (end > before))


def covering(proposals: Proposals, samples: Samples, widening: float = 2.0) -> Bool[Tensor, "B K J"]:
    """Return which samples each proposal covers, to attend to one another; those of :func:`apart` only.

    Among the outputs, proposals are widened about their middle by the factor ``widening``; both ends are rounded, and
    the last output belongs to them.
    """
    kept = apart(proposals)
    bounds = _widened(_among_outputs(kept.bounds, samples.warp), widening)
    numbers = samples.places.round()
    if not samples.exact:
        bounds = bounds * samples.density[:, :, None]
        numbers = torch.arange(numbers.shape[1], device=numbers.device)[None]
    return _within(numbers, *_rounded(bounds)) & kept.mask[:, :, None] & samples.mask[:, None]


def segment_labels(
    proposals: Proposals, samples: Samples, num_events: int, code: bool = False
) -> Float[Tensor, "B J C1"]:
    """Return which events the samples show, in equal shares, and last the background where they show none.

    A proposal, whatever its score, labels the segments from the nearest one to its start to the one before the nearest
    one to its end, and at least one; a sample has the label of the nearest segment. With ``code``, both ends are
    rounded among the samples, as if these were spread evenly, and the last one is labeled as well.
    """
    if code:
        first, last = _rounded(_among_outputs(proposals.bounds, samples.warp) * samples.density[:, :, None])
        numbers = torch.arange(samples.places.shape[1], device=first.device)[None]
    else:
        first, end = _rounded(proposals.bounds)
        first = first.minimum((samples.warp.lengths[:, None] - 1).to(first.dtype))
        last = (end - 1).maximum(first)
        numbers = samples.warp.to_segments(samples.places).round()
    covered = _within(numbers, first, last) & proposals.mask[:, :, None]  # [B, K, J]
    of_event = F.one_hot(proposals.events, num_events).to(proposals.scores.dtype)
    shown = torch.einsum("bkj,bkc->bjc", covered.to(of_event.dtype), of_event) > 0
    labels = torch.cat([shown, ~shown.any(2, keepdim=True)], 2).to(of_event.dtype)
    return labels / labels.sum(2, keepdim=True)


def _widened(bounds: Float[Tensor, "B K 2"], factor: float) -> Float[Tensor, "B K 2"]:
    middle, half = bounds.mean(2), (bounds[:, :, 1] - bounds[:, :, 0]) * (factor / 2)
    return torch.stack([middle - half, middle + half], 2)


def _among_outputs(bounds: Float[Tensor, "B K 2"], warp: Warp) -> Float[Tensor, "B K 2"]:
    return warp.to_outputs(bounds.flatten(1)).view_as(bounds)


def _rounded(bounds: Float[Tensor, "B K 2"]) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B K"]]:
    first, last = bounds.round().unbind(2)
    return first, last


def _within(numbers: Tensor, first: Float[Tensor, "B K"], last: Float[Tensor, "B K"]) -> Bool[Tensor, "B K X"]:
    """Return which of the ``numbers`` [B or 1, X] are from ``first`` to ``last``, both included."""
    return (numbers[:, None] >= first[:, :, None]) & (numbers[:, None] <= last[:, :, None])
