"""What the page shows of every test video: its truth, what each method found, and where the two part."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool
from torch import Tensor

from avvp_pl.data.annotations import intervals
from avvp_pl.reporting.statistics import video_scores
from avvp_pl.reporting.videos import Probabilities, TestVideos

KINDS = ("missed", "false", "extent", "inexact", "exact")
MARKS = dict(zip(KINDS, "MFXIC", strict=True))

# two digits of every percent there is; 99 is also what is above
_DIGITS = np.array([f"{percent:02d}" for percent in range(100)], dtype="S2")


@dataclass(frozen=True)
class Found:
    """What one method found in the test videos: the run of ``seed``."""

    prediction: Bool[Tensor, "N T M C"]
    probabilities: Probabilities | None
    seed: int


class Group(NamedTuple):
    """Runs of truth and prediction that hang together, and what is to be said of them; ``offset`` is exclusive."""

    kind: str
    onset: int
    offset: int


class Track(NamedTuple):
    """An event of a video in one modality, a character a segment; several methods stand one behind the other.

    ``truth`` and ``predictions`` are of 0 and 1. ``marks`` has the letter of the :data:`MARKS` for every segment of a
    group, a capital where one begins, and a dot elsewhere. Each of the three is empty where nothing is in it.
    ``percents`` has two digits a segment, of the methods whose probabilities are known.
    """

    truth: str
    predictions: str
    marks: str
    percents: str


class Shown(NamedTuple):
    """An event that a video shows: truly, as some method found, or with a probability of at least 0.5.

    ``likely`` has two digits for every method whose probabilities are known: its video-level probability.
    """

    event: int
    likely: str
    tracks: tuple[Track, ...]


class Video(NamedTuple):
    """A test video. ``media`` is a relative address, ``scores`` each method's mean of all scores on it alone."""

    name: str
    segments: int
    media: str | None
    scores: tuple[float, ...]
    shown: tuple[Shown, ...]


class Method(NamedTuple):
    """A method of which a run is shown."""

    label: str
    seed: int
    probabilities: bool


@dataclass(frozen=True)
class Browser:
    """All that the page needs to browse the test videos."""

    events: tuple[str, ...]
    modalities: tuple[str, ...]
    segment_seconds: float
    methods: tuple[Method, ...]
    videos: tuple[Video, ...]


def browse(videos: TestVideos, found: Mapping[str, Found], media: Mapping[str, Path], page_folder: Path) -> Browser:
    """The test videos with what each method (by its label) found in them.

    ``media`` has the file of each video that can be played; the page in ``page_folder`` names it by its relative path.
    Segments outside a video's mask count for nothing and, at its end, are not shown.
    """
    inside = videos.mask[:, :, None, None]
    truth = (videos.truth & inside).numpy()
    predicted = np.stack([(method.prediction & inside).numpy() for method in found.values()])  # [K, N, T, M, C]
    known = [method.probabilities for method in found.values() if method.probabilities is not None]
    likely = [probabilities.video.numpy() for probabilities in known]
    probable = [(probabilities.segment * inside).numpy() for probabilities in known]
    shown = np.logical_or(truth.any((1, 2)), predicted.any((0, 2, 3)))  # [N, C]
    for video, segment in zip(likely, probable, strict=True):
        shown |= (video >= 0.5) | (segment >= 0.5).any((1, 2))
    likely_digits = np.stack([_digits(video) for video in likely]) if known else None  # [P, N, C]
    digits = np.stack([_digits(segment) for segment in probable]) if known else None  # [P, N, T, M, C]
    scores = [video_scores(method.prediction, videos)[:, -1].tolist() for method in found.values()]  # average
    last = videos.mask.shape[1] - videos.mask.flip(1).int().argmax(1)  # of an all-masked video T, which is as good
    listed = []
    for n, name in enumerate(videos.names):
        segments = int(last[n])
        events = []
        for event in np.flatnonzero(shown[n]).tolist():
            tracks = tuple(
                _track(
                    truth[n, :segments, m, event],
                    predicted[:, n, :segments, m, event],
                    None if digits is None else digits[:, n, :segments, m, event],
                )
                for m in range(len(videos.modalities))
            )
            percents = "" if likely_digits is None else likely_digits[:, n, event].tobytes().decode()
            events.append(Shown(event, percents, tracks))
        address = relative_address(media[name], page_folder) if name in media else None
        listed.append(Video(name, segments, address, tuple(of[n] for of in scores), tuple(events)))
    methods = tuple(Method(label, of.seed, of.probabilities is not None) for label, of in found.items())
    return Browser(videos.events, videos.modalities, videos.segment_seconds, methods, tuple(listed))


def compare(prediction: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> list[Group]:
    """What became of an event in one modality, [T] each: its maximal runs, in groups that overlap, in order of time.

    A true run that no prediction touches is *missed*, a predicted one that touches no truth *false*. Of runs that
    overlap, the *extent* is wrong where one of them matches none of the other side as the event-level score demands
    (intersection over union of at least 0.5); they are *inexact* where all match but not to the segment, and
    *exact* where they are equal. So a track is free of the first three where its event-level F1 is 1.

    >>> compare(np.array([1, 1, 0, 0, 1], dtype=bool), np.array([1, 1, 1, 0, 0], dtype=bool))
    [Group(kind='inexact', onset=0, offset=3), Group(kind='false', onset=4, offset=5)]
    """
    sides = np.stack([prediction, truth], axis=1)
    groups: list[list[tuple[int, int, int]]] = []
    reach = 0
    for run in sorted(intervals(sides), key=lambda run: run[1]):
        if groups and run[1] < reach:  # what reaches here is of the other side: runs of one have gaps between them
            groups[-1].append(run)
        else:
            groups.append([run])
        reach = max(reach, run[2])
    return [Group(_kind(group), group[0][1], max(offset for _, _, offset in group)) for group in groups]


def relative_address(path: Path, folder: Path) -> str:
    """How a page in ``folder`` names a file, as an address: of any file name, also one that is no text.

    >>> relative_address(Path("/media/a b#1?.mp4"), Path("/reports/one"))
    '../../media/a%20b%231%3F.mp4'
    """
    try:
        relative = Path(os.path.relpath(path.absolute(), folder.absolute()))
    except ValueError:  # on another drive
        return path.absolute().as_uri()
    return "/".join(quote(os.fsencode(part), safe="") for part in relative.parts)


def _kind(group: Sequence[tuple[int, int, int]]) -> str:
    predicted, true = ([run[1:] for run in group if run[0] == side] for side in (0, 1))
    if not predicted:
        return "missed"
    if not true:
        return "false"
    if predicted == true:
        return "exact"
    matches = sum(_match(run, other) for run in predicted for other in true)
    return "inexact" if matches == len(predicted) == len(true) else "extent"


def _match(run: tuple[int, int], other: tuple[int, int]) -> bool:
    intersection = min(run[1], other[1]) - max(run[0], other[0])
    return 3 * intersection >= (run[1] - run[0]) + (other[1] - other[0])  # as in metrics.avvp


def _track(
    truth: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_], digits: npt.NDArray[np.bytes_] | None
) -> Track:
    """Of [T] truth, [K, T] predictions and [P, T] digits."""
    marks = ""
    if truth.any() or predicted.any():
        marks = "".join(_marks(prediction, truth) for prediction in predicted)
    return Track(
        _bits(truth),
        _bits(predicted),
        marks,
        "" if digits is None else digits.tobytes().decode(),
    )


def _marks(prediction: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> str:
    marks = ["."] * len(truth)
    for kind, onset, offset in compare(prediction, truth):
        marks[onset:offset] = MARKS[kind] + MARKS[kind].lower() * (offset - onset - 1)
    return "".join(marks)


def _bits(track: npt.NDArray[np.bool_]) -> str:
    return (track.astype(np.uint8) + ord("0")).tobytes().decode() if track.any() else ""


def _digits(probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.bytes_]:
    """Probabilities in percent, never rounded over the threshold: 0.497 is 49, not 50."""
    percents = np.rint(100 * probabilities.astype(np.float64)).clip(0, 99).astype(int)
    below = probabilities < 0.5
    percents[below] = percents[below].clip(max=49)
    digits: npt.NDArray[np.bytes_] = _DIGITS[percents]
    return digits
