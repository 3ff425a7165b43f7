"""When an epoch is logged: at its end, before its checkpoint is saved, and its test scores after the test."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import lightning.pytorch as pl
from torch import Tensor

from avvp_pl.runs.wandb_run import WandbRun
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
        pl_module.logged, pl_module.row, pl_module.row_is_taken = set(), {}, False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the row and the line."""
        assert isinstance(pl_module, ParsingModule)
        row = pl_module.row = _logged(trainer, pl_module)
        pl_module.row_is_taken = True
        pl_module.test_epoch_of_now()
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": trainer.current_epoch, **row}, step=trainer.global_step)
        shown = {
            "loss": "train/loss",
            "val type_av": "val/segment/type_av",
            "val average": "val/average",
            "val mAP": "val/map/average_0.1_0.7",
        }
        log.info(
            "epoch %d of %d: %s, %.1f s",
            trainer.current_epoch,
            trainer.max_epochs,
            ", ".join(f"{name} {row[key]:.3g}" for name, key in shown.items() if key in row),
            time.perf_counter() - self.started,
        )

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start with no names, so that only those of the test are logged."""
        assert isinstance(pl_module, ParsingModule)
        pl_module.logged = set()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the test scores in the row of the epoch that was tested, which is rarely the last one."""
        assert isinstance(pl_module, ParsingModule)
        scores = _logged(trainer, pl_module)
        if pl_module.tested is None:
            return
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": pl_module.tested.epoch, **scores}, step=pl_module.tested_step)
            if isinstance(logger, WandbRun):
                logger.log_selected(pl_module.tested_row, pl_module.tested.epoch)
                if trainer.ckpt_path is not None:
                    logger.log_tested(Path(trainer.ckpt_path), pl_module.tested.score)


def _logged(trainer: pl.Trainer, module: ParsingModule) -> dict[str, float]:
    """Return everything that was logged; all processes must ask for it, because it sums over them."""
    values = trainer.callback_metrics
    return {name: _number(values[name]) for name in sorted(module.logged) if name in values}


def _number(value: Tensor | float) -> float:
    return value.item() if isinstance(value, Tensor) else value
