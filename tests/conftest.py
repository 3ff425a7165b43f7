from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

# before torch is imported: two libraries' threads on two cores are many times slower than one
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["WANDB_MODE"] = "offline"

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from jaxtyping import config as jaxtyping_config
from omegaconf import DictConfig, OmegaConf

from avvp_pl.commands.build import build_data, build_model
from avvp_pl.data.module import ParsingData
from avvp_pl.data.synthetic import generate
from avvp_pl.data.videos import ParsingSet
from avvp_pl.settings.conf import config_dir
from avvp_pl.training.module import ParsingModule
from tests.forks import Zygote

torch.set_num_threads(1)
yaml.SafeLoader = yaml.CSafeLoader  # reads the same in a fraction of the time, and most tests compose a configuration

SHARED = Path(__file__).resolve().parents[2] / "shared"


# The files that take longest. They come first, or one process would still be busy when all others have nothing left
LONGEST = (
    "commands/test_two_processes.py",
    "test_resume.py",
    "commands/test_localizing_experiments.py",
    "commands/test_experiments.py",
    "test_damage.py",
    "commands/test_recipe.py",
    "settings/test_names.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first: commands, and of them the files that are named above."""
    tests = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        if not item.path.is_relative_to(tests):
            return len(LONGEST) + 1
        file = item.path.relative_to(tests).as_posix()
        return LONGEST.index(file) if file in LONGEST else len(LONGEST) + (not file.startswith("commands/"))

    items.sort(key=place)


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"needs the development data at {SHARED}")
    return SHARED


@pytest.fixture
def _unchecked_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user meets: the shapes in signatures are checked only while tests run."""
    monkeypatch.setattr(jaxtyping_config, "jaxtyping_disable", True)


def make_tiny(shortest: int | None = None) -> ParsingSet:
    return generate(
        sizes={"train": 40, "val": 12, "test": 12},
        streams={"vggish": 8, "res152": 12, "r2plus1d_18": 6},
        modalities={"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"]},
        seed=0,
        shortest=shortest,
    )


@pytest.fixture(scope="session")
def tiny() -> ParsingSet:
    """Videos of 10 segments."""
    return make_tiny()


@pytest.fixture(scope="session")
def ragged() -> ParsingSet:
    """The videos of ``tiny``, cut to 4 to 10 segments."""
    return make_tiny(shortest=4)


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """What forks commands, for tests that need them in processes of their own."""
    made = Zygote()
    yield made
    made.end()


@functools.cache  # composing takes longer than most of what is then tested
def composed(experiment: str, *overrides: str) -> DictConfig:
    """The configuration of an experiment with a small network, on a CPU."""
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        cfg = compose("train", [f"+experiment={experiment}", "trainer.accelerator=cpu", "logger=csv", *overrides])
    OmegaConf.set_struct(cfg, False)
    for name in ("dim", "feedforward_dim", "attention_dim"):
        if name in cfg.network and not any(given.startswith(f"network.{name}=") for given in overrides):
            cfg.network[name] = 16
    return cfg


class Build(Protocol):
    def __call__(
        self, experiment: str, *overrides: str, videos: ParsingSet | None = None
    ) -> tuple[ParsingModule, ParsingData]: ...


@pytest.fixture
def build(tiny: ParsingSet) -> Build:
    """Build the module of an experiment with a small network, and its data: those of ``tiny``, or others."""

    def make(experiment: str, *overrides: str, videos: ParsingSet | None = None) -> tuple[ParsingModule, ParsingData]:
        cfg, given = composed(experiment, *overrides), tiny if videos is None else videos
        return build_model(cfg, given), build_data(cfg, given)

    return make


class Command(Protocol):
    def __call__(self, name: str, *arguments: str) -> int: ...


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run ``python -m avvp_pl.NAME ARGUMENTS`` in this process, in an empty folder; its exit code."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", [f"avvp_pl.{name}", *arguments])
        try:
            importlib.import_module(f"avvp_pl.{name}").main()
        except SystemExit as leave:
            return int(leave.code or 0)
        return 0

    return run
