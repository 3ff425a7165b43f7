from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.small import SMALL, run_once

# a network that finds some events and not all, and key segments of both signs
LEARNING = ("data.sizes.train=96", "trainer.max_epochs=12", "optimizer.learning_rate=0.003", "seed=3")

Trained = Callable[..., Path]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The run folder of a training with given settings. The training runs when a test first needs it."""
    runs: dict[tuple[str, ...], Path] = {}

    def run(*settings: str) -> Path:
        if settings not in runs:
            folder = tmp_path_factory.mktemp("run")
            run_once("train", *SMALL, "logger=csv", *settings, f"hydra.run.dir={folder}")
            runs[settings] = folder
        return runs[settings]

    return run


@pytest.fixture
def han(trained: Trained) -> Path:
    return trained("+experiment=han", *LEARNING)


@pytest.fixture
def ppl(trained: Trained) -> Path:
    """With more videos, so that the prototypes find some events and not all, too."""
    return trained("+experiment=ppl_soft", *LEARNING, "data.sizes.train=192")
