"""What is found in the windows of a video, joined to what is found in the video.

A network that was trained on videos of one length sees a longer video through windows of this length
(:mod:`avvp_pl.data.windows`). Segments near the middle of a window are seen with more around them than those at its
ends, so the weight of segment i of a window of N segments is min(i + 1, N - i): it rises to the middle and falls again.
With these weights,

- the probability of a segment is the weighted mean of those that its windows give it, and so are the curve and the
  attention of localization;
- the probability of a video is the largest one of its windows: the event occurs somewhere;
- each window decides with the joined probabilities of its segments and with its own probability of the video, which is
  the gate. A segment has an event where the windows that find it there have at least half of the weight;
- intervals of localization are found in the joined curve of the whole video, with the probability of the video.

A video that is not longer than a window has one, and everything is as without windows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.data.windows import WindowBatches, Windows
from avvp_pl.parts import CurveAxis, Decision, Evidence
from avvp_pl.tasks.parsed import Parsed


def window_weights(window: int) -> Int[Tensor, " N"]:
    """Return the weight of each segment of a window; whole numbers, so that halves of sums are exact.

    >>> window_weights(4).tolist(), window_weights(5).tolist()
    ([1, 2, 2, 1], [1, 2, 3, 2, 1])
    """
    steps = torch.arange(window)
    return torch.minimum(steps + 1, window - steps)


def total_weights(starts: Sequence[int], window: int, length: int) -> Int[Tensor, " L"]:
    """Return the sum of the weights of each segment of a video in all of its windows."""
    totals = torch.zeros(length, dtype=torch.long)
    for start in starts:
        totals[start : start + window] += window_weights(window)
    return totals


def weighted_mean(values: Float[Tensor, "W N ..."], starts: Sequence[int], length: int) -> Float[Tensor, "L ..."]:
    """Return the weighted mean of what the windows say about each segment of a video of ``length`` segments.

    >>> weighted_mean(torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), [0, 1], 4).tolist()
    [0.0, 0.3333333432674408, 0.6666666865348816, 1.0]
    """
    window = values.shape[1]
    totals, weights = total_weights(starts, window, length).to(values), window_weights(window).to(values)
    joined = values.new_zeros(length, *values.shape[2:])
    ones = (1,) * (values.ndim - 2)
    for part, start in zip(values, starts, strict=True):
        here = slice(start, start + window)
        # where there is one window, its share is exactly 1
        joined[here] += part * (weights / totals[here]).view(-1, *ones)
    return joined


def majority(found: Bool[Tensor, "W N ..."], starts: Sequence[int], length: int) -> Bool[Tensor, "L ..."]:
    """Return where the windows that say yes have at least half of the weight.

    >>> majority(torch.tensor([[True, True, True], [False, False, False]]), [0, 1], 4).tolist()
    [True, True, False, False]
    """
    window = found.shape[1]
    ones = (1,) * (found.ndim - 2)
    weights = window_weights(window).to(found.device).view(-1, *ones)
    votes = torch.zeros(length, *found.shape[2:], dtype=torch.long, device=found.device)
    for part, start in zip(found, starts, strict=True):
        votes[start : start + window] += part * weights
    totals = total_weights(starts, window, length).to(found.device).view(-1, *ones)
    return 2 * votes >= totals


def on_segments(values: Float[Tensor, "W P ..."], axis: CurveAxis, segments: int) -> Float[Tensor, "W N ..."]:
    """Return curves whose points are not the segments at the centers of the ``segments`` segments of their windows.

    Between two points a curve is a straight line, and before the first and after the last one it is held.
    """
    if values.ndim == 2:
        return on_segments(values[:, :, None], axis, segments)[:, :, 0]
    centers, found = np.arange(segments) + 0.5, []
    for row, points in enumerate(axis.lengths.tolist()):
        places = axis.to_segments(row, torch.arange(points, dtype=torch.float64) + 0.5, 0.5).numpy()
        curves = values[row, :points].detach().cpu().double().numpy().T  # [C, P]
        found.append(torch.from_numpy(np.stack([np.interp(centers, places, curve) for curve in curves], 1)))
    return torch.stack(found).to(values)


def joined(windows: Evidence, starts: Sequence[int], length: int) -> Evidence:
    """Return the evidence of a video of ``length`` segments, [1, ...], from that of its windows [W, ...].

    The curves of several windows have a point for each segment.
    """

    def mean(values: Tensor | None) -> Tensor | None:
        return None if values is None else weighted_mean(values, starts, length)[None]

    if len(starts) == 1:
        return windows
    modality_probs = windows.modality_probs
    return Evidence(
        weighted_mean(windows.segment_probs, starts, length)[None],
        windows.video_probs.amax(0, keepdim=True),
        None if modality_probs is None else modality_probs.amax(0, keepdim=True),
        mean(windows.curves),
        mean(windows.attention),
    )


class Joiner:
    """Collects the evidence of windows, in order, and decides about each video when it has all windows of it.

    It keeps the evidence of one video. ``videos`` are those of the ``windows``.
    """

    def __init__(self, videos: VideoSet, windows: Windows, decision: Decision) -> None:
        self.videos, self.windows, self.decision = videos, windows, decision
        self.batches = WindowBatches(videos.lengths, windows, 1)
        self.counts = torch.bincount(windows.rows, minlength=len(videos)).tolist()
        self.seen = 0
        self.waiting: list[tuple[Windows, Evidence]] = []  # of one video

    def __call__(self, evidence: Evidence, device: torch.device) -> list[Parsed]:
        """Add the evidence of the next windows; return what is found in every video that has now all of its windows."""
        number = len(evidence.segment_probs)
        here = Windows(*(column[self.seen : self.seen + number] for column in self.windows))
        self.seen += number
        found = []
        _, counts = torch.unique_consecutive(here.rows, return_counts=True)
        last = 0
        for count in counts.tolist():
            part = slice(last, last + count)
            last += count
            own = Windows(*(column[part] for column in here))
            row = int(own.rows[0])
            window = max(1, int(own.lengths[0]))
            self.waiting.append((own, _part(evidence, part, window, self.counts[row] > 1)))
            if sum(len(windows.rows) for windows, _ in self.waiting) == self.counts[row]:
                found.append(self._decided(row, device))
                self.waiting = []
        return found

    def _decided(self, row: int, device: torch.device) -> Parsed:
        """Decide about a video whose windows are all there."""
        starts = [start for windows, _ in self.waiting for start in windows.starts.tolist()]
        length, window = int(self.videos.lengths[row]), self.waiting[0][1].segment_probs.shape[1]
        whole = joined(_cat([evidence for _, evidence in self.waiting]), starts, max(1, length))
        timelines = []
        for windows, evidence in self.waiting:  # in the batches in which they came
            segments = windows.starts[:, None] + torch.arange(window)  # [W, N]
            probs = whole.segment_probs[0, segments.to(whole.segment_probs.device)]
            batch = self.videos.batch(*self.batches.picks(windows)).to(device)
            timelines.append(self.decision(evidence._replace(segment_probs=probs), batch))
        return Parsed(
            torch.tensor([length]),
            majority(torch.cat(timelines), starts, max(1, length))[:length].cpu(),
            whole.segment_probs[0, :length].cpu(),
            self.decision.video_probs(whole).cpu(),
            self.decision.detections(whole, self.videos[torch.tensor([row])].to(device)),
        )


def _part(evidence: Evidence, part: slice, segments: int, of_segments: bool) -> Evidence:
    """Return the evidence of some windows of so many segments.

    With ``of_segments``, the curves get a point for each segment if they have others.
    """
    axis = None if evidence.axis is None else _rows(evidence.axis, part)

    def cut(values: Tensor | None) -> Tensor | None:
        if values is None:
            return None
        if axis is None:
            return values[part, :segments]
        return on_segments(values[part], axis, segments) if of_segments else values[part]

    return Evidence(
        evidence.segment_probs[part, :segments],
        evidence.video_probs[part],
        None if evidence.modality_probs is None else evidence.modality_probs[part],
        cut(evidence.curves),
        cut(evidence.attention),
        None if of_segments else axis,
    )


def _rows(axis: CurveAxis, part: slice) -> CurveAxis:
    """Return the axis of some of the curves."""

    def to_segments(row: int, edges: Tensor, value: float) -> Tensor:
        return axis.to_segments(part.start + row, edges, value)

    return CurveAxis(axis.lengths[part], to_segments)


def _cat(parts: Sequence[Evidence]) -> Evidence:
    """Return the evidence of the windows of one video, which came in several batches."""
    if len(parts) == 1:
        return parts[0]

    def cat(values: Sequence[Tensor | None]) -> Tensor | None:
        there = [value for value in values if value is not None]
        return torch.cat(there) if there else None

    return Evidence(
        torch.cat([part.segment_probs for part in parts]),
        torch.cat([part.video_probs for part in parts]),
        cat([part.modality_probs for part in parts]),
        cat([part.curves for part in parts]),
        cat([part.attention for part in parts]),
    )
