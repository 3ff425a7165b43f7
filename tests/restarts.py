"""Runs that are killed and started again in a second each, by way of the zygote, and the comparison of their bits."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from tests.forks import Zygote
from tests.small import PREDICTIONS


class Runs:
    """Runs of the same settings, each in a folder of its own; of the command, or ``from_python``, which is faster."""

    def __init__(self, zygote: Zygote, folder: Path, settings: tuple[str, ...], *, from_python: bool = False) -> None:
        self.zygote, self.folder, self.settings, self.from_python = zygote, folder, settings, from_python
        self.seconds = 0.0

    def start(self, name: str, *more: str, **deeds: Any) -> int:
        """Start a run, or start it again; the number of its process. ``deeds``: see the zygote."""
        settings, run, log = [*self.settings, *more], self.folder / name, self.folder / f"{name}.log"
        if self.from_python:
            what: dict[str, Any] = {"settings": settings, "run": str(run)}
        else:
            what = {"module": "avvp_pl.train", "arguments": [f"hydra.run.dir={run}", *settings]}
        return self.zygote.start(folder=self.folder, out=log, err=log, **what, **deeds)

    def said(self, name: str) -> str:
        """What a run has printed so far."""
        return (self.folder / f"{name}.log").read_text()

    def ended(self) -> int:
        """The exit status of the process that was started last."""
        return self.zygote.ended()

    def whole(self, name: str, *more: str) -> Path:
        """A run from its beginning or wherever it was to its end; its folder."""
        self.start(name, *more)
        assert self.ended() == 0, self.said(name)
        return self.folder / name

    def timed(self, name: str, *more: str) -> Path:
        """A whole run, whose seconds are kept."""
        self.start(name, *more)
        started = time.perf_counter()
        assert self.ended() == 0, self.said(name)
        self.seconds = time.perf_counter() - started
        return self.folder / name


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two nested containers do not have the same bits."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [*one, *(key for key in other if key not in one)]
        return [found for key in keys for found in differences(one.get(key), other.get(key), f"{path}/{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [
            found for i, pair in enumerate(zip(one, other, strict=True)) for found in differences(*pair, f"{path}/{i}")
        ]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and torch.equal(one, other)
    else:
        same = type(one) is type(other) and one == other
    return [] if same else [f"{path}: {one} and {other}"]


def checkpoint(run: Path, name: str) -> dict[str, Any]:
    """All of a checkpoint except durations, counters of attempts and the name of the folder."""
    content: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    del content["config"]["paths"]
    loops = content.pop("loops")["fit_loop"]
    content["steps"] = loops["epoch_loop.state_dict"]["_batches_that_stepped"]
    content["config"]["callbacks"] = content["config"]["trainer"] = content["config"]["logger"] = None
    for state in content["callbacks"].values():
        state.pop("training_seconds", None)
        state.pop("dirpath", None)
        state.pop("current_score", None)  # Lightning saves it but does not restore it
        report = state.get("report", {})
        for key in [key for key in report if key.startswith("labeling/")]:
            del report[key]
        for key in [key for key in state if key.endswith("model_path")]:
            state[key] = Path(state[key]).name
        if "best_k_models" in state:
            state["best_k_models"] = {Path(path).name: score for path, score in state["best_k_models"].items()}
    return content


def assert_same(run: Path, other: Path) -> None:
    for name in ("best", "last"):
        assert not differences(checkpoint(run, name), checkpoint(other, name)), name
    tested = [f"{place}{name}" for place in ("", "classifier/") for name in ("scores.json", *PREDICTIONS)]
    for name in ("metrics.csv", "pseudo_labels.csv", *tested):
        assert (run / name).exists() == (other / name).exists(), name
        assert not (run / name).exists() or (run / name).read_bytes() == (other / name).read_bytes(), name
    assert (run / "scores.json").exists()
    assert not list(run.rglob("*.tmp"))


def kill_at_random(runs: Runs, name: str, seed: int, kills: int, *more: str) -> Path:
    """Start a run and kill it several times, each time after a part of what a whole run takes; then let it end."""
    moments, killed = random.Random(seed), 0
    while killed < kills:
        process, started = runs.start(name, *more), time.perf_counter()
        time.sleep(moments.random() * runs.seconds)
        with suppress(ProcessLookupError):  # it has ended, or is not a group yet
            os.killpg(process, signal.SIGKILL)
        status = runs.ended()
        killed += status != 0
        assert status in {0, -signal.SIGKILL}
        if status == 0:
            runs.seconds = time.perf_counter() - started  # from now on it only tests
    return runs.whole(name, *more)
