"""What a checkpoint contains besides weights, so that it can be evaluated without any other file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf


class CheckpointContents(pl.Callback):
    """Add the resolved configuration, the events and the streams: plain containers, no pickled objects."""

    def __init__(self, cfg: DictConfig, events: Sequence[str], streams: list[list[Any]]) -> None:
        self.contents = {
            "config": OmegaConf.to_container(cfg, resolve=True),
            "events": list(events),
            "streams": streams,
        }

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add them, and the id of the W&B run."""
        checkpoint.update(self.contents)
        checkpoint["wandb_id"] = next((log.version for log in trainer.loggers if isinstance(log, WandbLogger)), None)
