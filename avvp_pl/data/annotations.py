"""Reading and writing LLP-format annotation tables (tab-separated, one header line).

Tables of weak labels have the columns ``filename, event_labels`` (events separated by commas). Tables of timelines
have the columns ``filename, onset, offset, event_labels``: each row is one event, with times in seconds and an
exclusive offset. Errors raise :class:`InputError` with the file and the line. Rows that are odd but usable are counted
in an :class:`Oddities` and fixed in the way the public scoring code does.
"""

from __future__ import annotations

import logging
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from avvp_pl.errors import InputError, nearest, quote
from avvp_pl.files import atomic_write

Timelines: TypeAlias = dict[str, npt.NDArray[np.bool_]]

# `float` accepts more (1_0, digits of other alphabets, infinity), but in a table these are signs of damage
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
SEPARATORS = {",": "comma-separated", ";": "separated by semicolons", "  ": "separated by spaces"}


class Oddities(Counter[str]):
    """How often each kind of oddity occurred; the kind also says how it was treated."""

    def report(self, log: logging.Logger) -> None:
        """Log each kind once, with its count."""
        for oddity, count in sorted(self.items()):
            if count:
                log.warning("%d x %s", count, oddity)


def read_weak_labels(path: Path, events: Sequence[str], oddities: Oddities) -> dict[str, list[int]]:
    """Read the event numbers of each listed video, in the order of the file."""
    numbers = {event: number for number, event in enumerate(events)}
    labels: dict[str, list[int]] = {}
    for line, row in _rows(path, ("filename", "event_labels")):
        name = row["filename"]
        if name in labels:
            raise InputError(f"{path}, line {line}: {quote(name)} is listed twice; remove one of the rows")
        named = _events(row["event_labels"])
        found = [_number(event, numbers, path, line) for event in named]
        labels[name] = sorted(set(found))
        oddities[f"{path.name}: rows with an event named twice (counted once)"] += len(found) > len(labels[name])
        oddities[f"{path.name}: videos without any event"] += not found
    if not labels:
        raise InputError(f"{path}: the table has no rows; it must list at least one video")
    return labels


def read_names(path: Path) -> list[str]:
    """Read the videos of a table of weak labels, or of any table with the column ``filename``."""
    lines: dict[str, list[str]] = {}
    for line, row in _rows(path, ("filename",)):
        lines.setdefault(row["filename"], []).append(str(line))
    if not lines:
        raise InputError(f"{path}: the table has no rows; it must list at least one video")
    for name, listed in lines.items():
        if len(listed) > 1:
            raise InputError(
                f"{path}, lines {', '.join(listed)}: {quote(name)} is listed {len(listed)} times; "
                "remove all rows but one"
            )
    return list(lines)


def read_list(path: Path) -> list[str]:
    """Read the names of videos from a file with one name on each line, or with a column ``filename``."""
    lines = [text.strip() for text in _text(path).splitlines()]
    if lines and "filename" in lines[0].split("\t"):
        return read_names(path)
    first: dict[str, int] = {}
    for line, name in enumerate(lines, start=1):
        if "\t" in name:
            raise InputError(
                f"{path}, line {line}: {quote(name)} has several columns; write one name on each line, or a header "
                "line with the column filename"
            )
        if name and first.setdefault(name, line) != line:
            raise InputError(f"{path}, lines {first[name]}, {line}: {quote(name)} is listed twice; remove one of them")
    if not first:
        raise InputError(f"{path}: there is no name in it; write one on each line")
    return list(first)


def read_events(path: Path) -> set[str]:
    """Read all events that occur in a table of either kind."""
    return {event for _, row in _rows(path, ("event_labels",)) for event in _events(row["event_labels"])}


def read_timelines(
    path: Path,
    events: Sequence[str],
    segments: int,
    oddities: Oddities,
    segment_seconds: float = 1.0,
    lengths: Mapping[str, int] | None = None,
) -> Timelines:
    """Read which segments contain which event, [T, C] for each video of the table.

    T is the video's number of segments in ``lengths``, or ``segments`` for a video that is not in it. Overlapping and
    adjacent rows are merged, rows that end at or before their start are ignored, time past the end of the video is cut
    off, and fractions of a segment are truncated. All this is what the public scoring code does, and all is counted.
    """
    lengths = {} if lengths is None else lengths
    numbers = {event: number for number, event in enumerate(events)}
    timelines: Timelines = {}
    for line, row in _rows(path, ("filename", "onset", "offset", "event_labels")):
        times = [_segments(row[column], column, segment_seconds, path, line) for column in ("onset", "offset")]
        onset, offset = (math.floor(time) for time in times)
        event = _number(row["event_labels"], numbers, path, line)
        name = row["filename"]
        if name not in timelines:
            timelines[name] = np.zeros((lengths.get(name, segments), len(events)), dtype=bool)
        timeline = timelines[name]
        here = timeline[onset:offset, event]
        label = f"{path.name}: rows that"
        oddities[f"{label} start where they end (ignored)"] += onset == offset
        oddities[f"{label} end before they start (ignored)"] += offset < onset
        oddities[f"{label} overlap another of the same event (merged)"] += bool(here.any())
        around = timeline[max(0, onset - 1) : offset + 1, event]
        oddities[f"{label} adjoin another of the same event (merged)"] += bool(
            onset < offset and around.any() and not here.any()
        )
        oddities[f"{label} reach past the end (cut off)"] += offset > len(timeline)
        oddities[f"{label} do not start or end with a segment (truncated)"] += times != [onset, offset]
        here[:] = True
    return timelines


def write_timelines(
    path: Path,
    names: Iterable[str],
    timelines: npt.NDArray[np.bool_] | Sequence[npt.NDArray[np.bool_]],
    events: Sequence[str],
    segment_seconds: float = 1.0,
) -> None:
    """Write the timelines of N videos, one row for each interval.

    ``timelines`` is [N, T, C], or a sequence of N arrays [T_i, C] for videos of different lengths. Rows are sorted by
    video (in the order of ``names``), then by event, then by time.
    """
    names = tuple(names)
    for word in (*names, *events):
        if not _is_cell(word):
            raise InputError(f"{path}: {quote(word)} cannot be written into a table; rename it")
    with atomic_write(path) as file:
        file.write("filename\tonset\toffset\tevent_labels\n")
        for name, timeline in zip(names, timelines, strict=True):
            for event, *bounds in intervals(timeline):
                onset, offset = (f"{bound * segment_seconds:.9g}" for bound in bounds)
                file.write(f"{name}\t{onset}\t{offset}\t{events[event]}\n")


def intervals(timeline: npt.NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Return the maximal intervals of a [T, C] timeline as (event, onset, offset), with an exclusive offset.

    >>> intervals(np.array([[1], [1], [0], [1]], dtype=bool))
    [(0, 0, 2), (0, 3, 4)]
    """
    edges = np.diff(np.pad(timeline.astype(np.int8), ((1, 1), (0, 0))), axis=0).T  # [C, T + 1]
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    return [(int(e), int(on), int(off)) for (e, on), (_, off) in zip(starts, ends, strict=True)]


def stack_timelines(
    names: Sequence[str], modalities: Mapping[str, Timelines], segments: int, num_events: int
) -> npt.NDArray[np.bool_]:
    """Stack the timelines of videos of equal length, [N, T, M, C]; a video that is not in a table has no events."""
    flat = join_timelines(dict.fromkeys(names, segments), modalities, num_events)
    return flat.reshape(len(names), segments, *flat.shape[1:])


def join_timelines(
    lengths: Mapping[str, int], modalities: Mapping[str, Timelines], num_events: int
) -> npt.NDArray[np.bool_]:
    """Join the timelines of videos of any ``lengths``, one video after another, [S, M, C].

    The videos are those of ``lengths``, in its order; a video that is not in a table has no events.
    """
    joined = np.zeros((sum(lengths.values()), len(modalities), num_events), dtype=bool)
    for modality, timelines in enumerate(modalities.values()):
        start = 0
        for name, length in lengths.items():
            if name in timelines:
                if len(timelines[name]) != length:
                    raise ValueError(f"{name}: a timeline of {len(timelines[name])} segments for {length} segments")
                joined[start : start + length, modality] = timelines[name]
            start += length
    return joined


def read_classes(path: Path) -> tuple[str, ...]:
    """Read the events of a classes file, one on each line; empty lines are ignored."""
    lines = ((line, text.strip()) for line, text in enumerate(_text(path).splitlines(), start=1))
    events = {line: event for line, event in lines if event}
    if not events:
        raise InputError(f"{path}: the file is empty; write one event on each line")
    for event, count in Counter(events.values()).items():
        if count > 1:
            raise InputError(f"{path}: {quote(event)} is listed {count} times; keep one of the lines")
    for line, event in events.items():
        if "," in event or "\t" in event:  # a table would read it as two events
            raise InputError(
                f"{path}, line {line}: {quote(event)} contains a comma or a tab; write one event on each line"
            )
    return tuple(events.values())


def _rows(path: Path, columns: Sequence[str]) -> Iterable[tuple[int, dict[str, str]]]:
    """Yield the line number and the cells of every row, after checking the header and the number of cells."""
    lines = [text.rstrip("\r") for text in _text(path).split("\n")]
    header = [cell.strip() for cell in lines[0].split("\t")]
    missing = [column for column in columns if column not in header]
    if missing:
        looks = next((looks for separator, looks in SEPARATORS.items() if separator in lines[0]), None)
        hint = f" The header looks {looks}; use tabs." if looks and "\t" not in lines[0] else ""
        raise InputError(
            f"{path}: the header must have the tab-separated columns {', '.join(columns)}; "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.{hint}"
        )
    for column in columns:
        if header.count(column) > 1:
            raise InputError(f"{path}: the header has {header.count(column)} columns called {column}; keep one of them")
    for line, text in enumerate(lines[1:], start=2):
        if not text.strip():
            continue
        cells = [cell.strip() for cell in text.split("\t")]
        if len(cells) == len(header) - 1:  # an editor may have removed an empty last cell
            cells.append("")
        if len(cells) != len(header):
            raise InputError(
                f"{path}, line {line}: the row has {len(cells)} tab-separated cells, but the header has {len(header)}"
            )
        row = dict(zip(header, cells, strict=True))
        if "filename" in columns and not row["filename"]:
            raise InputError(f"{path}, line {line}: the filename is empty")
        yield line, row


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise InputError(
            f"{path}, line {line}: this is not UTF-8 text (byte {byte:#04x}); save the file as UTF-8"
        ) from None


def _is_cell(word: str) -> bool:
    """Return whether a word is read back unchanged: not empty, without tabs, line ends, or blanks around it."""
    return word == word.strip() != "" and not re.search(r"[\t\r\n]", word)


def _events(cell: str) -> list[str]:
    return [event.strip() for event in cell.split(",") if event.strip()]


def _number(event: str, numbers: Mapping[str, int], path: Path, line: int) -> int:
    if event not in numbers:
        several = (
            "; write each event on a row of its own" if set(_events(event)) <= set(numbers) and "," in event else ""
        )
        raise InputError(
            f"{path}, line {line}: {quote(event)} is not among the {len(numbers)} events{several}."
            f"{nearest(event, numbers)} Events other than LLP's must be listed in data/classes.txt, one on each line."
        )
    return numbers[event]


def _segments(text: str, column: str, segment_seconds: float, path: Path, line: int) -> float:
    """Convert seconds to segments; a quotient that is whole except for rounding (0.3 / 0.1) becomes whole."""
    time = float(text) if NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(time) or time < 0:
        raise InputError(
            f"{path}, line {line}: {column} is {quote(text)}; it must be a time in seconds from the start, 0 or more"
        )
    segments = min(time / segment_seconds, sys.maxsize)  # the quotient may be infinite
    return round(segments) if math.isclose(segments, round(segments), rel_tol=1e-7) else segments
