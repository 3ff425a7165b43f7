"""A timeline as a table for notebooks."""

from __future__ import annotations

from html import escape

from avvp_pl.timelines.timeline import Interval, Timeline
from avvp_pl.timelines.words import absence, line, spoken


def markup(timeline: Timeline) -> str:
    """Return a table with a row for each track and event that was found, and a bar for each interval.

    All styles are in the elements, because a notebook may show nothing else, and no color is that of a light page only.
    """
    found: dict[tuple[str, str], list[Interval]] = {}
    for one in timeline.intervals():
        found.setdefault((one.modality, one.event), []).append(one)
    rows = "".join(_row(timeline, track, event, own) for (track, event), own in found.items())
    empty = [track for track in timeline.tracks if track not in {track for track, _ in found}]
    rest = "".join(f"<p>{_text(spoken(track))}: {absence(timeline, track)}</p>" for track in empty)
    return (
        f"<div><strong>{_text(line(timeline.name))}</strong> {timeline.seconds:.4g} s"
        f'<table style="width: 100%">{rows}</table>{rest}</div>'
    )


def _row(timeline: Timeline, track: str, event: str, intervals: list[Interval]) -> str:
    bars = "".join(_bar(one, timeline.seconds) for one in intervals)
    lane = "position: relative; height: 1em; min-width: 12em; background: rgba(128, 128, 128, 0.18)"
    return (
        f'<tr><td style="text-align: left">{_text(spoken(track))}</td>'
        f'<td style="text-align: left">{_text(spoken(event))}</td>'
        f'<td style="width: 70%"><div style="{lane}">{bars}</div></td></tr>'
    )


def _bar(one: Interval, seconds: float) -> str:
    place = f"left: {100 * one.start / seconds:.3f}%; width: {100 * (one.end - one.start) / seconds:.3f}%"
    said = f"{one.start:.4g} to {one.end:.4g} s, {one.confidence:.2f}"
    return f'<i title="{said}" style="position: absolute; top: 0; bottom: 0; {place}; background: #3987c5"></i>'


def _text(text: str) -> str:
    return f"<bdi>{escape(text)}</bdi>"
