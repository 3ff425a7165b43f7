"""Tables as files: Markdown for reading, CSV for programs, LaTeX for a paper."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from avvp_pl.errors import printable
from avvp_pl.files import atomic_write, remove_stale
from avvp_pl.reporting.tables import NEEDS, TITLES, Cell, Row, Table
from avvp_pl.runs import markdown

# Markdown


def to_markdown(table: Table) -> str:
    """Write a section: means with deviations, printed numbers below each row, then the differences and the notes."""
    lines = []
    for row in table.rows:
        label, needs = markdown.literally(row.label), [markdown.literally(text) for text in _needs(table, row)]
        if row.cells:
            cells = [_bold(_mean(row, column), table.is_best(row, column)) for column in table.columns]
            lines.append([label, *needs, str(row.seeds), *cells])
        if row.printed:
            values = [f"*{row.printed[column]:.1f}*" if column in row.printed else "" for column in table.columns]
            lines.append([f"*{label}, printed*", *_unless_above(row, needs), "", *values])
    heads = [markdown.heading(column) for column in table.columns]
    first = [NEEDS] * table.says_needs
    parts = [f"## {markdown.literally(table.title)}\n", markdown.table([*first, "seeds", *heads], lines)]
    if compared := _compared(table):
        against = f"Difference to {markdown.literally(str(table.baseline))}:\n"
        cells_of = [
            [markdown.literally(row.label), *(_difference(row.cells.get(column)) for column in table.columns)]
            for row in compared
        ]
        parts += [against, markdown.table(heads, cells_of)]
    if table.notes:
        parts.append("".join(f"- {markdown.literally(note)}\n" for note in table.notes))
    return "\n".join(parts)


def _needs(table: Table, row: Row) -> list[str]:
    """Return what stands in the column of needs, if there is one."""
    return [row.needs or ""] * table.says_needs


def _unless_above(row: Row, needs: list[str]) -> list[str]:
    """Return the needs for the line of printed numbers: empty where those of the measured line stand above."""
    return [""] * len(needs) if row.cells else needs


def _compared(table: Table) -> list[Row]:
    return [row for row in table.rows if any(cell.difference is not None for cell in row.cells.values())]


def _mean(row: Row, column: str) -> str:
    cell = row.cells.get(column)
    return "" if cell is None else markdown.with_deviation(cell.mean, cell.deviation)


def _difference(cell: Cell | None) -> str:
    if cell is None or cell.difference is None:
        return ""
    interval = "" if cell.interval is None else f"<br>[{cell.interval[0]:+.1f}, {cell.interval[1]:+.1f}]"
    return _bold(f"{cell.difference:+.1f}", cell.sure) + interval


def _bold(text: str, bold: bool) -> str:
    return f"**{text}**" if bold else text


# CSV


def to_csv(table: Table) -> str:
    """Write one line for each row and score, unrounded; unknown values are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    measured_as = ("mean", "std", "baseline", "difference", "low", "high")
    writer.writerow(("table", "row", "seeds", "score", *measured_as, "printed", "needs"))
    for row in table.rows:
        for column in table.columns:
            cell, printed = row.cells.get(column), row.printed.get(column)
            if cell is None and printed is None:
                continue
            measured: tuple[float | str | None, ...] = (None,) * len(measured_as)
            if cell is not None:
                against = None if cell.difference is None else table.baseline
                measured = (cell.mean, cell.deviation, against, cell.difference, *(cell.interval or (None, None)))
            writer.writerow((table.key, row.label, row.seeds, column, *measured, printed, row.needs))
    return text.getvalue()


# LaTeX

SPECIAL = {
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "[": "{[}",  # after the end of a row, "[" would begin the height of the row
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
}


def latex_escaped(text: str) -> str:
    r"""Escape text for any LaTeX engine; characters that plain LaTeX cannot set become their number.

    >>> print(latex_escaped("npl_soft 5 % é 中"))
    npl\_soft 5 \% é U+4E2D
    """
    line = printable(" ".join(text.split()))
    return "".join(
        SPECIAL.get(sign, sign if sign < "\u007f" or sign in "äöüßéèêáàâíìîóòôúùûñçåø" else f"U+{ord(sign):04X}")
        for sign in line
    )


def to_latex(table: Table) -> str:
    """Write a ``table*`` for a paper; it needs the package booktabs."""
    levels = [(level, len(list(group))) for level, group in groupby(table.columns, lambda name: name.partition("/")[0])]
    first = 2 + table.says_needs  # columns before the scores
    over, rules, column = [], [], first + 1
    for level, width in levels:
        if width > 1:
            head = "mAP at tIoU" if level == "map" else level.capitalize()
            over.append(rf"\multicolumn{{{width}}}{{c}}{{{latex_escaped(head)}}}")
            rules.append(rf"\cmidrule(lr){{{column}-{column + width - 1}}}")
        else:
            over.append("")
        column += width
    heads = [latex_escaped(_short(name)) for name in table.columns]
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{{latex_escaped(table.title.partition(': ')[2] or table.title)}}}",
        rf"\label{{tab:{table.key}}}",
        r"\scriptsize",
        r"\setlength{\tabcolsep}{1pt}",
        rf"\begin{{tabular}}{{@{{}}l{r'p{3cm}' * table.says_needs}r{'c' * len(table.columns)}@{{}}}}",
        r"\toprule",
        _latex_row([*[""] * first, *over]),
        "".join(rules),
        _latex_row(["", *[NEEDS.capitalize()] * table.says_needs, "Seeds", *heads]),
        r"\midrule",
    ]
    for row in table.rows:
        label, needs = latex_escaped(row.label), [latex_escaped(text) for text in _needs(table, row)]
        if row.cells:
            cells = [_latex_mean(row.cells.get(name), table.is_best(row, name)) for name in table.columns]
            lines.append(_latex_row([label, *needs, str(row.seeds), *cells]))
        if row.printed:
            values = [rf"\textit{{{row.printed[name]:.1f}}}" if name in row.printed else "" for name in table.columns]
            lines.append(_latex_row([rf"\textit{{{label}, printed}}", *_unless_above(row, needs), "", *values]))
    if compared := _compared(table):
        width = len(table.columns) + first
        against = rf"\multicolumn{{{width}}}{{@{{}}l}}{{Difference to {latex_escaped(str(table.baseline))}}}"
        lines += [r"\midrule", _latex_row([against])]
        for row in compared:
            cells = [_latex_difference(row.cells.get(name)) for name in table.columns]
            empty = [""] * (first - 1)
            lines.append(_latex_row([latex_escaped(row.label), *empty, *cells]))
            if any(cell.interval for cell in row.cells.values()):
                intervals = [_latex_interval(row.cells.get(name)) for name in table.columns]
                lines.append(_latex_row(["", *empty, *intervals]))
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        lines.append(rf"\par\smallskip\parbox{{\textwidth}}{{{' '.join(map(latex_escaped, table.notes))}}}")
    return "\n".join([*lines, r"\end{table*}", ""])


def _short(score: str) -> str:
    """Return the heading of a score's column below that of its level."""
    level, _, name = score.partition("/")
    return markdown.tiou(name) if level == "map" else markdown.SHORT.get(name, name or score)


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_mean(cell: Cell | None, best: bool) -> str:
    if cell is None:
        return ""
    mean = rf"\textbf{{{cell.mean:.1f}}}" if best else f"{cell.mean:.1f}"
    return mean if cell.deviation is None else rf"{mean}{{\tiny$\pm${cell.deviation:.1f}}}"


def _latex_difference(cell: Cell | None) -> str:
    if cell is None or cell.difference is None:
        return ""
    difference = f"${cell.difference:+.1f}$"
    return rf"\textbf{{\boldmath{difference}}}" if cell.sure else difference


def _latex_interval(cell: Cell | None) -> str:
    if cell is None or cell.interval is None:
        return ""
    return rf"{{\tiny$[{cell.interval[0]:+.1f}, {cell.interval[1]:+.1f}]$}}"


# Files


def write_tables(folder: Path, tables: Sequence[Table]) -> None:
    """Write ``tables.md`` with all tables, and ``KEY.csv`` and ``KEY.tex`` of each.

    Files of an earlier report in this folder are removed where this report does not have the table.
    """
    with atomic_write(folder / "tables.md") as file:
        file.write("\n".join(map(to_markdown, tables)))
    for table in tables:
        for suffix, text in (("csv", to_csv(table)), ("tex", to_latex(table))):
            with atomic_write(folder / f"{table.key}.{suffix}") as file:
                file.write(text)
    written = {f"{table.key}.{suffix}" for table in tables for suffix in ("csv", "tex")}
    remove_stale(folder, re.compile(rf"({'|'.join(TITLES)})\.(csv|tex)"), written)
