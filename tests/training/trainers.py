"""Trainings of a test: as quiet and as short as they can be."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from avvp_pl.data.module import ParsingData
from avvp_pl.training.module import ParsingModule


def trainer_of(epochs: int = 1, **more: Any) -> pl.Trainer:
    """A trainer on the CPU that writes nothing by itself."""
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    settings = {**quiet, "enable_progress_bar": False, "use_distributed_sampler": False, **more}
    return pl.Trainer(accelerator="cpu", max_epochs=epochs, **settings)


def fit(module: ParsingModule, data: ParsingData, epochs: int = 1, **more: Any) -> pl.Trainer:
    """Train."""
    trainer = trainer_of(epochs, **more)
    trainer.fit(module, data)
    return trainer
