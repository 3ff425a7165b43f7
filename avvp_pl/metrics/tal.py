"""Mean average precision (mAP) of temporal action localization, as ActivityNet's scorer defines it.

An *instance* is an annotated interval of one event in one video, a *detection* a predicted one with a score. Two
intervals are compared by their temporal intersection over union (tIoU). For each event, the detections of all videos
are taken by falling score, and each is a hit if an instance of its video is left whose tIoU reaches the threshold.
All is computed in float64: in float32, rounded tIoUs move the average precision of an event by more than a point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from avvp_pl.types import Detections, Instances

# k / 10 and no multiple of 0.1: 3 * 0.1 is more than 3 / 10, and a tIoU of exactly 3 / 10 is common
THRESHOLDS = tuple(k / 10 for k in range(1, 8))
AVERAGES = ((0.1, 0.5), (0.3, 0.7), (0.1, 0.7))
BLOCK = 2**14  # detections whose pairs with instances are in memory at the same time
WEIGHED_AT_ONCE = 2**21  # weights of detections in resamples that are in memory at the same time


class LocalizationScores(NamedTuple):
    """Scores of a set of videos, in percent, unrounded.

    ``map`` maps each threshold (``0.1``) and each range of thresholds (``average_0.1_0.5``) to the mean over events.
    ``per_event`` maps each threshold to the average precision of every event, None for an event without instances.
    ``with_predictions`` of the ``listed`` videos have detections.
    """

    map: dict[str, float]
    per_event: dict[str, list[float | None]]
    listed: int
    with_predictions: int

    @property
    def average(self) -> float:
        """Mean over all thresholds."""
        return sum(self.map[name] for name in self.per_event) / len(self.per_event)

    def flat(self) -> dict[str, float]:
        """``{"map/0.1": ..., "map/average_0.1_0.7": ...}``: the names used in logs."""
        return {f"map/{name}": score for name, score in self.map.items()}

    def by_event(self) -> dict[str, list[float | None]]:
        """``{"map/0.1": [...], ...}``: the scores of every event, by the names used in logs."""
        return {f"map/{name}": values for name, values in self.per_event.items()}


def tiou(one: Float[Tensor, "*#N 2"], other: Float[Tensor, "*#N 2"], added: float = 0.0) -> Float[Tensor, "*#N"]:
    """Temporal intersection over union, i / ((e1 - s1) + (e2 - s2) - i), 0 where both intervals are empty.

    ``added`` is added to both lengths and to the overlap, as public non-maximum suppression does (with 1, a pixel).

    >>> tiou(torch.tensor([0.0, 10.0]), torch.tensor([5.0, 10.0])).item()  # 5 of 10
    0.5
    """
    lengths = (one[..., 1] - one[..., 0] + added) + (other[..., 1] - other[..., 0] + added)
    both = torch.minimum(one[..., 1], other[..., 1]) - torch.maximum(one[..., 0], other[..., 0]) + added
    both = both.clamp(min=0)
    union = lengths - both
    return torch.where(union > 0, both / union.where(union > 0, 1.0), 0.0)


def score_detections(
    detections: Detections,
    truth: Instances,
    num_events: int,
    listed: int,
    thresholds: Sequence[float] = THRESHOLDS,
) -> LocalizationScores:
    """Score detections in ``listed`` videos: those with the numbers 0 to ``listed`` - 1.

    For each threshold and event, from the best detection down: among the instances of its video and event, by falling
    tIoU (the first of equal ones), it takes the first one that is free and whose tIoU reaches the threshold, and is a
    hit; if there is none, it is a false positive. So a detection whose best instance is taken falls back on the next.
    Precision becomes the maximum of itself and all later ones, and the average precision is the sum of the steps of
    recall times it. The mean is over the events with instances; detections of other events are ignored. Detections in
    videos that lack the event, or that are not listed, are false positives.

    Raises ValueError if numbers or shapes do not fit, if a value is not finite, or if a detection does not end after
    its start.

    >>> truth = Instances(torch.tensor([0, 0]), torch.tensor([0, 0]), torch.tensor([[0.0, 10.0], [10.0, 20.0]]))
    >>> bounds, scores = torch.tensor([[0.0, 10.0], [2.0, 14.0]]), torch.tensor([0.9, 0.8])
    >>> found = Detections(torch.tensor([0, 0]), torch.tensor([0, 0]), bounds, scores)
    >>> score_detections(found, truth, num_events=1, listed=1).map["0.2"]  # the second takes what is free: 4 of 18
    100.0
    >>> score_detections(found, truth, num_events=1, listed=1).map["0.3"]
    50.0
    """
    of = ranked_hits(detections, truth, num_events, listed, thresholds)
    ranked, hits = of.detections, of.hits
    instances = truth.events.bincount(minlength=num_events)
    precision = _average_precision(hits, ranked.events, instances)  # [K, C]
    values = (100 * precision).tolist()
    exist = (instances > 0).tolist()
    per_event = {
        name_of(threshold): [value if exists else None for value, exists in zip(row, exist, strict=True)]
        for threshold, row in zip(thresholds, values, strict=True)
    }
    means = (100 * precision[:, instances > 0].mean(1) if any(exist) else precision.new_zeros(len(thresholds))).tolist()
    found = len(torch.unique(detections.videos[detections.videos < listed]))
    return LocalizationScores(_with_averages(thresholds, means), per_event, listed, found)


class Ranked(NamedTuple):
    """Detections by event, in each by falling score; ``order`` has the number that each of them had before.

    ``taken`` is the number of the instance that a detection takes at each threshold, -1 where it is no hit.
    """

    detections: Detections
    taken: Int[Tensor, "K D"]
    order: Int[Tensor, " D"]

    @property
    def hits(self) -> Bool[Tensor, "K D"]:
        """Which detections are hits at each threshold."""
        return self.taken >= 0


def ranked_hits(
    detections: Detections,
    truth: Instances,
    num_events: int,
    listed: int,
    thresholds: Sequence[float] = THRESHOLDS,
) -> Ranked:
    """Return the detections as :func:`score_detections` ranks them, the hits, and where each one stood before.

    Raises the same errors.
    """
    _check(detections, truth, num_events, listed)
    if not thresholds or sorted(set(thresholds)) != list(thresholds) or not 0 < thresholds[0] <= thresholds[-1] <= 1:
        raise ValueError(f"thresholds are {list(thresholds)}; they must rise, above 0 and up to 1")
    # by event, in each by falling score; both sorts are stable
    order = detections.scores.double().argsort(descending=True, stable=True)
    order = order[detections.events[order].argsort(stable=True)]
    ranked = Detections(*(column[order] for column in detections))
    return Ranked(ranked, _taken(ranked, truth, num_events, thresholds), order)


def resampled_scores(
    detections: Detections,
    truth: Instances,
    num_events: int,
    drawn: Int[Tensor, "R N"],
    thresholds: Sequence[float] = THRESHOLDS,
) -> dict[str, Float[Tensor, " R"]]:
    """Score R resamples of N videos; ``drawn`` says how often each video is in each resample, and so is counted.

    The result has the names of :attr:`LocalizationScores.map`. It is what :func:`score_detections` returns for as many
    copies of each video, its detections and its instances, where copies of one detection follow one another among
    equal scores. Which detections are hits does not depend on other videos, so they are found once; a resample only
    weighs them. Detections in videos that are not among the N stay in every resample as false positives.

    >>> truth = Instances(torch.tensor([0, 1]), torch.tensor([0, 0]), torch.tensor([[0.0, 10.0], [0.0, 10.0]]))
    >>> found = Detections(torch.tensor([0]), torch.tensor([0]), torch.tensor([[0.0, 10.0]]), torch.tensor([0.5]))
    >>> resampled_scores(found, truth, 1, torch.tensor([[1, 1], [2, 0], [0, 2]]))["0.5"].tolist()
    [50.0, 100.0, 0.0]
    """
    of_all = ranked_hits(detections, truth, num_events, drawn.shape[1], thresholds)
    ranked, hits = of_all.detections, of_all.hits
    resamples, listed = drawn.shape
    others = max(0, int(ranked.videos.max()) + 1 - listed) if len(ranked.videos) else 0
    counts = torch.zeros(listed, num_events, dtype=torch.float64, device=drawn.device)
    counts.index_put_((truth.videos, truth.events), counts.new_ones(len(truth.videos)), accumulate=True)
    weights = torch.cat([drawn.double(), counts.new_ones(resamples, others)], 1)  # [R, videos]
    instances = weights[:, :listed] @ counts  # [R, C]
    precision = counts.new_zeros(len(thresholds), resamples, num_events)
    ends = ranked.events.bincount(minlength=num_events).cumsum(0).tolist()
    for event, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        of_event, found = ranked.videos[start:end], hits[:, start:end]
        at_once = max(1, WEIGHED_AT_ONCE // max(1, end - start))
        for first in range(0, resamples, at_once if end > start else resamples):
            block = slice(first, first + at_once)
            copies = weights[block][:, of_event]  # [block, D of the event]
            rank = copies.cumsum(1)  # that of the last copy of each detection
            for k, hit in enumerate(found):
                taken = copies[:, hit]
                best = taken.cumsum(1) / rank[:, hit].clamp(min=1)  # precision is highest where a hit ends
                best = best.flip(1).cummax(1).values.flip(1)
                precision[k, block, event] = (best * taken).sum(1)
    precision = precision / instances.clamp(min=1)
    exist = instances > 0
    means = 100 * (precision * exist).sum(2) / exist.sum(1).clamp(min=1)  # [K, R]
    of = dict(zip(thresholds, means, strict=True))
    averages = {
        name: torch.stack([of[inside] for inside in of_range]).mean(0) for name, of_range in _ranges(thresholds)
    }
    return {**{name_of(threshold): mean for threshold, mean in of.items()}, **averages}


def name_of(threshold: float) -> str:
    """Return a threshold as scores are named after it.

    >>> name_of(0.5)
    '0.5'
    """
    return f"{threshold:g}"


class Collected(NamedTuple):
    """The videos seen, by rising number, and the detections and instances in them, whose videos count from 0 in it."""

    videos: Int[Tensor, " N"]
    detections: Detections
    instances: Instances


class CollectedIntervals(Metric):
    """Detections and instances over batches and processes; ``compute`` gives :class:`Collected`.

    Videos have the same numbers in all batches and processes, and the result depends neither on the batches nor on how
    the videos are distributed: intervals are sorted by the number of their video, and in one video keep their order.
    Raises ValueError if there is no event.
    """

    full_state_update = False
    higher_is_better: bool | None = None

    listed: list[Tensor]
    detections: list[Tensor]
    instances: list[Tensor]

    def __init__(self, num_events: int) -> None:
        super().__init__()
        if num_events < 1:
            raise ValueError(f"num_events is {num_events}; it must be 1 or more")
        self.num_events = num_events
        # numbers are kept with the bounds in one float64 table, which holds them exactly: one state travels at once
        for name in ("listed", "detections", "instances"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, detections: Detections, truth: Instances, videos: Int[Tensor, " N"]) -> None:
        """Add ``videos`` with all their detections and instances.

        Raises ValueError and adds nothing if values do not fit, or if a detection or an instance is in another video.
        """
        last = int(videos.max()) + 1 if len(videos) else 0
        _check(detections, truth, self.num_events, last)
        for name, of in (("detections", detections.videos), ("instances", truth.videos)):
            if not torch.isin(of, videos).all():
                raise ValueError(f"some {name} are in videos that are not among those given")
        self.listed.append(videos.long())
        self.detections.append(_table(*detections))
        self.instances.append(_table(*truth))

    def sync(self, *arguments: Any, **keywords: Any) -> None:
        """Gather the states of all processes, of which some may have seen no video."""
        self._fill()
        super().sync(*arguments, **keywords)

    def compute(self) -> Any:
        """Return what has been seen so far; torchmetrics makes a number of whatever has one element."""
        return self._collected()

    def collected(self) -> Collected:
        """Return what has been seen so far by all processes, and begin anew."""
        found: Collected = self.compute()
        self.reset()
        return Collected(
            found.videos.reshape(-1),
            Detections(*_shaped(found.detections)),
            Instances(*_shaped(found.instances)),
        )

    def _collected(self) -> Collected:
        self._fill()
        listed, detections, instances = map(dim_zero_cat, (self.listed, self.detections, self.instances))
        numbers = torch.unique(listed)
        videos, events, starts, ends, scores = detections[detections[:, 0].argsort(stable=True)].unbind(1)
        found = Detections(
            torch.searchsorted(numbers, videos.long()), events.long(), torch.stack([starts, ends], 1), scores
        )
        videos, events, starts, ends = instances[instances[:, 0].argsort(stable=True)].unbind(1)
        true = Instances(torch.searchsorted(numbers, videos.long()), events.long(), torch.stack([starts, ends], 1))
        return Collected(numbers, found, true)

    def _fill(self) -> None:
        """Give every state one table at least: an empty list has no shape that other processes could receive."""
        numbers, values = (torch.zeros(0, dtype=kind, device=self.device) for kind in (torch.int64, torch.float64))
        bounds = values.reshape(0, 2)
        empty = {
            "listed": numbers,
            "detections": _table(numbers, numbers, bounds, values),
            "instances": _table(numbers, numbers, bounds),
        }
        for name, table in empty.items():
            if not len(getattr(self, name)):  # a list, or one table after the processes have exchanged theirs
                setattr(self, name, [table])


class TALMetric(CollectedIntervals):
    """:func:`score_detections` over batches and processes; ``compute`` gives :class:`LocalizationScores`.

    Among equal scores, the detection in the video with the lowest number counts as better, and in one video the first.
    """

    higher_is_better = True

    def __init__(self, num_events: int, thresholds: Sequence[float] = THRESHOLDS) -> None:
        super().__init__(num_events)
        self.thresholds = tuple(thresholds)

    def compute(self) -> LocalizationScores:
        """Return the scores of the videos seen so far; 0 if there were none."""
        videos, detections, instances = self._collected()
        return score_detections(detections, instances, self.num_events, len(videos), self.thresholds)


def _shaped(columns: Sequence[Tensor]) -> list[Tensor]:
    """Return columns of numbers as [R], and that of the bounds, which is the third one, as [R, 2]."""
    return [column.reshape(-1, 2) if number == 2 else column.reshape(-1) for number, column in enumerate(columns)]


def _table(*columns: Tensor) -> Float[Tensor, "R columns"]:
    return torch.cat([(column[:, None] if column.ndim == 1 else column).double() for column in columns], 1)


def _check(detections: Detections, truth: Instances, num_events: int, listed: int) -> None:
    """Raise ValueError for shapes, numbers and values that do not fit."""
    for name, rows in (("detections", detections), ("instances", truth)):
        count = len(rows.videos)
        if any(len(column) != count for column in rows) or rows.bounds.shape != (count, 2):
            raise ValueError(f"the columns of the {name} have the shapes {[list(column.shape) for column in rows]}")
        if count and not (0 <= int(rows.events.min()) <= int(rows.events.max()) < num_events):
            raise ValueError(f"the events of the {name} must be numbers from 0 to {num_events - 1}")
        if count and int(rows.videos.min()) < 0:
            raise ValueError(f"the videos of the {name} must be numbers from 0")
    if len(truth.videos) and int(truth.videos.max()) >= listed:
        raise ValueError(f"an instance is in video {int(truth.videos.max())}, but {listed} videos are listed")
    if not (
        detections.bounds.isfinite().all() and detections.scores.isfinite().all() and truth.bounds.isfinite().all()
    ):
        raise ValueError("bounds and scores must be finite")
    if not (detections.bounds[:, 1] > detections.bounds[:, 0]).all():
        raise ValueError("a detection must end after its start")
    # an instance may be empty once it is rounded to segments: nothing can find it
    if not (truth.bounds[:, 1] >= truth.bounds[:, 0]).all():
        raise ValueError("an instance must not end before its start")


class _Pairs(NamedTuple):
    """Pairs of a detection and an instance that reach the lowest threshold: by detection, then by falling tIoU."""

    detections: Int[Tensor, " P"]
    instances: Int[Tensor, " P"]
    tious: Float[Tensor, " P"]


def _taken(ranked: Detections, truth: Instances, num_events: int, thresholds: Sequence[float]) -> Int[Tensor, "K D"]:
    """Return the instance that each detection takes at each threshold, or -1; of sorted detections the first chooses.

    Each detection asks for the best instance of its list, each instance accepts the best detection that asks, and those
    that are turned away ask for the next of their lists, until none is. All instances prefer detections in the same
    order, so this ends where a loop from the best detection down would end, but needs only a few rounds.
    """
    pairs = _pairs(ranked, truth, num_events, thresholds[0])
    number, device = len(ranked.videos), ranked.bounds.device
    # of each detection, the pairs that reach a threshold are the first ones of its list
    reaching = torch.stack(
        [pairs.detections[pairs.tious >= threshold].bincount(minlength=number) for threshold in thresholds]
    )  # [K, D]
    length = pairs.detections.bincount(minlength=number)
    asking = (length.cumsum(0) - length).expand_as(reaching).clone()
    last = asking + reaching
    ranks = torch.arange(number, device=device).expand_as(reaching)
    nobody = torch.full((len(thresholds), len(truth.videos) + 1), number, device=device)
    instances = torch.cat([pairs.instances, pairs.instances.new_full((1,), len(truth.videos))])  # the last one is none
    while True:
        live = asking < last
        asked = instances[asking.where(live, len(pairs.instances))]
        accepted = nobody.scatter_reduce(1, asked, ranks, "amin").gather(1, asked) == ranks
        turned_away = live & ~accepted
        if not turned_away.any():
            return asked.where(live, -1)
        asking += turned_away


def _pairs(ranked: Detections, truth: Instances, num_events: int, lowest: float) -> _Pairs:
    """Return all pairs of the same video and event whose tIoU is at least ``lowest``."""
    keys = truth.videos * num_events + truth.events
    grouped = keys.argsort(stable=True)
    keys, bounds = keys[grouped], truth.bounds.double()
    found: list[_Pairs] = []
    for start in range(0, len(ranked.videos), BLOCK):
        block = slice(start, start + BLOCK)
        wanted = ranked.videos[block] * num_events + ranked.events[block]
        first, end = torch.searchsorted(keys, wanted), torch.searchsorted(keys, wanted, right=True)
        count = end - first
        detection = torch.arange(len(wanted), device=keys.device).repeat_interleave(count)
        within = torch.arange(len(detection), device=keys.device) - (count.cumsum(0) - count)[detection]
        instance = grouped[first[detection] + within]
        detection = detection + start
        overlap = tiou(ranked.bounds.double()[detection], bounds[instance])
        near = overlap >= lowest
        detection, instance, overlap = detection[near], instance[near], overlap[near]
        order = overlap.argsort(descending=True, stable=True)
        order = order[detection[order].argsort(stable=True)]
        found.append(_Pairs(detection[order], instance[order], overlap[order]))
    empty = _Pairs(keys[:0], keys[:0], bounds[:0, 0])
    return _Pairs(*(torch.cat(columns) for columns in zip(empty, *found, strict=True)))


def _average_precision(
    hits: Bool[Tensor, "K D"], events: Int[Tensor, " D"], instances: Int[Tensor, " C"]
) -> Float[Tensor, "K C"]:
    """Return the interpolated average precision of each event; ``hits`` are sorted by event, then by falling score."""
    found = []
    for of_event, count in zip(
        torch.split(hits, events.bincount(minlength=len(instances)).tolist(), 1), instances, strict=True
    ):
        rank = torch.arange(1, of_event.shape[1] + 1, device=hits.device)
        precision = of_event.cumsum(1).double() / rank
        best_after = precision.flip(1).cummax(1).values.flip(1)
        # each hit is a step of recall of 1 / count
        found.append((best_after * of_event).sum(1) / count.clamp(min=1))
    return torch.stack(found, 1)


def _with_averages(thresholds: Sequence[float], means: Sequence[float]) -> dict[str, float]:
    return {**dict(zip(map(name_of, thresholds), means, strict=True)), **dict(_averages(thresholds, means))}


def _averages(thresholds: Sequence[float], means: Sequence[float]) -> Iterator[tuple[str, float]]:
    """Yield the mean over each range of thresholds of which all are there."""
    of = dict(zip(thresholds, means, strict=True))
    for name, inside in _ranges(thresholds):
        yield name, sum(of[threshold] for threshold in inside) / len(inside)


def _ranges(thresholds: Sequence[float]) -> Iterator[tuple[str, list[float]]]:
    """Yield the name and the thresholds of each range of which all are there."""
    for low, high in AVERAGES:
        inside = [k / 10 for k in range(round(10 * low), round(10 * high) + 1)]
        if set(inside) <= set(thresholds):
            yield f"average_{name_of(low)}_{name_of(high)}", inside
