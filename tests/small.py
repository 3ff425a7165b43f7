"""Commands on a small synthetic data set: the settings, and what tests read from a run folder."""

from __future__ import annotations

import csv
import importlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from avvp_pl.settings.conf import config_dir
from avvp_pl.training.module import ParsingModule
from avvp_pl.types import Batch
from tests.conftest import Command

KEY = "0123456789abcdef0123456789abcdef01234567"  # shaped like a key of W&B
REPOSITORY = Path(__file__).resolve().parents[1]
SMALL_NETWORK = ("network.dim=32", "network.feedforward_dim=32", "trainer.accelerator=cpu")
SMALL = ("data.sizes.train=32", "data.sizes.val=16", "data.sizes.test=16", *SMALL_NETWORK)
TWO_PROCESSES = ("trainer=ddp", "trainer.devices=2", "+trainer.strategy.start_method=fork", "data.batch_size=8")
# experiments that `evaluate` runs, each with the experiment whose checkpoint it tests; `train` runs all others
EVALUATED = {"han_ppl_test": "han", "ma_ppl_test": "ma"}
EXPERIMENTS = sorted(path.stem for path in (config_dir() / "experiment").glob("*.yaml"))


def localizes(experiment: str) -> bool:
    """Whether an experiment, or the one that it begins with, is one of localization."""
    text = (config_dir() / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8")
    begins_with = re.findall(r"^  - (\w+)$", text, re.MULTILINE)
    return "thumos14_synthetic" in text or any(localizes(name) for name in begins_with if name != "_self_")


LOCALIZING = [name for name in EXPERIMENTS if localizes(name)]
TRAINED = [name for name in EXPERIMENTS if name not in {*EVALUATED, *LOCALIZING}]
PREDICTIONS = ("predictions/audio.csv", "predictions/visual.csv", "predictions/probabilities.npz")


def train(command: Command, folder: Path, *arguments: str) -> Path:
    """Train on the small data in this process, and return the run folder."""
    assert command("train", *SMALL, "logger=csv", f"hydra.run.dir={folder}", *arguments) == 0
    return folder


def run_once(name: str, *arguments: str) -> None:
    """Run a command in this process, without the fixtures of a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"avvp_pl.{name}", *arguments])
        importlib.import_module(f"avvp_pl.{name}").main()


def stop_in_epoch(command: Command, step: int, *arguments: str) -> None:
    """Train with these arguments until SIGTERM arrives in training step number ``step``, and so saves the run."""
    original = ParsingModule.training_step

    def stopping(module: ParsingModule, batch: Batch, batch_idx: int) -> Tensor:
        if module.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(module, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ParsingModule, "training_step", stopping)
        assert command("train", *arguments) == 143


def shell(name: str, *arguments: str, folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, as from a shell, with the code of this checkout."""
    return subprocess.run(
        of_shell(name, *arguments), cwd=folder, env=environment(), capture_output=True, text=True, **options
    )


def of_shell(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"avvp_pl.{name}", *arguments]


def inspected(folder: Path) -> Any:
    """A run that was logged offline, as W&B's own viewer reads it; on a busy machine it does not always start."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(folder)]
    for _ in range(5):
        found = subprocess.run(command, capture_output=True, text=True)
        if found.returncode == 0:
            return json.loads(found.stdout)
    raise AssertionError(f"{folder}: {found.stderr or found.stdout}")


def environment() -> dict[str, str]:
    """The environment of a process that must find the code of this checkout, and not an installed package."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def checkpoint(run: Path, name: str = "best") -> Path:
    return run / "checkpoints" / f"{name}.ckpt"


def content(run: Path, name: str = "last") -> dict[str, Any]:
    """The content of a checkpoint."""
    loaded: dict[str, Any] = torch.load(checkpoint(run, name), weights_only=True)
    return loaded


def weights(run: Path, name: str = "last") -> dict[str, Tensor]:
    state: dict[str, Tensor] = content(run, name)["state_dict"]
    return state


def scores(run: Path) -> Any:
    return json.loads((run / "scores.json").read_text())


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def changed(path: Path, to: Path, change: Any) -> Path:
    """Save a copy of a checkpoint in which something was changed."""
    loaded = torch.load(path, weights_only=True)
    change(loaded)
    torch.save(loaded, to)
    return to
