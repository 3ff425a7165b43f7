"""Sweeps: jobs in this process and in others, their summary, and what a failed job leaves."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from avvp_pl.commands.build import refuse_search_without_score
from avvp_pl.data.module import ParsingData
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from tests.conftest import Command
from tests.small import SMALL, rows, same_bits, shell, train, weights

LAUNCHERS = {"joblib": "joblib", "submitit_local": "submitit", "ray": "ray"}


def test_a_job_of_a_sweep_has_the_bits_of_a_run_by_itself(command: Command, tmp_path: Path) -> None:
    """Whatever the process did before."""
    alone = train(command, tmp_path / "alone", "+experiment=ppl_soft", "trainer.max_epochs=2", "seed=3")
    sweep = ("-m", "+experiment=npl_hard,ppl_soft", "seed=3", "trainer.max_epochs=2", f"hydra.sweep.dir={tmp_path}")
    assert command("train", *sweep, *SMALL, "logger=csv") == 0
    assert same_bits(weights(alone), weights(tmp_path / "1"))
    predictions = ("predictions/audio.csv", "predictions/probabilities.npz")
    for file in ("metrics.csv", "pseudo_labels.csv", "scores.json", *predictions):
        assert (tmp_path / "1" / file).read_bytes() == (alone / file).read_bytes()


def test_multirun_sweeps_and_sums_up(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = tmp_path / "sweep"
    arguments = ("-m", *SMALL, "logger=csv", "trainer.max_epochs=2", f"hydra.sweep.dir={sweep}")
    swept = ("+experiment=ppl_soft", "labeling.k=1,2", "labeling.gamma=0.5,1", "seed=0,1")
    assert command("train", *arguments, *swept) == 0
    assert len(list(sweep.glob("*/scores.json"))) == 8
    summary = (sweep / "summary.md").read_text()
    assert len(summary.splitlines()) == 2 + 4 * 2
    for inference in ("prototype", "classifier"):
        row = rf"^\| labeling.k=2, labeling.gamma=1, by {inference}[^|]* \| 2 \|"
        assert re.search(row, summary, re.MULTILINE)
    assert summary in capsys.readouterr().out


def test_groups_can_be_swept(command: Command, tmp_path: Path) -> None:
    """Two labelings, each validated by two choices of inferences, of which one is a list."""
    sweep = ("-m", *SMALL, "logger=csv", "trainer.max_epochs=2", f"hydra.sweep.dir={tmp_path}")
    assert command("train", *sweep, "labeling=prototype", "inference=classifier,[prototype,classifier]") == 0
    assert (tmp_path / "0" / "scores.json").exists()
    assert (tmp_path / "1" / "scores.json").exists()
    assert list(OmegaConf.load(tmp_path / "1" / "config.yaml").inference) == ["prototype", "classifier"]
    assert (tmp_path / "1" / "classifier" / "scores.json").exists()
    rows = (tmp_path / "summary.md").read_text().splitlines()[2:]
    labels = [row.split(" | ")[0].replace("\\", "").removeprefix("| ") for row in rows]
    settings = [label.removesuffix(" (tested before any pseudo labels)") for label in labels]
    both = "inference=[prototype,classifier]"
    assert settings == ["inference=classifier", f"{both}, by prototype", f"{both}, by classifier"]


def test_a_search_needs_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the sweeper of an extra that may not be installed; other sweeps need none."""
    cfg = OmegaConf.create({"protocol": {"selection": {"monitor": None, "mode": "max"}}})
    job: Any = SimpleNamespace(mode=RunMode.MULTIRUN, sweeper={"_target_": "hydra_plugins.OptunaSweeper"})
    refuse_search_without_score(cfg)
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(HydraConfig, "get", lambda: job)
    with pytest.raises(InputError, match=r"^protocol.selection.monitor=null: a search looks for"):
        refuse_search_without_score(cfg)
    cfg.protocol.selection.monitor = "val/average"
    refuse_search_without_score(cfg)
    cfg.protocol.selection.monitor, job.sweeper = None, {"_target_": "hydra._internal.core_plugins.BasicSweeper"}
    refuse_search_without_score(cfg)
    job.mode, job.sweeper = RunMode.RUN, {"_target_": "hydra_plugins.OptunaSweeper"}
    refuse_search_without_score(cfg)


def test_a_failing_job_costs_the_others_nothing(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    arguments = ("-m", *SMALL, "logger=csv", "trainer.max_epochs=1", f"hydra.sweep.dir={sweep}")
    # one job a batch: an exception of a job would end the sweep with its batch
    failing = ("+experiment=mil", "resume=nowhere.ckpt,null", "hydra.sweeper.max_batch_size=1")
    assert command("train", *arguments, *failing) == 1
    summary = (sweep / "summary.md").read_text()
    assert "| resume=null | 1 |" in summary
    message = "resume=nowhere.ckpt: no such file; give a checkpoint, auto or null"
    assert f"Failed:\n- 0 (resume=nowhere.ckpt): {message}\n" in summary
    assert summary in capsys.readouterr().out
    error = (sweep / "0" / "error.txt").read_text()
    assert error.startswith(f"{message}\n\nTraceback")
    assert message in (sweep / "0" / "train.log").read_text()
    assert not (sweep / "1" / "error.txt").exists()


def test_an_error_ends_its_job_alone_but_a_request_to_stop_ends_the_sweep(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class UnpicklableError(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__("out of memory")

    def build(cfg: DictConfig, videos: ParsingSet) -> ParsingData:
        raise {0: UnpicklableError(1, 2), 1: KeyboardInterrupt()}[cfg.seed]

    monkeypatch.setattr("avvp_pl.commands.build.build_data", build)
    arguments = ("-m", *SMALL, "logger=csv", f"hydra.sweep.dir={tmp_path}", "seed=0,1,2", "threads=1")
    assert command("train", *arguments) == 130
    assert "- 0 (all): UnpicklableError: out of memory\n" in (tmp_path / "summary.md").read_text()
    assert not (tmp_path / "2").exists()


def sweep_elsewhere(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a sweep with the processes of its launcher, as from a shell."""
    return shell("train", "-m", *SMALL, "logger=csv", "trainer.max_epochs=1", *arguments, folder=folder)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_sweep_in_other_processes(tmp_path: Path, launcher: str) -> None:
    pytest.importorskip(LAUNCHERS[launcher], reason=f"the launcher {launcher} is an extra")
    sweep = tmp_path / "sweep"
    arguments = ("+experiment=ppl_soft", "resume=null,nowhere.ckpt", f"hydra.sweep.dir={sweep}")
    process = sweep_elsewhere(tmp_path, *arguments, f"+launcher={launcher}")
    assert process.returncode == 1, process.stderr
    summary = (sweep / "summary.md").read_text()
    assert process.stdout.endswith(f"\n{summary}\n{sweep / 'summary.md'}\n")
    assert re.search(r"^\| resume=null, by prototype[^|]* \| 1 \|", summary, re.MULTILINE)
    assert "- 1 (resume=nowhere.ckpt): resume=nowhere.ckpt: no such file" in summary
    assert OmegaConf.load(sweep / "0" / "config.yaml").threads == 1
    assert "Traceback" in (sweep / "1" / "error.txt").read_text()


def test_search_with_optuna(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the sweeper optuna is an extra")
    sweep = tmp_path / "sweep"
    search = ("+experiment=ppl_soft", "+sweep=optuna", "hydra.sweeper.n_trials=5", "labeling.tau=0.1")
    process = sweep_elsewhere(tmp_path, *search, f"hydra.sweep.dir={sweep}", "resume=null,nowhere.ckpt")
    assert process.returncode == 1, process.stderr
    scores = [float(rows(path)[0]["val/segment/type_av"]) for path in sweep.glob("*/metrics.csv")]
    failed = len(list(sweep.glob("*/error.txt")))
    assert failed > 0  # the seeded sampler tries both values of resume
    assert len(scores) == 5 - failed > 0
    found = OmegaConf.load(sweep / "optimization_results.yaml")
    assert found.best_params.resume == "null"
    assert found.best_value == pytest.approx(max(scores))
    assert process.stdout.count("resume=nowhere.ckpt: no such file", process.stdout.index("Failed:")) == failed


def test_slurm_is_asked_for_what_is_set(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("submitit", reason="the launcher submitit_slurm is an extra")
    settings = ("partition=gpu", "account=me", "timeout_min=90", "mem_gb=32", "gpus_per_node=2", "tasks_per_node=2")
    arguments = ("+launcher=submitit_slurm", *(f"hydra.launcher.{setting}" for setting in settings))
    assert command("train", "--cfg", "hydra", *arguments) == 0
    asked = OmegaConf.create(capsys.readouterr().out).hydra.launcher
    assert asked._target_.endswith("SlurmLauncher")
    for setting in settings:
        key, _, value = setting.partition("=")
        assert str(asked[key]) == value


@pytest.mark.parametrize(
    ("module", "argument", "extra"),
    [
        ("joblib", "+launcher=joblib", "sweep"),
        ("submitit", "+launcher=submitit_local", "slurm"),
        ("submitit", "hydra/launcher=submitit_slurm", "slurm"),
        ("ray", "+launcher=ray", "ray"),
        ("optuna", "+sweep=optuna", "optuna"),
    ],
)
def test_a_plugin_that_is_not_installed_is_named_with_its_extra(
    command: Command, capfd: pytest.CaptureFixture[str], module: str, argument: str, extra: str
) -> None:
    if importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed")
    assert command("train", "-m", "+experiment=ppl_soft", "seed=0,1", argument) == 2
    assert f'is not installed: pip install -e ".[{extra}]"' in capfd.readouterr().err


def test_ddp_does_not_start_a_sweep_within_a_sweep(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = ("-m", "seed=0,1", f"hydra.sweep.dir={tmp_path}", "trainer=ddp", "trainer.devices=2", "logger=csv")
    assert command("train", *sweep, *SMALL) != 0
    assert "cannot start processes inside a sweep" in capfd.readouterr().out  # the sweep's summary
