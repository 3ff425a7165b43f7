"""The protocols by which detections are scored: what counts, and in which unit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avvp_pl.data.activitynet import Annotation, Interval, Results
from avvp_pl.errors import InputError, nearest, quote
from avvp_pl.metrics import LocalizationScores, score_detections
from avvp_pl.types import Detections, Instances

Ambiguous = Sequence[tuple[str, float, float]]


class Scored(NamedTuple):
    """The scores of a file of detections, and of what they are the scores.

    ``protocol`` is the protocol's name, with a note if the truth is another one than that it is defined for.
    ``per_event`` of the scores is in the order of ``events``. ``dropped`` counts the detections that the protocol
    leaves out, by the reason. ``unknown`` maps the videos that are not scored to the number of their detections, which
    are false positives, and ``silent`` are the videos without any detection in the file.
    """

    scores: LocalizationScores
    protocol: str
    events: tuple[str, ...]
    instances: int
    detections: int
    dropped: dict[str, int]
    unknown: dict[str, int]
    silent: tuple[str, ...]

    @property
    def listed(self) -> int:
        """How many videos were scored."""
        return self.scores.listed

    @property
    def with_predictions(self) -> int:
        """How many of them have detections."""
        return self.scores.with_predictions

    def flat(self) -> dict[str, float]:
        """``{"map/0.1": ..., "map/average_0.1_0.7": ...}``: the names used in logs."""
        return self.scores.flat()

    def by_event(self) -> dict[str, list[float | None]]:
        """``{"map/0.1": [...], ...}``: the scores of every event, by the names used in logs."""
        return self.scores.by_event()


class Counted(NamedTuple):
    """What a protocol counts of detections and instances, with numbers of videos and events in the place of names.

    ``videos`` are those that are scored; videos with higher numbers are ``unknown`` ones, which are not. ``kept`` says
    which of the given detections these are. ``dropped`` and ``unknown`` are as in :class:`Scored`.
    """

    detections: Detections
    truth: Instances
    videos: tuple[str, ...]
    events: tuple[str, ...]
    kept: Int[Tensor, " D"]
    dropped: dict[str, int]
    unknown: dict[str, int]

    def scores(self) -> LocalizationScores:
        """Return the scores."""
        return score_detections(self.detections, self.truth, len(self.events), len(self.videos))


@dataclass(frozen=True)
class Scoring:
    """A protocol: which videos, instances and detections count, and in which unit bounds are compared.

    Detections and instances of the ``excluded`` videos do not count, and no detections of the ``truth_only`` videos.
    ``drop_ambiguous`` drops every detection, of any event, that overlaps ambiguous time. In ``segments``, the bounds of
    the truth are rounded (s fps / segment_frames) and those of detections are not, as in public code; to see what
    overlaps ambiguous time and what is one segment long (``drop_single_segments``), both are. ``videos`` and
    ``instances`` say for which truth the name of the protocol stands; None: for any.
    """

    name: str
    unit: Literal["seconds", "segments"]
    fps: float
    segment_frames: int
    excluded: Collection[str]
    truth_only: Collection[str]
    drop_ambiguous: bool
    drop_single_segments: bool
    videos: int | None
    instances: int | None

    def score(self, annotation: Annotation, results: Results, path: Path, ambiguous: Ambiguous | None = None) -> Scored:
        """Score the detections that were read from ``path``.

        Raises :class:`InputError` if a detection has an event without instances, if no detection is in a video that is
        scored, or if ``ambiguous`` is needed and not given.
        """
        counted = self.count(annotation, results, path, ambiguous)
        spoken = {detection.video for detection in results.detections}
        return Scored(
            scores=counted.scores(),
            protocol=self._name(len(counted.videos), len(counted.truth.videos)),
            events=counted.events,
            instances=len(counted.truth.videos),
            detections=len(counted.detections.scores),
            dropped=counted.dropped,
            unknown=counted.unknown,
            silent=tuple(video for video in counted.videos if video not in spoken),
        )

    def count(
        self, annotation: Annotation, results: Results, path: Path, ambiguous: Ambiguous | None = None
    ) -> Counted:
        """Return what counts of detections and instances, in the protocol's unit; errors are those of :meth:`score`."""
        if self.drop_ambiguous and ambiguous is None:
            raise InputError(
                f"scoring={self.name}: detections in ambiguous time do not count; give ambiguous=FILE with its "
                "intervals (docs/localization.md)"
            )
        videos = [video for video in annotation.videos if video not in self.excluded]
        instances = [instance for instance in annotation.instances if instance.video not in self.excluded]
        if not instances:
            raise InputError(f"scoring={self.name}: all instances are in videos that do not count")
        without = {*self.excluded, *self.truth_only}
        numbered = [(number, one) for number, one in enumerate(results.detections) if one.video not in without]
        found = [detection for _, detection in numbered]
        dropped = {"excluded_videos": len(results.detections) - len(found)}
        events = tuple(sorted({instance.event for instance in instances}))
        _check_events(found, events, path)
        if found and not {detection.video for detection in found} & set(videos):
            raise InputError(
                f"{path}: none of its videos is scored: it has {quote(found[0].video)}, and the truth has "
                f"{quote(videos[0])}"
            )
        numbers = {video: number for number, video in enumerate(videos)}
        unknown: dict[str, int] = {}
        for detection in found:
            if detection.video not in numbers:
                unknown[detection.video] = unknown.get(detection.video, 0) + 1
        numbers |= {video: len(videos) + number for number, video in enumerate(unknown)}
        out = {"ambiguous": self._is_ambiguous(found, ambiguous or ()), "single_segment": self._is_single(found)}
        # each detection is counted once, for the first reason
        dropped |= {"ambiguous": int(out["ambiguous"].sum())}
        dropped |= {"single_segment": int((out["single_segment"] & ~out["ambiguous"]).sum())}
        kept = ~(out["ambiguous"] | out["single_segment"])
        of_events = {event: number for number, event in enumerate(events)}
        rows = [(numbers[one.video], of_events[one.event]) for one in found]
        detections = Detections(*_columns(rows), self._bounds(found), _values(one.score for one in found))
        rows = [(numbers[one.video], of_events[one.event]) for one in instances]
        truth = Instances(*_columns(rows), self._rounded(instances) if self.unit == "segments" else _seconds(instances))
        return Counted(
            detections=Detections(*(column[kept] for column in detections)),
            truth=truth,
            videos=tuple(videos),
            events=events,
            kept=torch.tensor([number for number, _ in numbered], dtype=torch.int64)[kept],
            dropped=dropped,
            unknown=unknown,
        )

    def differs(self, scored: Scored) -> str:
        """Say what the truth should have been for the scores to be those of the protocol; nothing if it was that."""
        if scored.protocol == self.name:
            return ""
        return (
            f"scoring={self.name} is defined for {self.videos} videos with {self.instances} instances, and the truth "
            f"has {scored.scores.listed} with {scored.instances}: the scores do not compare with published ones"
        )

    def _name(self, videos: int, instances: int) -> str:
        is_own = self.videos in {None, videos} and self.instances in {None, instances}
        return self.name if is_own else f"{self.name} ({videos} videos, {instances} instances)"

    def _bounds(self, detections: Sequence[Interval]) -> Float[Tensor, "D 2"]:
        bounds = _seconds(detections)
        if self.unit == "segments":
            bounds = bounds / (self.segment_frames / self.fps)
            # the shortest detections may have become empty by rounding
            bounds[:, 1] = torch.maximum(bounds[:, 1], bounds[:, 0].nextafter(bounds.new_tensor(torch.inf)))
        return bounds

    def _rounded(self, intervals: Sequence[Interval]) -> Float[Tensor, "I 2"]:
        """Return bounds as whole segments; half a segment is rounded to an even number."""
        return (_seconds(intervals) * self.fps / self.segment_frames).round()

    def _is_ambiguous(self, detections: Sequence[Interval], ambiguous: Ambiguous) -> Bool[Tensor, " D"]:
        """Return which detections overlap ambiguous time, if they are to be dropped."""
        if not self.drop_ambiguous:
            return torch.zeros(len(detections), dtype=torch.bool)
        times = [Interval(video, "", start, end, 1.0, "") for video, start, end in ambiguous]
        in_unit = self._rounded if self.unit == "segments" else _seconds
        of_video: dict[str, list[tuple[float, float]]] = {}
        for time, (start, end) in zip(times, in_unit(times).tolist(), strict=True):
            of_video.setdefault(time.video, []).append((start, end))
        bounds = in_unit(detections).tolist()
        overlapping = [
            any(max(start, first) < min(end, last) for first, last in of_video.get(detection.video, ()))
            for detection, (start, end) in zip(detections, bounds, strict=True)
        ]
        return torch.tensor(overlapping, dtype=torch.bool)

    def _is_single(self, detections: Sequence[Interval]) -> Bool[Tensor, " D"]:
        """Return which detections have at most one segment, if they are to be dropped."""
        if not self.drop_single_segments:
            return torch.zeros(len(detections), dtype=torch.bool)
        bounds = self._rounded(detections)
        return bounds[:, 1] - bounds[:, 0] <= 1


def _check_events(detections: Sequence[Interval], events: Sequence[str], path: Path) -> None:
    known = set(events)
    for detection in detections:
        if detection.event not in known:
            raise InputError(
                f"{path}: {detection.place}['label'] is {quote(detection.event)}, which is none of the {len(events)} "
                f"events of the scored instances.{nearest(detection.event, events)}"
            )


def _seconds(intervals: Sequence[Interval]) -> Float[Tensor, "I 2"]:
    return torch.tensor([(one.start, one.end) for one in intervals], dtype=torch.float64).reshape(-1, 2)


def _values(values: Iterable[float]) -> Float[Tensor, " D"]:
    return torch.tensor(list(values), dtype=torch.float64)


def _columns(rows: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    videos, events = torch.tensor(rows, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return videos, events
