"""Timelines that are small enough to be worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from avvp_pl.timelines.timeline import Interval, Timeline

EVENTS = ("Speech", "Dog", "Frying_(food)")


def clip(**changed: Any) -> Timeline:
    """Four segments of a second, of which the file has 3.6: Dog is heard twice, and seen at the end with Speech."""
    found = np.zeros((4, 2, 3), dtype=bool)
    found[[0, 1, 3], 0, 1] = True
    found[2:, 1, 1] = True
    found[3, 1, 0] = True
    probs = np.full((4, 2, 3), 0.125)
    probs[found] = [0.75, 0.5, 0.875, 0.625, 0.75, 1.0]  # by time, then modality, then event
    arguments: dict[str, Any] = {
        "name": "clip",
        "events": EVENTS,
        "modalities": ("audio", "visual"),
        "segment_seconds": 1.0,
        "found": found,
        "probs": probs,
        "video_probs": np.array([[0.1, 0.9, 0.2], [0.8, 0.7, 0.3]]),
        "duration": 3.6,
        "made_by": {"avvp_pl": "0.1.0", "segments": 4, "rate": 0.5, "protocol": None},
    }
    return Timeline(**{**arguments, **changed})


# probs[found] is filled in the order of the axes: time, modality, event
INTERVALS = [
    ("audio", "Dog", 0.0, 2.0, (0.75 + 0.5) / 2),
    ("audio", "Dog", 3.0, 3.6, 0.625),
    ("visual", "Speech", 3.0, 3.6, 0.75),
    ("visual", "Dog", 2.0, 3.6, (0.875 + 1.0) / 2),
]


def detected(*spans: tuple[str, float, float, float], **changed: Any) -> Timeline:
    """A timeline of localization with these detections: event, start, end, score."""
    return clip(detections=tuple(Interval("audio+visual", *span) for span in spans), **changed)


def at(folder: Path, name: str) -> Path:
    """A file in a folder beside that of the page."""
    path = folder / "media" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"media")
    return path
