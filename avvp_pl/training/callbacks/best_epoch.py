"""When an epoch is the best so far: the parts remember it, and its checkpoint is saved."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from avvp_pl.errors import InputError, nearest
from avvp_pl.runs.wandb_run import WandbRun
from avvp_pl.training.module import ParsingModule


class BestEpoch(ModelCheckpoint):
    """Save the epoch that will be tested: the one with the best score ``monitor``, or the last one (``monitor`` None).

    The parts are told just before (:meth:`~avvp_pl.training.module.ParsingModule.keep_best`), so this checkpoint and
    the network that labels with ``labeling.source=best`` always come from the same epoch.
    """

    def __init__(
        self, dirpath: str, filename: str, monitor: str | None, mode: str, enable_version_counter: bool = False
    ) -> None:
        super().__init__(
            dirpath,
            filename,
            monitor,
            mode=mode,
            enable_version_counter=enable_version_counter,
            save_on_train_epoch_end=True if monitor is None else None,  # None: also after validations inside an epoch
        )

    def _save_topk_checkpoint(self, trainer: pl.Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """Save the epoch if it is the best so far. Raise :class:`InputError` if nothing logs the score."""
        has_validated = trainer.fit_loop.epoch_loop.val_loop._has_run
        if self.monitor is not None and self.monitor not in monitor_candidates and has_validated:
            scores = sorted(name for name in monitor_candidates if name.startswith("val/"))
            raise InputError(
                f"protocol.selection.monitor={self.monitor}: no score of this name is logged."
                f"{nearest(self.monitor, monitor_candidates)} The validation logs {', '.join(scores)}"
            )
        super()._save_topk_checkpoint(trainer, monitor_candidates)

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        """Tell the parts and W&B that this is the best epoch so far, and save it."""
        module = trainer.lightning_module
        assert isinstance(module, ParsingModule)
        module.keep_best()
        super()._save_checkpoint(trainer, filepath)
        for logger in trainer.loggers:
            if isinstance(logger, WandbRun):
                logger.log_selected(module.row, trainer.current_epoch)
