"""The scores of audio-visual video parsing with lists and loops, from the definition of Tian et al. (2020).

Slow on purpose and independent of `avvp_pl.metrics.avvp`: the tests hold the two against each other.
"""

from collections.abc import Sequence
from typing import NamedTuple

Line = list[bool]
"""One event in one track of one video: a value per segment."""

Timelines = Sequence[Sequence[Sequence[Sequence[bool]]]]
"""Nested as [videos][segments][modalities (audio, visual)][events]."""

LEVELS = ("segment", "event")
TRACKS = ("audio", "visual", "audio_visual")
SCORES = (*TRACKS, "type_av", "event_av")


class Counts(NamedTuple):
    tp: int
    fp: int
    fn: int

    def plus(self, other: "Counts") -> "Counts":
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    def f_score(self) -> float | None:
        """F in [0, 1], or None when neither prediction nor truth has anything."""
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total > 0 else None


def runs(line: Line) -> list[tuple[int, int]]:
    """The maximal runs of active segments as (first, last + 1)."""
    found = []
    start = None
    for position, active in enumerate([*line, False]):
        if active and start is None:
            start = position
        elif not active and start is not None:
            found.append((start, position))
            start = None
    return found


def matches(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two runs have an intersection over union of at least one half, in whole numbers."""
    first, second = set(range(*one)), set(range(*other))
    return 2 * len(first & second) >= len(first | second)


def segment_counts(prediction: Line, truth: Line) -> Counts:
    tp = fp = fn = 0
    for predicted, true in zip(prediction, truth, strict=True):
        if predicted and true:
            tp += 1
        elif predicted:
            fp += 1
        elif true:
            fn += 1
    return Counts(tp, fp, fn)


def event_counts(prediction: Line, truth: Line) -> Counts:
    predicted_runs, true_runs = runs(prediction), runs(truth)
    tp = fp = fn = 0
    for predicted in predicted_runs:
        if any(matches(predicted, true) for true in true_runs):
            tp += 1
        else:
            fp += 1
    for true in true_runs:
        if not any(matches(predicted, true) for predicted in predicted_runs):
            fn += 1
    return Counts(tp, fp, fn)


def line_of(timelines: Timelines, video: int, track: str, event: int) -> Line:
    line = []
    for segment in timelines[video]:
        audio, visual = segment[0][event], segment[1][event]
        if track == "audio":
            line.append(audio)
        elif track == "visual":
            line.append(visual)
        else:
            line.append(audio and visual)
    return line


def counts_of(prediction: Timelines, truth: Timelines, level: str, track: str) -> list[list[Counts]]:
    """Counts of one track, nested as [videos][events]."""
    count = segment_counts if level == "segment" else event_counts
    events = range(len(truth[0][0][0]))
    return [
        [count(line_of(prediction, video, track, event), line_of(truth, video, track, event)) for event in events]
        for video in range(len(truth))
    ]


def pooled(one: list[list[Counts]], other: list[list[Counts]]) -> list[list[Counts]]:
    return [
        [of_one.plus(of_other) for of_one, of_other in zip(*video, strict=True)]
        for video in zip(one, other, strict=True)
    ]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def mean_over_videos(counts: list[list[Counts]]) -> float:
    of_videos = []
    for video in counts:
        of_events = [f_score for f_score in (event.f_score() for event in video) if f_score is not None]
        of_videos.append(mean(of_events) if of_events else 1.0)
    return 100 * mean(of_videos)


def over_all_videos(counts: list[list[Counts]]) -> list[float | None]:
    result: list[float | None] = []
    for event in range(len(counts[0])):
        total = Counts(0, 0, 0)
        for video in counts:
            total = total.plus(video[event])
        f_score = total.f_score()
        result.append(None if f_score is None else 100 * f_score)
    return result


class Reference(NamedTuple):
    """In percent: the five scores, and for each track F of each event, None where there is no count."""

    scores: dict[str, float]
    per_event: dict[str, list[float | None]]


def reference(prediction: Timelines, truth: Timelines, level: str) -> Reference:
    counts = {track: counts_of(prediction, truth, level, track) for track in TRACKS}
    scores = {track: mean_over_videos(counts[track]) for track in TRACKS}
    scores["type_av"] = mean([scores[track] for track in TRACKS])
    scores["event_av"] = mean_over_videos(pooled(counts["audio"], counts["visual"]))
    return Reference(scores, {track: over_all_videos(counts[track]) for track in TRACKS})
