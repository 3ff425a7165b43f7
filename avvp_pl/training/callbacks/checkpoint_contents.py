"""What a checkpoint contains besides weights, so that it can be evaluated without any other file."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf

from avvp_pl.data.videos import ParsingSet
from avvp_pl.runs.checkpoints import EXTRACTORS, LENGTHS


class CheckpointContents(pl.Callback):
    """Add the resolved configuration, and what the training videos are: plain containers, no pickled objects.

    That is their events and streams, the numbers of segments of the shortest and the longest one, and the extractors of
    those streams whose features come with a manifest.
    """

    def __init__(self, cfg: DictConfig, videos: ParsingSet) -> None:
        lengths = [] if videos.train is None else videos.train.lengths.tolist()
        self.contents = {
            "config": OmegaConf.to_container(cfg, resolve=True),
            "events": list(videos.events),
            "streams": videos.streams,
            LENGTHS: [min(lengths), max(lengths)] if lengths else None,
            EXTRACTORS: {name: dict(record) for name, record in videos.extractors.items()},
        }

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add them, and the id of the W&B run."""
        checkpoint.update(self.contents)
        checkpoint["wandb_id"] = next((log.version for log in trainer.loggers if isinstance(log, WandbLogger)), None)
