"""The names of files in a run folder: the code takes them all from one place."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import avvp_pl
from avvp_pl.runs import names
from avvp_pl.settings.conf import config_dir

PACKAGE = Path(avvp_pl.__file__).parent
NAMES = {name: value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
FILES = {value for value in NAMES.values() if Path(value).suffix}
FOLDERS = set(NAMES.values()) - FILES - {names.LOCK}  # a packed store has a lock of the same name


def written(code: str) -> set[str]:
    """The names of files in any string of some code, apart from docstrings, and those of folders in a path."""
    tree = ast.parse(code)
    nodes = list(ast.walk(tree))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    strings = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    texts = [str(node.value) for node in strings if id(node) not in docstrings]
    steps = [node.right for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)]
    parts = {node.value for node in steps if isinstance(node, ast.Constant)}
    return {name for name in FILES for text in texts if name in text} | (FOLDERS & parts)


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_other_module_writes_them(file: Path) -> None:
    if file != Path(names.__file__):
        assert written(file.read_text(encoding="utf-8")) == set()


def test_what_this_test_would_find() -> None:
    assert {"scores.json", "last.ckpt", "error.txt", "summary.md"} <= FILES
    assert {"checkpoints", "predictions", "pictures", "stages"} == FOLDERS
    assert written('"""Write scores.json."""\npath = folder / "checkpoints" / f"{x}/last.ckpt"') == {
        "checkpoints",
        "last.ckpt",
    }
    assert written('settings["pictures"]') == set()


def test_the_checkpoints_of_the_configuration_have_these_names() -> None:
    callbacks: Any = OmegaConf.to_container(OmegaConf.load(config_dir() / "callbacks" / "default.yaml"))
    assert [f"{callbacks[name]['filename']}.ckpt" for name in ("best", "last")] == [names.BEST, names.LAST]
    folders = {callbacks[name]["dirpath"] for name in ("best", "last")}
    assert folders == {f"${{paths.run_dir}}/{names.CHECKPOINTS}"}
