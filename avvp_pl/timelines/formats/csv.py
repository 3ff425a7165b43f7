"""A table as LLP's annotation: tab-separated, in seconds, with exclusive offsets.

The first four columns are LLP's (``filename, onset, offset, event_labels``); ``modality`` and ``confidence`` follow.
Bounds are those of whole segments, so that the rows of a modality are read back as they were found; the last segment
of a video may therefore end after the video. A modality in which nothing was found has a row without times, as in
LLP's tables, and a modality that the video does not have has no row at all.
"""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

from avvp_pl.timelines.timeline import Timeline
from avvp_pl.timelines.words import encodable

COLUMNS = ("filename", "onset", "offset", "event_labels", "modality", "confidence")


def write(timeline: Timeline, folder: Path) -> str:
    """Return the text of the file."""
    whole = timeline if timeline.detections is not None else replace(timeline, duration=None)
    intervals = whole.intervals()
    file = io.StringIO()
    rows = csv.writer(file, dialect="excel-tab", lineterminator="\n")
    rows.writerow(COLUMNS)
    for track in timeline.known:
        name, modality = encodable(timeline.name), encodable(track)
        of_track = [one for one in intervals if one.modality == track]
        for one in of_track:
            bounds = f"{one.start:.9g}", f"{one.end:.9g}"
            rows.writerow((name, *bounds, encodable(one.event), modality, f"{one.confidence:.4f}"))
        if not of_track:
            rows.writerow((name, "", "", "", modality, ""))
    return file.getvalue()
