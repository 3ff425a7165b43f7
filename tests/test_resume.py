"""A run that is killed at any moment and resumed ends with the same bits as a run that was never interrupted."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from avvp_pl.files import read_rows
from tests.forks import Zygote
from tests.restarts import Runs, assert_same, checkpoint, differences, kill_at_random
from tests.small import SMALL_NETWORK
from tests.small import TWO_PROCESSES as TWO

SETTINGS = (
    "+experiment=ppl_soft",
    "data.sizes.train=70",
    "data.sizes.val=16",
    "data.sizes.test=16",
    *SMALL_NETWORK,
    "trainer.max_epochs=5",
    "optimizer.learning_rate=0.003",
    "threads=1",
    "logger=csv",
    "resume=auto",
)
# Where a kill could do harm: SIGKILL comes in place of the numbered call
POINTS = {
    "between the optimizer's step and the momentum network's": ("avvp_pl.models.momentum:momentum_update", 13),
    "while labeling": ("avvp_pl.labeling.prototype:build_prototypes", 3),
    "while validating": ("avvp_pl.training.module:ParsingModule.validation_step", 3),
    "with a checkpoint begun but not in its place": ("avvp_pl.runs.checkpoints:torch.save", 4),
    "while a table is written": ("avvp_pl.files:_to_disk", 9),
    "with the best checkpoint saved and the last one not": (
        "avvp_pl.runs.checkpoints:CheckpointFiles.save_checkpoint",
        6,
    ),
    "with the last checkpoint saved and nothing after": (
        "lightning.pytorch.trainer.connectors.logger_connector.logger_connector:_LoggerConnector.on_epoch_end",
        3,
    ),
    "while testing": ("avvp_pl.training.module:ParsingModule.test_step", 1),
}


@pytest.fixture(scope="module")
def runs(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(zygote, tmp_path_factory.mktemp("runs"), SETTINGS)


@pytest.fixture(scope="module")
def undisturbed(runs: Runs) -> Path:
    return runs.timed("undisturbed")


@pytest.fixture(scope="module")
def two_undisturbed(runs: Runs) -> Path:
    return runs.timed("two_undisturbed", *TWO)


def test_the_comparison_notices_another_seed(undisturbed: Path, runs: Runs) -> None:
    other = runs.whole("other", "seed=1")
    assert (undisturbed / "pseudo_labels.csv").exists()
    assert differences(checkpoint(undisturbed, "last"), checkpoint(other, "last"))
    assert (undisturbed / "metrics.csv").read_bytes() != (other / "metrics.csv").read_bytes()
    assert [row["epoch"] for row in read_rows(undisturbed / "metrics.csv")] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_the_worst_moment(runs: Runs, undisturbed: Path, point: str) -> None:
    name = point.replace(" ", "_").replace("'", "")
    place, call = POINTS[point]
    runs.start(name, point=place, call=call, signal=signal.SIGKILL, rank=0)
    assert runs.ended() == -signal.SIGKILL, runs.said(name)
    assert_same(runs.whole(name), undisturbed)


@pytest.mark.parametrize("seed", range(2))
def test_killed_again_and_again(runs: Runs, undisturbed: Path, seed: int) -> None:
    assert_same(kill_at_random(runs, f"random{seed}", seed, 5), undisturbed)


def test_two_processes_killed_again_and_again(runs: Runs, two_undisturbed: Path) -> None:
    assert_same(kill_at_random(runs, "two_random", 0, 5, *TWO), two_undisturbed)


@pytest.mark.parametrize(
    ("where", "number", "code"),
    [
        ("while training", signal.SIGTERM, 143),
        ("while training", signal.SIGINT, 130),
        ("while training", signal.SIGUSR1, 143),
        ("while labeling", signal.SIGTERM, 143),
        ("while validating", signal.SIGTERM, 143),
        ("while testing", signal.SIGTERM, 143),
        ("while testing", signal.SIGINT, 130),
    ],
)
def test_asked_to_stop(runs: Runs, undisturbed: Path, where: str, number: signal.Signals, code: int) -> None:
    places = {"while training": POINTS["between the optimizer's step and the momentum network's"], **POINTS}
    point, call = places[where]
    name = f"{number.name}_{where.replace(' ', '_')}"
    runs.start(name, point=point, call=call, signal=number, rank=0)
    assert runs.ended() == code, runs.said(name)
    said = runs.said(name)
    assert f"the same command with resume=auto hydra.run.dir={runs.folder / name}" in said
    assert "Traceback" not in said
    assert_same(runs.whole(name), undisturbed)


@pytest.mark.parametrize(
    "settings",
    [
        ("trainer.accumulate_grad_batches=2",),
        ("+trainer.check_val_every_n_epoch=2", "labeling.start_epoch=2"),  # labels are of the best epoch so far
        ("+trainer.val_check_interval=2",),
    ],
)
def test_asked_to_stop_and_killed_where_steps_and_epochs_are_others(runs: Runs, settings: tuple[str, ...]) -> None:
    name = settings[0].partition(".")[2].partition("=")[0]
    reference = runs.whole(f"{name}_undisturbed", *settings)
    point, call = POINTS["between the optimizer's step and the momentum network's"]
    for number, status in ((signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
        runs.start(f"{name}_{status}", *settings, point=point, call=call, signal=number, rank=0)
        assert runs.ended() == status, runs.said(f"{name}_{status}")
        assert_same(runs.whole(f"{name}_{status}", *settings), reference)


def test_slurms_early_warning_saves_in_the_same_way(runs: Runs, undisturbed: Path) -> None:
    """Lightning would queue the job again by itself, with a checkpoint of another kind."""
    point, call = POINTS["between the optimizer's step and the momentum network's"]
    names = ("JOB_ID", "NTASKS", "NNODES", "NTASKS_PER_NODE", "PROCID", "LOCALID", "NODEID")
    slurm = {"SLURM_JOB_NAME": "ppl", **dict(zip((f"SLURM_{name}" for name in names), "7111000", strict=True))}
    runs.start("slurm", point=point, call=call, signal=signal.SIGUSR1, rank=0, environment=slurm)
    assert runs.ended() == 143, runs.said("slurm")
    assert [path.name for path in runs.folder.glob("slurm/**/*.ckpt")] == ["best.ckpt", "last.ckpt"]
    runs.start("slurm", environment=slurm)
    assert runs.ended() == 0, runs.said("slurm")
    assert_same(runs.folder / "slurm", undisturbed)


@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_asked_to_stop(runs: Runs, two_undisturbed: Path, rank: int) -> None:
    """Whichever process is asked, both save together."""
    name = f"two_asked_{rank}"
    point, call = POINTS["between the optimizer's step and the momentum network's"]
    runs.start(name, *TWO, point=point, call=call, signal=signal.SIGTERM, rank=rank)
    assert runs.ended() == 143, runs.said(name)
    assert "stopped by SIGTERM in epoch 2, before batch 3; saved" in runs.said(name)
    assert_same(runs.whole(name, *TWO), two_undisturbed)


@pytest.mark.parametrize("rank", [0, 1])
def test_if_one_of_two_processes_dies_both_end_and_the_run_can_be_resumed(
    runs: Runs, two_undisturbed: Path, rank: int
) -> None:
    name = f"two_died_{rank}"
    point, call = POINTS["between the optimizer's step and the momentum network's"]
    runs.start(name, *TWO, point=point, call=call, signal=signal.SIGABRT, rank=rank)
    assert runs.ended() == 1, runs.said(name)
    assert f"process {rank} of the run was ended by SIGABRT" in runs.said(name)
    assert_same(runs.whole(name, *TWO), two_undisturbed)


def test_two_processes_that_diverge_end_together(runs: Runs) -> None:
    runs.start("two_diverge", *TWO, "optimizer.learning_rate=1e30")
    assert runs.ended() == 1
    said = runs.said("two_diverge")
    assert "training has diverged: the loss is nan at step 1 (epoch 0, batch 1), on the videos " in said
    assert len(set(re.findall(r"synthetic_train_\d+", said))) == 16  # of both
    assert "Traceback" not in said


def test_the_process_that_waits_for_two_passes_the_signal_on(runs: Runs, two_undisturbed: Path) -> None:
    process = runs.start("two_waiting", *TWO)
    while not (runs.folder / "two_waiting" / "pseudo_labels.csv").exists():
        time.sleep(0.01)
    os.kill(process, signal.SIGTERM)
    assert runs.ended() == 143, runs.said("two_waiting")
    assert_same(runs.whole("two_waiting", *TWO), two_undisturbed)


@pytest.mark.parametrize("largest", [3_500, 100_000])
def test_a_full_disk_is_one_clear_error_and_costs_no_checkpoint(runs: Runs, undisturbed: Path, largest: int) -> None:
    """What is too large for the disk is a file of Hydra (4 kB) or a checkpoint (900 kB)."""
    name = f"full_{largest}"
    point, call = POINTS["while validating"]
    runs.start(name, point=point, call=call, signal=signal.SIGKILL, rank=0)
    runs.ended()
    before = (runs.folder / name / "checkpoints" / "last.ckpt").read_bytes()
    runs.start(name, largest_file=largest)
    assert runs.ended() == 2, runs.said(name)
    said = runs.said(name)
    assert "written (File too large)" in said
    assert ("the previous checkpoint is unharmed" in said) == (largest == 100_000)
    assert "Traceback" not in said
    assert (runs.folder / name / "checkpoints" / "last.ckpt").read_bytes() == before
    assert_same(runs.whole(name), undisturbed)


def test_a_finished_run_is_only_tested_again(runs: Runs, undisturbed: Path) -> None:
    runs.whole("finished")
    assert_same(runs.whole("finished"), undisturbed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["resume=null"], "undisturbed already holds a run: resume=auto resumes it"),
        (["seed=3"], "undisturbed holds a run with other settings (labeling.seed: 0, now 3; seed: 0, now 3)"),
        (
            ["labeling.tau=0.2", "data.noise=0.5"],
            "(data.noise: 0.4, now 0.5; labeling.tau: 0.1, now 0.2); give the same settings again",
        ),
        (["protocol.selection.mode=min"], "(protocol.selection.mode: max, now min); give the same settings again"),
        (["trainer.max_epochs=4"], "trainer.max_epochs=4 ends with epoch 3, but "),
        (["resume=nowhere.ckpt"], "resume=nowhere.ckpt: no such file"),
    ],
)
def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(
    runs: Runs, undisturbed: Path, settings: list[str], message: str
) -> None:
    last, log = undisturbed / "checkpoints" / "last.ckpt", runs.folder / "refused.log"
    before = last.read_bytes()
    log.unlink(missing_ok=True)
    runs.start("refused", f"hydra.run.dir={undisturbed}", *settings)
    assert runs.ended() == 2
    assert message in log.read_text()
    assert len(log.read_text().splitlines()) == 1
    assert last.read_bytes() == before


def test_a_checkpoint_can_be_resumed_in_another_folder_with_other_settings(runs: Runs, undisturbed: Path) -> None:
    best = undisturbed / "checkpoints" / "best.ckpt"
    runs.whole("branch", f"resume={best}", "labeling.tau=0.2")
    assert "resuming with other settings than before: labeling.tau: 0.1, now 0.2" in runs.said("branch")
    assert (undisturbed / "checkpoints" / "best.ckpt").read_bytes() == best.read_bytes()


def test_two_runs_cannot_use_one_folder_at_the_same_time(runs: Runs, undisturbed: Path) -> None:
    with (undisturbed / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        runs.start("second", f"hydra.run.dir={undisturbed}")
        assert runs.ended() == 2
    assert f"{undisturbed}: another run is using this folder" in runs.said("second")


def test_a_finished_run_without_its_checkpoints_is_not_started_again(runs: Runs) -> None:
    run = runs.whole("cleared")
    shutil.rmtree(run / "checkpoints")
    for resume in ("auto", "null"):
        runs.start("cleared", f"resume={resume}")
        assert runs.ended() == 2
        assert "cleared holds a finished run" in runs.said("cleared")
    assert len(read_rows(run / "metrics.csv")) == 5


def test_a_run_in_a_moved_folder_keeps_its_best_epoch(runs: Runs, undisturbed: Path) -> None:
    point, call = POINTS["while testing"]
    runs.start("before", point=point, call=call, signal=signal.SIGKILL, rank=0)
    runs.ended()
    (runs.folder / "before").rename(runs.folder / "moved")
    assert_same(runs.whole("moved"), undisturbed)
