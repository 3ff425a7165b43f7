"""From curves of scores to detections: which events occur in a video, from when to when, and with which score.

An event's curve [T] has a score for every segment. It is cut at several levels; every maximal run of points above a
level is a candidate, whose score is the contrast between its inside and its surroundings; and candidates that overlap
better ones are suppressed. All published pipelines for weakly supervised localization are settings of the same
:class:`Pipeline`. Everything is computed in float64, for one video without padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avvp_pl.metrics.tal import tiou


@dataclass(frozen=True)
class Levels:
    """Heights at which a curve is cut: the event's own curve, or the attention, which is the same for all events.

    Points above a level are in. With ``zeroed``, points at the level are in, too, unless they are 0, and the score of a
    candidate is that of a curve that is 0 below the level: then its surroundings are nearly 0 (BaS-Net, and class
    levels of UM and ASM-Loc).
    """

    values: tuple[float, ...]
    of: Literal["curve", "attention"] = "curve"
    zeroed: bool = False

    def __post_init__(self) -> None:
        if self.zeroed and self.of == "attention":
            raise ValueError("only levels of the curve can be zeroed: scores are never those of the attention")


@dataclass(frozen=True)
class Pipeline:
    """How detections are made. The defaults are this project's; the published ones are in ``docs/localization.md``.

    Events occur whose video score reaches the ``gate`` (exceeds it, with ``strict_gate``); if none does, the
    ``best`` one, or ``nothing``. Curves get ``upsampling`` points for each segment; those ``at`` the ``start`` put the
    value of a segment at its start and so find everything half a segment early. Runs of fewer than ``shortest`` points
    are ignored. The score is the contrast, with ``outer`` of the length of a run as its surroundings on either side,
    plus ``video_weight`` times the video's score (or 1, with ``video_score_as_one``). A run that is found at several
    levels is one candidate if ``unique``.

    Candidates of an event are suppressed by better ones: ``hard``, all that overlap one by a tIoU of at least
    ``overlap``; ``gaussian``, each score is multiplied by exp(-tIoU^2 / ``sigma``). ``added_seconds`` are added to
    lengths and overlaps there. Detections with a score below ``lowest`` are dropped; None: none are.
    """

    gate: float = 0.5
    strict_gate: bool = False
    without_events: Literal["best", "nothing"] = "best"
    levels: tuple[Levels, ...] = (Levels(tuple(0.1 + 0.8 * k / 19 for k in range(20))),)
    upsampling: int = 20
    at: Literal["center", "start"] = "center"
    shortest: int = 1
    outer: float = 0.25
    video_weight: float = 0.2
    video_score_as_one: bool = False
    unique: bool = True
    suppression: Literal["hard", "gaussian"] = "gaussian"
    overlap: float = 0.5
    sigma: float = 0.3
    added_seconds: float = 0.0
    lowest: float | None = 1e-3


class FoundIntervals(NamedTuple):
    """Detections in one video, by event and then by falling score: event, start and end in seconds, and score."""

    events: Int[Tensor, " R"]
    bounds: Float[Tensor, "R 2"]
    scores: Float[Tensor, " R"]


class Runs(NamedTuple):
    """Maximal runs of points: the line that has each, its first point, and the point after its last one."""

    lines: Int[Tensor, " R"]
    starts: Int[Tensor, " R"]
    ends: Int[Tensor, " R"]


def find_intervals(
    curves: Float[Tensor, "T C"],
    video_scores: Float[Tensor, " C"],
    pipeline: Pipeline,
    segment_seconds: float,
    attention: Float[Tensor, " T"] | None = None,
    to_segments: Callable[[Tensor, float], Tensor] | None = None,
    num_segments: int | None = None,
) -> FoundIntervals:
    """Return the detections in one video of T segments, from the curve and the video score of each event.

    Where the points of the curves are not the segments, ``to_segments`` says where their edges are
    (:class:`~avvp_pl.parts.CurveAxis`, without the axis of videos), and the video has ``num_segments``.
    Raises ValueError if the pipeline cuts an attention and none is given, or if a value is not finite.
    """
    given = {"curves": curves, "video_scores": video_scores, **({} if attention is None else {"attention": attention})}
    for name, values in given.items():
        if not values.isfinite().all():
            raise ValueError(f"{name} has values that are not finite")
    events = occurring(video_scores, pipeline)
    lines = upsample(curves[:, events].T.double(), pipeline.upsampling, pipeline.at)  # [G, P]
    runs, contrasts = _candidates(lines, attention, pipeline)
    weights = torch.ones_like(video_scores) if pipeline.video_score_as_one else video_scores
    scores = contrasts + pipeline.video_weight * weights.double()[events][runs.lines]
    if pipeline.unique:
        runs, scores = _unique(runs, scores)
    bounds = torch.stack([runs.starts, runs.ends], 1).double() / pipeline.upsampling
    if to_segments is not None:
        value = 0.5 if pipeline.at == "center" else 0.0  # where a point or segment has its value
        bounds = to_segments(bounds.flatten(), value).view_as(bounds).clamp(0, num_segments)
        inside = bounds[:, 1] > bounds[:, 0]  # points may be before the first segment or after the last one
        bounds, scores, runs = bounds[inside], scores[inside], Runs(*(column[inside] for column in runs))
    bounds = bounds * segment_seconds
    kept, scores = _suppressed(bounds, scores, runs.lines, pipeline)
    return FoundIntervals(events[runs.lines[kept]], bounds[kept], scores)


def occurring(video_scores: Float[Tensor, " C"], pipeline: Pipeline) -> Int[Tensor, " G"]:
    """Return the numbers of the events that pass the gate; if none does, that of the best one, or none."""
    passing = video_scores > pipeline.gate if pipeline.strict_gate else video_scores >= pipeline.gate
    if pipeline.without_events == "best" and not passing.any():
        return video_scores.argmax()[None]
    return passing.nonzero()[:, 0]


def upsample(curves: Float[Tensor, "L T"], factor: int, at: Literal["center", "start"]) -> Float[Tensor, "L P"]:
    """Interpolate curves linearly to ``factor`` points for each segment; point j spans [j, j + 1) / factor segments.

    ``center``: the value of a segment is that of its center, and the values of the first and last center are held to
    the ends. ``start``: the value of a segment is that of its start and each point has the value of its own start, as
    in public code; the curve goes on in a straight line after the start of the last segment.

    >>> upsample(torch.tensor([[0.0, 1.0]]), 2, "center").tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    >>> upsample(torch.tensor([[0.0, 1.0]]), 2, "start").tolist()
    [[0.0, 0.5, 1.0, 1.5]]
    """
    segments = curves.shape[1]
    if factor == 1 or segments < 2:
        return curves.repeat_interleave(factor, 1)
    points = torch.arange(segments * factor, dtype=curves.dtype, device=curves.device)
    position = ((points + 0.5) / factor - 0.5).clamp(0, segments - 1) if at == "center" else points / factor
    left = position.floor().long().clamp(max=segments - 2)
    share = position - left
    return curves[:, left] * (1 - share) + curves[:, left + 1] * share


def find_runs(inside: Bool[Tensor, "L P"], shortest: int = 1) -> Runs:
    """Return the maximal runs of at least ``shortest`` points in every line, by line and then by time.

    >>> find_runs(torch.tensor([[True, False, True, True]]), shortest=2).starts.tolist()
    [2]
    """
    edges = F.pad(inside, (1, 1))
    edges = edges[:, 1:] ^ edges[:, :-1]  # [L, P + 1]
    lines, places = edges.nonzero(as_tuple=True)
    runs = Runs(lines[::2], places[::2], places[1::2])
    long = runs.ends - runs.starts >= shortest
    return Runs(*(column[long] for column in runs))


def contrast(curves: Float[Tensor, "L P"], runs: Runs, outer: float) -> Float[Tensor, " R"]:
    """Return the mean of a curve in each run minus its mean around it.

    Around a run of L points are the ceil(outer * L) points before it and the floor(outer * L) points after it, as far
    as the curve has them; where there are none, nothing is subtracted.
    """
    sums = F.pad(curves.double().cumsum(1), (1, 0))  # [L, P + 1]

    def total(starts: Tensor, ends: Tensor) -> Tensor:
        return sums[runs.lines, ends] - sums[runs.lines, starts]

    lengths = runs.ends - runs.starts
    margin = outer * lengths.double()
    first = (runs.starts - margin).floor().long().clamp(min=0)
    last = ((runs.ends - 1 + margin).floor().long() + 1).clamp(max=curves.shape[1])
    around = (runs.starts - first) + (last - runs.ends)
    outside = (total(first, runs.starts) + total(runs.ends, last)) / around.clamp(min=1)
    return total(runs.starts, runs.ends) / lengths - outside


def nms(
    bounds: Float[Tensor, "R 2"],
    scores: Float[Tensor, " R"],
    groups: Int[Tensor, " R"],
    overlap: float,
    added: float = 0.0,
) -> Int[Tensor, " kept"]:
    """Non-maximum suppression: from the best down, drop what overlaps a kept one by a tIoU of at least ``overlap``.

    Only members of the same group suppress each other; among equal scores the first one is better. Returns the rows
    that are kept, by group, and in each by falling score.
    """
    return _picked(bounds, scores, groups, lambda found: (found < overlap).double(), added=added)[0]


def soft_nms(
    bounds: Float[Tensor, "R 2"],
    scores: Float[Tensor, " R"],
    groups: Int[Tensor, " R"],
    sigma: float,
    lowest: float | None = None,
    added: float = 0.0,
) -> tuple[Int[Tensor, " kept"], Float[Tensor, " kept"]]:
    """Gaussian soft-NMS: take the best, multiply all other scores by exp(-tIoU^2 / sigma), and so on.

    Those whose score is or falls below ``lowest`` are dropped; with None a negative score, which rises when it is
    multiplied, stays, as in public code. Groups and order are those of :func:`nms`. Returns the rows that are kept,
    and the score that each has when it is taken.
    """
    return _picked(bounds, scores, groups, lambda found: torch.exp(-found.square() / sigma), lowest, added=added)


def _candidates(
    curves: Float[Tensor, "G P"], attention: Tensor | None, pipeline: Pipeline
) -> tuple[Runs, Float[Tensor, " R"]]:
    """Return the runs of all levels, from the first level to the last, and their contrasts.

    The lines of the runs are those of ``curves``.
    """
    events = len(curves)
    found: list[Runs] = []
    contrasts: list[Tensor] = []
    for levels in pipeline.levels:
        heights = curves.new_tensor(levels.values)[:, None, None]  # [V, 1, 1]
        cut = curves
        if levels.of == "attention":
            if attention is None:
                raise ValueError("the pipeline has levels of the attention, but no attention is given")
            cut = upsample(attention[None].double(), pipeline.upsampling, pipeline.at).expand_as(curves)
        inside = (cut >= heights) & (cut > 0) if levels.zeroed else cut > heights  # [V, G, P]
        runs = find_runs(inside.flatten(0, 1), pipeline.shortest)
        of_event = runs._replace(lines=runs.lines % max(events, 1))
        if levels.zeroed:
            below = curves.where(inside, 0.0).flatten(0, 1)
            contrasts.append(contrast(below, runs, pipeline.outer))
        else:
            contrasts.append(contrast(curves, of_event, pipeline.outer))
        found.append(of_event)
    return Runs(*(torch.cat(columns) for columns in zip(*found, strict=True))), torch.cat(contrasts)


def _unique(runs: Runs, scores: Float[Tensor, " R"]) -> tuple[Runs, Float[Tensor, " kept"]]:
    """Keep the best of all candidates of the same line and points, and the first of equal ones."""
    order = scores.argsort(descending=True, stable=True)
    _, group = torch.unique(torch.stack(runs, 1), dim=0, return_inverse=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    best = torch.full_like(order, len(order)).scatter_reduce(0, group, place, "amin")
    kept = best[group] == place
    return Runs(*(column[kept] for column in runs)), scores[kept]


def _suppressed(
    bounds: Float[Tensor, "R 2"], scores: Float[Tensor, " R"], lines: Int[Tensor, " R"], pipeline: Pipeline
) -> tuple[Int[Tensor, " kept"], Float[Tensor, " kept"]]:
    added, lowest = pipeline.added_seconds, pipeline.lowest
    if pipeline.suppression == "gaussian":
        return soft_nms(bounds, scores, lines, pipeline.sigma, lowest, added)
    kept = nms(bounds, scores, lines, pipeline.overlap, added)
    if lowest is not None:
        kept = kept[scores[kept] >= lowest]
    return kept, scores[kept]


def _picked(
    bounds: Float[Tensor, "R 2"],
    scores: Float[Tensor, " R"],
    groups: Int[Tensor, " R"],
    weigh: Callable[[Tensor], Tensor],
    lowest: float | None = None,
    added: float = 0.0,
) -> tuple[Int[Tensor, " kept"], Float[Tensor, " kept"]]:
    """Take the best row of every group, multiply the scores of the others by ``weigh(tIoU)``, and so on.

    A row whose weight is 0 is dropped. Returns the rows and their scores at that time, by group, in the order in which
    they are taken.
    """
    rows, left = _by_group(groups)  # [G, N], the second is False where a group has no more rows
    spans, values = bounds.double()[rows], scores.double()[rows]
    each = torch.arange(len(rows), device=rows.device)
    picks, counts, finals = [each[:0]], [left[:0, 0]], [values[:0, 0]]
    while True:
        if lowest is not None:
            left = left & (values >= lowest)
        if not left.any():
            break
        best = values.masked_fill(~left, -torch.inf).argmax(1)  # the first of equal ones
        picks.append(rows[each, best])
        counts.append(left[each, best])
        finals.append(values[each, best])
        weights = weigh(tiou(spans[each, best][:, None], spans, added))
        left = (left & (weights > 0)).index_put((each, best), left.new_zeros(()))
        values = values * weights
    if len(picks) == 1:
        return picks[0], finals[0]
    taken = torch.stack(counts[1:], 1)  # [G, steps]
    return torch.stack(picks[1:], 1)[taken], torch.stack(finals[1:], 1)[taken]


def _by_group(groups: Int[Tensor, " R"]) -> tuple[Int[Tensor, "G N"], Bool[Tensor, "G N"]]:
    """Return the rows of each group in their order, padded with 0, and where they are real."""
    order = groups.argsort(stable=True)
    _, sizes = torch.unique(groups, return_counts=True)
    widest = int(sizes.max()) if len(sizes) else 1
    real = torch.arange(widest, device=groups.device) < sizes[:, None]
    rows = order.new_zeros(real.shape)
    rows[real] = order
    return rows, real
