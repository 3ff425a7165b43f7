"""A timeline as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from rich.cells import cell_len

from avvp_pl.timelines.timeline import Interval, Timeline
from avvp_pl.timelines.words import absence, line, spoken

WIDEST = 40  # columns of a bar
LISTED = 6  # intervals of an event whose times are shown


def table(timeline: Timeline, encoding: str) -> str:
    """Return a line for each track and event that was found: a bar of the whole video, times, and confidences."""
    marks = "█·" if _can("█·", encoding) else "#."
    intervals = timeline.intervals()
    tracks = [
        (track, list(_rows(timeline, [one for one in intervals if one.modality == track], marks)))
        for track in timeline.tracks
    ]
    width = max((cell_len(text) for _, rows in tracks for text, _ in rows), default=0)
    lines = [f"{line(timeline.name)}: {_seconds(timeline.seconds)} s, {_counted(timeline.segments, 'segment')}"]
    for track, rows in tracks:
        lines.append(f"{spoken(track)}{'' if rows else f': {absence(timeline, track)}'}")
        lines += [f"  {text}{' ' * (width - cell_len(text))}  {said}" for text, said in rows]
    return "\n".join(lines).encode(encoding, "backslashreplace").decode(encoding)


def _rows(timeline: Timeline, intervals: Sequence[Interval], marks: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each event in the intervals of a track, and what there is to say of it."""
    for event in timeline.events:
        own = [one for one in intervals if one.event == event]
        if own:
            yield spoken(event), f"{_bar(own, timeline, marks)}  {_times(own)}"


def _times(intervals: Sequence[Interval]) -> str:
    """Return the times of the most confident intervals, and how many others there are."""
    best = sorted(intervals, key=lambda one: -one.confidence)[:LISTED]
    times = [f"{_seconds(one.start)}-{_seconds(one.end)} s ({one.confidence:.2f})" for one in intervals if one in best]
    return ", ".join(times) + (f" and {len(intervals) - len(best)} more" if len(intervals) > len(best) else "")


def _bar(intervals: Sequence[Interval], timeline: Timeline, marks: str) -> str:
    """Return a column for each segment, or for equal parts of a video that is long, marked where the event occurs."""
    columns = min(WIDEST, timeline.segments)
    edges = [place * timeline.seconds / columns for place in range(columns + 1)]
    if columns == timeline.segments:  # the last segment may be cut off or longer
        edges = [place * timeline.segment_seconds for place in range(columns + 1)]
    return "".join(
        marks[0 if any(one.start < end and start < one.end for one in intervals) else 1]
        for start, end in pairwise(edges)
    )


def _seconds(time: float) -> str:
    return f"{time:.2f}".rstrip("0").rstrip(".")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _can(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
