"""The paper's tables, and that of later methods, from finished runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from avvp_pl.errors import InputError, nearest, quote
from avvp_pl.reporting import rows as paper
from avvp_pl.reporting.published import (
    AVERAGE,
    THUMOS14,
    Published,
    Rows,
    benchmark_of,
    contradictions,
    of_data,
    values_of,
)
from avvp_pl.reporting.statistics import CONFIDENCE, Differences
from avvp_pl.runs.reading import LOCALIZATION, Setting
from avvp_pl.runs.tested import remark


@dataclass(frozen=True)
class Cell:
    """A score of a setting in percent: its mean and its sample standard deviation over the seeds (None: one seed).

    ``difference`` is the mean minus that of the baseline; None for the baseline itself, and where there is none.
    ``interval`` is its paired bootstrap interval over the test videos; None also where these are not available.
    """

    mean: float
    deviation: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def sure(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


@dataclass(frozen=True)
class Row:
    """A row: the scores measured over ``seeds`` runs, and the numbers that the paper prints for the same row.

    Either may be empty, for a setting that is not in the paper and for a row of the paper that was not run. ``needs``
    is what the method learns from beyond weak labels; None in a table that does not say it.
    """

    label: str
    seeds: int
    cells: Mapping[str, Cell] = field(default_factory=dict)
    printed: Mapping[str, float] = field(default_factory=dict)
    needs: str | None = None


@dataclass(frozen=True)
class Table:
    """A table: ``key`` names its files (``table1``), ``columns`` are names of scores, ``notes`` are sentences.

    ``baseline`` is the label of the row to which the differences are.
    """

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    baseline: str | None = None

    @property
    def says_needs(self) -> bool:
        """Whether the rows say what their methods need beyond weak labels."""
        return any(row.needs is not None for row in self.rows)

    def is_best(self, row: Row, column: str) -> bool:
        """Return whether no measured row has a higher mean, rounded as shown; False where there is only one row."""
        means = [round(other.cells[column].mean, 1) for other in self.rows if column in other.cells]
        return len(means) > 1 and column in row.cells and round(row.cells[column].mean, 1) == max(means)


NEEDS = "beyond weak labels"  # a column, and what stands in it where no need is published:
NOTHING, NAMED, UNKNOWN = "nothing", "see its name", ""  # NAMED: the label of the row has the notes of its files
NOTE_ON_NEEDS = (
    "Beyond weak labels and the usual features: what the published method learns from. A row with a sentence in "
    "brackets learned from other files, as the sentence says. Empty: not known."
)

TITLES = {
    "table1": "Table 1: methods",
    "table2": "Table 2: labeling strategies",
    "table3": "Table 3: PPL_Test, prototypes of a trained model",
    "table4": "Table 4: contrastive loss",
    "table5": "Table 5: temporal action localization",
    "after": "After PPL: later methods",
    "all": "All settings",
}


def of_name(settings: Sequence[Setting], wanted: str) -> list[Setting]:
    """Return the setting with this label, or else the only one of this experiment, or else the only one as shipped.

    What was tested by a further inference of the experiment counts only where nothing else leaves exactly one setting.
    Where no rule does, all settings of the experiment are returned.
    """
    named = [setting for setting in settings if setting.name == wanted]
    exact = [setting for setting in settings if setting.label == wanted]
    first = [setting for setting in named if not setting.further]
    plain = [setting for setting in first if setting.plain]
    return next((found for found in (exact, first, plain, named) if len(found) == 1), named)


def find_baseline(settings: Sequence[Setting], wanted: str) -> Setting:
    """Return the setting that :func:`of_name` finds; :class:`InputError` where it is not exactly one."""
    found = of_name(settings, wanted)
    if len(found) != 1:
        problem = "is the name of several settings" if found else "is not among the settings"
        near = "" if found else nearest(wanted, [setting.label for setting in settings])
        give = ", ".join(f"baseline={pasted(setting.label)}" for setting in found or settings)
        raise InputError(f"baseline={quote(wanted)} {problem}; give {give}.{near}")
    return found[0]


def pasted(label: str) -> str:
    r"""Quote a label so that a shell passes it to Hydra unchanged; a single word needs no quotes.

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
    """Make the tables of the paper of which something was run, and the table ``all`` with every setting.

    A setting is in a table of the paper if it reproduces a row (:meth:`~avvp_pl.reporting.rows.PaperRow.is_of`), or if
    its experiment is the user's own and has the table's name among its ``tags``. Its label says what else sets it
    apart, and then the printed numbers have a row of their own. Printed numbers are left out where the data of the runs
    is not that of the printed table (:func:`~avvp_pl.reporting.published.of_data`). ``differences`` are those
    of :func:`~avvp_pl.reporting.statistics.compare`; None without test videos.
    """
    made = []
    published = of_data(published, [run for setting in settings for run in setting.runs])
    for key, rows in paper.tables().items():
        of_rows: dict[str, dict[str, Setting]] = {row.label: {} for row in rows}
        own: dict[str, dict[str, Setting]] = {}
        found = False
        for setting in settings:
            row = next((row for row in rows if row.is_of(setting)), None)
            if row is not None:
                of_rows[row.label][row.label_of(setting)] = setting
                found |= row.role != "reference"
            elif setting.shipped is None and any(key in (run.config.get("tags") or ()) for run in setting.runs):
                own[setting.label] = {setting.label: setting}
                found = True
        if found:
            printed = published.get(key, {})
            groups = {**of_rows, **{label: {} for label in printed if label not in of_rows}, **own}
            needs = {row.label: row.needs or NOTHING for row in rows} if any(row.needs for row in rows) else {}
            notes = [*[NOTE_ON_NEEDS] * bool(needs), *_notes_on_printed(key, printed)]
            made.append(_table(key, groups, values_of(printed), baseline, differences, notes, needs))
    groups = {setting.label: {setting.label: setting} for setting in settings}
    return [*made, _table("all", groups, {}, baseline, differences, _notes_on_epochs(settings), {})]


def _table(
    key: str,
    groups: Mapping[str, Mapping[str, Setting]],
    printed: Mapping[str, Mapping[str, float]],
    baseline: Setting | None,
    differences: Differences | None,
    notes: Sequence[str],
    needs: Mapping[str, str],
) -> Table:
    """Make a table of the settings of each row, by their labels, without rows that are neither measured nor printed.

    ``needs`` are those of the paper's rows; without any, the table does not speak of them.
    """
    members = [setting for group in groups.values() for setting in group.values()]
    names = list(dict.fromkeys(name for setting in members for name in setting.mean))
    # of modalities that some have; the average is the last column
    columns = (*(name for name in names if name != AVERAGE), *(name for name in names if name == AVERAGE))
    rows, labels = [], {}
    for label, group in groups.items():
        as_printed = {column: value for column, value in printed.get(label, {}).items() if column in columns}
        if as_printed and label not in group:
            rows.append(Row(label, 0, {}, as_printed, needs.get(label, UNKNOWN) if needs else None))
        for own, setting in group.items():
            labels[setting.label] = own
            cells = _cells(setting, baseline, differences)
            tested = [run.tested for run in setting.runs if run.tested is not None]
            said = remark([one._replace(notes=()) for one in tested])  # the label has the notes
            noted = any(one.notes for one in tested)
            needed = needs.get(label, UNKNOWN) if needs else None
            if noted and needed is not None:
                needed = NAMED if needed in {NOTHING, UNKNOWN} else f"{NAMED}; as published: {needed}"
            rows.append(Row(own + said, len(setting.runs), cells, as_printed if own == label else {}, needed))
    against = None if baseline is None else labels.get(baseline.label, baseline.label)
    notes = [*_legend(members, columns), *_notes_on_differences(rows, against), *notes]
    return Table(key, TITLES[key], columns, tuple(rows), tuple(notes), against)


def _legend(members: Sequence[Setting], columns: Sequence[str]) -> list[str]:
    """Say what the columns are, and by which protocol where it is not the common one."""
    data, protocol = members[0].runs[0].data, members[0].runs[0].protocol
    under = "" if protocol == "common" else f" under the protocol {protocol}"
    tracks = "A, V and AV are audio, visual and audio-visual, " if "segment/audio_visual" in columns else ""
    if members[0].runs[0].task == LOCALIZATION:
        legend = [
            f"Mean average precision (mAP) of intervals in percent, measured on {data}{under}, by the threshold of the "
            "temporal intersection over union (tIoU); 0.1:0.7 is the mean of the thresholds 0.1 to 0.7."
        ]
    else:
        legend = [
            f"F1 in percent, measured on {data}{under}. {tracks}Type and Event are "
            "Type@AV and Event@AV, first of segments (seg), then of events; average is the mean of all of them."
        ]
    if any(len(setting.runs) > 1 for setting in members):
        legend.append("± is the sample standard deviation over seeds.")
    if len(members) > 1:
        legend.append("The best mean of a column is bold.")
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
        return [f"Differences are to {baseline}, in points, without intervals: the test videos were not available."]
    return [
        f"Differences are to {baseline}, in points, with the {100 * CONFIDENCE:g} % interval of a paired bootstrap "
        "over the test videos; both sides are means over their seeds. A difference whose interval excludes 0 is bold.",
        "An interval says how much a difference depends on the choice of test videos, for these very networks, and "
        "nothing about other seeds. Intervals are not corrected for multiple comparisons: some exclude 0 by chance.",
    ]


def _notes_on_epochs(settings: Sequence[Setting]) -> list[str]:
    """Say which epochs were tested, with which validation scores."""
    said = []
    for setting in settings:
        if setting.further:  # tested in the same epochs
            continue
        tested = [f"{run.tested} of seed {run.seed}" for run in setting.runs if run.tested is not None]
        if tested:
            said.append(f"{setting.label}: {', '.join(tested)}")
    return [f"Tested epochs, counted from 0, with the validation scores that selected them. {'; '.join(said)}."] * (
        len(said) > 0
    )


def _notes_on_printed(key: str, rows: Rows) -> list[str]:
    """Say of which data the printed numbers of a table are, where they are from, and what contradicts itself."""
    if not rows:
        return []
    notes = [f"Printed numbers are of the test split of {benchmark_of(key).name}."]
    if benchmark_of(key) is THUMOS14:
        notes.append(
            "Printed rows were not all scored under one protocol, nor under ours: papers differ in the test videos, in "
            "the unit of bounds, and in which detections they drop, which moves mAP by a point and more."
        )
    if any(AVERAGE in values and AVERAGE not in rows[label] for label, values in values_of(rows).items()):
        notes.append("No average is printed: in rows of printed numbers, it is the mean of their ten scores.")
    sources: dict[str, list[str]] = {}
    for label, cells in rows.items():
        for source in dict.fromkeys(cell.source for cell in cells.values()):
            sources.setdefault(source, []).append(label)
    notes += [f"Printed for {', '.join(labels)}: {source}." for source, labels in sources.items()]
    return [*notes, *contradictions(key, rows)]
