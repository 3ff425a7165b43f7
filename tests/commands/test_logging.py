"""Runs with W&B and TensorBoard: one run for each folder, with panels, and never with a key in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import wandb

from tests.conftest import Command
from tests.small import KEY, SMALL, checkpoint, inspected, rows, scores, shell


@pytest.mark.parametrize("logger", ["wandb", "tensorboard"])
def test_a_resumed_run_is_one_run_to_its_logger(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, logger: str
) -> None:
    """Killed between the row of an epoch and its checkpoint, so that the row is logged twice."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="an extra")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    run = tmp_path / "run"
    last = checkpoint(run, "last")
    arguments = (*SMALL, "+experiment=mil", f"logger={logger}", f"hydra.run.dir={run}", "resume=auto")
    assert command("train", *arguments, "trainer.max_epochs=1") == 0
    first = last.read_bytes()
    assert command("train", *arguments, "trainer.max_epochs=2") == 0
    last.write_bytes(first)
    assert command("train", *arguments, "trainer.max_epochs=2") == 0
    assert [row["step"] for row in rows(run / "metrics.csv")] == ["2", "4"]
    if logger == "tensorboard":
        events = reader.EventAccumulator(str(run / "tensorboard")).Reload()
        assert [scalar.step for scalar in events.Scalars("train/loss")] == [2, 4]
        return
    offline = list((tmp_path / "outputs" / "wandb").glob("offline-run-*"))
    assert len(offline) == 3
    assert len({path.name.rpartition("-")[2] for path in offline}) == 1
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_wandb_runs_offline_with_panels(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = (*SMALL, "+experiment=ppl_soft", "trainer.max_epochs=2", f"hydra.run.dir={folder}")
    assert command("train", *arguments, "labeling.gamma=0.5", "logger.wandb.log_model=true") == 0
    (run,) = (tmp_path / "outputs" / "wandb").glob("offline-run-*")
    images = list((run / "files" / "media" / "images" / "timelines").glob("*.png"))
    assert len(images) == 4 * 2
    (table,) = (run / "files" / "media" / "table" / "test").glob("per_event_f1*.json")
    content = json.loads(table.read_text())
    assert content["columns"][:3] == ["event", "segment/audio", "segment/visual"]
    assert len(content["data"]) == 25
    (table,) = (run / "files" / "media" / "table" / "test").glob("timelines*.json")
    assert {row[0] for row in json.loads(table.read_text())["data"]} <= {f"synthetic_test_{n:06d}" for n in range(16)}

    found, tested = inspected(run), scores(folder)["tested"]
    selected = rows(folder / "metrics.csv")[tested["epoch"]]
    summary = found["summary"]
    assert summary["selected_epoch"] == tested["epoch"]
    for name, value in selected.items():  # of the selected epoch alone: the other one has other names as well
        if "/" in name or name == "learning_rate":
            assert summary.get(name) == (pytest.approx(float(value)) if value else None), name
    assert summary["val/loss"] > 0
    assert summary["parameters"] == found["config"]["parameters"] > 1000
    written = next(run.glob("*.wandb")).read_bytes()
    for said in (b"ppl_soft gamma=0.5 ", b" seed=0", b"model-"):
        assert said in written


def test_ordinary_runs_print_no_warning_of_a_library(tmp_path: Path) -> None:
    """Each in a process of its own, because a library warns once."""
    for logger in ("wandb", "csv", "tensorboard"):
        done = shell("train", *SMALL, "+experiment=mil", "trainer.max_epochs=1", f"logger={logger}", folder=tmp_path)
        assert done.returncode == 0
        assert done.stderr == ""
        assert "WARN" not in done.stdout


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("logger.wandb.project=a/b", "logger.wandb.project=a/b: it must be text such as avvp_pl, of at most 128"),
        ("logger.wandb.project=a:b", "logger.wandb.project=a:b: it must be text"),
        (f"logger.wandb.project={'p' * 129}", "of at most 128 characters without any of / \\ # ? % :"),
        (f"logger.wandb.name={'n' * 129}", "of at most 128 characters"),
        (f"logger.wandb.group={'g' * 129}", "of at most 128 characters"),
        (f"tags=[{'t' * 65}]", "a list of different names of at most 64 characters each"),
        ("logger.wandb.offline=false", "logger.wandb.offline=false, but there is no login to W&B"),
    ],
)
def test_what_wandb_refuses_is_refused_before_any_work(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str, message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(wandb, "login", lambda **_: False)
    run = tmp_path / "run"
    assert command("train", *SMALL, setting, f"hydra.run.dir={run}") == 2
    error = capfd.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (run / "config.yaml").exists()


@pytest.mark.parametrize("home", ["/dev/null", "nowhere"])
def test_a_home_that_cannot_be_written_costs_nothing(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str
) -> None:
    for name in ("CACHE", "CONFIG", "DATA"):  # set by the run, and to be unset after it
        monkeypatch.setenv(f"WANDB_{name}_DIR", "")
        monkeypatch.delenv(f"WANDB_{name}_DIR")
    monkeypatch.setenv("HOME", home)
    run = tmp_path / "run"
    assert command("train", *SMALL, "trainer.max_epochs=1", f"hydra.run.dir={run}") == 0
    assert scores(run)
    assert len(list((tmp_path / "outputs" / "wandb").glob("offline-run-*/files/media/table/test/*.json"))) == 2
    assert not (tmp_path / "nowhere").exists()


def test_a_wandb_that_fails_costs_nothing(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no service")

    monkeypatch.setattr(wandb, "init", fail)
    run = tmp_path / "run"
    assert command("train", *SMALL, "trainer.max_epochs=1", f"hydra.run.dir={run}") == 0
    assert capfd.readouterr().out.count("logger.wandb has failed and gets nothing more") == 1
    assert scores(run)
    assert rows(run / "metrics.csv")[0]["test/average"]
