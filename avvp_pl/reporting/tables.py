"""The paper's tables, from finished runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from avvp_pl.errors import InputError, nearest, quote
from avvp_pl.reporting.published import Published, inconsistencies
from avvp_pl.reporting.statistics import CONFIDENCE, Differences
from avvp_pl.runs.reading import INFERENCE, Setting, shipped


@dataclass(frozen=True)
class Cell:
    """A score of a setting, in percent: its mean and sample standard deviation over seeds (None: one seed).

    ``difference`` is that of the means to the baseline's (None for the baseline itself, and without one), ``interval``
    its paired bootstrap interval over the test videos (None also where these are not at hand).
    """

    mean: float
    deviation: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def sure(self) -> bool:
        """Whether the interval is on one side of 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


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
    """A table: ``key`` names its files (``table1``), ``columns`` are names of scores, ``notes`` sentences.

    ``baseline`` is what the differences are to, as its row is labeled.
    """

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    baseline: str | None = None

    def is_best(self, row: Row, column: str) -> bool:
        """Whether no other measured row has a higher mean, as it is shown; never where there is one row only."""
        means = [round(other.cells[column].mean, 1) for other in self.rows if column in other.cells]
        return len(means) > 1 and column in row.cells and round(row.cells[column].mean, 1) == max(means)


class _PaperRow(NamedTuple):
    """A row of the paper, and which settings are one: by the name of the experiment, as shipped, and the inference."""

    label: str
    name: str
    inference: str = "classifier"
    reference: bool = False  # stands there for comparison and makes no table by itself

    def is_of(self, setting: Setting) -> bool:
        inference = setting.settings.get(INFERENCE, "classifier")
        return setting.name == self.name and setting.plain and inference == self.inference

    def label_of(self, setting: Setting) -> str:
        """With what sets it apart, less what the row says anyway."""
        said = f"{INFERENCE.partition('.')[2]}={self.inference}"
        return " ".join([self.label, *(part for part in setting.apart if part != said)])


TITLES = {
    "table1": "Table 1: methods",
    "table2": "Table 2: labeling strategies",
    "table3": "Table 3: PPL_Test, prototypes of a trained model",
    "table4": "Table 4: contrastive loss",
    "all": "All settings",
}
ROWS = {
    "table1": (
        _PaperRow("HAN", "han"),
        _PaperRow("MA", "ma"),
        _PaperRow("Base", "mil"),
        _PaperRow("PPL", "ppl_soft"),
    ),
    "table2": (
        _PaperRow("Base", "mil"),
        _PaperRow("NPL_H", "npl_hard"),
        _PaperRow("NPL_S", "npl_soft"),
        _PaperRow("PPL_H", "ppl_hard"),
        _PaperRow("PPL_S", "ppl_soft"),
    ),
    "table3": (
        _PaperRow("HAN", "han", reference=True),
        _PaperRow("HAN + PPL_Test, Eq. (9)", "han_ppl_test", "prototype_hard"),
        _PaperRow("HAN + PPL_Test, Eq. (10)", "han_ppl_test", "prototype"),
    ),
    "table4": (
        _PaperRow("No-CL", "ppl_soft_no_cl"),
        _PaperRow("With-CL", "ppl_soft"),
    ),
}


def of_name(settings: Sequence[Setting], wanted: str) -> list[Setting]:
    """The setting of this label, or the only one of this experiment, or the only one of it as shipped.

    Where none of these is one, all of the name.
    """
    named = [setting for setting in settings if setting.name == wanted]
    exact = [setting for setting in settings if setting.label == wanted]
    plain = [setting for setting in named if setting.plain]
    return next((found for found in (exact, named, plain) if len(found) == 1), named)


def find_baseline(settings: Sequence[Setting], wanted: str) -> Setting:
    """The one of :func:`of_name`; :class:`InputError` if it is not one."""
    found = of_name(settings, wanted)
    if len(found) != 1:
        problem = "is the name of several settings" if found else "is none of the settings"
        near = "" if found else nearest(wanted, [setting.label for setting in settings])
        give = ", ".join(f"baseline={pasted(setting.label)}" for setting in found or settings)
        raise InputError(f"baseline={quote(wanted)} {problem}; give {give}.{near}")
    return found[0]


def pasted(label: str) -> str:
    r"""A label as a shell hands it to Hydra: in quotes for both where it is more than a word.

    >>> print(pasted("ppl_soft"), pasted("ppl_soft gamma=0.3"))
    ppl_soft "'ppl_soft gamma=0.3'"
    """
    if re.fullmatch(r"[\w./-]+", label, re.ASCII):
        return label
    for_hydra = "'" + label.replace("'", r"\'") + "'"
    return shlex.quote(for_hydra) if set('"$`!\\') & set(for_hydra) else f'"{for_hydra}"'


def paper_tables(
    settings: Sequence[Setting],
    baseline: Setting | None,
    differences: Differences | None,
    published: Published,
) -> list[Table]:
    """Tables 1 to 4, as far as something of them was run, and ``all``, which has every setting.

    A setting stands in a table if it is of the paper's (an experiment whose method is as shipped) or if its experiment
    is the user's own and has the table's name among its ``tags``. What else sets a setting apart its row says, and then
    the printed numbers have one of their own. ``differences`` are those of
    :func:`~avvp_pl.reporting.statistics.compare`, None without test videos.
    """
    made = []
    for key, paper in ROWS.items():
        of_rows: dict[str, dict[str, Setting]] = {row.label: {} for row in paper}
        own: dict[str, dict[str, Setting]] = {}
        found = False
        for setting in settings:
            row = next((row for row in paper if row.is_of(setting)), None)
            if row is not None:
                of_rows[row.label][row.label_of(setting)] = setting
                found |= not row.reference
            elif shipped(setting.name) is None and any(key in (run.config.get("tags") or ()) for run in setting.runs):
                own[setting.label] = {setting.label: setting}
                found = True
        if found:
            printed = {
                row: {score: cell.value for score, cell in cells.items()}
                for row, cells in published.get(key, {}).items()
            }
            groups = {**of_rows, **{label: {} for label in printed if label not in of_rows}, **own}
            made.append(_table(key, groups, printed, baseline, differences, _notes_on_printed(key, published)))
    groups = {setting.label: {setting.label: setting} for setting in settings}
    return [*made, _table("all", groups, {}, baseline, differences, [])]


def _table(
    key: str,
    groups: Mapping[str, Mapping[str, Setting]],
    printed: Mapping[str, Mapping[str, float]],
    baseline: Setting | None,
    differences: Differences | None,
    notes: Sequence[str],
) -> Table:
    """A table of the settings of each row, by their labels; one that is neither measured nor printed is left out."""
    members = [setting for group in groups.values() for setting in group.values()]
    names = list(dict.fromkeys(name for setting in members for name in setting.mean))
    columns = (*(name for name in names if name != "average"), "average")  # of modalities that some have
    rows, labels = [], {}
    for label, group in groups.items():
        as_printed = {column: value for column, value in printed.get(label, {}).items() if column in columns}
        if as_printed and label not in group:
            rows.append(Row(label, 0, {}, as_printed))
        for own, setting in group.items():
            labels[setting.label] = own
            cells = _cells(setting, baseline, differences)
            rows.append(Row(own, len(setting.runs), cells, as_printed if own == label else {}))
    against = None if baseline is None else labels.get(baseline.label, baseline.label)
    notes = [*_legend(members, rows), *_notes_on_differences(rows, against), *notes]
    return Table(key, TITLES[key], columns, tuple(rows), tuple(notes), against)


def _legend(members: Sequence[Setting], rows: Sequence[Row]) -> list[str]:
    data = members[0].runs[0].data
    legend = [
        f"F1 in percent, measured on {data}. A, V and AV are audio, visual and audio-visual, Type and Event are "
        "Type@AV and Event@AV, first of segments (seg), then of events; average is the mean of all of them."
    ]
    if any(len(setting.runs) > 1 for setting in members):
        legend.append("± is the sample standard deviation over seeds.")
    if len(members) > 1:
        legend.append("Bold is the best mean of a column.")
    if any(row.printed for row in rows):
        other = "" if data == "llp" else f", which {data} is not: compare orders and distances, not numbers"
        legend.append(f"Printed numbers are of the test split of LLP{other}.")
    return legend


def _cells(setting: Setting, baseline: Setting | None, differences: Differences | None) -> dict[str, Cell]:
    cells = {}
    for name, mean in setting.mean.items():
        difference, interval = None, None
        if baseline is not None and setting.label != baseline.label and name in baseline.mean:
            difference = mean - baseline.mean[name]
            if found := (differences or {}).get(setting.label, {}).get(name):
                interval = (found.low, found.high)
        cells[name] = Cell(mean, setting.deviation.get(name), difference, interval)
    return cells


def _notes_on_differences(rows: Sequence[Row], baseline: str | None) -> list[str]:
    cells = [cell for row in rows for cell in row.cells.values() if cell.difference is not None]
    if not cells:
        return []
    if all(cell.interval is None for cell in cells):
        return [f"Differences are to {baseline}, in points, without intervals: the test videos were not at hand."]
    return [
        f"Differences are to {baseline}, in points, with the {100 * CONFIDENCE:g} % interval of a paired bootstrap "
        "over the test videos, both sides being means over their seeds; bold where it is on one side of 0.",
        "The interval speaks of other test videos for these networks, not of other seeds, and each is taken by itself: "
        "of many, some are on one side by chance.",
    ]


def _notes_on_printed(key: str, published: Published) -> list[str]:
    """Where the printed numbers are from, which are not known, and which contradict each other."""
    rows = published.get(key, {})
    notes = []
    sources: dict[str, list[str]] = {}
    for label, cells in rows.items():
        for source in dict.fromkeys(cell.source for cell in cells.values()):
            sources.setdefault(source, []).append(label)
    notes += [f"Printed for {', '.join(labels)}: {source}." for source, labels in sources.items()]
    if unknown := [row.label for row in ROWS[key] if len(set(rows.get(row.label, {})) - {"average"}) < 10]:
        notes.append(
            f"Not all numbers that the paper prints were at hand ({', '.join(unknown)}); what is empty is not known. "
            "published=FILE adds them."
        )
    for label, cells in rows.items():
        notes += inconsistencies(label, {score: cell.value for score, cell in cells.items()})
    return notes
