"""Temporal action localization as a task: its metric, and the files of a result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avvp_pl.data.activitynet import Annotation, Interval, Results, read_ambiguous
from avvp_pl.data.known import digest_of
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError
from avvp_pl.files import atomic_write
from avvp_pl.metrics import CollectedIntervals
from avvp_pl.runs.names import DETECTIONS, PREDICTIONS, SCORES
from avvp_pl.runs.tested import EpochTested
from avvp_pl.tasks.parsed import Parsed
from avvp_pl.tasks.parsing import write_predictions
from avvp_pl.tasks.scoring import Ambiguous, Scored, Scoring
from avvp_pl.tasks.task import Task
from avvp_pl.tasks.terminal import print_table
from avvp_pl.types import Batch, Detections, Instances


class LocalizationTask(Task):
    """mAP of detections (:mod:`avvp_pl.metrics.tal`) by a ``scoring``, and ``detections.json``.

    A protocol that drops detections in ``ambiguous`` time needs a file with its intervals.
    """

    name, score = "localization", "ap"

    def __init__(self, scoring: Scoring, ambiguous: str | None = None) -> None:
        self.scoring = scoring
        if scoring.drop_ambiguous and ambiguous is None:
            raise InputError(
                f"scoring@protocol.task.scoring={scoring.name}: detections in ambiguous time do not count; give "
                "data.ambiguous=FILE with its intervals (docs/localization.md)"
            )
        self.file_of_ambiguous = ambiguous if scoring.drop_ambiguous else None

    @cached_property
    def ambiguous(self) -> Ambiguous | None:
        """The intervals of ambiguous time, which are read when scores need them: to find intervals, they do not."""
        return None if self.file_of_ambiguous is None else read_ambiguous(Path(self.file_of_ambiguous))

    def check(self, videos: ParsingSet) -> None:
        """Raise :class:`InputError` where no intervals are annotated."""
        for name, split in videos.splits.items():
            if name != "train" and split.truth is not None and split.instances is None:
                raise InputError(
                    f"protocol.task: localization is scored by annotated intervals, and the {name} videos "
                    "have only annotated segments; give data=thumos14 or data=thumos14_synthetic, or another "
                    "protocol, such as protocol=common"
                )
            if split.instances is not None:
                _ = self.ambiguous  # a file that cannot be read is better known now than after the training

    def metric(self, modalities: Sequence[str], num_events: int, validation: bool = False) -> CollectedIntervals:
        """Return what collects detections and instances."""
        return CollectedIntervals(num_events)

    def update(self, metric: CollectedIntervals, parsed: Parsed, batch: Batch, videos: VideoSet) -> None:
        """Add the detections in the videos of a batch, and the instances of these videos."""
        if parsed.detections is None:
            raise InputError(
                "protocol.decision: it finds no intervals, which localization is scored by; give a decision that does, "
                "such as avvp_pl.inference.detector.Detector"
            )
        assert videos.instances is not None
        rows, found = batch.index.to(metric.device), Detections(*_on(metric.device, parsed.detections))
        instances = Instances(*_on(metric.device, videos.instances))
        here = torch.isin(instances.videos, rows)
        metric.update(
            found._replace(videos=rows[found.videos]), Instances(*(column[here] for column in instances)), rows
        )

    def scores(self, metric: CollectedIntervals, videos: VideoSet, events: Sequence[str]) -> Scored:
        """Return the scores of all that was added, and begin anew."""
        numbers, detections, instances = metric.collected()
        names = [videos.names[number] for number in numbers.tolist()]
        return self.score_found(names, events, detections, instances)

    def score_found(
        self, names: Sequence[str], events: Sequence[str], detections: Detections, instances: Instances
    ) -> Scored:
        """Return the scores of all events of detections in the named videos, whose numbers are their places."""
        truth = Annotation(tuple(names), tuple(intervals_of(instances, names, events)))
        scored_events = {instance.event for instance in truth.instances}
        found = [interval for interval in intervals_of(detections, names, events) if interval.event in scored_events]
        scored = self.scoring.score(truth, Results(tuple(names), tuple(found)), Path(DETECTIONS), self.ambiguous)
        return _for_all(scored, tuple(events))

    def write(
        self,
        folder: Path,
        names: Sequence[str],
        parsed: Parsed,
        scores: Scored,
        videos: ParsingSet,
        protocol: str,
        tested: EpochTested | None = None,
    ) -> None:
        """Write ``scores.json`` and ``predictions/`` of a split."""
        write_predictions(folder / PREDICTIONS, names, parsed, videos)
        of_run = {"tested": None if tested is None else tested.as_dict(), "test_videos": digest_of(names)}
        write_scores(folder / SCORES, scores._replace(protocol=f"{protocol}, {scores.protocol}"), of_run)

    def show(self, scores: Scored, title: str) -> None:
        """Print the scores."""
        print_scores(scores, title)


def _on(device: torch.device, columns: Sequence[Tensor]) -> list[Tensor]:
    return [column.to(device) for column in columns]


def intervals_of(found: Detections | Instances, names: Sequence[str], events: Sequence[str]) -> list[Interval]:
    """Return intervals with names in the place of numbers; an instance has the score 1."""
    scores = found.scores.tolist() if isinstance(found, Detections) else [1.0] * len(found.videos)
    columns = (found.videos.tolist(), found.events.tolist(), found.bounds.tolist(), scores)
    return [
        Interval(names[video], events[event], start, end, score, "")
        for video, event, (start, end), score in zip(*columns, strict=True)
    ]


def _for_all(scored: Scored, events: tuple[str, ...]) -> Scored:
    """Return the scores of all these events, in their order: None for one without instances."""
    place = {event: number for number, event in enumerate(scored.events)}
    per_event = {
        threshold: [values[place[event]] if event in place else None for event in events]
        for threshold, values in scored.scores.per_event.items()
    }
    return scored._replace(events=events, scores=scored.scores._replace(per_event=per_event))


def scores_as_dict(scored: Scored, of_run: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the content of the file of scores: unrounded percentages, by threshold and by event.

    ``of_run`` is what a run has beside scores: the tested epoch, and a checksum of the names of the test videos.
    """
    scores = scored.scores
    return {
        "protocol": scored.protocol,
        **(of_run or {}),
        "map": scores.map,
        "videos": {"listed": scores.listed, "with_predictions": scores.with_predictions},
        "instances": scored.instances,
        "detections": {
            "scored": scored.detections,
            "in_other_videos": sum(scored.unknown.values()),
            "dropped": scored.dropped,
        },
        "per_event": {
            threshold: dict(zip(scored.events, values, strict=True)) for threshold, values in scores.per_event.items()
        },
    }


def write_scores(path: Path, scored: Scored, of_run: Mapping[str, Any] | None = None) -> None:
    """Write the file of scores."""
    with atomic_write(path) as file:
        json.dump(scores_as_dict(scored, of_run), file, indent=2)
        file.write("\n")


def print_scores(scored: Scored, title: str) -> None:
    """Print the mAP at each threshold, the averages, and how many videos have detections."""
    print(title)
    headings = {name: name.removeprefix("average_").replace("_", ":") for name in scored.scores.map}
    print_table({"mAP": {headings[name]: f"{value:.2f}" for name, value in scored.scores.map.items()}})
    scores = scored.scores
    print(
        f"mAP in percent, {scored.protocol}; {scored.instances} instances, {scored.detections} detections; "
        f"{scores.with_predictions} of {scores.listed} videos have detections"
    )
