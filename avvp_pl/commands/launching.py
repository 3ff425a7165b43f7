"""Several processes on one machine that behave as one.

The first process passes on its signals, all end together, and errors and exit codes are those of one process.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import lightning.pytorch as pl
from lightning.pytorch.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from avvp_pl.errors import InputError, TrainingError
from avvp_pl.processes.signals import STOPPING, exit_code, handling, stop_at_once

GRACE = 5.0  # seconds for the other processes to end by themselves


@contextmanager
def as_one_process(trainer: pl.Trainer) -> Iterator[None]:
    """Let a run of several processes stop, fail and exit as a run of one process does."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _MultiProcessingLauncher):
        with _forked(launcher):
            yield
    elif isinstance(launcher, _SubprocessScriptLauncher):
        try:
            yield
        except BaseException:
            _end(launcher.procs)
            raise
    else:
        yield


@contextmanager
def _forked(launcher: _MultiProcessingLauncher) -> Iterator[None]:
    """Pass signals on to the forked processes, and raise their errors here."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        if not any(process.is_alive() for process in launcher.procs):
            stop_at_once(number, frame)
        launcher.kill(number)

    with handling(pass_on):
        try:
            yield
        except ProcessExitedException as error:
            if error.exit_code in map(exit_code, STOPPING):
                raise SystemExit(error.exit_code) from None
            how = signal.Signals(-error.exit_code).name if error.exit_code < 0 else f"exit code {error.exit_code}"
            raise TrainingError(f"process {error.error_index} of the run was ended by {how}") from None
        except ProcessRaisedException as error:
            for kind in (InputError, TrainingError):
                _, name, message = str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")
                if name:
                    raise kind(message.strip()) from None
            raise


def _end(others: list[subprocess.Popen[bytes]]) -> None:
    """End the processes that wait for this one, after this one has failed."""
    deadline = time.monotonic() + GRACE
    while any(process.poll() is None for process in others) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in others:
        process.kill()
