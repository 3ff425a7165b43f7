"""What the page shows of every test video: its truth, what each method found, and where the two differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool
from torch import Tensor

from avvp_pl.data.annotations import intervals
from avvp_pl.pages.page import digits_of, relative_address
from avvp_pl.reporting.statistics import video_scores
from avvp_pl.reporting.videos import Probabilities, TestVideos

KINDS = ("missed", "false", "extent", "inexact", "exact")
MARKS = dict(zip(KINDS, "MFXIC", strict=True))


@dataclass(frozen=True)
class Found:
    """What one method, the run with ``seed``, found in the test videos."""

    prediction: Bool[Tensor, "N T M C"]
    probabilities: Probabilities | None
    seed: int


class Group(NamedTuple):
    """Overlapping intervals of truth and prediction, and the kind of their agreement; ``offset`` is exclusive."""

    kind: str
    onset: int
    offset: int


class Track(NamedTuple):
    """An event of a video in one modality: strings with one character for each segment, one method after another.

    ``truth`` and ``predictions`` consist of 0 and 1. ``marks`` has a letter of :data:`MARKS` for every segment of a
    group, a capital letter where a group begins, and a dot elsewhere. Each of the three is empty where it would say
    nothing. ``percents`` has two digits for each segment, and ``likely`` two digits for the video as a whole, both for
    the methods whose probabilities are known.
    """

    truth: str
    predictions: str
    marks: str
    percents: str
    likely: str


class Intervals(NamedTuple):
    """An event of a video in localization, in seconds: its instances, and what each method found and missed.

    ``found`` has, for each method, a letter of :data:`MARKS`, start, end, and score; None where an instance is missed.
    ``percents`` has two digits for each point of the curve, and ``likely`` two digits for the video as a whole, for
    each of the methods whose probabilities are known.
    """

    truth: tuple[tuple[float, float], ...]
    found: tuple[tuple[tuple[str, float, float, float | None], ...], ...]
    percents: tuple[str, ...]
    likely: str


class Shown(NamedTuple):
    """An event of a video that is worth showing: it occurs, a method found it, or a probability is at least 0.5."""

    event: int
    tracks: tuple[Track | Intervals, ...]


class Video(NamedTuple):
    """A test video. ``media`` is a relative address; ``scores`` are the mean of all scores on this video, by method."""

    name: str
    segments: int
    media: str | None
    scores: tuple[float, ...]
    shown: tuple[Shown, ...]


class Method(NamedTuple):
    """A method of which the page can show one run; ``shown`` are those that it shows at first."""

    label: str
    seed: int
    probabilities: bool
    shown: bool


@dataclass(frozen=True)
class Browser:
    """Everything that the page needs to browse the test videos; ``timed``: its tracks are :class:`Intervals`."""

    events: tuple[str, ...]
    modalities: tuple[str, ...]
    segment_seconds: float
    methods: tuple[Method, ...]
    videos: tuple[Video, ...]
    timed: bool = False


def browse(
    videos: TestVideos,
    found: Mapping[str, Found],
    media: Mapping[str, Path],
    page_folder: Path,
    shown_first: Collection[str] | None = None,
) -> Browser:
    """Return the test videos with what each method (by its label) found in them.

    ``media`` has the file of each video that can be played; the page in ``page_folder`` refers to it by its relative
    path. ``shown_first`` are the methods that the page shows before others are chosen; None: all.
    """
    inside = videos.mask[:, :, None, None]
    truth = (videos.truth & inside).numpy()
    predicted = np.stack([(method.prediction & inside).numpy() for method in found.values()])  # [K, N, T, M, C]
    known = [method.probabilities for method in found.values() if method.probabilities is not None]
    likely = [probabilities.video.numpy() for probabilities in known]
    probable = [(probabilities.segment * inside).numpy() for probabilities in known]
    shown = np.logical_or(truth.any((1, 2)), predicted.any((0, 2, 3)))  # [N, C]
    for video, segment in zip(likely, probable, strict=True):
        shown |= (video >= 0.5).any(1) | (segment >= 0.5).any((1, 2))
    likely_digits = [digits_of(video) for video in likely]  # of each method [N, M, C]
    digits = [digits_of(segment) for segment in probable]  # of each method [N, T, M, C]
    scores = [video_scores(method.prediction, videos)[:, -1].tolist() for method in found.values()]  # average
    listed = []
    for n, (name, segments) in enumerate(zip(videos.names, videos.lengths, strict=True)):
        events = []
        for event in np.flatnonzero(shown[n]).tolist():
            tracks = tuple(
                _track(
                    truth[n, :segments, m, event],
                    predicted[:, n, :segments, m, event],
                    [of_method[n, :segments, m, event] for of_method in digits],
                    [of_method[n, m, event] for of_method in likely_digits],
                )
                for m in range(len(videos.modalities))
            )
            events.append(Shown(event, tracks))
        address = relative_address(media[name], page_folder) if name in media else None
        listed.append(Video(name, segments, address, tuple(of[n] for of in scores), tuple(events)))
    methods = tuple(
        Method(label, of.seed, of.probabilities is not None, shown_first is None or label in shown_first)
        for label, of in found.items()
    )
    return Browser(videos.events, videos.modalities, videos.segment_seconds, methods, tuple(listed))


def compare(prediction: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> list[Group]:
    """Compare prediction and truth, [T] each, of an event in one modality: groups of overlapping intervals, by time.

    A true interval that overlaps no prediction is *missed*, and a predicted one that overlaps no truth is *false*.
    Where intervals overlap, the *extent* is wrong if one of them matches no interval of the other side by the rule of
    the event-level score (intersection over union of at least 0.5). They are *inexact* if all match but some bounds
    differ, and *exact* if they are equal. So the event-level F1 of a track is 1 exactly if it has none of the first
    three.

    >>> compare(np.array([1, 1, 0, 0, 1], dtype=bool), np.array([1, 1, 1, 0, 0], dtype=bool))
    [Group(kind='inexact', onset=0, offset=3), Group(kind='false', onset=4, offset=5)]
    """
    sides = np.stack([prediction, truth], axis=1)
    groups: list[list[tuple[int, int, int]]] = []
    reach = 0
    for interval in sorted(intervals(sides), key=lambda interval: interval[1]):
        if (
            groups and interval[1] < reach
        ):  # it overlaps one of the other side: those of one side have gaps between them
            groups[-1].append(interval)
        else:
            groups.append([interval])
        reach = max(reach, interval[2])
    return [Group(_kind(group), group[0][1], max(offset for _, _, offset in group)) for group in groups]


def _kind(group: Sequence[tuple[int, int, int]]) -> str:
    predicted, true = ([bounds for of_side, *bounds in group if of_side == side] for side in (0, 1))
    if not predicted:
        return "missed"
    if not true:
        return "false"
    if predicted == true:
        return "exact"
    matches = sum(_match(one, other) for one in predicted for other in true)
    return "inexact" if matches == len(predicted) == len(true) else "extent"


def _match(one: Sequence[int], other: Sequence[int]) -> bool:
    """Return whether the intersection over union is at least 0.5, in whole numbers as in metrics.avvp."""
    intersection = min(one[1], other[1]) - max(one[0], other[0])
    return 3 * intersection >= (one[1] - one[0]) + (other[1] - other[0])


def _track(
    truth: npt.NDArray[np.bool_],
    predicted: npt.NDArray[np.bool_],
    digits: Sequence[npt.NDArray[np.bytes_]],
    likely: Sequence[np.bytes_],
) -> Track:
    """Write down a track: its truth [T], predictions [K, T], and for P methods the digits [T] and one for the video."""
    marks = ""
    if truth.any() or predicted.any():
        marks = "".join(_marks(prediction, truth) for prediction in predicted)
    return Track(
        _bits(truth),
        _bits(predicted),
        marks,
        b"".join(of_method.tobytes() for of_method in digits).decode(),
        b"".join(likely).decode(),
    )


def _marks(prediction: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> str:
    marks = ["."] * len(truth)
    for kind, onset, offset in compare(prediction, truth):
        marks[onset:offset] = MARKS[kind] + MARKS[kind].lower() * (offset - onset - 1)
    return "".join(marks)


def _bits(track: npt.NDArray[np.bool_]) -> str:
    return (track.astype(np.uint8) + ord("0")).tobytes().decode() if track.any() else ""
