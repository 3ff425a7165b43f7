"""The timeline of one video: which events occur in it, heard or seen, and when."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from avvp_pl.data.annotations import intervals as runs_of

Fact: TypeAlias = str | int | float | None


class Interval(NamedTuple):
    """An event from ``start`` to ``end``, in seconds; in localization ``confidence`` is a score, not a probability."""

    modality: str
    event: str
    start: float
    end: float
    confidence: float


class Source(NamedTuple):
    """What is known of the file of a video: where it is, its duration in seconds, and the modalities it lacks."""

    media: Path | None = None
    duration: float | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Timeline:
    """What was found in one video of T segments, in M modalities, of C events.

    ``found`` [T, M, C] says which events occur in which segments; ``probs`` [T, M, C] are their probabilities before
    any threshold, and ``video_probs`` [M, C] those of the whole video. ``duration`` is the real one in seconds, which
    need not be a whole number of segments; None: that of all segments. ``media`` is the video's file, if it is known.

    ``missing`` are modalities that the file does not have, such as the sound of a silent film. What occurs in them is
    not known: they have no intervals, and every format says so if it can. ``detections`` are intervals that a model for
    localization found, which then take the place of ``found``. ``made_by`` are facts such as the checkpoint.

    >>> found = np.array([[[True]], [[True]], [[False]]])
    >>> timeline = Timeline("clip", ("Dog",), ("audio",), 1.0, found, 0.9 * found, np.ones((1, 1)), duration=2.8)
    >>> timeline.intervals()
    [Interval(modality='audio', event='Dog', start=0.0, end=2.0, confidence=0.9)]
    """

    name: str
    events: tuple[str, ...]
    modalities: tuple[str, ...]
    segment_seconds: float
    found: npt.NDArray[np.bool_]
    probs: npt.NDArray[np.floating]
    video_probs: npt.NDArray[np.floating]
    duration: float | None = None
    media: Path | None = None
    missing: tuple[str, ...] = ()
    detections: tuple[Interval, ...] | None = None
    made_by: Mapping[str, Fact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        arrays = {name: np.asarray(getattr(self, name)) for name in ("found", "probs", "video_probs")}
        axes = len(self.modalities), len(self.events)
        shapes = {"found": (len(arrays["found"]), *axes), "probs": (len(arrays["found"]), *axes), "video_probs": axes}
        for name, array in arrays.items():
            if array.shape != shapes[name]:
                raise ValueError(f"{name} of {self.name} has the shape {array.shape}; it must have {shapes[name]}")
            object.__setattr__(self, name, array)
        if self.found.dtype != np.bool_:
            raise ValueError(f"found of {self.name} must be booleans, but is {self.found.dtype}")
        if unknown := set(self.missing) - set(self.modalities):
            raise ValueError(f"missing of {self.name}: {min(unknown)} is not among {', '.join(self.modalities)}")
        if self.duration is not None and not 0 < self.duration < np.inf:
            raise ValueError(f"duration of {self.name} is {self.duration}; it must be a number of seconds above 0")

    @property
    def segments(self) -> int:
        """T, the number of segments."""
        return len(self.found)

    @property
    def seconds(self) -> float:
        """The real duration of the video; that of all segments where it is not known."""
        return self.segments * self.segment_seconds if self.duration is None else self.duration

    @property
    def tracks(self) -> tuple[str, ...]:
        """What intervals can have as their modality. A detection is of all modalities together: ``rgb+flow``."""
        return self.modalities if self.detections is None else ("+".join(self.modalities),)

    @property
    def known(self) -> tuple[str, ...]:
        """The tracks of which something is known: all but those of missing modalities."""
        return tuple(track for track in self.tracks if track not in self.missing)

    def intervals(self) -> list[Interval]:
        """Return what was found: by modality, then by event, then by time.

        The confidence of an interval is the mean of the probabilities of its segments; that of a detection is its
        score. No interval reaches past the real end of the video, and what begins behind it is left out.
        """
        bounded = (one._replace(start=max(0.0, one.start), end=min(one.end, self.seconds)) for one in self._unbounded())
        return [one for one in bounded if one.start < one.end]

    def _unbounded(self) -> list[Interval]:
        if self.detections is not None:
            place = {event: number for number, event in enumerate(self.events)}
            return sorted(self.detections, key=lambda one: (place[one.event], one.start, one.end))
        return [
            Interval(
                modality,
                self.events[event],
                start * self.segment_seconds,
                end * self.segment_seconds,
                float(self.probs[start:end, m, event].mean()),
            )
            for m, modality in enumerate(self.modalities)
            if modality not in self.missing
            for event, start, end in runs_of(self.found[:, m])
        ]

    def save(self, path: str | Path, format: str | None = None, *, embed_media: bool = False) -> Path:  # noqa: A002
        """Write the timeline into one file, and return its path.

        ``format`` is ``json``, ``csv``, ``vtt``, ``srt``, ``audacity``, ``elan`` or ``html``; None: by the ending of
        the file, which is ``.txt`` for Audacity's labels and ``.eaf`` for ELAN. Files refer to the media file by its
        relative path. With ``embed_media`` a page (html) contains it, so that it can be sent to others as one file.
        Raises :class:`~avvp_pl.errors.InputError` for an ending that is no format's, or where the file cannot be
        written.
        """
        from avvp_pl.timelines.saving import save

        return save([self], Path(path), format, embed_media)

    def table(self, encoding: str = "utf-8") -> str:
        """Return the timeline as text for a terminal; signs that ``encoding`` does not have are replaced."""
        from avvp_pl.timelines.text import table

        return table(self, encoding)

    def __str__(self) -> str:
        return self.table(getattr(sys.stdout, "encoding", None) or "utf-8")

    def __repr__(self) -> str:
        found = len(self.intervals())
        return f"Timeline({self.name!r}, {self.seconds:g} s, {found} interval{'' if found == 1 else 's'})"

    def _repr_html_(self) -> str:
        from avvp_pl.timelines.notebook import markup

        return markup(self)
