"""Being stopped: save, say how to go on, and leave with the exit code of the signal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException

log = logging.getLogger(__name__)

EXIT_CODES = {KeyboardInterrupt: 130, SIGTERMException: 143}


class SaveOnInterrupt(pl.Callback):
    """On SIGINT or SIGTERM write ``last.ckpt`` into ``directory``; ``exit_code`` says which it was."""

    def __init__(self, directory: str) -> None:
        self.path = Path(directory) / "last.ckpt"
        self.exit_code: int | None = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save if this is a request to stop training."""
        self.exit_code = EXIT_CODES.get(type(exception))
        if self.exit_code is None or trainer.state.fn != TrainerFn.FITTING:  # a test has other weights loaded
            return
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        if progress.processed < trainer.num_training_batches:
            trainer.save_checkpoint(self.path)
        elif not self.path.exists():
            log.warning("stopped before the end of the first epoch's validation: nothing to go on from")
            return
        # else the epoch is being validated and not yet logged; it is done again from its start, as last.ckpt has it
        log.warning(
            "stopped in epoch %d; saved. To go on: the same command with resume=auto hydra.run.dir=%s",
            trainer.current_epoch,
            self.path.parent.parent,
        )


@contextmanager
def resumable(trainer: pl.Trainer) -> Iterator[None]:
    """Give the process the exit code of the signal that stopped the trainer (Lightning gives it 1 and 0)."""
    try:
        yield
    except SystemExit:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, SaveOnInterrupt) and callback.exit_code is not None:
                raise SystemExit(callback.exit_code) from None
        raise
