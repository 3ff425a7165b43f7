"""Runs with W&B and TensorBoard: one run for each folder, with panels, and never with a key in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.small import KEY, SMALL, checkpoint, rows


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
    arguments = (*SMALL, "+experiment=ppl_soft", "trainer.max_epochs=2", f"hydra.run.dir={tmp_path / 'run'}")
    assert command("train", *arguments) == 0
    (run,) = (tmp_path / "outputs" / "wandb").glob("offline-run-*")
    images = list((run / "files" / "media" / "images" / "timelines").glob("*.png"))
    assert len(images) == 4 * 2
    (table,) = (run / "files" / "media" / "table" / "test").glob("per_event_f1*.json")
    content = json.loads(table.read_text())
    assert content["columns"][:3] == ["event", "segment/audio", "segment/visual"]
    assert len(content["data"]) == 25
