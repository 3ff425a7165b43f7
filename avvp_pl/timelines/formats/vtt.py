"""WebVTT: subtitles for the players of browsers, and for VLC and mpv.

https://www.w3.org/TR/webvtt1/
"""

from __future__ import annotations

from pathlib import Path

from avvp_pl.timelines.timeline import Timeline
from avvp_pl.timelines.words import clock, cues, line, spoken


def write(timeline: Timeline, folder: Path) -> str:
    """Return the text of the file: a cue for each interval, by time, and a note for each missing modality."""
    blocks = ["WEBVTT", *(f"NOTE\n{_escaped(note)}" for note in _notes(timeline))]
    for start, end, said in cues(timeline):
        blocks.append(f"{clock(start, '.')} --> {clock(end, '.')}\n{_escaped(said)}")
    return "\n\n".join(blocks) + "\n"


def _notes(timeline: Timeline) -> list[str]:
    return [
        f"{spoken(missing)}: not known, because {line(timeline.name)} has no such track" for missing in timeline.missing
    ]


def _escaped(text: str) -> str:
    """Escape what starts tags and entities. Without ``>`` there is no arrow, which a cue must not contain."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
