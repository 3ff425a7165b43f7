from __future__ import annotations

import ast
from pathlib import Path

import pytest

import avvp_pl

PACKAGE = Path(avvp_pl.__file__).parent
CORE = ["types.py", "models", "losses", "pseudo_labels", "metrics"]
SHELL = {"lightning", "hydra", "wandb", "omegaconf"}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("part", CORE)
def test_functional_core_does_not_know_its_shell(part: str) -> None:
    path = PACKAGE / part
    for file in path.rglob("*.py") if path.is_dir() else [path]:
        assert not imported(file) & SHELL, file


def test_faiss_is_imported_in_one_place() -> None:
    users = [file for file in PACKAGE.rglob("*.py") if "faiss" in imported(file)]
    assert users == [PACKAGE / "pseudo_labels" / "prototypes.py"]


@pytest.mark.parametrize("number", range(1, 19))
def test_every_equation_can_be_found(number: int) -> None:
    text = "\n".join(file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py"))
    spans = [range(a, b + 1) for a in range(1, 19) for b in range(a, 19) if f"Eqs. ({a})-({b})" in text]
    assert f"Eq. ({number})" in text or any(number in span for span in spans)


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "score", "prepare", "report"])
def test_commands_only_wire(command: str) -> None:
    assert len((PACKAGE / f"{command}.py").read_text(encoding="utf-8").splitlines()) <= 70
