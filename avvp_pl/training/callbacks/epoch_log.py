"""When an epoch is logged: at its end, before its checkpoint is saved."""

from __future__ import annotations

import logging
import time

import lightning.pytorch as pl
from torch import Tensor

from avvp_pl.training.callbacks import LAST
from avvp_pl.training.module import ParsingModule

log = logging.getLogger(__name__)


class EpochLog(pl.Callback):
    """Give the loggers one row for each epoch, and write one line into the log.

    The row has everything that the module and the callbacks before this one have logged in the epoch, in training and
    in validation. If the run is killed before the epoch's checkpoint is saved, it repeats the epoch, and the new row
    replaces this one; once the checkpoint is saved, the row exists. (Lightning itself would log after saving.)
    """

    place = LAST

    def __init__(self) -> None:
        self.started = time.perf_counter()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, also if the run is resumed in the middle of an epoch."""
        self.started = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock and a new row."""
        assert isinstance(pl_module, ParsingModule)
        self.started = time.perf_counter()
        pl_module.logged, pl_module.row_is_taken = set(), False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the row and the line."""
        assert isinstance(pl_module, ParsingModule)
        values = trainer.callback_metrics  # all processes must ask for it, because it sums over them
        row = {name: _number(values[name]) for name in sorted(pl_module.logged) if name in values}
        pl_module.row_is_taken = True
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": trainer.current_epoch, **row}, step=trainer.global_step)
        shown = {"loss": "train/loss", "val type_av": "val/segment/type_av", "val average": "val/average"}
        log.info(
            "epoch %d of %d: %s, %.1f s",
            trainer.current_epoch,
            trainer.max_epochs,
            ", ".join(f"{name} {row[key]:.3g}" for name, key in shown.items() if key in row),
            time.perf_counter() - self.started,
        )


def _number(value: Tensor | float) -> float:
    return value.item() if isinstance(value, Tensor) else value
