"""Segment- and event-level F1 of parsed videos (Tian, Li, Xu, *Unified Multisensory Perception*, ECCV 2020).

A *track* is one modality, or ``audio_visual``, where prediction and truth are both ANDed over modalities.
For every video, track and event, true positives (TP), false positives (FP) and false negatives (FN) are
counted over segments (segment level) or over maximal runs of segments, a predicted and a true run matching
where their intersection over union is at least 0.5 (event level).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric

LEVELS = ("segment", "event")


class ParsingScores(NamedTuple):
    """Scores of a set of videos, in percent, unrounded.

    ``segment`` and ``event`` map each track, ``type_av`` (mean over the tracks) and ``event_av`` (counts pooled
    over modalities before F) to the mean over videos. ``per_event`` maps level, track and event number to
    the F1 over all videos together, None for an event neither predicted nor true. Coverage is
    ``with_predictions`` of ``listed`` videos; a video without predictions counts as empty.
    """

    segment: dict[str, float]
    event: dict[str, float]
    per_event: dict[str, dict[str, list[float | None]]]
    listed: int
    with_predictions: int

    @property
    def average(self) -> float:
        """Mean of all scores of both levels (ten of them for two modalities)."""
        values = [*self.segment.values(), *self.event.values()]
        return sum(values) / len(values)

    def flat(self) -> dict[str, float]:
        """``{"segment/audio": ..., "event/event_av": ..., "average": ...}``: the names used in logs."""
        flat = {f"{level}/{name}": score for level in LEVELS for name, score in getattr(self, level).items()}
        return {**flat, "average": self.average}


class _Counts(NamedTuple):
    """TP, FP and FN, each [N, tracks, C]."""

    tp: Int[Tensor, "N K C"]
    fp: Int[Tensor, "N K C"]
    fn: Int[Tensor, "N K C"]


def score_timelines(
    prediction: Bool[Tensor, "N T M C"],
    truth: Bool[Tensor, "N T M C"],
    mask: Bool[Tensor, "N T"] | None = None,
    modalities: Sequence[str] = ("audio", "visual"),
) -> ParsingScores:
    """Score predicted against true timelines; segments outside ``mask`` never count.

    F = 2TP / (2TP + FP + FN) for each event with any prediction or truth, averaged over those events (1 where
    there are none), then over videos, times 100.

    >>> truth = torch.zeros(1, 4, 2, 1, dtype=torch.bool)
    >>> truth[0, :2, 0, 0] = True  # heard in the first two of four segments, never seen
    >>> prediction = truth.clone()
    >>> prediction[0, 2, 0, 0] = True  # one segment too many
    >>> scores = score_timelines(prediction, truth)
    >>> scores.segment["audio"], scores.event["audio"], scores.segment["visual"]
    (80.0, 100.0, 100.0)
    """
    metric = AVVPMetric(modalities, prediction.shape[-1]).to(prediction.device)
    metric.update(prediction, truth, mask)
    scores: ParsingScores = metric.compute()
    return scores


class AVVPMetric(Metric):
    """:func:`score_timelines` over batches and processes; ``compute`` gives :class:`ParsingScores`.

    Every state is a sum over videos, so the answer depends neither on the batches nor on how videos are
    shared out over processes.
    """

    full_state_update = False
    higher_is_better = True

    f1_sum: Tensor  # [levels, tracks + 1], the last for event_av
    event_counts: Tensor  # [levels, 3, tracks, C]
    listed: Tensor
    with_predictions: Tensor

    def __init__(self, modalities: Sequence[str], num_events: int) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.tracks = (*modalities, "_".join(modalities)) if len(modalities) > 1 else tuple(modalities)
        tracks = len(self.tracks)
        # F1 is summed in float64: thousands of videos in float32 already cost the fourth decimal
        self.add_state("f1_sum", torch.zeros(2, tracks + 1, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("event_counts", torch.zeros(2, 3, tracks, num_events).long(), dist_reduce_fx="sum")
        self.add_state("listed", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("with_predictions", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self,
        prediction: Bool[Tensor, "N T M C"],
        truth: Bool[Tensor, "N T M C"],
        mask: Bool[Tensor, "N T"] | None = None,
    ) -> None:
        """Add videos; ValueError, and nothing added, where the shapes do not fit."""
        axes = (len(self.modalities), self.event_counts.shape[-1])
        fits = prediction.ndim == 4 and prediction.shape[2:] == axes and prediction.shape == truth.shape
        if not fits or (mask is not None and mask.shape != prediction.shape[:2]):
            raise ValueError(
                f"prediction {list(prediction.shape)} and truth {list(truth.shape)} must be [N, T, M, C] with M, C = "
                f"{axes}, and the mask {None if mask is None else list(mask.shape)} must be [N, T] or None"
            )
        if mask is not None:
            prediction, truth = prediction & mask[:, :, None, None], truth & mask[:, :, None, None]
        self.listed += len(prediction)
        self.with_predictions += prediction.flatten(1).any(1).sum()
        predicted, true = _tracks(prediction), _tracks(truth)
        for level, count in enumerate((_segment_counts, _event_counts)):
            counts = count(predicted, true)
            self.f1_sum[level] += _video_f1(counts, len(self.modalities)).sum(0)
            self.event_counts[level] += torch.stack(counts).sum(1)

    def compute(self) -> ParsingScores:
        """Mean over the videos seen so far; 0 where none was."""
        listed = int(self.listed)
        means = (100 * self.f1_sum / max(listed, 1)).tolist()
        levels = []
        for *tracks, event_av in means:
            scores = dict(zip(self.tracks, tracks, strict=True))
            levels.append({**scores, "type_av": sum(tracks) / len(tracks), "event_av": event_av})
        per_event = {
            level: dict(zip(self.tracks, _event_f1(counts), strict=True))
            for level, counts in zip(LEVELS, self.event_counts, strict=True)
        }
        return ParsingScores(levels[0], levels[1], per_event, listed, int(self.with_predictions))


def _tracks(timeline: Bool[Tensor, "N T M C"]) -> Bool[Tensor, "N T K C"]:
    """The modalities, followed by their conjunction where there are several."""
    if timeline.shape[2] == 1:
        return timeline
    return torch.cat([timeline, timeline.all(dim=2, keepdim=True)], dim=2)


def _segment_counts(predicted: Bool[Tensor, "N T K C"], true: Bool[Tensor, "N T K C"]) -> _Counts:
    tp = (predicted & true).sum(1)
    return _Counts(tp, predicted.sum(1) - tp, true.sum(1) - tp)


def _event_counts(predicted: Bool[Tensor, "N T K C"], true: Bool[Tensor, "N T K C"]) -> _Counts:
    """Match maximal runs by intersection over union >= 0.5, without a loop over videos or runs.

    Two runs meet in one interval at most, and every maximal run of the conjunction is one such meeting. With
    its length I and the lengths P and G of the two runs around it, I / (P + G - I) >= 0.5 is 3I >= P + G. No
    run can match two others: it would have to cover half of both and the gap between them.
    """
    meeting = predicted & true
    starts, inside = _run_starts(meeting), _run_lengths(meeting)
    tp = (starts & (3 * inside >= _run_lengths(predicted) + _run_lengths(true))).sum(1)
    return _Counts(tp, _run_starts(predicted).sum(1) - tp, _run_starts(true).sum(1) - tp)


def _run_starts(timeline: Bool[Tensor, "N T K C"]) -> Bool[Tensor, "N T K C"]:
    before = torch.cat([torch.zeros_like(timeline[:, :1]), timeline[:, :-1]], dim=1)
    return timeline & ~before


def _run_lengths(timeline: Bool[Tensor, "N T K C"]) -> Int[Tensor, "N T K C"]:
    """Length of the run around every active segment (meaningless elsewhere)."""
    return _run_so_far(timeline) + _run_so_far(timeline.flip(1)).flip(1) - 1


def _run_so_far(timeline: Bool[Tensor, "N T K C"]) -> Int[Tensor, "N T K C"]:
    """How many segments the current run has lasted, itself included; 0 outside runs."""
    steps = torch.arange(1, timeline.shape[1] + 1, device=timeline.device)[None, :, None, None]
    last_gap = torch.where(timeline, 0, steps).cummax(1).values
    return steps - last_gap


def _video_f1(counts: _Counts, modalities: int) -> Float[Tensor, "N K1"]:
    """F1 of each video: one column a track, then event_av, which pools the counts of the modalities."""
    tp, fp, fn = (torch.cat([c, c[:, :modalities].sum(1, keepdim=True)], dim=1).double() for c in counts)
    size = 2 * tp + fp + fn  # [N, K + 1, C]
    f1 = torch.where(size > 0, 2 * tp / size.clamp(min=1), 0).sum(-1)
    events = (size > 0).sum(-1)
    return torch.where(events > 0, f1 / events.clamp(min=1), 1.0)


def _event_f1(counts: Int[Tensor, "3 K C"]) -> list[list[float | None]]:
    tp, fp, fn = counts.double()
    size = 2 * tp + fp + fn
    f1 = (200 * tp / size.clamp(min=1)).tolist()
    return [
        [score if known else None for score, known in zip(row, has, strict=True)]
        for row, has in zip(f1, (size > 0).tolist(), strict=True)
    ]
