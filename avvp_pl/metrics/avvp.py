"""Segment- and event-level F1 of parsed videos (Tian, Li, Xu, *Unified Multisensory Perception*, ECCV 2020).

A *track* is one modality, or ``audio_visual``: both prediction and truth are combined by AND over the modalities.
For every video, track and event, true positives (TP), false positives (FP) and false negatives (FN) are counted over
segments (segment level) or over intervals, the maximal sequences of segments with the event (event level). A predicted
and a true interval match if their intersection over union is at least 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torchmetrics import Metric

LEVELS = ("segment", "event")


class ParsingScores(NamedTuple):
    """Scores of a set of videos, in percent, unrounded.

    ``segment`` and ``event`` map each track, ``type_av`` (the mean over the tracks) and ``event_av`` (counts are pooled
    over modalities before F is computed) to the mean over videos. ``per_event`` maps level, track and event number to
    the F1 over all videos together, None for an event that is neither predicted nor true. ``with_predictions`` of the
    ``listed`` videos have predictions; a video without predictions counts as empty. ``exclusive_average`` is the
    average of :func:`with_exclusive`; None where it was not computed.
    """

    segment: dict[str, float]
    event: dict[str, float]
    per_event: dict[str, dict[str, list[float | None]]]
    listed: int
    with_predictions: int
    exclusive_average: float | None = None

    @property
    def average(self) -> float:
        """Mean of all scores of both levels (ten of them for two modalities)."""
        values = [*self.segment.values(), *self.event.values()]
        return sum(values) / len(values)

    def flat(self) -> dict[str, float]:
        """``{"segment/audio": ..., "event/event_av": ..., "average": ...}``: the names used in logs."""
        flat = {f"{level}/{name}": score for level in LEVELS for name, score in getattr(self, level).items()}
        more = {} if self.exclusive_average is None else {"exclusive_average": self.exclusive_average}
        return {**flat, "average": self.average, **more}

    def by_event(self) -> dict[str, list[float | None]]:
        """``{"segment/audio": [...], ...}``: the scores of every event, by the names used in logs."""
        return {f"{level}/{track}": f1 for level, tracks in self.per_event.items() for track, f1 in tracks.items()}


class _Sums(NamedTuple):
    """The sums over videos from which the scores are computed.

    ``f1`` has one row for each level, and event_av in its last column; it is float64, because with float32 the fourth
    decimal is wrong after thousands of videos. ``counts`` are TP, FP and FN.
    """

    f1: Float[Tensor, "levels K1"]
    counts: Int[Tensor, "levels 3 K C"]
    listed: Int[Tensor, ""]
    with_predictions: Int[Tensor, ""]


class _Counted(NamedTuple):
    """TP, FP and FN of every video.

    A video has few of all events, so only the A pairs of a video and an event with any prediction or truth are stored,
    unless more than a quarter of all have one. ``pairs`` are their numbers n C + c, and ``shape`` is that of all pairs,
    (N, C).
    """

    counts: Int[Tensor, "levels 3 K A"]
    pairs: Int[Tensor, " A"]
    shape: tuple[int, int]
    with_predictions: Int[Tensor, ""]


def score_timelines(
    prediction: Bool[Tensor, "N T M C"],
    truth: Bool[Tensor, "N T M C"],
    mask: Bool[Tensor, "N T"] | None = None,
    modalities: Sequence[str] = ("audio", "visual"),
) -> ParsingScores:
    """Score predicted against true timelines; segments outside ``mask`` are ignored.

    F = 2TP / (2TP + FP + FN) for each event with any prediction or truth, averaged over those events (1 where
    there are none), then over videos, times 100. Raises ValueError if something else than tensors of booleans is given,
    if the shapes do not fit, or if two scores would have the same name.

    >>> truth = torch.zeros(1, 4, 2, 1, dtype=torch.bool)
    >>> truth[0, :2, 0, 0] = True  # heard in the first two of four segments, never seen
    >>> prediction = truth.clone()
    >>> prediction[0, 2, 0, 0] = True  # one segment too many
    >>> scores = score_timelines(prediction, truth)
    >>> scores.segment["audio"], scores.event["audio"], scores.segment["visual"]
    (80.0, 100.0, 100.0)
    """
    track_names(modalities)
    _check_tensors(prediction, truth, mask)
    return _scores(_sums(prediction, truth, mask, len(modalities), prediction.shape[-1]), modalities)


def video_f1(
    prediction: Bool[Tensor, "N T M C"],
    truth: Bool[Tensor, "N T M C"],
    mask: Bool[Tensor, "N T"] | None = None,
    modalities: Sequence[str] = ("audio", "visual"),
) -> Float[Tensor, "N levels K1"]:
    """Compute the F1 of each video as a fraction in float64; :func:`score_timelines` averages it.

    Levels are as in ``LEVELS``; columns are the tracks, then ``event_av``. ``type_av`` is the mean of the tracks.
    Raises ValueError as :func:`score_timelines` does.

    >>> truth = torch.zeros(2, 4, 2, 1, dtype=torch.bool)
    >>> truth[0, :2, 0, 0] = True  # heard in half of the first video, never seen, and nothing in the second
    >>> video_f1(torch.zeros_like(truth), truth)[:, 0].tolist()  # audio, visual, audio_visual, event_av of segments
    [[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]]
    """
    track_names(modalities)
    _check_tensors(prediction, truth, mask)
    counted = _count(prediction, truth, mask, len(modalities), prediction.shape[-1])
    return _video_f1(counted, len(modalities)).permute(2, 0, 1)


def exclusive(timelines: Bool[Tensor, "B T M C"]) -> Bool[Tensor, "B T M C"]:
    """Keep what is in one modality only: the segments with an event that no other modality has there.

    >>> exclusive(torch.tensor([[[[True, True], [True, False]]]])).int()  # a segment with two modalities and two events
    tensor([[[[0, 1],
              [0, 0]]]], dtype=torch.int32)
    """
    return timelines & (timelines.sum(2, keepdim=True) == 1)


def with_exclusive(scores: ParsingScores, of_exclusive: ParsingScores, modalities: Sequence[str]) -> ParsingScores:
    """Return scores in which those of modalities, and their pooled ``event_av``, are about what is in one only.

    ``of_exclusive`` are the scores of :func:`exclusive` timelines and truths. The conjunction of the modalities has its
    usual score, and ``type_av`` is the mean over the tracks (Sardari et al., ECCV 2024). Other entries are unchanged.
    """

    def mixed(usual: dict[str, float], alone: dict[str, float]) -> dict[str, float]:
        tracks = {name: (alone if name in modalities else usual)[name] for name in track_names(modalities)}
        return {**tracks, "type_av": sum(tracks.values()) / len(tracks), "event_av": alone["event_av"]}

    levels = {level: mixed(getattr(scores, level), getattr(of_exclusive, level)) for level in LEVELS}
    return scores._replace(**levels)  # type: ignore[arg-type]


class AVVPMetric(Metric):
    """:func:`score_timelines` over batches and processes; ``compute`` gives :class:`ParsingScores`.

    Every state is a sum over videos, so the result depends neither on the batches nor on how the videos are distributed
    over processes. Raises ValueError if two scores would have the same name, or if there is no event.
    """

    full_state_update = False
    higher_is_better = True

    f1: Tensor
    counts: Tensor
    listed: Tensor
    with_predictions: Tensor

    def __init__(self, modalities: Sequence[str], num_events: int) -> None:
        super().__init__()
        if num_events < 1:
            raise ValueError(f"num_events is {num_events}; it must be 1 or more")
        tracks = len(track_names(modalities))
        self.modalities = tuple(modalities)
        self.num_events = num_events
        self.add_state("f1", torch.zeros(2, tracks + 1, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(2, 3, tracks, num_events).long(), dist_reduce_fx="sum")
        self.add_state("listed", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("with_predictions", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self,
        prediction: Bool[Tensor, "N T M C"],
        truth: Bool[Tensor, "N T M C"],
        mask: Bool[Tensor, "N T"] | None = None,
    ) -> None:
        """Add videos; raises ValueError and adds nothing if these are no tensors of booleans whose shapes fit."""
        _check_tensors(prediction, truth, mask)
        sums = _sums(prediction, truth, mask, len(self.modalities), self.num_events)
        self.f1 += sums.f1
        self.counts += sums.counts
        self.listed += sums.listed
        self.with_predictions += sums.with_predictions

    def compute(self) -> ParsingScores:
        """Return the mean over the videos seen so far; 0 if there were none."""
        return _scores(_Sums(self.f1, self.counts, self.listed, self.with_predictions), self.modalities)


def track_names(modalities: Sequence[str]) -> tuple[str, ...]:
    """Return the tracks of these modalities: each of them and, if there are several, their conjunction.

    Raises ValueError unless all scores have different names.
    """
    tracks = (*modalities, "_".join(modalities)) if len(modalities) > 1 else tuple(modalities)
    scores = (*tracks, "type_av", "event_av")
    if isinstance(modalities, str) or not tracks or len(set(scores)) < len(scores):
        raise ValueError(
            f"modalities are {modalities!r}; they must be different names, and none of them that of another score "
            f"({', '.join(scores[len(modalities) :])})"
        )
    return tracks


def _check_tensors(prediction: object, truth: object, mask: object) -> None:
    """Raise ValueError for what is not a tensor of booleans; the mask may be None."""
    given = {"prediction": prediction, "truth": truth, **({} if mask is None else {"mask": mask})}
    for name, value in given.items():
        if not isinstance(value, Tensor) or value.dtype != torch.bool:
            kind = getattr(value, "dtype", type(value).__name__)
            raise ValueError(f"{name} has {kind} values; it must be a tensor of booleans")


def _sums(
    prediction: Bool[Tensor, "N T M C"],
    truth: Bool[Tensor, "N T M C"],
    mask: Bool[Tensor, "N T"] | None,
    modalities: int,
    num_events: int,
) -> _Sums:
    """Compute the sums over these videos; raises ValueError if the shapes do not fit."""
    counted = _count(prediction, truth, mask, modalities, num_events)
    return _Sums(
        f1=_video_f1(counted, modalities).sum(2),
        counts=_of_all_pairs(counted.counts, counted).sum(3),
        listed=torch.tensor(counted.shape[0], device=counted.counts.device),
        with_predictions=counted.with_predictions,
    )


def _count(
    prediction: Bool[Tensor, "N T M C"],
    truth: Bool[Tensor, "N T M C"],
    mask: Bool[Tensor, "N T"] | None,
    modalities: int,
    num_events: int,
) -> _Counted:
    """Count TP, FP and FN of each video; raises ValueError if the shapes do not fit."""
    axes = (modalities, num_events)
    fits = prediction.ndim == 4 and prediction.shape[2:] == axes and prediction.shape == truth.shape
    if not fits or (mask is not None and mask.shape != prediction.shape[:2]):
        raise ValueError(
            f"prediction {list(prediction.shape)} and truth {list(truth.shape)} must be [N, T, M, C] with M, C = "
            f"{axes}, and the mask {None if mask is None else list(mask.shape)} must be [N, T] or None"
        )
    if mask is not None:
        prediction, truth = prediction & mask[:, :, None, None], truth & mask[:, :, None, None]
    found = (prediction | truth).sum((1, 2), dtype=torch.int32)  # [N, C]
    pairs = found.flatten().nonzero()[:, 0]
    if 4 * len(pairs) > found.numel():  # to choose so many of them takes longer than to count all
        pairs = torch.arange(found.numel(), device=found.device)
    predicted, true = (_lines(timeline, pairs) for timeline in (prediction, truth))
    both = predicted & true
    return _Counted(
        counts=torch.stack([_segment_counts(predicted, true, both), _event_counts(predicted, true, both)]),
        pairs=pairs,
        shape=(found.shape[0], found.shape[1]),
        with_predictions=prediction.flatten(1).byte().amax(1).sum(),  # any(1), but several times faster
    )


def _video_f1(counted: _Counted, modalities: int) -> Float[Tensor, "levels K1 N"]:
    """Compute the F1 of each video: the mean over its events with any prediction or truth, 1 if there are none."""
    f1, defined = _f1(_with_event_av(counted.counts, modalities))  # [levels, K + 1, A]
    # index_add would sum f1 in an arbitrary order on a GPU, so that the last bit would be random
    total, number = (_of_all_pairs(values, counted).sum(3) for values in (f1, defined.int()))
    return torch.where(number > 0, total / number.clamp(min=1), 1.0)


def _of_all_pairs(values: Shaped[Tensor, "*axes A"], counted: _Counted) -> Shaped[Tensor, "*axes N C"]:
    """Return the values of all pairs of a video and an event, which are 0 for those that are not stored."""
    videos, events = counted.shape
    if values.shape[-1] < videos * events:
        values = values.new_zeros(*values.shape[:-1], videos * events).index_copy_(-1, counted.pairs, values)
    return values.view(*values.shape[:-1], videos, events)


def _scores(sums: _Sums, modalities: Sequence[str]) -> ParsingScores:
    listed = int(sums.listed)
    tracks = track_names(modalities)
    levels = []
    for *f1, event_av in (100 * sums.f1 / max(listed, 1)).tolist():
        levels.append({**dict(zip(tracks, f1, strict=True)), "type_av": sum(f1) / len(f1), "event_av": event_av})
    per_event = {
        level: dict(zip(tracks, of_tracks, strict=True))
        for level, of_tracks in zip(LEVELS, _event_f1(sums.counts), strict=True)
    }
    return ParsingScores(levels[0], levels[1], per_event, listed, int(sums.with_predictions))


def _lines(timeline: Bool[Tensor, "N T M C"], pairs: Int[Tensor, " A"]) -> Bool[Tensor, "T K A"]:
    """Return one line for each modality of these pairs and, if there are several, for their conjunction."""
    videos, segments, modalities, events = timeline.shape
    if len(pairs) < videos * events:
        lines = timeline[pairs // events, :, :, pairs % events].permute(1, 2, 0).contiguous()  # [T, M, A]
    else:
        lines = timeline.permute(1, 2, 0, 3).reshape(segments, modalities, videos * events)
    return torch.cat([lines, lines.all(1, keepdim=True)], 1) if modalities > 1 else lines


def _segment_counts(
    predicted: Bool[Tensor, "T K A"], true: Bool[Tensor, "T K A"], both: Bool[Tensor, "T K A"]
) -> Int[Tensor, "3 K A"]:
    """Count TP, FP and FN of each line in segments."""
    tp, positives, actual = (lines.sum(0, dtype=torch.int32) for lines in (both, predicted, true))
    return torch.stack([tp, positives - tp, actual - tp])


def _event_counts(
    predicted: Bool[Tensor, "T K A"], true: Bool[Tensor, "T K A"], both: Bool[Tensor, "T K A"]
) -> Int[Tensor, "3 K A"]:
    """Count TP, FP and FN of each line in intervals that match at an intersection over union >= 0.5, without loops.

    Two intervals overlap in at most one interval, and every interval of the conjunction is such an overlap. With its
    length I and the lengths P and G of the two intervals around it, I / (P + G - I) >= 0.5 is 3I >= P + G. No interval
    can match two others: it would have to cover half of both and the gap between them. So only lines with an overlap
    have to be looked at closely.
    """
    positives, actual = (_begins(lines).sum(0, dtype=torch.int32) for lines in (predicted, true))
    touched = both.sum(0, dtype=torch.int32).flatten().nonzero()[:, 0]  # [L]
    of_prediction, of_truth, overlaps = (
        _intervals(lines.flatten(1)[:, touched].T) for lines in (predicted, true, both)
    )
    around = sum(_lengths_around(overlaps, intervals) for intervals in (of_prediction, of_truth))
    matches = overlaps[3 * (overlaps[:, 1] - overlaps[:, 0]) >= around]
    of_line = (matches[:, 0] // (len(both) + 1)).bincount(minlength=len(touched))
    tp = torch.zeros_like(positives).flatten().index_copy_(0, touched, of_line.int()).view_as(positives)
    return torch.stack([tp, positives - tp, actual - tp])


def _begins(lines: Bool[Tensor, "T K A"]) -> Bool[Tensor, "T K A"]:
    """Return where intervals begin."""
    begins = lines.clone()
    begins[1:].logical_and_(~lines[:-1])
    return begins


def _intervals(lines: Bool[Tensor, "L T"]) -> Int[Tensor, "R 2"]:
    """Return start and end (exclusive) of every interval; all lines are joined, with a gap after each."""
    joined = F.pad(F.pad(lines, (0, 1)).flatten(), (1, 0))
    return (joined[1:] ^ joined[:-1]).nonzero().reshape(-1, 2)


def _lengths_around(inner: Int[Tensor, "I 2"], outer: Int[Tensor, "R 2"]) -> Int[Tensor, " I"]:
    """Return the length of the outer interval that contains each inner one."""
    starts, ends = outer.T.contiguous()
    holding = torch.searchsorted(starts, inner[:, 0].contiguous(), right=True) - 1
    length: Tensor = (ends - starts)[holding]
    return length


def _with_event_av(counts: Int[Tensor, "levels 3 K A"], modalities: int) -> Int[Tensor, "levels 3 K1 A"]:
    """Add one row: the counts of all modalities together."""
    together = counts[:, :, :modalities].sum(2, keepdim=True, dtype=counts.dtype)
    return torch.cat([counts, together], dim=2)


def _f1(counts: Int[Tensor, "levels 3 K A"]) -> tuple[Float[Tensor, "levels K A"], Bool[Tensor, "levels K A"]]:
    """Return 2TP / (2TP + FP + FN), 0 where it is undefined, and where it is defined."""
    tp, fp, fn = counts.unbind(1)
    size = 2 * tp + fp + fn
    return (2 * tp).double() / size.clamp(min=1), size > 0


def _event_f1(counts: Int[Tensor, "levels 3 K C"]) -> list[list[list[float | None]]]:
    """Return the F1 of each level, track and event in percent, None where it is undefined."""
    f1, defined = _f1(counts)
    return [
        [
            [100 * score if known else None for score, known in zip(*row, strict=True)]
            for row in zip(*level, strict=True)
        ]
        for level in zip(f1.tolist(), defined.tolist(), strict=True)
    ]
