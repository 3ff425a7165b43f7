"""Random mutants of everything outside the functional core: how many does the test suite notice?

``python -m tests.random_mutants [--count N] [--seed N] [--jobs N] [--mirrored] [FILE ...]`` is the second half of
``make mutants``. The core has few lines and is mutated exhaustively. The rest is too large for that, so a seeded sample
of its mutants is tried. A mutant is one small change of one file: another comparison, a number that is larger by one, a
condition turned around, a call left out, a returned value replaced by None. It is shown to the tests that mirror its
file first, and to all tests if these do not notice it (``--mirrored`` leaves this second, slow step out). Files that
only lay out pictures and pages are left out, and texts for people, too.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "avvp_pl"
CORE = ("losses", "metrics", "models", "pseudo_labels")  # mutated exhaustively, by tests/mutants.py
PICTURES = (
    "figures.py", "reporting/browser.py", "reporting/curves.py", "reporting/drawings.py", "reporting/epochs.py",
    "reporting/events.py", "reporting/examples.py", "reporting/page.py", "reporting/wandb_panels.py",
    "reporting/workspace.py",
)  # fmt: skip
COPIED = ("avvp_pl", "tests", "conf", "benchmarks", "docs", ".ci", ".github", "pyproject.toml", "constraints.txt",
          "Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", ".gitignore")  # fmt: skip
SAID = {"raise", "log", "print", "InputError", "TrainingError", "warning", "info"}  # calls whose texts are for people
LEAST = 0.9  # of the mutants that the tests must kill
MIRRORED_SECONDS, ALL_SECONDS = 300, 1500  # a mutant that runs longer does not come to its end: it is killed

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


class Mutant(NamedTuple):
    """A change of one file: ``old`` at ``line`` becomes ``new``, and the whole file is ``text``."""

    path: str
    line: int
    old: str
    new: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}\n    - {self.old}\n    + {self.new}"


def files() -> list[str]:
    """Return the files whose mutants are tried, as paths in the repository."""
    found = sorted((REPOSITORY / PACKAGE).rglob("*.py"))
    inside = [path.relative_to(REPOSITORY / PACKAGE).as_posix() for path in found]
    return [f"{PACKAGE}/{name}" for name in inside if name.split("/")[0] not in CORE and name not in PICTURES]


def mutants_of(path: str, text: str) -> list[Mutant]:
    """Return all mutants of a file."""
    starts = [0]
    for line in text.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    content, made = text.encode(), []
    for node in _changeable(ast.parse(text)):
        for changed in _changes(node):
            assert isinstance(node, ast.expr | ast.stmt)
            assert node.end_lineno is not None
            assert node.end_col_offset is not None
            begin, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
            new = ast.unparse(ast.fix_missing_locations(changed))
            if isinstance(changed, ast.expr) and not isinstance(changed, ast.Constant | ast.Call | ast.Name):
                new = f"({new})"
            whole = (content[:begin] + new.encode() + content[end:]).decode()
            try:
                ast.parse(whole)
            except SyntaxError:
                continue
            old = " ".join(content[begin:end].decode().split())
            made.append(Mutant(path, node.lineno, old, " ".join(new.split()), whole))
    return made


def _changeable(node: ast.AST, parent: ast.AST | None = None) -> Iterator[ast.AST]:
    """Yield the nodes that decide what the code does: no annotations, no docstrings, no texts for people."""
    if isinstance(node, ast.JoinedStr):
        return  # before Python 3.12 the parts of an f-string do not know where they stand
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.expr | ast.stmt):
        yield node
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params"}:
            continue
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and _said(node)):
            continue
        for inner in value if isinstance(value, list) else [value]:
            is_text = isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant)
            if isinstance(inner, ast.AST) and not is_text:
                yield from _changeable(inner, node)


def _said(call: ast.Call) -> bool:
    """Return whether a call only tells people something."""
    names = {part.id if isinstance(part, ast.Name) else getattr(part, "attr", "") for part in ast.walk(call.func)}
    return bool(SAID & names)


def _changes(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Yield the mutants of one node."""
    new = copy.deepcopy(node)
    if isinstance(new, ast.Compare):
        for number, operator in enumerate(new.ops):
            other = copy.deepcopy(new)
            other.ops[number] = COMPARISONS[type(operator)]()
            yield other
    elif isinstance(new, ast.BoolOp):
        new.op = ast.Or() if isinstance(new.op, ast.And) else ast.And()
        yield new
    elif isinstance(new, ast.UnaryOp) and isinstance(new.op, ast.Not | ast.USub | ast.Invert):
        yield new.operand
    elif isinstance(new, ast.BinOp) and type(new.op) in OPERATORS:
        new.op = OPERATORS[type(new.op)]()
        yield new
    elif isinstance(new, ast.Constant) and isinstance(new.value, bool | int | float):
        yield ast.Constant(not new.value if isinstance(new.value, bool) else new.value + 1)
    elif isinstance(new, ast.IfExp):
        yield ast.IfExp(new.test, new.orelse, new.body)
    elif isinstance(new, ast.Return) and new.value is not None and ast.unparse(new.value) != "None":
        yield ast.Return(ast.Constant(None))
    elif isinstance(new, ast.AugAssign) or (
        isinstance(new, ast.Expr) and isinstance(new.value, ast.Call) and not _said(new.value)
    ):
        yield ast.Pass()
    elif isinstance(new, ast.Assign) and isinstance(new.targets[0], ast.Attribute):
        if ast.unparse(new.value) != "None":
            yield ast.Assign(new.targets, ast.Constant(None), lineno=0)
    elif isinstance(new, ast.Break | ast.Continue):
        yield ast.Continue() if isinstance(new, ast.Break) else ast.Break()
    elif isinstance(new, ast.Call) and not _said(new):
        for number in range(len(new.keywords)):
            without = copy.deepcopy(new)
            del without.keywords[number]
            yield without


def sample(count: int, seed: int, paths: Sequence[str]) -> list[Mutant]:
    """Draw mutants, every one of all files with the same chance."""
    every = [mutant for path in paths for mutant in mutants_of(path, (REPOSITORY / path).read_text(encoding="utf-8"))]
    return random.Random(seed).sample(every, min(count, len(every)))


def mirrored(path: str) -> list[str]:
    """Return the tests of the file, and of the package that it is in; they are where a newcomer would look for them."""
    inside = Path(path).relative_to(PACKAGE)
    folder = Path("tests") / inside.parent
    tests = [folder / f"test_{inside.stem}.py", folder]
    if folder == Path("tests"):  # a command, or what all packages use
        tests = [room / f"test_{inside.stem}.py" for room in (folder, folder / "commands")]
    return [test.as_posix() for test in tests if (REPOSITORY / test).exists()]


class Place:
    """A copy of the repository in which one mutant after another is tried."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, folder / name)

    def killed_by(self, mutant: Mutant, only_mirrored: bool) -> str | None:
        """Return which tests notice the mutant: ``mirrored`` or ``all``; None if it survives."""
        path = self.folder / mutant.path
        original = path.read_text(encoding="utf-8")
        path.write_text(mutant.text, encoding="utf-8")
        try:
            tests = mirrored(mutant.path)
            for test in tests:
                if not self._pass([test], MIRRORED_SECONDS):
                    return "mirrored"
            return None if only_mirrored or self._pass(["tests", PACKAGE], ALL_SECONDS) else "all"
        finally:
            path.write_text(original, encoding="utf-8")

    def _pass(self, tests: Sequence[str], seconds: float) -> bool:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-n0", *tests]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            ended = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        return ended.returncode in {0, 5}  # 5: no tests


def main() -> int:
    """Try the mutants, print every survivor and how many were killed; 1 if they are too few."""
    parser = argparse.ArgumentParser(prog="python -m tests.random_mutants", description="Try random mutants.")
    parser.add_argument("files", nargs="*", help="files of the package; none: all outside the core and the pictures")
    parser.add_argument("--count", type=int, default=60, help="how many mutants (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (default: 2)")
    parser.add_argument("--mirrored", action="store_true", help="do not try all tests: a lower bound, much faster")
    asked = parser.parse_args()
    drawn = sample(asked.count, asked.seed, asked.files or files())
    free: SimpleQueue[Place] = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="avvp_pl_mutants_") as folder, ThreadPoolExecutor(asked.jobs) as threads:
        for number in range(asked.jobs):
            free.put(Place(Path(folder) / str(number)))

        def attempt(mutant: Mutant) -> str | None:
            place = free.get()
            try:
                return place.killed_by(mutant, asked.mirrored)
            finally:
                free.put(place)

        outcomes: Counter[str] = Counter()
        for mutant, outcome in zip(drawn, threads.map(attempt, drawn), strict=True):
            outcomes[outcome or "survived"] += 1
            print(f"{outcome or 'SURVIVED'}: {mutant}", flush=True)
    killed = outcomes["mirrored"] + outcomes["all"]
    share = killed / max(1, len(drawn))
    print(f"\n{len(drawn)} mutants outside the core: {killed} killed ({share:.1%}, at least {LEAST:.0%} is required),")
    print(f"{outcomes['mirrored']} by the mirrored tests, {outcomes['all']} by others, {outcomes['survived']} survived")
    return int(share < LEAST)


if __name__ == "__main__":
    sys.exit(main())
