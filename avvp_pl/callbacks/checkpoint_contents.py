"""What a checkpoint carries beside weights, so that it can be evaluated with nothing else at hand."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from omegaconf import DictConfig, OmegaConf

from avvp_pl.data.videos import ParsingSet


class CheckpointContents(pl.Callback):
    """Add the resolved configuration, the events and the stream dimensions: plain containers, no pickled objects."""

    def __init__(self, cfg: DictConfig, videos: ParsingSet) -> None:
        self.contents = {
            "config": OmegaConf.to_container(cfg, resolve=True),
            "events": list(videos.events),
            "stream_dims": videos.stream_dims,
        }

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add them."""
        checkpoint.update(self.contents)
