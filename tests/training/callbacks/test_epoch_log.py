"""Each epoch has one row with everything that was logged in it, and one line in the log."""

from __future__ import annotations

import logging
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.loggers import Logger

from avvp_pl.training.callbacks.epoch_log import EpochLog
from tests.conftest import Build
from tests.training.trainers import fit


class Kept(Logger):
    """A logger that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    @property
    def name(self) -> str:
        return "kept"

    @property
    def version(self) -> str:
        return ""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((step, metrics))

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass


class Every(pl.Callback):
    """Log a value in every epoch, and another one in the second alone."""

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        module.log("every", float(trainer.current_epoch))
        if trainer.current_epoch == 1:
            module.log("second", 5.0)


def test_every_logger_gets_one_row_an_epoch(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    loggers, (module, data) = [Kept(), Kept()], build("mil")
    with caplog.at_level(logging.INFO, logger="avvp_pl"):
        fit(module, data, 3, callbacks=[Every(), EpochLog()], logger=loggers)
    steps, rows = zip(*loggers[0].rows, strict=True)
    assert steps == (3, 6, 9)
    assert loggers[1].rows == loggers[0].rows
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["every"] for row in rows] == [0.0, 1.0, 2.0]
    assert [row.get("second") for row in rows] == [None, 5.0, None]  # not again in the third
    losses = {"train/mil", "train/guided", "train/loss"}
    for row in rows:
        assert losses <= row.keys()
        assert "val/segment/type_av" in row
        assert row["train/loss"] == pytest.approx(row["train/mil"] + row["train/guided"], rel=1e-5)
    lines = [message for message in caplog.messages if message.startswith("epoch ")]
    for number, (line, row) in enumerate(zip(lines, rows, strict=True)):
        shown = (row["train/loss"], row["val/segment/type_av"], row["val/average"])
        loss, type_av, average = (f"{value:.3g}" for value in shown)
        assert line.startswith(f"epoch {number} of 3: loss {loss}, val type_av {type_av}, val average {average}, ")


def test_what_comes_after_the_row_is_an_error_instead_of_being_lost(build: Build) -> None:
    module, data = build("mil")
    with pytest.raises(RuntimeError, match="every is logged after the epoch's row was written"):
        fit(module, data, callbacks=[EpochLog(), Every()], logger=[Kept()])
