"""``protocol.selection``: one choice of the epoch that is tested, for the checkpoint and for what labels by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from avvp_pl.commands.build import selected_epoch
from avvp_pl.training.callbacks.best_epoch import BestEpoch
from tests.commands.evaluating import FILES, evaluate
from tests.conftest import Command
from tests.small import SMALL, checkpoint, content, rows, scores, train, weights

# the validation score goes up and down
RESTLESS = ("trainer.max_epochs=6", "optimizer.learning_rate=0.05")
BY_BEST = ("+experiment=npl_soft", *RESTLESS)


def column(run: Path, name: str) -> list[float]:
    return [float(row[name]) for row in rows(run / "metrics.csv")]


def restless(command: Command, folder: Path, best: Callable[[list[float]], int], *arguments: str) -> tuple[Path, int]:
    """A run whose best epoch is neither the first nor the last, and this epoch.

    The scores of so small a run depend on the processor, so seeds are tried until one has such an epoch.
    """
    for seed in range(20):
        run = train(command, folder / str(seed), *BY_BEST, *arguments, f"seed={seed}")
        epoch = best(column(run, "val/segment/type_av"))
        if 0 < epoch < 5:
            return run, epoch
    raise AssertionError("the first or the last epoch is the best with all seeds")


def snapshot(run: Path, checkpoint: str, which: str) -> dict[str, torch.Tensor]:
    prefix = f"labeling.teacher.{which}."
    return {
        name.removeprefix(prefix): weight
        for name, weight in weights(run, checkpoint).items()
        if name.startswith(prefix)
    }


def assert_selected(run: Path, epoch: int) -> None:
    """The best checkpoint and the snapshot that labels are of this epoch, and the last checkpoint of the last one."""
    assert (content(run, "best")["epoch"], content(run, "last")["epoch"]) == (epoch, 5)
    selected = snapshot(run, "best", "average")
    assert selected
    for name in ("best", "last"):
        saved = snapshot(run, name, "best")
        assert all(torch.equal(value, saved[key]) for key, value in selected.items()), name


@pytest.mark.parametrize("mode", ["max", "min"])
def test_checkpoint_and_snapshot_are_of_the_best_epoch(command: Command, tmp_path: Path, mode: str) -> None:
    best = max if mode == "max" else min
    run, epoch = restless(command, tmp_path, lambda found: found.index(best(found)), f"protocol.selection.mode={mode}")
    assert_selected(run, epoch)


def test_another_score_selects_another_epoch(command: Command, tmp_path: Path) -> None:
    run = train(command, tmp_path / "run", *BY_BEST, "protocol.selection.monitor=val/event/visual")
    found = column(run, "val/event/visual")
    assert_selected(run, found.index(max(found)))


def test_a_loss_of_training_can_be_selected_by(command: Command, tmp_path: Path) -> None:
    """It is known only after the epoch's validation; the snapshot once never saw it."""
    monitor = ("protocol.selection.monitor=train/loss", "protocol.selection.mode=min")
    run = train(command, tmp_path / "run", *BY_BEST, "optimizer.learning_rate=0.003", *monitor)
    found = column(run, "train/loss")
    assert_selected(run, found.index(min(found)))


def test_without_a_score_the_last_epoch_is_tested(command: Command, tmp_path: Path) -> None:
    run, _ = restless(command, tmp_path, lambda found: found.index(max(found)), "protocol.selection.monitor=null")
    assert_selected(run, 5)
    for name in ("best", "last"):
        arguments = (f"checkpoint={checkpoint(run, name)}", f"hydra.run.dir={tmp_path / name}")
        assert command("evaluate", *arguments) == 0
        for file in FILES:
            assert (tmp_path / name / file).read_bytes() == (run / file).read_bytes(), (name, file)


def test_the_best_checkpoint_is_tested(command: Command, tmp_path: Path) -> None:
    run = train(command, tmp_path / "run", "+experiment=mil", *RESTLESS)
    found = column(run, "val/segment/type_av")
    assert content(run, "best")["epoch"] == found.index(max(found)) < 5
    assert scores(evaluate(command, run, tmp_path / "best")) == scores(run)


def test_the_tested_epoch_is_said_and_only_its_row_has_test_scores(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = train(command, tmp_path / "run", "+experiment=mil", *RESTLESS)
    found = column(run, "val/segment/type_av")
    epoch = found.index(max(found))
    said = f"tested: epoch {epoch} (val/segment/type_av {max(found):.4g})"
    assert said in capfd.readouterr().out
    tested = scores(run)["tested"]
    assert tested == {
        "epoch": epoch,
        "monitor": "val/segment/type_av",
        "score": pytest.approx(max(found)),
        "pseudo_labels": None,  # this experiment makes none
    }
    table = rows(run / "metrics.csv")
    assert [bool(row["test/average"]) for row in table] == [number == epoch for number in range(6)]
    assert float(table[epoch]["test/segment/audio"]) == pytest.approx(scores(run)["segment"]["audio"], abs=1e-4)
    for name in ("best", "last"):  # an evaluation says the same of its checkpoint
        arguments = (f"checkpoint={checkpoint(run, name)}", f"hydra.run.dir={tmp_path / name}")
        assert command("evaluate", *arguments) == 0
        number = epoch if name == "best" else 5
        assert f"tested: epoch {number} (val/segment/type_av {found[number]:.4g})" in capfd.readouterr().out
    assert scores(tmp_path / "best")["tested"] == tested


def test_an_epoch_before_the_first_labels_is_said_to_be_one(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """``min`` selects the first epoch, the worst one."""
    settings = ("trainer.max_epochs=2", "labeling.source=momentum", "labeling.start_epoch=1")
    worst = ("protocol.selection.mode=min", "protocol.selection.monitor=learning_rate", "optimizer/schedule=constant")
    run = train(command, tmp_path / "run", "+experiment=npl_soft", *settings, *worst)
    said = "no pseudo labels had taught anything by the end of the tested epoch 0"
    assert said in capfd.readouterr().out
    assert scores(run)["tested"]["pseudo_labels"] is False
    last = ("protocol.selection.monitor=null", *settings)
    run = train(command, tmp_path / "other", "+experiment=npl_soft", *last)
    assert said not in capfd.readouterr().out
    assert scores(run)["tested"] == {"epoch": 1, "monitor": None, "score": None, "pseudo_labels": True}


def test_an_epoch_that_some_of_the_validation_videos_selected_is_said_to_be_one(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its score is not comparable with that of others, and neither is the choice of the epoch."""
    settings = ("+experiment=mil", "trainer.max_epochs=1", "data.eval_batch_size=4")
    run = train(command, tmp_path / "run", *settings, "+trainer.limit_val_batches=0.5")
    said = "the tested epoch 0 was selected by 8 of 16 validation videos (trainer.limit_val_batches)"
    assert said in capfd.readouterr().out
    assert scores(run)["tested"]["validation_videos"] == {"scored": 8, "all": 16}
    assert command("evaluate", f"checkpoint={checkpoint(run)}", f"hydra.run.dir={tmp_path / 'again'}") == 0
    assert said in capfd.readouterr().out
    assert scores(tmp_path / "again") == scores(run)
    whole = train(command, tmp_path / "whole", *settings, "+trainer.limit_val_batches=4")
    assert "validation videos (" not in capfd.readouterr().out
    assert "validation_videos" not in scores(whole)["tested"]


def test_a_run_without_validation_tests_its_last_epoch(command: Command, tmp_path: Path) -> None:
    unvalidated = ("trainer.max_epochs=2", "+trainer.limit_val_batches=0", "protocol.selection.monitor=null")
    run = train(command, tmp_path / "run", "+experiment=mil", *unvalidated)
    assert content(run, "best")["epoch"] == 1
    for name in ("best", "last"):
        arguments = (f"checkpoint={checkpoint(run, name)}", f"hydra.run.dir={tmp_path / name}")
        assert command("evaluate", *arguments) == 0
        assert scores(tmp_path / name) == scores(run)


def test_without_the_callback_the_last_epoch_is_tested(command: Command, tmp_path: Path) -> None:
    without = ("callbacks.best=null", "protocol.selection.monitor=null")
    run = train(command, tmp_path / "run", "+experiment=mil", *RESTLESS, *without)
    assert not checkpoint(run).exists()
    arguments = (f"checkpoint={checkpoint(run, 'last')}", f"hydra.run.dir={tmp_path / 'again'}")
    assert command("evaluate", *arguments) == 0
    assert scores(tmp_path / "again") == scores(run)


def test_a_finished_run_is_unharmed_by_a_resume_that_is_refused(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its scores would be removed before it is resumed."""
    run = train(command, tmp_path / "run", "+experiment=mil", "trainer.max_epochs=1")
    arguments = (*SMALL, "logger=csv", "+experiment=mil", "trainer.max_epochs=2", f"hydra.run.dir={run}", "resume=auto")
    assert command("train", *arguments, "callbacks.best=null") == 2
    assert "callbacks.best is missing" in capfd.readouterr().err
    assert scores(run)


@pytest.mark.parametrize("more", [[], ["+trainer.check_val_every_n_epoch=2"]])
def test_a_score_that_nothing_logs_is_one_error_after_the_first_validation(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str], more: list[str]
) -> None:
    run = tmp_path / "run"
    arguments = ("data.sizes.train=32", "data.sizes.val=16", "data.sizes.test=16", "network.dim=32", "logger=csv")
    monitor = ("protocol.selection.monitor=val/segment/type_va", "trainer.accelerator=cpu", f"hydra.run.dir={run}")
    assert command("train", *arguments, *monitor, *more) == 2
    error = capfd.readouterr().err
    assert "protocol.selection.monitor=val/segment/type_va: no score of this name is logged." in error
    assert "Did you mean 'val/segment/type_av'? The validation logs val/average, val/event/audio, " in error
    assert len(error.splitlines()) == 1
    assert len(rows(run / "metrics.csv")) == 1
    assert not checkpoint(run).exists()


def test_forked_processes_return_the_path_only_and_the_score_is_in_the_file(command: Command, tmp_path: Path) -> None:
    run = train(command, tmp_path / "run", "+experiment=mil", *RESTLESS)
    callback = BestEpoch(str(run / "checkpoints"), "best", "val/segment/type_av", "max")
    callback.best_model_path = str(checkpoint(run))
    trainer: Any = SimpleNamespace(
        fast_dev_run=False, checkpoint_callbacks=[ModelCheckpoint(monitor="other"), callback]
    )
    selected = selected_epoch(trainer)
    assert selected.path == str(checkpoint(run))
    assert selected.score == pytest.approx(max(column(run, "val/segment/type_av")))
    trainer.checkpoint_callbacks.pop()
    assert selected_epoch(trainer) == (None, None)
