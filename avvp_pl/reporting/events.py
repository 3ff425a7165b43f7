"""A figure of the scores of every event."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avvp_pl.figures import PAGE, legend_below, look, styled, told_apart, words
from avvp_pl.reporting.drawings import Drawing, handle, over, patch, sentences
from avvp_pl.reporting.localized import LocalizedVideos
from avvp_pl.reporting.videos import TestVideos
from avvp_pl.runs.reading import LOCALIZATION, PARSING, Setting

MOST_BARS = 3  # settings that are drawn as bars; more of them are easier to compare as dots


class Kind(NamedTuple):
    """What the figure shows of a task: the level of its scores, its tracks (None: all), and the words for both."""

    level: str
    tracks: tuple[str, ...] | None
    score: str
    caption: str
    missing: str


KINDS = {
    PARSING: Kind("segment", None, "F1", "F1 of each event at segment level", "neither annotated nor predicted"),
    LOCALIZATION: Kind(
        "map", ("0.3", "0.5", "0.7"), "AP", "Average precision of each event at three thresholds of tIoU", "no instance"
    ),
}


def per_event(settings: Sequence[Setting], videos: TestVideos | LocalizedVideos | None) -> Drawing | None:
    """Draw the F1 of each event at segment level, one panel for each track: bars for up to three settings, else dots.

    In localization it is the average precision, with a panel for each of three thresholds. The most frequent event of
    the truth comes first; without ``videos``, events are sorted by name.
    """
    if not settings:
        return None
    often = frequencies(videos)
    kind = KINDS[settings[0].runs[0].task]
    of_runs = [run.per_event.get(kind.level, {}) for setting in settings for run in setting.runs]
    tracks = [t for t in dict.fromkeys(track for of in of_runs for track in of) if t in (kind.tracks or (t,))]
    names = {event: None for of in of_runs for track in tracks for event in of.get(track, {})}
    if not names:
        return None
    events = sorted(names, key=lambda event: (-often.get(event, 0), event))
    means = {
        track: [[_event_mean(setting, kind.level, track, event) for event in events] for setting in settings]
        for track in tracks
    }
    numbers = tuple(
        {"setting": setting.label, "track": track, "event": event}
        | {"videos": often.get(event), "seeds": len(setting.runs), "mean": mean}
        for track in tracks
        for setting, of_setting in zip(settings, means[track], strict=True)
        for event, mean in zip(events, of_setting, strict=True)
    )
    bars = len(settings) <= MOST_BARS
    with styled():
        figure = Figure(figsize=(PAGE, 0.8 + len(events) * (0.2 if bars else 0.23)))
        panels = figure.subplots(1, len(tracks), sharey=True, squeeze=False)[0]
        for panel, track in zip(panels, tracks, strict=True):
            for place, of_setting in enumerate(means[track]):
                (_bars if bars else _dots)(panel, of_setting, place, len(settings))
            for row in range(len(events)):
                if all(of_setting[row] is None for of_setting in means[track]):
                    panel.text(1.5, row, "none", color="0.5", fontsize=6, va="center")
            panel.set_title(f"tIoU {track}" if kind.level == "map" else words(track.replace("_", "-")))
            panel.set_xlabel(f"{kind.score} (%)")
            panel.set_xlim(-2 if not bars else 0, 102)
            panel.tick_params(axis="y", length=0)
            panel.spines["left"].set_visible(bars)
            panel.grid(visible=False, axis="y")
        labels = told_apart([event.replace("_", " ") for event in events], 30)
        counts = [f" ({often[event]})" if event in often else "" for event in events]
        panels[0].set_yticks(range(len(events)), [*map(str.__add__, labels, counts)])
        panels[0].set_ylim(len(events) - 0.5, -0.5)
        handles: list[Artist] = [patch(i) if bars else handle(i, line=False) for i in range(len(settings))]
        legend_below(figure, handles, told_apart([setting.label for setting in settings]))
    caption = sentences(
        f"{kind.caption}, test split: mean {over([len(s.runs) for s in settings])}",
        "The number of test videos with the event is in brackets; the most frequent event comes first."
        if often
        else "",
        f"'none' means {kind.missing}.",
    )
    return Drawing("per_event", f"{kind.score} of each event", caption, figure, numbers)


def frequencies(videos: TestVideos | LocalizedVideos | None) -> dict[str, int]:
    """Count the videos in which each event truly occurs in any modality; nothing where the videos are not known."""
    if videos is None:
        return {}
    if isinstance(videos, LocalizedVideos):
        having = {(instance.video, instance.event) for instance in videos.annotation.instances}
        counts = Counter(event for _, event in having)
        return {event: counts[event] for event in videos.events}
    occurs = (videos.truth & videos.mask[:, :, None, None]).flatten(1, 2).any(1)  # [N, C]
    return dict(zip(videos.events, occurs.sum(0).tolist(), strict=True))


def _event_mean(setting: Setting, level: str, track: str, event: str) -> float | None:
    """Average over the seeds in which the score is defined; None where it never is."""
    scores = [run.per_event.get(level, {}).get(track, {}).get(event) for run in setting.runs]
    known = [score for score in scores if score is not None]
    return statistics.fmean(known) if known else None


def _bars(panel: Axes, of_setting: Sequence[float | None], place: int, of: int) -> None:
    own, height = look(place), 0.8 / of
    rows = [row for row, mean in enumerate(of_setting) if mean is not None]
    panel.barh(
        [row - 0.4 + (place + 0.5) * height for row in rows],
        [mean for mean in of_setting if mean is not None],
        0.92 * height,
        color=own.color,
        hatch=own.hatch,
        edgecolor="white",
        lw=0,
    )


def _dots(panel: Axes, of_setting: Sequence[float | None], place: int, of: int) -> None:
    own = look(place)
    if place == 0:
        for row in range(1, len(of_setting), 2):
            panel.axhspan(row - 0.5, row + 0.5, color="0.955", lw=0, zorder=0)
    known = [(mean, row) for row, mean in enumerate(of_setting) if mean is not None]
    shift = 0.62 * (place / (of - 1) - 0.5)
    panel.plot(
        [mean for mean, _ in known],
        [row + shift for _, row in known],
        color=own.color,
        marker=own.marker,
        ls="",
        markersize=3.3,
    )
