"""Reading and writing LLP-format annotation tables (tab-separated, one header line).

Tables of weak labels have the columns ``filename, event_labels`` (events separated by commas). Tables of timelines
have the columns ``filename, onset, offset, event_labels``: each row is one event, with times in seconds and an
exclusive offset, or a video without events if its other cells are empty. Cells may be in quotes, as in any CSV file,
and names are read as composed Unicode. Errors raise :class:`InputError` with the file and the line. Rows that are odd
but usable are counted in an :class:`Oddities` and fixed in the way the public scoring code does.
"""

from __future__ import annotations

import csv
import logging
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from avvp_pl.data.names import composed
from avvp_pl.errors import InputError, nearest, quote
from avvp_pl.files import atomic_write

Timelines: TypeAlias = dict[str, npt.NDArray[np.bool_]]

# `float` accepts more (1_0, digits of other alphabets, infinity), but in a table these are signs of damage
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# what a table with inclusive offsets shows of them: only its shortest events are seen to be wrong
INCLUSIVE = "ignored; if the offsets of this table are inclusive, add the duration of a segment to all of them"
SEPARATORS = {",": "comma-separated", ";": "separated by semicolons", "  ": "separated by spaces"}


class Oddities:
    """How often each kind of oddity occurred, and where first; the kind also says how it was treated."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def note(self, kind: str, example: str, count: int = 1) -> None:
        """Count an oddity; the first ``example`` of its kind is kept."""
        self.counts[kind] += count
        self.examples.setdefault(kind, example)

    def report(self, log: logging.Logger) -> None:
        """Log each kind once, with its count and its first example."""
        for kind, count in sorted(self.counts.items()):
            log.warning("%d x %s, such as %s", count, kind, self.examples[kind])


class TimedRow(NamedTuple):
    """A row of a table of timelines: an event, with times in seconds, or a video without events (None, at 0)."""

    line: int
    name: str
    event: str | None
    onset: float
    offset: float


def read_weak_labels(path: Path, events: Sequence[str], oddities: Oddities) -> dict[str, list[int]]:
    """Read the event numbers of each listed video, in the order of the file."""
    numbers, split = {event: number for number, event in enumerate(events)}, _splitter(events)
    labels: dict[str, list[int]] = {}
    for line, row in _rows(path, ("filename", "event_labels")):
        name = row["filename"]
        if name in labels:
            raise InputError(f"{path}, line {line}: {quote(name)} is listed twice; remove one of the rows")
        found = [_number(event, numbers, path, line) for event in split(row["event_labels"], path, line)]
        labels[name] = sorted(set(found))
        if len(found) > len(labels[name]):
            oddities.note(f"{path}: rows with an event named twice (counted once)", at(line, name))
        if not found:
            oddities.note(f"{path}: videos without any event", at(line, name))
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


def read_numbered(path: Path) -> dict[str, str]:
    """Read the videos for which a list has a number in place of events, with that number."""
    try:
        rows = list(_rows(path, ("filename", "event_labels")))
    except InputError:  # the list has no events
        return {}
    return {row["filename"]: row["event_labels"] for _, row in rows if NUMBER.fullmatch(row["event_labels"])}


def read_list(path: Path) -> list[str]:
    """Read the names of videos from a file with one name on each line, or with a column ``filename``."""
    texts = [(line, text) for line, text in enumerate(_text(path).split("\n"), start=1) if text.strip()]
    rows = [(line, _cells(text, path, line)) for line, text in texts]
    if rows and "filename" in rows[0][1]:
        return read_names(path)
    lines: dict[str, int] = {}
    for line, (name, *others) in rows:
        if others:
            raise InputError(
                f"{path}, line {line}: {quote(name)} has several columns; write one name on each line, or a header "
                "line with the column filename"
            )
        _check_name(name, path, line)
        if lines.setdefault(name, line) != line:
            raise InputError(f"{path}, lines {lines[name]}, {line}: {quote(name)} is listed twice; remove one of them")
    if not lines:
        raise InputError(f"{path}: there is no name in it; write one on each line")
    return list(lines)


def read_events(path: Path) -> dict[str, int]:
    """Read all events that occur in a table of timelines, each with the line where it occurs first."""
    lines: dict[str, int] = {}
    for line, row in _rows(path, ("event_labels",)):
        if row["event_labels"]:
            lines.setdefault(row["event_labels"], line)
    return lines


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
    for line, name, event, *seconds in read_timed_rows(path):
        if name not in timelines:
            timelines[name] = np.zeros((lengths.get(name, segments), len(events)), dtype=bool)
        if event is None:
            continue
        times = [to_segments(time, segment_seconds) for time in seconds]
        onset, offset = (math.floor(time) for time in times)
        timeline, number = timelines[name], _number(event, numbers, path, line)
        here, around = timeline[onset:offset, number], timeline[max(0, onset - 1) : offset + 1, number]
        odd = {
            f"start where they end ({INCLUSIVE})": onset == offset,
            "end before they start (ignored)": offset < onset,
            "overlap another of the same event (merged)": here.any(),
            "adjoin another of the same event (merged)": onset < offset and around.any() and not here.any(),
            "reach past the end (cut off)": offset > len(timeline),
            "do not start or end with a segment (truncated)": times != [onset, offset],
        }
        for kind, is_so in odd.items():
            if is_so:
                oddities.note(f"{path}: rows that {kind}", at(line, name))
        here[:] = True
    return timelines


def read_timed_rows(path: Path) -> Iterator[TimedRow]:
    """Read the rows of a table of timelines, with times in seconds."""
    for line, row in _rows(path, ("filename", "onset", "offset", "event_labels")):
        name, event, *times = (row[column] for column in ("filename", "event_labels", "onset", "offset"))
        if not event and not any(times):
            yield TimedRow(line, name, None, 0.0, 0.0)
            continue
        onset, offset = (_seconds(row[column], column, path, line) for column in ("onset", "offset"))
        yield TimedRow(line, name, event, onset, offset)


def to_segments(seconds: float, segment_seconds: float) -> float:
    """Convert seconds to segments; a quotient that is whole except for rounding (0.3 / 0.1) becomes whole."""
    segments = min(seconds / segment_seconds, sys.maxsize)  # the quotient may be infinite
    return round(segments) if math.isclose(segments, round(segments), rel_tol=1e-7) else segments


def is_several(event: str, events: Collection[str]) -> bool:
    """Return whether what stands for one event is a list of several of the ``events``."""
    return "," in event and set(_parts(event)) <= set(events)


def at(line: int, name: str) -> str:
    """Return a video and its line in words."""
    return f"{quote(name)} in line {line}"


def found_at(path: Path, name: str) -> str:
    """Return a video and its first line in a table or plain list in words, or the video alone if it is not there.

    The file is read again, which only messages need.
    """
    if not path.exists():
        return quote(name)
    cells = {name, '"' + name.replace('"', '""') + '"'}
    lines = enumerate(_text(path).split("\n"), start=1)
    return next((at(line, name) for line, text in lines if cells & set(map(str.strip, text.split("\t")))), quote(name))


def write_weak_labels(path: Path, labels: Mapping[str, Iterable[int]], events: Sequence[str]) -> None:
    """Write the event numbers of each video, as :func:`read_weak_labels` reads them."""
    _check_cells(path, (*labels, *events))
    with atomic_write(path) as file:
        rows = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        rows.writerow(("filename", "event_labels"))
        rows.writerows((name, ",".join(events[number] for number in sorted(found))) for name, found in labels.items())


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
    _check_cells(path, (*names, *events))
    with atomic_write(path) as file:
        rows = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        rows.writerow(("filename", "onset", "offset", "event_labels"))
        for name, timeline in zip(names, timelines, strict=True):
            for event, *bounds in intervals(timeline):
                onset, offset = (f"{bound * segment_seconds:.9g}" for bound in bounds)
                rows.writerow((name, onset, offset, events[event]))


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
    events = []
    for line, text in enumerate(_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        event, *others = _cells(text, path, line)
        if others or not _is_cell(event):  # no table could contain it
            raise InputError(
                f"{path}, line {line}: {quote(text)} is not one event; write one on each line, without tabs"
            )
        events.append(event)
    if not events:
        raise InputError(f"{path}: the file is empty; write one event on each line")
    for event, count in Counter(events).items():
        if count > 1:
            raise InputError(f"{path}: {quote(event)} is listed {count} times; keep one of the lines")
    return tuple(events)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line number and the cells of every row, after checking the header, the number of cells and the name."""
    lines = _text(path).split("\n")
    header = [cell.strip().strip('"').strip() for cell in lines[0].split("\t")]
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
        cells = _cells(text, path, line)
        if len(cells) == len(header) - 1:  # an editor may have removed an empty last cell
            cells.append("")
        if len(cells) != len(header):
            raise InputError(
                f"{path}, line {line}: the row has {len(cells)} tab-separated cells, but the header has {len(header)}"
            )
        row = dict(zip(header, cells, strict=True))
        for column in columns:
            if "\t" in row[column]:
                raise InputError(
                    f"{path}, line {line}: the quotes of {column} enclose a tab, which must not be in names"
                )
        if "filename" in columns:
            _check_name(row["filename"], path, line)
        yield line, row


def _cells(text: str, path: Path, line: int) -> list[str]:
    """Split a row at its tabs. As in any CSV file, a cell may be in quotes, and two quotes in it are one."""
    if '"' not in text:
        return [cell.strip() for cell in text.split("\t")]
    try:
        (cells,) = csv.reader([text.strip(" ")], dialect="excel-tab", skipinitialspace=True, strict=True)
    except csv.Error as error:
        raise InputError(
            f"{path}, line {line}: the quotes in this row cannot be read ({error}); a cell that begins with a quote "
            "must end with one on the same line, and every quote in between must be written twice"
        ) from None
    return [cell.strip() for cell in cells]


def _check_name(name: str, path: Path, line: int) -> None:
    """Raise for what stands in a column of names, but is no name of a video."""
    if not name:
        raise InputError(f"{path}, line {line}: the filename is empty")
    if name.casefold() == "filename":
        raise InputError(f"{path}, line {line}: the header stands here again; remove this line")
    # 1a (hexadecimal) is the end-of-file sign of DOS, and a row of signs separates parts of a table
    if "\x1a" in name or (name.isascii() and not any(map(str.isalnum, name))):
        raise InputError(f"{path}, line {line}: {quote(name)} is no name of a video; remove this line or correct it")


def _text(path: Path) -> str:
    try:
        # a file that was made of several others has their byte order marks inside
        return composed(path.read_text(encoding="utf-8").replace("\ufeff", ""))
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


def _check_cells(path: Path, words: Iterable[str]) -> None:
    """Raise :class:`InputError` for a name that a table would not give back."""
    for word in words:
        if not _is_cell(word):
            raise InputError(f"{path}: {quote(word)} cannot be written into a table; rename it")


def _is_cell(word: str) -> bool:
    """Return whether a word is read back unchanged: not empty, without tabs, line ends, or blanks around it."""
    return word == word.strip() != "" and not re.search(r"[\t\r\n]", word)


def _splitter(events: Sequence[str]) -> Callable[[str, Path, int], list[str]]:
    """Return what splits a cell of weak labels at its commas, except at those inside the name of an event."""
    names = {tuple(_parts(event)): event for event in events}
    longest = max(map(len, names), default=1)

    def split(cell: str, path: Path, line: int) -> list[str]:
        parts = tuple(_parts(cell))
        if longest < 2:
            return [*parts]
        # how the parts from each one on can be read as events, in up to two ways
        readings: list[list[list[str]]] = [[[]]]
        for start in reversed(range(len(parts))):
            lengths = range(1, min(longest, len(parts) - start) + 1)
            named = [(names.get(parts[start : start + length]), readings[length - 1]) for length in lengths]
            readings.insert(0, [[event, *rest] for event, rests in named if event for rest in rests][:2])
        if len(readings[0]) > 1:
            one, other = (" and ".join(map(quote, events)) for events in readings[0])
            raise InputError(
                f"{path}, line {line}: {quote(cell)} can be read as {one} or as {other}; rename an event in classes.txt"
            )
        return readings[0][0] if readings[0] else [*parts]

    return split


def _parts(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(",") if part.strip()]


def _number(event: str, numbers: Mapping[str, int], path: Path, line: int) -> int:
    """Return the number of an event; the error about an unknown event says what is likely to be meant."""
    if event in numbers:
        return numbers[event]
    why = ""
    if not event:
        why = "; for a video without events, leave onset and offset empty as well"
    elif is_several(event, numbers):
        why = "; write each event on a row of its own"
    elif whole := next((other for other in numbers if "," in other and event in _parts(other)), None):
        why = f", but a part of {quote(whole)}, which is one of them"
    raise InputError(
        f"{path}, line {line}: {quote(event)} is not among the {len(numbers)} events{why}."
        f"{nearest(event, numbers)} Events other than LLP's must be listed in data/classes.txt, one on each line."
    )


def _seconds(text: str, column: str, path: Path, line: int) -> float:
    time = float(text) if NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(time) or time < 0:
        raise InputError(
            f"{path}, line {line}: {column} is {quote(text)}; it must be a time in seconds from the start, 0 or more"
        )
    return time
