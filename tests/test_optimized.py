"""``python -O``: it removes assertions, and nothing may depend on them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import avvp_pl
from tests.conftest import Command
from tests.small import PREDICTIONS, SMALL, checkpoint, environment

SETTINGS = (*SMALL, "+experiment=ppl_soft", "logger=csv", "trainer.max_epochs=2", "threads=1")


def only_narrows(test: ast.expr) -> bool:
    """Whether an assertion only tells a type checker what is so: ``x is not None`` or ``isinstance(x, y)``."""
    if isinstance(test, ast.Compare):
        (comparison,), (value,) = test.ops, test.comparators
        return isinstance(comparison, ast.IsNot) and ast.unparse(value) == "None"
    return isinstance(test, ast.Call) and ast.unparse(test.func) == "isinstance"


def test_assertions_check_no_input() -> None:
    for path in sorted(Path(avvp_pl.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assert):
                assert only_narrows(node.test), f"{path}, line {node.lineno}: raise an error instead"


@pytest.mark.parametrize(
    ("test", "narrows"),
    [("x is not None", True), ("isinstance(x, str)", True), ("x", False), ("x > 0", False), ("x is None", False)],
)
def test_other_assertions_are_noticed(test: str, narrows: bool) -> None:
    expression = ast.parse(test, mode="eval").body
    assert only_narrows(expression) is narrows


def optimized(name: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-O", "-m", f"avvp_pl.{name}", *arguments]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)


def test_commands_do_the_same(command: Command, tmp_path: Path) -> None:
    plain, without = tmp_path / "plain", tmp_path / "optimized"
    assert command("train", *SETTINGS, f"hydra.run.dir={plain}") == 0
    trained = optimized("train", *SETTINGS, f"hydra.run.dir={without}", folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    for name in ("metrics.csv", "scores.json", *PREDICTIONS):
        assert (without / name).read_bytes() == (plain / name).read_bytes(), name
    parsed = optimized("predict", f"checkpoint={checkpoint(without)}", "output=parsed", "pictures=0", folder=tmp_path)
    assert parsed.returncode == 0, parsed.stderr
    for name in PREDICTIONS:
        assert (tmp_path / "parsed" / Path(name).name).read_bytes() == (plain / name).read_bytes(), name


def test_errors_are_the_same(tmp_path: Path) -> None:
    for arguments in (("labeling.gama=1",), ("data=llp", "data.root=nowhere"), ("data.sizes.test=0",)):
        found = optimized("train", *SETTINGS, *arguments, "hydra.run.dir=run", folder=tmp_path)
        assert found.returncode == 2, arguments
        assert len(found.stderr.splitlines()) == 1, found.stderr
