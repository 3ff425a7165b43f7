"""A corpus of real-life damage: what is done to good input, and what a command must then say.

``docs/bad_input.md`` is its table: ``python -m tests.damage`` prints that page.
"""

from __future__ import annotations

from tests.damage import checkpoints, features, names, reports, settings, tables
from tests.damage.place import Case

CORPUS: dict[str, list[Case]] = {
    **tables.CASES,
    **features.CASES,
    **checkpoints.CASES,
    **reports.CASES,
    **settings.CASES,
    **names.CASES,
}

INTRODUCTION = """# Bad input

What the commands do with input that is not in order. An **error** is one message on the terminal that names the file,
the row, the value and the mend; the exit code is 2 (`debug=true` adds the traceback). `prepare` gathers the errors of
a folder and lists the first ten. A **warning** is a line of the log, with a count where there can be many; the data is
used as the warning says. What is **read** is taken as if it was in order. `train`, `evaluate` and `predict` read data
by the same functions as `prepare`.

Nothing that is read is ever executed: features are numbers, checkpoints are read without unpickling, and names of
videos, events and streams are never taken for paths, formulas or markup.

This page is made by `python -m tests.damage`, from the cases that the tests run.
"""


def page() -> str:
    """``docs/bad_input.md``."""
    parts = [INTRODUCTION]
    for heading, cases in CORPUS.items():
        rows = "".join(f"| {named(case)} | {case.outcome}{said(case)} |\n" for case in cases)
        parts.append(f"## {heading}\n\n| case | what happens |\n|---|---|\n{rows}")
    return "\n".join(parts)


def named(case: Case) -> str:
    return code(case.name) if "=" in case.name or case.name[0] == "~" else case.name


def said(case: Case) -> str:
    shown = case.says if len(case.says) < 200 else f"{case.says[:40]} ... {case.says[-60:]}"
    return f": {code(shown.strip())}" if shown else ""


def code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"
