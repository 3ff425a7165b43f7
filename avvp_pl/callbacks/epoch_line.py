"""One line an epoch in the log, for those who watch no progress bar."""

from __future__ import annotations

import logging
import time

import lightning.pytorch as pl

log = logging.getLogger(__name__)


class EpochLine(pl.Callback):
    """Log loss, validation scores and seconds at the end of every epoch."""

    def __init__(self) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the line."""
        metrics = trainer.callback_metrics
        shown = {"loss": "train/loss", "val type_av": "val/segment/type_av", "val average": "val/average"}
        values = ", ".join(f"{name} {metrics[key]:.3g}" for name, key in shown.items() if key in metrics)
        log.info(
            "epoch %d of %d: %s, %.1f s",
            trainer.current_epoch,
            trainer.max_epochs,
            values,
            time.perf_counter() - self.started,
        )
