"""Numbers that papers print, each with its source: the 260 of the paper's tables 1 to 5, and those of other methods.

Of these, later ones are the table ``after``, and those of localization are further rows of Table 5. A file of the
user's can add more. Numbers are of two data sets, THUMOS14 (Table 5) and LLP (all others), and only stand beside runs
on the same data. Where they contradict each other, or what the text of the paper says of them, is computed from them.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from omegaconf import OmegaConf

from avvp_pl.data.annotations import NUMBER
from avvp_pl.data.known import LLP_TEST_VIDEOS, THUMOS14_EVENTS, THUMOS14_TEST_VIDEOS
from avvp_pl.data.llp import LLP_EVENTS
from avvp_pl.errors import InputError, brief, nearest, quote
from avvp_pl.metrics.avvp import LEVELS
from avvp_pl.reporting.rows import tables
from avvp_pl.reporting.statistics import score_names
from avvp_pl.runs.reading import Run

OWN = Path(__file__).with_name("published.csv")
SOURCE = "data.source._target_"  # the setting that says which function reads, or generates, the data
NONE = "none"  # what leaves all printed numbers out
COLUMNS = ("table", "row", "score", "value", "source")
TABLES = tuple(tables())
ROUNDED = 0.05  # printed numbers are rounded to a tenth, so each of them is right to this


class Mean(NamedTuple):
    """A printed score that is the mean of others: the names of these, and the words for both."""

    of: tuple[str, ...]
    name: str
    columns: str


def _mean_of_tious(first: int, last: int) -> Mean:
    of = tuple(f"map/0.{tenths}" for tenths in range(first, last + 1))
    return Mean(of, f"average mAP of tIoU 0.{first} to 0.{last}", f"its columns 0.{first} to 0.{last}")


def _mean_of_tracks(level: str) -> Mean:
    of = tuple(f"{level}/{track}" for track in ("audio", "visual", "audio_visual"))
    return Mean(of, f"{level}-level Type@AV", "its columns A, V and AV")


OF_TIOUS = {f"map/average_0.{i}_0.{j}": _mean_of_tious(i, j) for i, j in ((1, 5), (3, 7), (1, 7))}
MEANS = {**{f"{level}/type_av": _mean_of_tracks(level) for level in LEVELS}, **OF_TIOUS}


class Benchmark(NamedTuple):
    """A data set of which papers print scores: its name, its events and the names of these scores.

    ``test_videos`` are the checksums of the names of its test videos (:func:`~avvp_pl.data.known.digest_of`): one, or
    those of all selections of them that are in use.
    """

    name: str
    events: frozenset[str]
    scores: tuple[str, ...]
    test_videos: tuple[str, ...]


*TEN, AVERAGE = score_names(("audio", "visual"))  # the paper prints the ten, and no average
LLP = Benchmark("LLP", frozenset(LLP_EVENTS), (*TEN, AVERAGE), (LLP_TEST_VIDEOS,))
THUMOS14 = Benchmark(
    "THUMOS14",
    frozenset(THUMOS14_EVENTS),
    (*(f"map/0.{tenths}" for tenths in range(1, 8)), *OF_TIOUS),
    THUMOS14_TEST_VIDEOS,
)


class Claim(NamedTuple):
    """What the text of the paper says: by how many points one row of a table is above another, as a mean of scores."""

    table: str
    row: str
    over: str
    scores: tuple[str, ...]
    points: float
    said: str
    rounded: float  # half of the last digit of ``points``


CLAIMS = (
    Claim("table1", "PPL", "CMPAE", tuple(TEN), 1.86, "averaged over all metrics", 0.005),
    Claim(
        "table1", "PPL", "CMPAE", ("segment/audio_visual", "event/audio_visual"), 2.6, "for audio-visual events", 0.05
    ),
)


class Printed(NamedTuple):
    """A number in percent, and its source."""

    value: float
    source: str


Rows = Mapping[str, Mapping[str, Printed]]
"""The printed numbers of a table by row and score."""

Published = Mapping[str, Rows]
"""Printed numbers by table, row and score."""


def benchmark_of(table: str) -> Benchmark:
    """Return the data set of a table of the paper."""
    return THUMOS14 if table == "table5" else LLP


def read_published(given: str | Path | None = None) -> Published:
    """Read the numbers of the paper's tables, which this package knows, and those of a file of the user's.

    The user's file takes precedence (:func:`read_numbers`). ``none`` in its place leaves out all numbers.
    """
    if given == NONE:
        return {}
    published: dict[str, dict[str, dict[str, Printed]]] = {}
    for numbers in (read_numbers(OWN), {} if given is None else read_numbers(Path(given))):
        for table, rows in numbers.items():
            for row, cells in rows.items():
                published.setdefault(table, {}).setdefault(row, {}).update(cells)
    return published


def read_numbers(path: Path) -> Published:
    """Read a file of printed numbers.

    It is comma-separated with the columns ``table,row,score,value,source``: ``table1`` to ``table5`` or ``after``, the
    label of the row (a label that is not in ``rows.csv`` becomes a row of its own), the name of the score
    (``segment/type_av``; of ``table5`` ``map/0.5``), and percent. Raises :class:`InputError` with the file and the
    line.
    """
    published: dict[str, dict[str, dict[str, Printed]]] = {}
    for table, row, score, printed in _read(path):
        published.setdefault(table, {}).setdefault(row, {})[score] = printed
    return published


def of_data(published: Published, runs: Sequence[Run]) -> Published:
    """Keep the tables whose data set, by its events and test videos, and whose scores are those of all runs.

    Generated features are not those of THUMOS14, even if the annotation is.
    """
    return {table: rows for table, rows in published.items() if all(_is_of(run, benchmark_of(table)) for run in runs)}


def _is_of(run: Run, benchmark: Benchmark) -> bool:
    # a twin of THUMOS14 may have its annotation, but not its features
    is_twin = benchmark is THUMOS14 and "synthetic" in str(OmegaConf.select(run.config, SOURCE))
    if run.test_videos not in benchmark.test_videos or is_twin:
        return False
    return frozenset(run.events) == benchmark.events and run.scores.keys() >= set(benchmark.scores)


def check_beside(given: str | Path | None, runs: Sequence[Run]) -> None:
    """Raise :class:`InputError` where none of the numbers in a file of the user's can stand beside these runs."""
    if given is None or given == NONE or of_data(read_numbers(Path(given)), runs):
        return
    raise InputError(
        f"published={given}: printed numbers only stand beside the data, and with the scores, of their tables (table1 "
        f"to table4 and after: the {len(LLP.events)} events and the test videos of {LLP.name}; table5: the "
        f"{len(THUMOS14.events)} events and the test videos of {THUMOS14.name}), and these runs are "
        "of neither; leave published= out"
    )


def values_of(rows: Rows) -> dict[str, dict[str, float]]:
    """Return the printed values by row and score, and the average of the ten scores where only these are printed."""
    found = {}
    for row, cells in rows.items():
        values = {score: cell.value for score, cell in cells.items()}
        if AVERAGE not in values and values.keys() >= set(TEN):
            values[AVERAGE] = statistics.fmean(values[score] for score in TEN)
        found[row] = values
    return found


def contradictions(table: str, rows: Rows) -> list[str]:
    """Return a sentence for everything in which the printed numbers of a table contradict each other or the text.

    A contradiction is a difference that rounding cannot explain. Nothing is said where a number is not known.
    """
    values = {row: {score: cell.value for score, cell in cells.items()} for row, cells in rows.items()}
    within = (sentence for row, cells in values.items() for sentence in _of_means(row, cells))
    return [*within, *chain.from_iterable(_of_claim(claim, values) for claim in CLAIMS if claim.table == table)]


def _of_means(row: str, printed: Mapping[str, float]) -> Iterator[str]:
    """Yield a sentence for each printed score that is not the mean of the columns whose mean it is."""
    for score, mean in MEANS.items():
        if not printed.keys() >= {score, *mean.of}:
            continue
        computed = statistics.fmean(printed[part] for part in mean.of)
        if _differ(printed[score], computed, 2 * ROUNDED):
            yield (
                f"As printed, the {mean.name} of {row} is {printed[score]:.1f}; the mean of {mean.columns} is "
                f"{computed:.1f}."
            )


def _of_claim(claim: Claim, values: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Yield a sentence if the difference that the text states is not that of the printed numbers."""
    above, below = (values.get(row, {}) for row in (claim.row, claim.over))
    if not (above.keys() >= set(claim.scores) and below.keys() >= set(claim.scores)):
        return
    computed = statistics.fmean(above[score] - below[score] for score in claim.scores)
    if _differ(claim.points, computed, claim.rounded + 2 * ROUNDED):
        yield (
            f"The text of the paper says that {claim.row} is {claim.points:g} points above {claim.over}, {claim.said}; "
            f"by the printed numbers it is {computed:.2f}."
        )


def _differ(one: float, other: float, rounding: float) -> bool:
    return abs(one - other) > rounding + 1e-9


def _read(path: Path) -> Iterator[tuple[str, str, str, Printed]]:
    seen: dict[tuple[str, str, str], int] = {}
    for line, cells in _lines(path):
        table, row, score, value, source = (cells[column].strip() for column in COLUMNS)
        where = f"{path}, line {line}"
        for column, cell, known in (("table", table, TABLES), ("score", score, benchmark_of(table).scores)):
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
        raise InputError(
            f"{path.absolute()}: no such file; published= takes a table of printed numbers, or {NONE}"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not comma-separated text in UTF-8 ({brief(error)})") from None
