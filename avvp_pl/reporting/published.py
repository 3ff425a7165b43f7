"""Numbers that papers print, each with its source; none is guessed."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from avvp_pl.data.annotations import NUMBER
from avvp_pl.errors import InputError, brief, nearest, quote
from avvp_pl.reporting.rows import tables
from avvp_pl.reporting.statistics import score_names

OWN = Path(__file__).with_name("published.csv")
COLUMNS = ("table", "row", "score", "value", "source")
TABLES = tuple(tables())
SCORES = score_names(("audio", "visual"))


class Printed(NamedTuple):
    """A number in percent, and its source."""

    value: float
    source: str


Published = Mapping[str, Mapping[str, Mapping[str, Printed]]]
"""Printed numbers by table, row and score."""


def read_published(path: Path | None = None) -> Published:
    """Read the numbers of the paper's tables (LLP test split) that this package knows, and a file of the user's.

    The user's file takes precedence. It is comma-separated with the columns ``table,row,score,value,source``:
    ``table1`` to ``table4``, the label of the row (a label that is not in ``rows.csv`` becomes a row of its own), the
    name of the score (``segment/type_av``), and percent. Raises :class:`InputError` with the file and the line.
    """
    published: dict[str, dict[str, dict[str, Printed]]] = {}
    for file in (OWN, path):
        for table, row, score, printed in _read(file) if file else ():
            published.setdefault(table, {}).setdefault(row, {})[score] = printed
    return published


def inconsistencies(row: str, printed: Mapping[str, float]) -> list[str]:
    """Return a sentence for each level at which the printed Type@AV is not the mean of A, V and AV.

    All four are rounded to a tenth, so a difference of 0.1 may be due to rounding.

    >>> inconsistencies("X", {"event/audio": 1, "event/visual": 2, "event/audio_visual": 3, "event/type_av": 2.2})
    ['As printed, the event-level Type@AV of X is 2.2; the mean of its columns A, V and AV is 2.0.']
    """
    found = []
    for level in ("segment", "event"):
        *tracks, type_av = (printed.get(f"{level}/{name}") for name in ("audio", "visual", "audio_visual", "type_av"))
        known = [track for track in tracks if track is not None]
        if type_av is None or len(known) < 3:
            continue
        if abs(type_av - (mean := statistics.fmean(known))) > 0.1 + 1e-9:
            found.append(
                f"As printed, the {level}-level Type@AV of {row} is {type_av:.1f}; the mean of its columns A, V and "
                f"AV is {mean:.1f}."
            )
    return found


def _read(path: Path) -> Iterator[tuple[str, str, str, Printed]]:
    seen: dict[tuple[str, str, str], int] = {}
    for line, cells in _lines(path):
        table, row, score, value, source = (cells[column].strip() for column in COLUMNS)
        where = f"{path}, line {line}"
        for column, cell, known in (("table", table, TABLES), ("score", score, SCORES)):
            if cell not in known:
                raise InputError(
                    f"{where}: {quote(cell)} is not a {column}; there are {', '.join(known)}.{nearest(cell, known)}"
                )
        for column, cell in (("row", row), ("source", source)):
            if not cell:
                raise InputError(f"{where}: the {column} is empty")
        if not NUMBER.fullmatch(value) or not 0 <= float(value) <= 100:
            raise InputError(f"{where}: the value is {quote(value)}; it must be in percent, from 0 to 100")
        if (first := seen.setdefault((table, row, score), line)) != line:
            raise InputError(
                f"{where}: {score} of {quote(row)} in {table} is in line {first} as well; keep one of them"
            )
        yield table, row, score, Printed(float(value), source)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line number and the cells of every row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
                raise InputError(
                    f"{path}: the header must have the comma-separated columns {', '.join(COLUMNS)}; "
                    f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
                )
            for row in reader:
                if None in row or None in row.values():
                    raise InputError(f"{path}, line {reader.line_num}: the number of cells is not that of the header")
                yield reader.line_num, row
    except FileNotFoundError:
        raise InputError(f"{path.absolute()}: no such file; published= takes a table of printed numbers") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not comma-separated text in UTF-8 ({brief(error)})") from None
