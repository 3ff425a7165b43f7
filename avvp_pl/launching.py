"""Processes that the trainer forks: they get the signals of the one that waits for them, and it gets their errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import lightning.pytorch as pl
from lightning.pytorch.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from avvp_pl.errors import InputError, TrainingError
from avvp_pl.signals import handling, stop_at_once


@contextmanager
def as_one_process(trainer: pl.Trainer) -> Iterator[None]:
    """Let a run of forked processes be stopped, fail and exit as a run of one does."""
    launcher = trainer.strategy.launcher
    if not isinstance(launcher, _MultiProcessingLauncher):
        yield
        return

    def pass_on(number: int, frame: FrameType | None) -> None:
        running = [process for process in launcher.procs if process.is_alive()]
        if not running:
            stop_at_once(number, frame)
        launcher.kill(number)

    with handling(pass_on):
        try:
            yield
        except ProcessExitedException as error:
            raise SystemExit(error.exit_code) from None
        except ProcessRaisedException as error:
            for kind in (InputError, TrainingError):
                _, name, message = str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")
                if name:
                    raise kind(message.strip()) from None
            raise
