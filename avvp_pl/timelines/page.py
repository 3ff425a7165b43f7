"""Timelines as a page (:mod:`avvp_pl.pages.page`): a player, and tracks of all events that go with it."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avvp_pl.errors import InputError, printable
from avvp_pl.figures import COLORS
from avvp_pl.pages.page import BASE, MOST_POINTS, TRACKS, Asset, digits_of, pooled, relative_address, write_page
from avvp_pl.timelines.timeline import Timeline
from avvp_pl.timelines.words import line, spoken

TEMPLATE, STYLE, SCRIPT = (Asset("avvp_pl.timelines", f"timelines.{kind}") for kind in ("html", "css", "js"))
LARGEST = 64 * 2**20  # bytes of all media that a page can contain: browsers are slow with larger pages
ALL_EVENTS = 8 * 2**20  # bytes of curves up to which a page also has those of events that were not found


def write_timelines(
    path: Path, timelines: Sequence[Timeline], title: str | None = None, embed_media: bool = False
) -> None:
    """Write a page of some videos, which have the same events and modalities.

    It refers to the media files by their relative addresses, or contains them if ``embed_media`` is set. ``title`` is
    that of the page; None: the name of the only video, or their number. Raises
    :class:`~avvp_pl.errors.InputError` where media cannot be read or are too large, or the page cannot be written.
    """
    if embed_media:
        _check_size(path, timelines)
    if title is None:
        title = line(timelines[0].name) if len(timelines) == 1 else f"Timelines of {len(timelines)} videos"
    content = content_of(timelines, path.parent, embed_media)
    write_page(path, TEMPLATE, (BASE[0], TRACKS[0], STYLE), (BASE[1], TRACKS[1], SCRIPT), title, content, embed_media)


def content_of(timelines: Sequence[Timeline], folder: Path, embed_media: bool) -> dict[str, Any]:
    """Return what the script of the page reads."""
    if len({(one.events, one.tracks, one.segment_seconds) for one in timelines}) != 1:
        raise ValueError("a page needs at least one video, and all its videos must have the same events and modalities")
    first = timelines[0]
    points = sum(len(first.tracks) * len(first.events) * min(one.segments, MOST_POINTS) for one in timelines)
    return {
        "colors": COLORS,
        "events": [spoken(event) for event in first.events],
        "tracks": [spoken(track) for track in first.tracks],
        "seconds": first.segment_seconds,
        "scored": first.detections is not None,
        "madeBy": [(line(name), line(str(value))) for name, value in first.made_by.items()],
        "videos": [
            {
                "name": printable(one.name),
                "length": one.seconds,
                "segments": one.segments,
                "media": _address(one, folder, embed_media),
                "missing": [m for m, track in enumerate(one.tracks) if track in one.missing],
                "events": list(_events(one, with_others=2 * points <= ALL_EVENTS)),
            }
            for one in timelines
        ],
    }


def _events(timeline: Timeline, with_others: bool) -> Iterator[tuple[int, list[Any]]]:
    """Yield the number of each event, and for each track its intervals, its curve, and its probability in the video.

    Without others, only events that were found are among them. A missing track is None.
    """
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for one in timeline.intervals():
        bounds = round(one.start, 3), round(one.end, 3), round(one.confidence, 4)
        found.setdefault((one.modality, one.event), []).append(bounds)
    curves, likely = _probabilities(timeline)
    for number, event in enumerate(timeline.events):
        if with_others or any((track, event) in found for track in timeline.tracks):
            yield (
                number,
                [
                    None
                    if track in timeline.missing
                    else (
                        found.get((track, event), []),
                        _digits(pooled(curves[:, m, number])),
                        _digits(likely[m, number]),
                    )
                    for m, track in enumerate(timeline.tracks)
                ],
            )


def _probabilities(timeline: Timeline) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Return the probabilities of segments and of the video by track: in localization, means over modalities."""
    if timeline.detections is None:
        return timeline.probs, timeline.video_probs
    return timeline.probs.mean(1, keepdims=True), timeline.video_probs.mean(0, keepdims=True)


def _digits(probabilities: npt.NDArray[np.floating]) -> str:
    return digits_of(np.atleast_1d(probabilities)).tobytes().decode()


def _address(timeline: Timeline, folder: Path, embed: bool) -> str | None:
    """Return the address of the media file of a video, which contains the file itself if it is embedded."""
    media = timeline.media
    if media is None:
        return None
    if not embed:
        return relative_address(media, folder)
    try:
        content = base64.b64encode(media.read_bytes()).decode()
    except OSError as error:
        raise InputError(f"{media}: cannot be read ({error.strerror or error})") from None
    return f"data:{mimetypes.guess_type(media.name)[0] or 'video/mp4'};base64,{content}"


def _check_size(path: Path, timelines: Sequence[Timeline]) -> None:
    try:
        size = sum(one.media.stat().st_size for one in timelines if one.media is not None)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
    if size > LARGEST:
        raise InputError(
            f"{path}: the media files have {size / 2**20:.0f} MiB, but a page can contain {LARGEST / 2**20:.0f}; leave "
            "embed_media out, so that it refers to them"
        )
