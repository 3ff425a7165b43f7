"""The rows of the paper's tables, and of later methods, and the experiments that reproduce them: ``rows.csv``.

A row names its experiment (none: it only has printed numbers), and the inference that tests it where that is not the
first one of the experiment. ``trained_as`` is the experiment whose checkpoints an experiment of ``evaluate`` tests. The
``role`` is ``baseline`` for the row that others are compared with where nothing else is said, ``reference`` for a row
that only stands in a table for comparison, so that the table is not written for its sake, ``reading`` for a second
reading of the row above it, where the paper's numbers stand, or empty. ``needs`` is what a method learns from beyond
weak labels and the usual features.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

from avvp_pl.runs.reading import INFERENCE, Setting

FILE = Path(__file__).with_name("rows.csv")


class PaperRow(NamedTuple):
    """A row of a table; what is empty in the file is None."""

    table: str
    label: str
    experiment: str | None
    inference: str | None
    trained_as: str | None
    role: str | None
    needs: str | None

    def is_of(self, setting: Setting) -> bool:
        """Return whether a setting reproduces this row: its experiment as shipped, tested by the row's inference."""
        if setting.name != self.experiment or not setting.plain or setting.shipped is None:
            return False
        return setting.inference == (self.inference or setting.shipped[INFERENCE])

    def label_of(self, setting: Setting) -> str:
        """Return the row's label with what sets the setting apart, without what the row says anyway."""
        return " ".join([self.label, *(part for part in setting.apart if part != f"{INFERENCE}={self.inference}")])


@cache
def paper_rows() -> tuple[PaperRow, ...]:
    """Return the rows of all tables, in the order of the paper."""
    with FILE.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, strict=True)
        return tuple(
            PaperRow(row["table"], row["row"], *(row[name] or None for name in PaperRow._fields[2:])) for row in table
        )


def tables() -> dict[str, list[PaperRow]]:
    """Return the rows by table."""
    found: dict[str, list[PaperRow]] = {}
    for row in paper_rows():
        found.setdefault(row.table, []).append(row)
    return found


def baselines() -> tuple[str, ...]:
    """Return the experiments, one of each task, that others are compared with where nothing else is said."""
    return tuple(row.experiment for row in paper_rows() if row.role == "baseline" and row.experiment)


def trained_as() -> dict[str, str]:
    """Return the experiment whose checkpoints are tested, for every experiment of ``evaluate``."""
    return {row.experiment: row.trained_as for row in paper_rows() if row.experiment and row.trained_as}
