"""The processes of a run: what has started them, and how several of them on one machine behave as one.

The first process passes on its signals, all end together, and errors and exit codes are those of one process.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from types import FrameType
from typing import NamedTuple

import lightning.pytorch as pl
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from avvp_pl.errors import InputError, TrainingError
from avvp_pl.processes.signals import STOPPING, exit_code, handling, stop_at_once

log = logging.getLogger(__name__)

GRACE = 5.0  # seconds for the other processes to end by themselves


class Launcher(NamedTuple):
    """A program that starts several processes, and the variables that it gives to them.

    The ``mark`` is only in the environment of processes that it has started.
    """

    name: str
    environment: Callable[[], ClusterEnvironment]
    mark: str
    size: str


LAUNCHERS = (
    Launcher("torchrun", TorchElasticEnvironment, "TORCHELASTIC_RUN_ID", "WORLD_SIZE"),  # first: it may run in SLURM
    # a batch script has no step. Before queueing a job again, Lightning would save a checkpoint of another kind
    Launcher("srun", partial(SLURMEnvironment, auto_requeue=False), "SLURM_STEP_ID", "SLURM_NTASKS"),
    Launcher("jsrun", LSFEnvironment, "LSB_DJOB_RANKFILE", "JSM_NAMESPACE_SIZE"),
    Launcher("mpirun", MPIEnvironment, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    Launcher("mpirun", MPIEnvironment, "PMI_RANK", "PMI_SIZE"),
)
# What Lightning would believe although nothing has started the processes of this run; for several machines, the user
# may give the second group
RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID")
MACHINES = ("NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


def started_by(devices: int, nodes: int) -> ClusterEnvironment:
    """Return what has started the processes of a run, and tell Lightning which of them this one is.

    Only the trainer decides how many there are: one for each of its ``devices`` on every one of its ``nodes``. A
    launcher has started this run if it has started as many processes. Otherwise its variables belong to something else:
    they were left in a shell or a pod, or an ``srun`` starts several independent runs. Then they are ignored, and
    removed where Lightning would believe them. Raises :class:`InputError` if a launcher has started several processes
    for a run of several others, or if a run on several machines was not started on each of them.
    """
    if devices * nodes == 1:
        _say_what_is_ignored()
    environment = _launcher(devices, nodes) if devices * nodes > 1 else None
    if environment is None:
        if devices * nodes == 1 or _size("WORLD_SIZE") != devices * nodes:  # else Lightning has started this process
            for name in RANKS + MACHINES * (nodes == 1):
                os.environ.pop(name, None)
        if nodes > 1 and not {"NODE_RANK", "GROUP_RANK"} & set(os.environ):
            raise InputError(
                f"trainer.num_nodes={nodes}: nothing says on which machine this process is; start the run with srun or "
                "torchrun (docs/cluster.md), or give NODE_RANK, MASTER_ADDR and MASTER_PORT on every machine"
            )
        environment = LightningEnvironment()
        environment.set_global_rank(environment.node_rank() * devices + environment.local_rank())
    rank_zero_only.rank = environment.global_rank()  # type: ignore[attr-defined]
    return environment


def _launcher(devices: int, nodes: int) -> ClusterEnvironment | None:
    """Return the launcher that has started all processes of a run of several, if one has."""
    for launcher in LAUNCHERS:
        size = _size(launcher.size) if launcher.mark in os.environ else 1
        if size == 1 or (launcher.name == "srun" and not SLURMEnvironment.detect()):  # an interactive shell
            continue
        if size != devices * nodes:
            raise InputError(
                f"{launcher.name} has started {size} processes ({launcher.size}), but trainer.devices={devices} and "
                f"trainer.num_nodes={nodes} make a run of {devices * nodes}; start as many, or unset {launcher.mark} "
                "if every process is a run of its own"
            )
        try:
            environment = launcher.environment()
            environment.validate_settings(num_devices=devices, num_nodes=nodes)
        except (RuntimeError, ValueError, LookupError, ImportError) as error:
            raise InputError(
                f"{launcher.name} has started this process, but: {' '.join(str(error).split())}"
            ) from error
        return environment
    return None


def _size(variable: str) -> int:
    """Return how many processes a launcher says that it has started; 1 where it does not say."""
    value = os.environ.get(variable, "")
    return int(value) if value.isdecimal() else 1


@cache  # once in a process, and not for each job of a sweep
def _say_what_is_ignored() -> None:
    said = [
        f"{name}={_size(name)}" for name in dict.fromkeys(launcher.size for launcher in LAUNCHERS) if _size(name) > 1
    ]
    if said:
        log.info("%s: ignored, because this run is one process; trainer=ddp makes a run of several", ", ".join(said))


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
