"""Detections against the truth: pictures of chosen test videos, and what the page shows of all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from avvp_pl.data.names import composed
from avvp_pl.errors import InputError, nearest, quote
from avvp_pl.figures import INK, PAGE, TRUTH, legend_below, look, styled, told_apart, words
from avvp_pl.pages.page import digits_of, pooled, relative_address
from avvp_pl.reporting.browser import MARKS, Browser, Intervals, Method, Shown, Video
from avvp_pl.reporting.drawings import Drawing, sentences
from avvp_pl.reporting.examples import CHOSEN_BY_DISAGREEMENT, not_truth, said_runs
from avvp_pl.reporting.localized import FoundIntervals, LocalizedVideos, Outcome

PICTURES = 4  # videos that are drawn where none are chosen
MOST_EVENTS = 4  # of a video in its picture
SCORED = 12  # detections of a method and event up to which scores are written beside them


def draw_examples(
    videos: LocalizedVideos, found: Mapping[str, FoundIntervals], chosen: Sequence[str] | None
) -> list[Drawing]:
    """Draw each chosen video: its instances and, below them, the detections and the curve of each method.

    Without a choice, these are the videos on which the methods disagree most (:func:`choose`). Raises
    :class:`InputError` where a name is not a test video.
    """
    if not found:
        return []
    drawings = []
    for number, name in enumerate(map(composed, choose(videos, found) if chosen is None else chosen), start=1):
        if name not in videos.rows:
            raise InputError(f"{quote(name)} is not a video of the test split.{nearest(name, videos.names)}")
        events = _events_of(videos, found, videos.rows[name])
        figure = _picture(videos, found, videos.rows[name], events[:MOST_EVENTS])
        labels = told_apart([TRUTH, *map(not_truth, found)])
        caption = sentences(
            f"Test video {words(name)}. In each panel, from top to bottom: {', '.join(labels)}.",
            said_runs({label: of.seed for label, of in found.items()}),
            "Bars are the best detections of each event over all test videos, as many as it has instances; they are "
            "darker where their scores are higher. A line is the probability of each segment; its lane is from 0 to 1."
            if any(of.curves is not None for of in found.values())
            else "Bars are the best detections of each event over all test videos, as many as it has instances; they "
            "are darker where their scores are higher.",
            "Gray shade is where the event truly occurs.",
            f"{len(events) - MOST_EVENTS} further events are not drawn." if len(events) > MOST_EVENTS else "",
            CHOSEN_BY_DISAGREEMENT if chosen is None else "",
        )
        drawings.append(Drawing(f"fig3_{number}", f"Detections in {words(name)}", caption, figure))
    return drawings


def choose(videos: LocalizedVideos, found: Mapping[str, FoundIntervals], count: int = PICTURES) -> list[str]:
    """Return the names of ``count`` videos on which the methods disagree most, if possible with different events.

    Disagreement is the difference between the highest and the lowest F1 of a method in a video, or for a single method
    what its F1 lacks to 100. Of equal videos, the first one is taken.
    """
    scored = sorted(frozenset.intersection(*(of.scored for of in found.values())))
    f1 = {row: [of.f1(row) for of in found.values()] for row in scored}
    apart_by = {row: max(values) - min(values) if len(values) > 1 else 100 - values[0] for row, values in f1.items()}
    occurring = {row: set(videos.instances_of(row)) for row in scored}
    open_rows = [row for row in scored if apart_by[row] and occurring[row]]
    seen: set[int] = set()
    chosen: list[str] = []
    while open_rows and len(chosen) < count:
        row = min(open_rows, key=lambda row: (len(occurring[row] & seen), -apart_by[row], row))
        open_rows.remove(row)
        seen |= occurring[row]
        chosen.append(videos.names[row])
    return chosen


def _events_of(videos: LocalizedVideos, found: Mapping[str, FoundIntervals], row: int) -> list[int]:
    """Return the events that occur in a video or were found in it; first those that occur."""
    true = videos.instances_of(row)
    others = {event for of in found.values() for event in of.of_video(row)}
    return [*sorted(true), *sorted(others - set(true))]


def _picture(videos: LocalizedVideos, found: Mapping[str, FoundIntervals], row: int, events: Sequence[int]) -> Figure:
    lanes = 1 + len(found)
    length = max([videos.seconds(row), 0.1, *(end for of in videos.instances_of(row).values() for _, end in of)])
    with styled():
        figure = Figure(figsize=(PAGE, 0.75 + max(1, len(events)) * (0.25 + 0.26 * lanes)))
        figure.suptitle(words(videos.names[row], 100), x=0.01, ha="left")
        panels = np.atleast_1d(figure.subplots(max(1, len(events)), 1, sharex=True))
        for panel in panels:
            panel.set_xlim(0, length)
            panel.set_ylim(lanes, -0.05)  # the truth on top
            panel.set_yticks([])
            panel.grid(visible=False, axis="y")
            panel.spines["left"].set_visible(False)
        for event, panel in zip(events, panels, strict=False):
            panel.set_title(words(videos.events[event].replace("_", " ")))
            for start, end in videos.instances_of(row).get(event, ()):
                panel.add_patch(Rectangle((start, 0), end - start, lanes, facecolor=INK, alpha=0.1, lw=0, zorder=0.5))
                panel.add_patch(Rectangle((start, 0.2), end - start, 0.6, facecolor=INK, lw=0))
            for place, of in enumerate(found.values()):
                _lane(
                    panel,
                    of,
                    place,
                    of.outcomes.get((row, event), ()),
                    _curve(videos, of, row, event),
                    videos.segment_seconds,
                )
        panels[-1].set_xlabel("time (s)")
        panels[-1].xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10]))
        handles = [Rectangle((0, 0), 1, 1, facecolor=INK, lw=0)]
        handles += [Rectangle((0, 0), 1, 1, facecolor=look(i).color, lw=0) for i in range(len(found))]
        legend_below(figure, handles, told_apart([TRUTH, *map(not_truth, found)]))
    return figure


def _lane(
    panel: Axes,
    of: FoundIntervals,
    place: int,
    outcomes: Sequence[Outcome],
    curve: Float[Tensor, " T"] | None,
    segment_seconds: float,
) -> None:
    """Draw the detections of a method in its lane, the best ones on top, and its curve over them."""
    color, top = look(place).color, place + 1
    detections = sorted((one.score, one.start, one.end) for one in outcomes if one.score is not None)
    best = max((score for score, *_ in detections), default=0.0)
    for score, start, end in detections:
        share = max(0.0, score / best) if best > 0 else 1.0
        paint: dict[str, Any] = {"facecolor": color, "alpha": 0.25 + 0.6 * share, "lw": 0}
        panel.add_patch(Rectangle((start, top + 0.25), end - start, 0.6, **paint))
        if len(detections) <= SCORED:
            panel.text((start + end) / 2, top + 0.24, f"{score:.2f}", ha="center", fontsize=4.5, color="0.35")
    if curve is not None and len(curve):
        seconds = np.arange(len(curve) + 1) * segment_seconds
        heights = top + 0.92 - 0.84 * np.append(curve.numpy(), curve[-1])
        panel.add_line(Line2D(seconds, heights, color=color, lw=0.7, drawstyle="steps-post"))


def _curve(videos: LocalizedVideos, of: FoundIntervals, row: int, event: int) -> Float[Tensor, " T"] | None:
    """Return the probability of an event in each segment of a video."""
    if of.curves is None:
        return None
    start = sum(videos.lengths[:row])
    return of.curves[start : start + videos.lengths[row], event]


def browse_intervals(
    videos: LocalizedVideos,
    found: Mapping[str, FoundIntervals],
    media: Mapping[str, Path],
    page_folder: Path,
    shown_first: Collection[str] | None = None,
) -> Browser:
    """Return the scored test videos with the best detections of each method, as :func:`draw_examples` has them.

    The arguments are those of :func:`~avvp_pl.reporting.browser.browse`. The score of a video is the F1 of these
    detections. Probabilities are means over modalities.
    """
    scored = frozenset.intersection(*(of.scored for of in found.values()))
    listed = []
    for row in sorted(scored):
        name, true = videos.names[row], videos.instances_of(row)
        events = []
        for event in sorted(_events_of(videos, found, row)):
            known = [of for of in found.values() if of.curves is not None and of.likely is not None]
            likely = [digits_of(of.likely[row, event : event + 1].numpy()) for of in known if of.likely is not None]
            curves = [_curve(videos, of, row, event) for of in known]
            track = Intervals(
                tuple((round(start, 2), round(end, 2)) for start, end in true.get(event, ())),
                tuple(tuple(map(_group, of.outcomes.get((row, event), ()))) for of in found.values()),
                tuple(digits_of(pooled(curve.numpy())).tobytes().decode() for curve in curves if curve is not None),
                b"".join(digits.tobytes() for digits in likely).decode(),
            )
            events.append(Shown(event, (track,)))
        address = relative_address(media[name], page_folder) if name in media else None
        scores = tuple(of.f1(row) for of in found.values())
        listed.append(Video(name, videos.lengths[row], address, scores, tuple(events)))
    methods = tuple(
        Method(label, of.seed, of.curves is not None, shown_first is None or label in shown_first)
        for label, of in found.items()
    )
    modality = videos.modalities[0] if len(videos.modalities) == 1 else "all modalities"
    return Browser(videos.events, (modality,), videos.segment_seconds, methods, tuple(listed), timed=True)


def _group(one: Outcome) -> tuple[str, float, float, float | None]:
    score = None if one.score is None else float(f"{one.score:.3g}")
    return MARKS[one.kind], round(one.start, 2), round(one.end, 2), score
