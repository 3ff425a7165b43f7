"""A label track for Audacity: start, end and label in each row, with tabs between them and no header.

https://manual.audacityteam.org/man/importing_and_exporting_labels.html
"""

from __future__ import annotations

from pathlib import Path

from avvp_pl.timelines.timeline import Timeline
from avvp_pl.timelines.words import caption


def write(timeline: Timeline, folder: Path) -> str:
    """Return the text of the file: a row for each interval, by time."""
    found = sorted(timeline.intervals(), key=lambda one: (one.start, one.end))
    return "".join(f"{one.start:.6f}\t{one.end:.6f}\t{caption(one)}\n" for one in found)
