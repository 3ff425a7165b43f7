"""When random numbers are seeded: at every epoch and every training step."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from avvp_pl.processes.randomness import reseed
from avvp_pl.training.callbacks import FIRST


class SeedSteps(pl.Callback):
    """Let dropout, and whatever else a method draws, depend on (seed, process, epoch or step) alone.

    So a resumed run draws the numbers that it would have drawn without the interruption. This callback comes before
    those that draw.
    """

    place = FIRST - 1

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed what is drawn between two epochs, such as pseudo labels."""
        reseed(self.seed, trainer.global_rank, "epoch", trainer.current_epoch)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed a training step."""
        reseed(self.seed, trainer.global_rank, "step", trainer.current_epoch, batch_idx)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed a validation."""
        reseed(self.seed, trainer.global_rank, "validation", trainer.current_epoch)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed what is fitted before a test."""
        reseed(self.seed, trainer.global_rank, "fit")

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed a test."""
        reseed(self.seed, trainer.global_rank, "test")
