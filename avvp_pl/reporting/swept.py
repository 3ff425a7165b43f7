"""The settings that the paper or we vary, and the figures that show the scores by them: ``swept.csv``.

A row has the name of the figure, the full name of the setting, the label of its axis, the paper's value and the scale
(``linear`` or ``log``).
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("swept.csv")


class Sweep(NamedTuple):
    """A setting that is varied, and how a figure shows it."""

    figure: str
    key: str
    axis: str
    paper: float
    log: bool

    @property
    def short(self) -> str:
        """The name of the setting without its group."""
        return self.key.rpartition(".")[2]


def _read() -> tuple[Sweep, ...]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(
            Sweep(row["figure"], row["key"], row["axis"], float(row["paper"]), row["scale"] == "log")
            for row in csv.DictReader(file, strict=True)
        )


SWEEPS = _read()
