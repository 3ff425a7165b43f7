"""The settings that the paper or we vary, and the figures that show the scores by them: ``swept.csv``.

A row has the name of the figure, the full name of the setting, the label of its axis, the paper's value, the scale
(``linear`` or ``log``), the values that are swept, and the end of the axis where it is beyond the last of them. Values
and axes are those of the paper's figures 4 and 5; those of tau, which the paper does not vary, are ours.
"""

from __future__ import annotations

import csv
import re
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
    values: tuple[float, ...]
    end: float | None

    @property
    def short(self) -> str:
        """The name of the setting without its group."""
        return self.key.rpartition(".")[2]

    @property
    def of_paper(self) -> str | None:
        """The number of the figure in the paper; None where the paper has no such figure."""
        found = re.match(r"fig(\d+)_", self.figure)
        return found and found[1]

    @property
    def ticks(self) -> tuple[float, ...]:
        """The values on the axis."""
        return self.values if self.end is None else (*self.values, self.end)


def _read() -> tuple[Sweep, ...]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(
            Sweep(
                row["figure"],
                row["key"],
                row["axis"],
                float(row["paper"]),
                row["scale"] == "log",
                tuple(map(float, row["values"].split())),
                float(row["end"]) if row["end"] else None,
            )
            for row in csv.DictReader(file, strict=True)
        )


SWEEPS = _read()
