"""What the figures of a report share: files, the spread over seeds, legends and captions."""

from __future__ import annotations

import csv
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from avvp_pl.errors import printable
from avvp_pl.figures import look, png, svg
from avvp_pl.files import atomic_write, atomic_write_bytes, remove_stale
from avvp_pl.reporting.swept import SWEEPS
from avvp_pl.runs.reading import Setting

Numbers: TypeAlias = tuple[Mapping[str, str | float | int | None], ...]

# every file name that a figure of a report can have
SWEPT = "|".join(sweep.figure for sweep in SWEEPS)
FILES = re.compile(
    rf"(fig3_[1-9][0-9]*|{SWEPT}|balance|by_tiou|per_event|pseudo_label_quality|bound|learning|losses)\.(png|svg|csv)"
)
MOST = 6  # settings in one figure: so many look different in color, dashes, marker and hatch


class Drawing(NamedTuple):
    """A figure: ``key`` names its files, ``caption`` is plain text, and ``numbers`` are the rows of its table."""

    key: str
    title: str
    caption: str
    figure: Figure
    numbers: Numbers = ()


def write_drawing(folder: Path, drawing: Drawing) -> str:
    """Write ``KEY.png``, ``KEY.svg`` and, if it has numbers, ``KEY.csv``; return the ``<svg>`` element for a page."""
    picture = svg(drawing.figure, salt=drawing.key)
    with atomic_write(folder / f"{drawing.key}.svg") as text:
        text.write(f'<?xml version="1.0" encoding="utf-8"?>\n{picture}')
    with atomic_write_bytes(folder / f"{drawing.key}.png") as file:
        file.write(png(drawing.figure))
    if drawing.numbers:
        with atomic_write(folder / f"{drawing.key}.csv") as table:
            writer = csv.DictWriter(table, list(drawing.numbers[0]), lineterminator="\n")
            writer.writeheader()
            for row in drawing.numbers:
                writer.writerow({key: printable(cell) if isinstance(cell, str) else cell for key, cell in row.items()})
    return picture


def remove_stale_drawings(folder: Path, written: Sequence[Drawing]) -> None:
    """Remove the figures of an earlier report in this folder that are not among those just ``written``."""
    suffixes = [
        (drawing.key, suffix) for drawing in written for suffix in ("png", "svg", *["csv"] * bool(drawing.numbers))
    ]
    remove_stale(folder, FILES, {f"{key}.{suffix}" for key, suffix in suffixes})


class Spread(NamedTuple):
    """Mean and sample standard deviation (None: one seed) over ``seeds`` runs, at each value of ``x``."""

    x: tuple[float, ...]
    mean: tuple[float, ...]
    deviation: tuple[float | None, ...]
    seeds: tuple[int, ...]

    def rows(self) -> Iterator[tuple[float, float, float | None, int]]:
        """Yield (x, mean, deviation, seeds) for each x."""
        return zip(*self, strict=True)

    def ends(self) -> list[float]:
        """Return the mean minus and plus a standard deviation, for each x in turn."""
        return [y for _, mean, deviation, _ in self.rows() for y in (mean - (deviation or 0), mean + (deviation or 0))]


def spread_of(values: Mapping[float, Sequence[float]]) -> Spread:
    """Compute the spread of the values at each x.

    >>> spread_of({0.5: [40.0, 44.0, 48.0], 1.0: [50.0]})
    Spread(x=(0.5, 1.0), mean=(44.0, 50.0), deviation=(4.0, None), seeds=(3, 1))
    """
    return Spread(
        tuple(values),
        tuple(statistics.fmean(some) for some in values.values()),
        tuple(statistics.stdev(some) if len(some) > 1 else None for some in values.values()),
        tuple(len(some) for some in values.values()),
    )


def few_settings(settings: Sequence[Setting], baseline: Setting | None, most: int = MOST) -> list[Setting]:
    """Choose at most ``most`` settings: the baseline, then the first one of every experiment, then the second one, ...

    They are returned in the given order, the baseline first. Scores are ignored, so that nothing is chosen by the test
    split.
    """
    ordered = [setting for setting in settings if baseline is None or setting.label != baseline.label]
    if baseline is not None:
        ordered.insert(0, baseline)
    before: Counter[str] = Counter()
    turns = []
    for setting in ordered:
        turns.append(before[setting.name])
        before[setting.name] += 1
    kept = sorted(range(len(ordered)), key=lambda place: turns[place])[:most]
    return [ordered[place] for place in sorted(kept)]


def handle(place: int, line: bool = True) -> Line2D:
    """Return the legend's line (or dot) of the ``place``-th of several; call it in :func:`~avvp_pl.figures.styled`."""
    own = look(place)
    return Line2D([], [], color=own.color, ls=own.dashes if line else "", marker=own.marker)


def patch(place: int) -> Patch:
    """Return the legend's patch of the ``place``-th of several bars."""
    own = look(place)
    return Patch(facecolor=own.color, hatch=own.hatch, edgecolor="white", lw=0)


def sentences(*parts: str) -> str:
    """Join the parts that are not empty."""
    return " ".join(part for part in parts if part)


def over(seeds: Sequence[int]) -> str:
    """Return ``over 3 seeds.``, or ``over 1 to 3 seeds.`` where the numbers differ."""
    low, high = min(seeds), max(seeds)
    return f"over {count(high, 'seed')}." if low == high else f"over {low} to {high} seeds."


def of_seeds(seeds: Iterable[int]) -> str:
    """Name the seeds.

    >>> of_seeds([0]), of_seeds([2, 0, 1]), of_seeds([0, 1]), of_seeds([0, 2, 5])
    ('seed 0', 'seeds 0 to 2', 'seeds 0 and 1', 'seeds 0, 2 and 5')
    """
    own = sorted(seeds)
    if len(own) == 1:
        return f"seed {own[0]}"
    if len(own) > 2 and own == list(range(own[0], own[-1] + 1)):
        return f"seeds {own[0]} to {own[-1]}"
    return f"seeds {listed(list(map(str, own)))}"


def listed(parts: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def count(number: int, noun: str) -> str:
    """Return ``1 seed`` or ``3 seeds``."""
    return f"{number} {noun}{'s' * (number != 1)}"
