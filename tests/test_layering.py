"""Which module may know which: the core and the parts know no shell, and the shell knows no part by its name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import avvp_pl

PACKAGE = Path(avvp_pl.__file__).parent
CORE = ["types.py", "models", "losses", "pseudo_labels", "metrics"]
PARTS = ["parts.py", "methods", "labeling", "inference"]
COMMANDS = [path.stem for path in PACKAGE.glob("*.py") if "commands.command import" in path.read_text(encoding="utf-8")]
SHELL = {"lightning", "hydra", "wandb", "omegaconf"}


def files(*places: str) -> list[Path]:
    """All modules in some folders, or those files."""
    paths = [PACKAGE / place for place in places]
    return [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]


def name_of(file: Path) -> str:
    """The name under which a module is imported."""
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imported(file: Path) -> set[str]:
    """The full names of all modules that a module imports anywhere, and of whatever it takes from them."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def within(names: set[str], packages: set[str]) -> set[str]:
    """Those of the names that are one of the packages, or inside one."""
    return {name for name in names if any(f"{name}.".startswith(f"{package}.") for package in packages)}


@pytest.mark.parametrize("file", files(*CORE, *PARTS), ids=name_of)
def test_core_and_parts_do_not_know_their_shell(file: Path) -> None:
    assert not within(imported(file), SHELL | {"avvp_pl.processes", "avvp_pl.training", "avvp_pl.commands"})


@pytest.mark.parametrize("file", files(*CORE), ids=name_of)
def test_the_core_does_not_know_the_parts(file: Path) -> None:
    assert not within(imported(file), {"avvp_pl.parts", "avvp_pl.methods", "avvp_pl.labeling", "avvp_pl.inference"})


def test_no_import_of_an_import_brings_the_shell_in() -> None:
    """Of all modules of the core and the parts, in a process that has imported nothing else."""
    modules = ", ".join(name_of(file) for file in files(*CORE, *PARTS))
    code = f"import sys, {modules}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert "torch" in loaded.stdout.split()
    assert not SHELL & set(loaded.stdout.split())


@pytest.mark.parametrize(
    "file", files("commands", "training", "runs", "tasks", *(f"{name}.py" for name in COMMANDS)), ids=name_of
)
def test_the_shell_knows_parts_by_their_contract_only(file: Path) -> None:
    """It cannot ask for the class of a part whose module it does not import."""
    assert not within(imported(file), {"avvp_pl.methods", "avvp_pl.labeling", "avvp_pl.inference"})


def classes() -> Iterator[tuple[str, set[str]]]:
    """Every class of the package, and the last words of the names of its bases."""
    for file in files("."):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases = (base.value if isinstance(base, ast.Subscript) else base for base in node.bases)
                yield node.name, {ast.unparse(base).rpartition(".")[2] for base in bases}


def test_what_differs_is_in_the_parts_and_not_in_subclasses_of_the_module() -> None:
    bases = dict(classes())
    assert bases["ParsingModule"] == {"LightningModule"}
    assert [name for name, of_class in bases.items() if "LightningModule" in of_class] == ["ParsingModule"]
    assert not [name for name, of_class in classes() if "ParsingModule" in of_class]


def test_all_commands_are_checked() -> None:
    assert {"train", "evaluate", "predict", "score", "prepare", "report"} <= set(COMMANDS)


def test_faiss_is_imported_in_one_place() -> None:
    users = [file for file in files(".") if within(imported(file), {"faiss"})]
    assert users == [PACKAGE / "pseudo_labels" / "prototypes.py"]


@pytest.mark.parametrize("number", range(1, 19))
def test_every_equation_can_be_found(number: int) -> None:
    """By its own number, or as one that a function is said to compute: Eqs. (5)-(6), but not Eqs. 5-10."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in files("."))
    spans = [range(int(a), int(b) + 1) for a, b in re.findall(r"Eqs\. \((\d+)\)-\((\d+)\)", text)]
    assert re.search(rf"Eq\. (\({number}\)|{number}\b)", text) or any(number in span for span in spans)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_only_wire(command: str) -> None:
    assert len((PACKAGE / f"{command}.py").read_text(encoding="utf-8").splitlines()) <= 70
