"""Reading and writing LLP-format annotation tables (tab-separated, one header line).

Weak labels: ``filename, event_labels`` (comma-separated). Timelines: ``filename, onset, offset, event_labels``,
one event a row, in seconds, the offset exclusive. What is wrong raises :class:`InputError` with file and line;
what is merely odd is counted in an :class:`Oddities` and mended as the public scoring code does.
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

# what `float` takes beyond it (1_0, other alphabets' digits, infinity) is a damaged table
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
SEPARATORS = {",": "comma-separated", ";": "separated by semicolons", "  ": "separated by spaces"}


class Oddities(Counter[str]):
    """How often each kind of oddity was met and how it was taken."""

    def report(self, log: logging.Logger) -> None:
        """Say each kind once."""
        for oddity, count in sorted(self.items()):
            if count:
                log.warning("%d x %s", count, oddity)


def read_weak_labels(path: Path, events: Sequence[str], oddities: Oddities) -> dict[str, list[int]]:
    """Event numbers of each listed video, in the order of the file."""
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
        raise InputError(f"{path}: no rows; it must list at least one video")
    return labels


def read_names(path: Path) -> list[str]:
    """The listed videos of a weak-label table (or of one that has the ``filename`` column only)."""
    lines: dict[str, list[str]] = {}
    for line, row in _rows(path, ("filename",)):
        lines.setdefault(row["filename"], []).append(str(line))
    if not lines:
        raise InputError(f"{path}: no rows; it must list at least one video")
    for name, listed in lines.items():
        if len(listed) > 1:
            raise InputError(
                f"{path}, lines {', '.join(listed)}: {quote(name)} is listed {len(listed)} times; "
                "remove all rows but one"
            )
    return list(lines)


def read_events(path: Path) -> set[str]:
    """All events that a table of either kind names."""
    return {event for _, row in _rows(path, ("event_labels",)) for event in _events(row["event_labels"])}


def read_timelines(
    path: Path, events: Sequence[str], segments: int, oddities: Oddities, segment_seconds: float = 1.0
) -> Timelines:
    """Which segments show which event, [segments, C] for each video that the table names.

    Overlapping and adjacent rows are united, rows that end where or before they start cover nothing, time past the
    end is cut off, and fractions of a segment are truncated: all as in the public scoring code, all counted.
    """
    numbers = {event: number for number, event in enumerate(events)}
    timelines: Timelines = {}
    for line, row in _rows(path, ("filename", "onset", "offset", "event_labels")):
        times = [_segments(row[column], column, segment_seconds, path, line) for column in ("onset", "offset")]
        onset, offset = (math.floor(time) for time in times)
        event = _number(row["event_labels"], numbers, path, line)
        timeline = timelines.setdefault(row["filename"], np.zeros((segments, len(events)), dtype=bool))
        here = timeline[onset:offset, event]
        label = f"{path.name}: rows that"
        oddities[f"{label} start where they end (ignored)"] += onset == offset
        oddities[f"{label} end before they start (ignored)"] += offset < onset
        oddities[f"{label} overlap another of the same event (united)"] += bool(here.any())
        around = timeline[max(0, onset - 1) : offset + 1, event]
        oddities[f"{label} adjoin another of the same event (united)"] += bool(
            onset < offset and around.any() and not here.any()
        )
        oddities[f"{label} reach past the end (cut off)"] += offset > segments
        oddities[f"{label} do not start or end with a segment (truncated)"] += times != [onset, offset]
        here[:] = True
    return timelines


def write_timelines(
    path: Path,
    names: Iterable[str],
    timelines: npt.NDArray[np.bool_],
    events: Sequence[str],
    segment_seconds: float = 1.0,
) -> None:
    """Write [N, T, C] timelines as rows of maximal runs: videos in the order of ``names``, then by event and time."""
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
    """Maximal runs of a [T, C] timeline as (event, onset, offset), the offset exclusive.

    >>> intervals(np.array([[1], [1], [0], [1]], dtype=bool))
    [(0, 0, 2), (0, 3, 4)]
    """
    edges = np.diff(np.pad(timeline.astype(np.int8), ((1, 1), (0, 0))), axis=0).T  # [C, T + 1]
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    return [(int(e), int(on), int(off)) for (e, on), (_, off) in zip(starts, ends, strict=True)]


def stack_timelines(
    names: Sequence[str], modalities: Mapping[str, Timelines], segments: int, num_events: int
) -> npt.NDArray[np.bool_]:
    """Timelines of the named videos, [N, T, M, C]; a video that a table does not name is empty."""
    empty = np.zeros((segments, num_events), dtype=bool)
    tracks = [np.stack([timelines.get(name, empty) for name in names]) for timelines in modalities.values()]
    return np.stack(tracks, axis=2)


def read_classes(path: Path) -> tuple[str, ...]:
    """The events of a classes file, one a line; empty lines are passed over."""
    lines = ((line, text.strip()) for line, text in enumerate(_text(path).splitlines(), start=1))
    events = {line: event for line, event in lines if event}
    if not events:
        raise InputError(f"{path}: empty; write one event a line")
    for event, count in Counter(events.values()).items():
        if count > 1:
            raise InputError(f"{path}: {quote(event)} stands there {count} times; keep one")
    for line, event in events.items():
        if "," in event or "\t" in event:  # in a table it would be two
            raise InputError(f"{path}, line {line}: {quote(event)} has a comma or a tab in it; write one event a line")
    return tuple(events.values())


def _rows(path: Path, columns: Sequence[str]) -> Iterable[tuple[int, dict[str, str]]]:
    """Line number and cells of every row; checks the header and that every row is as wide as it."""
    lines = [text.rstrip("\r") for text in _text(path).split("\n")]
    header = [cell.strip() for cell in lines[0].split("\t")]
    missing = [column for column in columns if column not in header]
    if missing:
        looks = next((looks for separator, looks in SEPARATORS.items() if separator in lines[0]), None)
        hint = f" It looks {looks}; use tabs." if looks and "\t" not in lines[0] else ""
        raise InputError(
            f"{path}: the header must have the tab-separated columns {', '.join(columns)}; "
            f"it lacks {', '.join(missing)}.{hint}"
        )
    for column in columns:
        if header.count(column) > 1:
            raise InputError(f"{path}: the header has {header.count(column)} columns {column}; keep one")
    for line, text in enumerate(lines[1:], start=2):
        if not text.strip():
            continue
        cells = [cell.strip() for cell in text.split("\t")]
        if len(cells) < len(header):  # an empty last cell may have been stripped by an editor
            cells += [""] * (len(header) - len(cells)) if len(cells) == len(header) - 1 else []
        if len(cells) != len(header):
            raise InputError(f"{path}, line {line}: {len(cells)} tab-separated cells, the header has {len(header)}")
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
        raise InputError(f"{path}, line {line}: no UTF-8 text (byte {byte:#04x}); save the file as UTF-8") from None


def _is_cell(word: str) -> bool:
    """Whether a word can be read again as it was: it is there, without tabs, line ends or blanks around it."""
    return word == word.strip() != "" and not re.search(r"[\t\r\n]", word)


def _events(cell: str) -> list[str]:
    return [event.strip() for event in cell.split(",") if event.strip()]


def _number(event: str, numbers: Mapping[str, int], path: Path, line: int) -> int:
    if event not in numbers:
        several = "; give each a row of its own" if set(_events(event)) <= set(numbers) and "," in event else ""
        raise InputError(
            f"{path}, line {line}: {quote(event)} is not among the {len(numbers)} events{several}."
            f"{nearest(event, numbers)} Other events than LLP's are listed in data/classes.txt, one a line."
        )
    return numbers[event]


def _segments(text: str, column: str, segment_seconds: float, path: Path, line: int) -> float:
    """A time in segments from the start; a whole number of them where only rounding says otherwise (0.3 / 0.1)."""
    time = float(text) if NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(time) or time < 0:
        raise InputError(
            f"{path}, line {line}: {column} is {quote(text)}; it must be seconds from the start, 0 or more"
        )
    segments = min(time / segment_seconds, sys.maxsize)  # the quotient of two numbers may be infinite
    return round(segments) if math.isclose(segments, round(segments), rel_tol=1e-7) else segments
