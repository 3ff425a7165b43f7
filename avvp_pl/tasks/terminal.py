"""Tables of scores on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table


def print_table(rows: Mapping[str, Mapping[str, str]]) -> None:
    """Print rows that have the same columns. A terminal that is too narrow for them gets a line for each value."""
    table = Table("", *next(iter(rows.values())))
    for name, values in rows.items():
        table.add_row(name, *values.values())
    width = Console(width=10_000).measure(table).maximum  # a pipe has none: rich would assume one and fold the table
    if not sys.stdout.isatty() or width <= Console().width:
        Console(width=width).print(table)
    else:
        for name, values in rows.items():
            print(name, *(f"{column} {value}" for column, value in values.items()), sep="\n  ")
