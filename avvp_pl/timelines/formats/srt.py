"""SubRip (.srt): subtitles for almost every player. It has no standard, no comments, and no way to escape anything."""

from __future__ import annotations

from pathlib import Path

from avvp_pl.timelines.timeline import Timeline
from avvp_pl.timelines.words import clock, cues

# Players drop <...> and {...}, which they take for styles, so names have signs that look alike; "-->" is gone with them
HARMLESS = str.maketrans({"<": "\u2039", ">": "\u203a", "{": "(", "}": ")"})


def write(timeline: Timeline, folder: Path) -> str:
    """Return the text of the file: a numbered subtitle for each interval, by time."""
    blocks = [
        f"{number}\n{clock(start, ',')} --> {clock(end, ',')}\n{said.translate(HARMLESS)}\n"
        for number, (start, end, said) in enumerate(cues(timeline), start=1)
    ]
    return "\n".join(blocks)
