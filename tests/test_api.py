"""What ``import avvp_pl`` offers: it is light, typed, documented, and the notebook about it runs."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import avvp_pl
from tests.api import PAGES, SECTIONS, definition
from tests.small import REPOSITORY, environment
from tests.test_layering import COMMANDS

SOURCE = Path(avvp_pl.__file__).read_text(encoding="utf-8")
NOTEBOOK = REPOSITORY / "docs" / "library.ipynb"
HEAVY = "{'torch', 'lightning', 'wandb', 'pandas', 'matplotlib', 'faiss', 'torchmetrics'}"


def loaded(code: str, *light: str) -> str:
    """Which heavy modules some code imports in a process of its own."""
    heavy = f"{HEAVY} | {set(light)}" if light else HEAVY
    command = [sys.executable, "-c", f"import sys; {code}; print(sorted(({heavy}) & set(sys.modules)))"]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def test_the_import_is_light() -> None:
    assert loaded("import avvp_pl; dir(avvp_pl); avvp_pl.InputError", "numpy", "hydra", "omegaconf") == "[]"


def test_no_command_imports_anything_heavy_for_its_help() -> None:
    assert loaded("import " + ", ".join(f"avvp_pl.{name}" for name in COMMANDS)) == "[]"


def test_the_lists_of_names_agree() -> None:
    """``__all__``, the imports that a type checker sees, and the modules from which a name is taken."""
    tree = ast.parse(SOURCE)
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    imports = {
        (node.module, alias.name)
        for node in ast.walk(checked)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imports == {(home, name) for home, names in avvp_pl._HOMES.items() for name in names}
    assert {name for _, name in imports} == set(avvp_pl.__all__)
    assert len(set(avvp_pl.__all__)) == len(avvp_pl.__all__)
    for name in avvp_pl.__all__:
        assert callable(getattr(avvp_pl, name))
        assert name in dir(avvp_pl)
    with pytest.raises(AttributeError, match="module 'avvp_pl' has no attribute 'laod'"):
        avvp_pl.laod  # type: ignore[attr-defined]  # noqa: B018


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """All public functions, and public methods of public classes."""
    for name in avvp_pl.__all__:
        node = definition(name)
        parts = [node] if isinstance(node, ast.FunctionDef) else node.body
        for part in parts:
            if isinstance(part, ast.FunctionDef) and (part.name == "__init__" or not part.name.startswith("_")):
                yield f"{name}.{part.name}", part


def test_public_signatures_are_complete_and_say_nothing_with_any() -> None:
    assert (Path(avvp_pl.__file__).parent / "py.typed").exists()
    for name, node in functions():
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        given = [argument for argument in arguments if argument.arg not in {"self", "cls"}]
        hints = [argument.annotation for argument in given]
        hints += [node.returns] if node.name != "__init__" else []
        assert all(hint is not None for hint in hints), name
        assert not [hint for hint in hints if hint and re.search(r"\bAny\b", ast.unparse(hint))], name


def test_every_name_is_documented_once() -> None:
    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(avvp_pl.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pages_are_current(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == PAGES[page](), "run python -m tests.api"


@pytest.fixture(scope="module")
def notebook() -> Any:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def test_the_notebook_is_one(notebook: Any) -> None:
    """In the format that Jupyter reads, and without outputs, which would soon be old."""
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in notebook["cells"]:
        assert cell["cell_type"] in {"markdown", "code"}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_the_notebook_runs(notebook: Any, tmp_path: Path) -> None:
    """From top to bottom, in a process of its own, as Jupyter runs it."""
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join(cells), encoding="utf-8")
    ran = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "timeline.png").exists()
