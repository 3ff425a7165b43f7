"""The paper's tables, from finished runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cell:
    """A score of a setting, in percent: its mean and sample standard deviation over seeds (None: one seed).

    ``difference`` is that of the means to the baseline's, ``interval`` its paired bootstrap interval over the test
    videos; None for the baseline itself, and where the test videos are not at hand.
    """

    mean: float
    deviation: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Row:
    """A row: what was measured over ``seeds`` runs, and what the paper prints for the same.

    Either may be empty: a setting that is not in the paper, or a row of the paper that was not run.
    """

    label: str
    seeds: int
    cells: Mapping[str, Cell] = field(default_factory=dict)
    printed: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table: ``key`` names its files (``table1``), ``columns`` are names of scores, ``notes`` sentences."""

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
