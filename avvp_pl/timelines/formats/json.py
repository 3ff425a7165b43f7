"""JSON: everything that is known of a timeline; ``schema("timeline")`` describes it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from avvp_pl.timelines.timeline import Timeline


def write(timeline: Timeline, folder: Path) -> str:
    """Return the text of the file. The probabilities of an event are on one line."""
    text = json.dumps(content(timeline, folder), indent=1, allow_nan=False)
    # no text in quotes contains a line break, so these are lists of numbers
    return re.sub(r"\[\n[\d.,e\s-]+\]", lambda numbers: " ".join(numbers[0].split()), text) + "\n"


def content(timeline: Timeline, folder: Path) -> dict[str, Any]:
    """Return what the file says. Probabilities have four decimals, as in ``timelines.json``."""
    return {
        "name": timeline.name,
        "media": None if timeline.media is None else _relative(timeline.media, folder),
        "duration": timeline.seconds,
        "segments": timeline.segments,
        "segment_seconds": timeline.segment_seconds,
        "events": list(timeline.events),
        "modalities": list(timeline.modalities),
        "missing": list(timeline.missing),
        "intervals": [{**one._asdict(), "confidence": round(one.confidence, 4)} for one in timeline.intervals()],
        "probabilities": {
            modality: None if modality in timeline.missing else _probabilities(timeline, m)
            for m, modality in enumerate(timeline.modalities)
        },
        "made_by": dict(timeline.made_by),
    }


def _probabilities(timeline: Timeline, modality: int) -> dict[str, Any]:
    """Return the probabilities of each event in the whole video and in each segment, in one modality."""
    video, segments = timeline.video_probs[modality].tolist(), timeline.probs[:, modality].T.tolist()
    return {
        event: {"video": round(video[number], 4), "segments": [round(one, 4) for one in segments[number]]}
        for number, event in enumerate(timeline.events)
    }


def _relative(media: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(media.absolute(), folder.absolute())).as_posix()
    except ValueError:  # on another drive
        return media.absolute().as_posix()
