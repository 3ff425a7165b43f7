"""The test videos of a report of localization: their instances, and the intervals that each run found in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from omegaconf import OmegaConf
from torch import Tensor

from avvp_pl.data.activitynet import Annotation, Interval, Results, read_ambiguous, read_detections
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from avvp_pl.metrics.tal import ranked_hits, resampled_scores, tiou
from avvp_pl.reporting.statistics import Difference, Differences, check_scores, percentiles, times_drawn
from avvp_pl.reporting.videos import read_flat_probabilities
from avvp_pl.runs.names import CONFIG, DETECTIONS, PREDICTIONS
from avvp_pl.runs.reading import Run, Setting
from avvp_pl.tasks.localization import intervals_of
from avvp_pl.tasks.scoring import Counted, Scoring

RESAMPLES = 1000  # of the test videos; a run of THUMOS14's size takes a second for them
HIT, CLOSE = 0.5, 0.7  # tIoU from which on a detection is shown as a hit, and as one with nearly the right bounds


@dataclass(frozen=True)
class LocalizedVideos:
    """N test videos with their instances, in seconds."""

    names: tuple[str, ...]
    events: tuple[str, ...]
    modalities: tuple[str, ...]
    lengths: tuple[int, ...]
    segment_seconds: float
    annotation: Annotation

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of each video."""
        return {name: row for row, name in enumerate(self.names)}

    def seconds(self, row: int) -> float:
        """Return the duration of a video."""
        return self.lengths[row] * self.segment_seconds

    def instances_of(self, row: int) -> dict[int, list[tuple[float, float]]]:
        """Return the instances in a video by event, by their start."""
        return self._instances.get(row, {})

    @cached_property
    def _instances(self) -> dict[int, dict[int, list[tuple[float, float]]]]:
        numbers = {event: number for number, event in enumerate(self.events)}
        found: dict[int, dict[int, list[tuple[float, float]]]] = {}
        for one in sorted(self.annotation.instances, key=lambda one: (one.start, one.end)):
            found.setdefault(self.rows[one.video], {}).setdefault(numbers[one.event], []).append((one.start, one.end))
        return found


class Outcome(NamedTuple):
    """A detection, or an instance that was missed (without a score), in seconds; ``kind`` is one of the browser's."""

    kind: str
    start: float
    end: float
    score: float | None


@dataclass(frozen=True)
class FoundIntervals:
    """What one run, with ``seed``, found in the test videos, as a reader can look at it.

    ``outcomes`` are by row of the video and number of the event. They are about the best detections of each event over
    all videos, as many as it has instances: at this point of the ranking, precision and recall are equal.
    ``curves`` are probabilities of all segments, one video after another, and ``likely`` those of videos, both as means
    over modalities; None where they are not known. ``scored`` are the rows of the videos that count.
    """

    outcomes: Mapping[tuple[int, int], Sequence[Outcome]]
    curves: Float[Tensor, "S C"] | None
    likely: Float[Tensor, "N C"] | None
    scored: frozenset[int]
    seed: int

    def of_video(self, row: int) -> dict[int, Sequence[Outcome]]:
        """Return the outcomes in a video by event."""
        return {event: outcomes for (video, event), outcomes in self.outcomes.items() if video == row}

    def f1(self, row: int) -> float:
        """Return the F1 in percent of these detections in a video; 100 where nothing is missed or wrong."""
        kinds = [outcome.kind for outcomes in self.of_video(row).values() for outcome in outcomes]
        hits = sum(kind in ("exact", "inexact") for kind in kinds)
        wrong = len(kinds) - hits  # missed, false, or of a wrong extent
        return 100.0 if not kinds else 200 * hits / (2 * hits + wrong)


def of_localized_split(data: ParsingSet) -> LocalizedVideos:
    """Return the test split of a data set; :class:`InputError` where it has no annotated intervals."""
    test = data.test
    assert test is not None
    if test.instances is None:
        raise InputError("the test videos of the data have no annotated intervals; give the data of the runs: data=...")
    instances = tuple(intervals_of(test.instances, test.names, data.events))
    lengths = tuple(test.lengths.tolist())
    annotation = Annotation(test.names, instances)
    return LocalizedVideos(test.names, data.events, tuple(data.modalities), lengths, data.segment_seconds, annotation)


class IntervalReader:
    """Read settings one after another: their scores in every resample of the test videos, and what was found.

    ``found`` has the first seed of the settings that are to be kept, by their labels.
    """

    def __init__(self, videos: LocalizedVideos) -> None:
        self.videos = videos
        self.found: dict[str, FoundIntervals] = {}
        self.means: dict[str, Mapping[str, float]] = {}
        self.resampled: dict[str, dict[str, Float[Tensor, " R"]]] = {}
        self.drawn: Int[Tensor, "R N"] | None = None

    def read(self, setting: Setting, kept: bool) -> None:
        """Read the runs of a setting; :class:`InputError` where their files are not those of these videos."""
        counted = [count(run, self.videos) for run in setting.runs]
        scores = [one.scores().flat() for one, _ in counted]
        means = {name: sum(of[name] for of in scores) / len(scores) for name in scores[0]}
        check_scores(setting, means)
        resampled: dict[str, Tensor] = {}
        for one, _ in counted:
            if self.drawn is None or self.drawn.shape[1] != len(one.videos):
                self.drawn = drawn_videos(len(one.videos))
            of_run = resampled_scores(one.detections, one.truth, len(one.events), self.drawn)
            for name, values in of_run.items():
                resampled[name] = resampled.get(name, torch.zeros_like(values)) + values / len(counted)
        self.means[setting.label] = means
        self.resampled[setting.label] = {f"map/{name}": values for name, values in resampled.items()}
        if kept:
            self.found[setting.label] = _found(setting.runs[0], *counted[0], self.videos)

    def differences(self, baseline: str) -> Differences:
        """Return the difference of every other setting to the baseline, with its interval."""
        base, found = self.resampled[baseline], {}
        for label, resampled in self.resampled.items():
            if label == baseline:
                continue
            table: npt.NDArray[np.float64] = torch.stack([resampled[name] - base[name] for name in base], 1).numpy()
            low, high = percentiles(table)
            means = [self.means[label][name] - self.means[baseline][name] for name in base]
            found[label] = {
                name: Difference(*cells) for name, *cells in zip(base, means, low.tolist(), high.tolist(), strict=True)
            }
        return found


def drawn_videos(number: int, resamples: int = RESAMPLES, seed: int = 0) -> Int[Tensor, "R N"]:
    """Draw N videos with replacement, R times, and count how often each was drawn."""
    drawn = np.random.default_rng(seed).integers(number, size=(resamples, number))
    return torch.from_numpy(times_drawn(drawn).astype(np.int64))


def scoring_of(run: Run) -> Scoring:
    """Return the protocol by which a run was scored; :class:`InputError` where it is none of this package."""
    node = OmegaConf.select(run.config, "protocol.task.scoring")
    plain = OmegaConf.to_container(node, resolve=True) if node is not None else {}
    named = {str(name): value for name, value in plain.items()} if isinstance(plain, dict) else {}
    target = named.pop("_target_", None)
    if target != f"{Scoring.__module__}.{Scoring.__qualname__}":
        raise InputError(f"{run.folder / CONFIG}: protocol.task.scoring is no protocol of this package: {target}")
    return Scoring(**named)


def count(run: Run, videos: LocalizedVideos) -> tuple[Counted, Results]:
    """Read the detections of a run, and return what counts of them by its protocol.

    Raises :class:`InputError` where a file is missing or damaged, or where detections are in other videos.
    """
    path = run.folder / PREDICTIONS / DETECTIONS
    results = read_detections(path)
    if set(results.videos) != set(videos.names):
        other = min(set(results.videos) ^ set(videos.names))
        raise InputError(
            f"{path}: {other} is not both a test video of the data and one of the file, so the run was tested on "
            "others; give the data of the run: data=..."
        )
    scoring = scoring_of(run)
    ambiguous = OmegaConf.select(run.config, "protocol.task.ambiguous")
    times = read_ambiguous(Path(ambiguous)) if scoring.drop_ambiguous and ambiguous is not None else None
    scored = {instance.event for instance in videos.annotation.instances}
    results = Results(results.videos, tuple(one for one in results.detections if one.event in scored))
    return scoring.count(videos.annotation, results, path, times), results


def _found(run: Run, counted: Counted, results: Results, videos: LocalizedVideos) -> FoundIntervals:
    probabilities = read_flat_probabilities(run, videos)
    return FoundIntervals(
        outcomes=outcomes_of(counted, results, videos),
        curves=None if probabilities is None else probabilities[0].mean(1),
        likely=None if probabilities is None else probabilities[1].mean(1),
        scored=frozenset(videos.rows[name] for name in counted.videos),
        seed=run.seed,
    )


def outcomes_of(
    counted: Counted, results: Results, videos: LocalizedVideos
) -> dict[tuple[int, int], tuple[Outcome, ...]]:
    """Compare the best detections of each event with its instances, as :class:`FoundIntervals` explains.

    A detection is *exact* if it takes an instance with a tIoU of at least :data:`CLOSE`, and *inexact* with one of at
    least :data:`HIT`. Otherwise its *extent* is wrong if it overlaps an instance of its event at all, one that a better
    detection takes included, and it is *false* if it overlaps none. An instance that none of them takes is *missed*.
    Instances and detections are by start; where starts are equal, the order is that of ends.
    """
    ranked = ranked_hits(counted.detections, counted.truth, len(counted.events), len(counted.videos), (HIT,))
    listed = set(counted.videos)
    instances = [one for one in videos.annotation.instances if one.video in listed]
    numbers = {event: number for number, event in enumerate(videos.events)}
    of_event = ranked.detections.events.tolist()
    wanted = dict(enumerate(counted.truth.events.bincount(minlength=len(counted.events)).tolist()))
    taken, order = ranked.taken[0].tolist(), counted.kept[ranked.order].tolist()
    there: dict[tuple[str, str], list[Interval]] = {}
    for one in instances:
        there.setdefault((one.video, one.event), []).append(one)
    found: dict[tuple[int, int], list[Outcome]] = {}

    def note(kind: str, one: Interval, score: float | None) -> None:
        place = (videos.rows[one.video], numbers[one.event])
        found.setdefault(place, []).append(Outcome(kind, one.start, one.end, score))

    hit: set[int] = set()
    for rank, (event, instance, number) in enumerate(zip(of_event, taken, order, strict=True)):
        if not wanted[event]:
            continue
        wanted[event] -= 1
        one = results.detections[number]
        if instance >= 0:
            hit.add(instance)
            bounds = ranked.detections.bounds[rank], counted.truth.bounds[instance]
            kind = "exact" if tiou(*bounds).item() >= CLOSE else "inexact"
        else:
            near = there.get((one.video, one.event), ())
            kind = "extent" if any(one.start < other.end and other.start < one.end for other in near) else "false"
        note(kind, one, one.score)
    for number, one in enumerate(instances):
        if number not in hit:
            note("missed", one, None)
    return {place: tuple(sorted(outcomes, key=lambda one: one[1:3])) for place, outcomes in found.items()}
