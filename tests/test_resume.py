"""A run that is killed at any moment and started again ends as one that never was, to the bit."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from avvp_pl.files import read_rows

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS = (
    "+experiment=ppl_soft",
    "method.source=best",
    "data.sizes.train=70",
    "data.sizes.val=16",
    "data.sizes.test=16",
    "network.dim=32",
    "network.feedforward_dim=32",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=5",
    "method.learning_rate=0.003",
    "threads=1",
    "logger=csv",
    "resume=auto",
)
TWO = ("trainer=ddp", "trainer.devices=2", "+trainer.strategy.start_method=fork", "data.batch_size=8")
# Where a kill could hurt: SIGKILL instead of the numbered call
POINTS = {
    "between the optimizer's step and the momentum network's": ("avvp_pl.methods.npl:momentum_update", 13),
    "while labeling": ("avvp_pl.methods.ppl:build_prototypes", 3),
    "while validating": ("avvp_pl.training.module:ParsingModule.validation_step", 3),
    "with a checkpoint written but not in its place": ("avvp_pl.runs.checkpoints:atomic_write_bytes", 4),
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


class Runs:
    """Runs of the same settings, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "ignore", "-m", "tests.zygote", str(folder)]
        self.zygote = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.seconds = 0.0
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self.zygote.stdout is not None
        return self.zygote.stdout.readline().strip()

    def start(self, name: str, *more: str, **deeds: Any) -> int:
        """Start a run, or start it again; the number of its process. ``deeds``: see the zygote."""
        assert self.zygote.stdin is not None
        arguments = [*SETTINGS, f"hydra.run.dir={self.folder / name}", *more]
        order = {"arguments": arguments, "log": str(self.folder / f"{name}.log"), **deeds}
        self.zygote.stdin.write(json.dumps(order) + "\n")
        self.zygote.stdin.flush()
        return int(self._answer())

    def said(self, name: str) -> str:
        """What a run has printed so far."""
        return (self.folder / f"{name}.log").read_text()

    def ended(self) -> int:
        """The exit status of the process that was started last."""
        return int(self._answer())

    def whole(self, name: str, *more: str) -> Path:
        """A run from its beginning or wherever it was to its end; its folder."""
        self.start(name, *more)
        assert self.ended() == 0, self.said(name)
        return self.folder / name

    def timed(self, name: str, *more: str) -> Path:
        """A whole run, whose seconds are kept."""
        started = time.perf_counter()
        folder = self.whole(name, *more)
        self.seconds = time.perf_counter() - started
        return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    made = Runs(tmp_path_factory.mktemp("runs"))
    yield made
    made.zygote.kill()
    made.zygote.communicate()


@pytest.fixture(scope="module")
def undisturbed(runs: Runs) -> Path:
    return runs.timed("undisturbed")


@pytest.fixture(scope="module")
def two_undisturbed(runs: Runs) -> Path:
    return runs.timed("two_undisturbed", *TWO)


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two nested containers are not the same to the bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [*one, *(key for key in other if key not in one)]
        return [found for key in keys for found in differences(one.get(key), other.get(key), f"{path}/{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [
            found for i, pair in enumerate(zip(one, other, strict=True)) for found in differences(*pair, f"{path}/{i}")
        ]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and torch.equal(one, other)
    else:
        same = type(one) is type(other) and one == other
    return [] if same else [f"{path}: {one} and {other}"]


def checkpoint(run: Path, name: str) -> dict[str, Any]:
    """All of a checkpoint but clocks, counters of attempts and the folder's own name."""
    content: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    del content["config"]["paths"]
    loops = content.pop("loops")["fit_loop"]
    content["steps"] = loops["epoch_loop.state_dict"]["_batches_that_stepped"]
    content["config"]["callbacks"] = content["config"]["trainer"] = content["config"]["logger"] = None
    for state in content["callbacks"].values():
        state.pop("training_seconds", None)
        state.pop("dirpath", None)
        state.pop("current_score", None)  # Lightning keeps it for nobody, and does not restore it
        report = state.get("report", {})
        for key in [key for key in report if key.startswith("labeling/")]:
            del report[key]
        for key in [key for key in state if key.endswith("model_path")]:
            state[key] = Path(state[key]).name
        if "best_k_models" in state:
            state["best_k_models"] = {Path(path).name: score for path, score in state["best_k_models"].items()}
    return content


def assert_same(run: Path, other: Path) -> None:
    for name in ("best", "last"):
        assert not differences(checkpoint(run, name), checkpoint(other, name)), name
    predictions = [f"predictions/{name}" for name in ("audio.csv", "visual.csv", "probabilities.npz")]
    for name in ("metrics.csv", "pseudo_labels.csv", "scores.json", *predictions):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    assert not list(run.rglob("*.tmp"))


def test_the_comparison_bites(undisturbed: Path, runs: Runs) -> None:
    other = runs.whole("other", "seed=1")
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


def kill_at_random(runs: Runs, name: str, seed: int, kills: int, *more: str) -> Path:
    """Start a run and kill it so often, each time after a part of what a whole one takes; then let it end."""
    moments, killed = random.Random(seed), 0
    while killed < kills:
        process, started = runs.start(name, *more), time.perf_counter()
        time.sleep(moments.random() * runs.seconds)
        with suppress(ProcessLookupError):  # it was quicker, or is not a group yet
            os.killpg(process, signal.SIGKILL)
        status = runs.ended()
        killed += status != 0
        assert status in {0, -signal.SIGKILL}
        if status == 0:
            runs.seconds = time.perf_counter() - started  # from here on it only tests
    return runs.whole(name, *more)


@pytest.mark.parametrize("seed", range(4))
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
    assert f"To go on: the same command with resume=auto hydra.run.dir={runs.folder / name}" in said
    assert "Traceback" not in said
    assert_same(runs.whole(name), undisturbed)


@pytest.mark.parametrize(
    "setting",
    ["trainer.accumulate_grad_batches=2", "+trainer.check_val_every_n_epoch=2", "+trainer.val_check_interval=2"],
)
def test_asked_to_stop_and_killed_where_steps_and_epochs_are_others(runs: Runs, setting: str) -> None:
    name = setting.partition(".")[2].partition("=")[0]
    reference = runs.whole(f"{name}_undisturbed", setting)
    point, call = POINTS["between the optimizer's step and the momentum network's"]
    for number, status in ((signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
        runs.start(f"{name}_{status}", setting, point=point, call=call, signal=number, rank=0)
        assert runs.ended() == status, runs.said(f"{name}_{status}")
        assert_same(runs.whole(f"{name}_{status}", setting), reference)


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
def test_if_one_of_two_processes_dies_both_end_and_the_run_goes_on(
    runs: Runs, two_undisturbed: Path, rank: int
) -> None:
    name = f"two_died_{rank}"
    point, call = POINTS["between the optimizer's step and the momentum network's"]
    runs.start(name, *TWO, point=point, call=call, signal=signal.SIGABRT, rank=rank)
    assert runs.ended() == 1, runs.said(name)
    assert f"process {rank} of the run was ended by SIGABRT" in runs.said(name)
    assert_same(runs.whole(name, *TWO), two_undisturbed)


def test_two_processes_that_diverge_end_together(runs: Runs) -> None:
    runs.start("two_diverge", *TWO, "method.learning_rate=1e30")
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
    """What is too large for the disk is a file of Hydra's (of 4 kB) or a checkpoint (of 900 kB)."""
    name = f"full_{largest}"
    point, call = POINTS["while validating"]
    runs.start(name, point=point, call=call, signal=signal.SIGKILL, rank=0)
    runs.ended()
    before = (runs.folder / name / "checkpoints" / "last.ckpt").read_bytes()
    runs.start(name, largest_file=largest)
    assert runs.ended() == 2, runs.said(name)
    said = runs.said(name)
    assert "written (File too large)" in said
    assert ("the checkpoint that was there is unharmed" in said) == (largest == 100_000)
    assert "Traceback" not in said
    assert (runs.folder / name / "checkpoints" / "last.ckpt").read_bytes() == before
    assert_same(runs.whole(name), undisturbed)


def test_a_finished_run_is_only_tested_again(runs: Runs, undisturbed: Path) -> None:
    runs.whole("finished")
    assert_same(runs.whole("finished"), undisturbed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["resume=null"], "undisturbed holds a run already: resume=auto goes on with it"),
        (["seed=3"], "undisturbed holds a run with other settings (method.seed: 0, now 3; seed: 0, now 3)"),
        (
            ["method.tau=0.2", "data.noise=0.5"],
            "(data.noise: 0.4, now 0.5; method.tau: 0.1, now 0.2); give these again",
        ),
        (["trainer.max_epochs=4"], "trainer.max_epochs=4 ends with epoch 3, but "),
        (["resume=nowhere.ckpt"], "resume=nowhere.ckpt: no such file"),
    ],
)
def test_a_run_is_neither_overwritten_nor_gone_on_with_by_another(
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


def test_another_folder_can_go_on_from_a_checkpoint_with_other_settings(runs: Runs, undisturbed: Path) -> None:
    best = undisturbed / "checkpoints" / "best.ckpt"
    runs.whole("branch", f"resume={best}", "method.tau=0.2")
    assert "going on with other settings than before: method.tau: 0.1, now 0.2" in runs.said("branch")
    assert (undisturbed / "checkpoints" / "best.ckpt").read_bytes() == best.read_bytes()


def test_two_runs_are_not_in_one_folder_at_a_time(runs: Runs, undisturbed: Path) -> None:
    with (undisturbed / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        runs.start("second", f"hydra.run.dir={undisturbed}")
        assert runs.ended() == 2
    assert f"{undisturbed}: another run is in this folder now" in runs.said("second")


def test_a_finished_run_without_its_checkpoints_is_not_begun_over(runs: Runs) -> None:
    run = runs.whole("cleared")
    shutil.rmtree(run / "checkpoints")
    for resume in ("auto", "null"):
        runs.start("cleared", f"resume={resume}")
        assert runs.ended() == 2
        assert "cleared holds a finished run" in runs.said("cleared")
    assert len(read_rows(run / "metrics.csv")) == 5


def test_a_moved_folder_goes_on_with_its_best_epoch(runs: Runs, undisturbed: Path) -> None:
    point, call = POINTS["while testing"]
    runs.start("before", point=point, call=call, signal=signal.SIGKILL, rank=0)
    runs.ended()
    (runs.folder / "before").rename(runs.folder / "moved")
    assert_same(runs.whole("moved"), undisturbed)
