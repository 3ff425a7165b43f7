"""What has started the processes of a run, whatever an environment says."""

from __future__ import annotations

import logging
import os

import pytest
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.utilities import rank_zero_only

from avvp_pl.commands import launching
from avvp_pl.commands.launching import started_by
from avvp_pl.errors import InputError

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "GROUP_RANK": "0"}
BATCH = {
    "SLURM_JOB_NAME": "ppl", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1",
    "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0",
}  # fmt: skip
SRUN = {**BATCH, "SLURM_STEP_ID": "0"}
LIGHTNING = {"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}  # as Lightning starts a process
LEFT = {
    "a shell": {"RANK": "3", "LOCAL_RANK": "2"},
    "a pod": {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "nowhere", "MASTER_PORT": "1", "NODE_RANK": "1"},
    "torchrun": TORCHRUN,
    "Lightning": LIGHTNING,
    "a batch script": {**BATCH, "SLURM_NTASKS": "4", "SLURM_PROCID": "0"},
    "an srun that packs runs": SRUN,
    "mpirun": {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"},
    "nonsense": {"LOCAL_RANK": "x", "WORLD_SIZE": "", "NODE_RANK": "-"},
}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*launching.RANKS, *launching.MACHINES, *(name for left in LEFT.values() for name in left)):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setattr(rank_zero_only, "rank", 7)  # what Lightning guesses at its import
    launching._say_what_is_ignored.cache_clear()


def started(environment: dict[str, str], devices: int, nodes: int = 1) -> tuple[type[ClusterEnvironment], int]:
    os.environ.update(environment)
    found = started_by(devices, nodes)
    assert rank_zero_only.rank == found.global_rank()  # type: ignore[attr-defined]
    return type(found), found.global_rank()


@pytest.mark.parametrize("left", LEFT)
def test_a_run_of_one_process_is_the_first_whatever_was_left(left: str) -> None:
    assert started(LEFT[left], 1) == (LightningEnvironment, 0)


def test_what_was_left_is_removed_where_lightning_would_believe_it() -> None:
    started(LEFT["a pod"], 1)
    assert LightningEnvironment().main_address == "127.0.0.1"
    assert not LightningEnvironment().creates_processes_externally


def test_what_is_ignored_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        started(SRUN, 1)
        started(SRUN, 1)
    assert caplog.messages == [
        "SLURM_NTASKS=2: ignored, because this run is one process; trainer=ddp makes a run of several"
    ]


@pytest.mark.parametrize(
    ("environment", "kind"),
    [(TORCHRUN, TorchElasticEnvironment), (SRUN, SLURMEnvironment), ({**SRUN, **TORCHRUN}, TorchElasticEnvironment)],
)
def test_a_launcher_that_has_started_as_many_processes_is_believed(
    environment: dict[str, str], kind: type[ClusterEnvironment]
) -> None:
    assert started(environment, 2) == (kind, 1)


def test_slurm_does_not_queue_a_job_again_by_itself() -> None:
    os.environ.update(SRUN)
    found = started_by(2, 1)
    assert isinstance(found, SLURMEnvironment)
    assert not found.auto_requeue


def test_a_process_that_lightning_has_started_knows_its_rank() -> None:
    assert started(LIGHTNING, 2) == (LightningEnvironment, 1)
    assert os.environ["LOCAL_RANK"] == "1"


@pytest.mark.parametrize("left", ["a shell", "a pod", "a batch script", "nonsense"])
def test_otherwise_lightning_starts_the_processes(left: str) -> None:
    """As without srun in a batch script, where nothing would start the others."""
    assert started(LEFT[left], 2) == (LightningEnvironment, 0)
    assert not LightningEnvironment().creates_processes_externally


def test_one_process_was_started_on_each_machine_by_hand() -> None:
    by_hand = {"NODE_RANK": "1", "MASTER_ADDR": "first", "MASTER_PORT": "29500"}
    assert started(by_hand, 4, nodes=2) == (LightningEnvironment, 4)
    assert LightningEnvironment().main_address == "first"


@pytest.mark.parametrize(
    ("environment", "devices", "nodes", "message"),
    [
        (
            TORCHRUN,
            3,
            1,
            r"torchrun has started 2 processes \(WORLD_SIZE\), but trainer.devices=3 and .* of 3; start as",
        ),
        (SRUN, 4, 1, "srun has started 2 processes .* or unset SLURM_STEP_ID if every process is a run of its own"),
        ({**SRUN, "SLURM_NTASKS_PER_NODE": "1"}, 2, 1, "srun has started this process, but: .*--ntasks-per-node=1"),
        ({}, 1, 2, "trainer.num_nodes=2: nothing says on which machine this process is; start the run with srun"),
    ],
)
def test_another_number_of_processes_is_one_clear_error(
    environment: dict[str, str], devices: int, nodes: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        started(environment, devices, nodes)


def test_slurm_must_say_how_many_processes_a_machine_has() -> None:
    """Lightning cannot start with ``--ntasks`` alone."""
    with pytest.raises(InputError, match=r"^srun has started this process, but: .* Use `--ntasks-per-node=2` instead."):
        started({name: value for name, value in SRUN.items() if name != "SLURM_NTASKS_PER_NODE"}, 2)
