"""``evaluate`` as tests call it."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Command
from tests.small import PREDICTIONS, checkpoint

BOTH = ("prototype", "prototype_hard")  # the inferences of han_ppl_test
FILES = ("scores.json", *PREDICTIONS)


def evaluate(command: Command, run: Path, folder: Path, *arguments: str) -> Path:
    assert command("evaluate", f"checkpoint={checkpoint(run)}", f"hydra.run.dir={folder}", *arguments) == 0
    return folder


def ppl_test(command: Command, run: Path, folder: Path, *arguments: str) -> Path:
    return evaluate(command, run, folder, "+experiment=han_ppl_test", *arguments)
