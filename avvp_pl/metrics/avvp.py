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
import torch.nn.functional as F
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
        # amax of bytes is any, several times faster
        self.with_predictions += prediction.flatten(1).byte().amax(1).sum()
        # a video has few of the events: only lines with any prediction or truth are looked at
        active = (prediction | truth).flatten(1, 2).byte().amax(1)  # [N, C]
        videos, events = active.nonzero(as_tuple=True)  # [A]
        predicted, true = (_tracks(whole.permute(2, 0, 3, 1)[:, videos, events]) for whole in (prediction, truth))
        counts = torch.stack([_segment_counts(predicted, true), _event_counts(predicted, true)])  # [levels, 3, K, A]
        self.event_counts.index_add_(3, events, counts)
        f1, defined = _f1(counts, len(self.modalities))  # [levels, K + 1, A]
        # f1 is not summed by index_add, whose order on a GPU, and so the last bit, is left to chance
        by_event = f1.new_zeros(*f1.shape[:2], *active.shape)  # [levels, K + 1, N, C]
        by_event[:, :, videos, events] = f1
        number = defined.new_zeros(*f1.shape[:2], len(active), dtype=torch.long).index_add_(2, videos, defined.long())
        self.f1_sum += torch.where(number > 0, by_event.sum(3) / number.clamp(min=1), 1.0).sum(2)

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


def _tracks(lines: Bool[Tensor, "M A T"]) -> Bool[Tensor, "K A T"]:
    """The modalities, followed by their conjunction where there are several."""
    return lines if len(lines) == 1 else torch.cat([lines, lines.all(dim=0, keepdim=True)])


def _segment_counts(predicted: Bool[Tensor, "K A T"], true: Bool[Tensor, "K A T"]) -> Int[Tensor, "3 K A"]:
    """TP, FP and FN of each line, in segments."""
    tp = (predicted & true).sum(2)
    return torch.stack([tp, predicted.sum(2) - tp, true.sum(2) - tp])


def _event_counts(predicted: Bool[Tensor, "K A T"], true: Bool[Tensor, "K A T"]) -> Int[Tensor, "3 K A"]:
    """The same, in maximal runs: matched by intersection over union >= 0.5, without a loop over lines or runs.

    Two runs meet in one interval at most, and every maximal run of the conjunction is one such meeting. With
    its length I and the lengths P and G of the two runs around it, I / (P + G - I) >= 0.5 is 3I >= P + G. No
    run can match two others: it would have to cover half of both and the gap between them.
    """
    of_prediction, of_truth, meetings = (_runs(lines) for lines in (predicted, true, predicted & true))
    around = sum(_lengths_around(meetings, runs) for runs in (of_prediction, of_truth))
    matches = meetings[3 * (meetings[:, 1] - meetings[:, 0]) >= around]
    tp, positives, actual = (_per_line(runs, predicted) for runs in (matches, of_prediction, of_truth))
    return torch.stack([tp, positives - tp, actual - tp])


def _runs(lines: Bool[Tensor, "K A T"]) -> Int[Tensor, "R 2"]:
    """Start and end (exclusive) of every maximal run, in positions of all lines in a row, each ended by a gap."""
    joined = F.pad(F.pad(lines, (0, 1)).flatten(), (1, 0))
    return (joined[1:] ^ joined[:-1]).nonzero().reshape(-1, 2)


def _lengths_around(inner: Int[Tensor, "I 2"], outer: Int[Tensor, "R 2"]) -> Int[Tensor, " I"]:
    """The length of the outer run that holds each inner one."""
    starts, ends = outer.T.contiguous()
    holding = torch.searchsorted(starts, inner[:, 0].contiguous(), right=True) - 1
    length: Tensor = (ends - starts)[holding]
    return length


def _per_line(runs: Int[Tensor, "R 2"], lines: Bool[Tensor, "K A T"]) -> Int[Tensor, "K A"]:
    """How many of the runs each line has."""
    tracks, count, segments = lines.shape
    found: Tensor = (runs[:, 0] // (segments + 1)).bincount(minlength=tracks * count)
    return found.reshape(tracks, count)


def _f1(
    counts: Int[Tensor, "levels 3 K A"], modalities: int
) -> tuple[Float[Tensor, "levels K1 A"], Bool[Tensor, "levels K1 A"]]:
    """F1 and whether it is defined: one row a track, then event_av, which pools the counts of the modalities."""
    pooled = counts[:, :, :modalities].sum(2, keepdim=True)
    tp, fp, fn = torch.cat([counts, pooled], dim=2).double().unbind(1)
    size = 2 * tp + fp + fn
    return 2 * tp / size.clamp(min=1), size > 0


def _event_f1(counts: Int[Tensor, "3 K C"]) -> list[list[float | None]]:
    tp, fp, fn = counts.double()
    size = 2 * tp + fp + fn
    f1 = (200 * tp / size.clamp(min=1)).tolist()
    return [
        [score if known else None for score, known in zip(row, has, strict=True)]
        for row, has in zip(f1, (size > 0).tolist(), strict=True)
    ]
