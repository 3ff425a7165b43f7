"""Random numbers depend on the seed and on where a training is, and on nothing that came before."""

from __future__ import annotations

import random
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from avvp_pl.training.callbacks.seed_steps import SeedSteps
from tests.conftest import Build
from tests.training.trainers import trainer_of

Drawn = dict[tuple[Any, ...], tuple[float, float, float]]


class Draw(pl.Callback):
    """Draw numbers from every generator, and ``waste`` some that nobody needs."""

    def __init__(self, waste: int) -> None:
        self.waste, self.drawn = waste, Drawn()

    def draw(self, *place: Any) -> None:
        legacy: Any = np.random
        self.drawn[place] = (torch.rand(()).item(), random.random(), float(legacy.rand()))
        torch.rand(self.waste)

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self.draw("epoch", trainer.current_epoch)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self.draw("step", trainer.current_epoch, batch_idx)

    def on_validation_epoch_start(self, trainer: Any, module: Any) -> None:
        self.draw("validation", trainer.current_epoch)

    def on_test_epoch_start(self, trainer: Any, module: Any) -> None:
        self.draw("test")


def drawn(build: Build, seed: int, waste: int) -> Drawn:
    module, data = build("mil")
    draw = Draw(waste)
    trainer = trainer_of(2, callbacks=[SeedSteps(seed), draw])
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    return draw.drawn


def test_numbers_depend_on_the_place_alone(build: Build) -> None:
    one, other = drawn(build, seed=3, waste=0), drawn(build, seed=3, waste=17)
    assert one == other
    assert len(one) == 2 * (1 + 3 + 1) + 1
    for generator in range(3):
        assert len({numbers[generator] for numbers in one.values()}) == len(one)  # every place has its own


def test_another_seed_has_other_numbers(build: Build) -> None:
    one, other = drawn(build, seed=3, waste=0), drawn(build, seed=4, waste=0)
    assert not [place for place in one if one[place] == other[place]]
