"""``metrics.csv`` and ``timings.csv``, and loggers that are closed in any case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import Logger
from omegaconf import OmegaConf

from avvp_pl.errors import InputError
from avvp_pl.runs.loggers import EpochCSVLogger, logging_to
from tests.small import rows


@pytest.fixture
def logger(tmp_path: Path) -> EpochCSVLogger:
    return EpochCSVLogger(str(tmp_path))


def log(logger: EpochCSVLogger, epoch: int, **metrics: float) -> None:
    logger.log_metrics({"epoch": float(epoch), **metrics}, step=10 * (epoch + 1))


def test_an_epoch_is_a_row_and_durations_are_in_a_table_of_their_own(logger: EpochCSVLogger, tmp_path: Path) -> None:
    log(logger, 0, **{"train/loss": 1.5})
    assert not (tmp_path / "timings.csv").exists()
    log(logger, 1, **{"train/loss": 1.25, "labeling/seconds": 3.5, "pseudo_labels/audio/f1": 50.0})
    assert rows(tmp_path / "metrics.csv") == [
        {"epoch": "0", "step": "10", "train/loss": "1.5", "pseudo_labels/audio/f1": ""},
        {"epoch": "1", "step": "20", "train/loss": "1.25", "pseudo_labels/audio/f1": "50.0"},
    ]
    assert rows(tmp_path / "timings.csv") == [{"epoch": "1", "step": "20", "labeling/seconds": "3.5"}]


def test_epochs_that_are_repeated_replace_their_rows(logger: EpochCSVLogger, tmp_path: Path) -> None:
    for epoch in range(4):
        log(logger, epoch, **{"train/loss": float(epoch), "labeling/seconds": 1.0})
    log(logger, 2, **{"train/loss": 9.0, "labeling/seconds": 2.0})
    assert [row["train/loss"] for row in rows(tmp_path / "metrics.csv")] == ["0.0", "1.0", "9.0"]
    assert [row["labeling/seconds"] for row in rows(tmp_path / "timings.csv")] == ["1.0", "1.0", "2.0"]


def test_scores_of_the_test_complete_the_last_row(logger: EpochCSVLogger, tmp_path: Path) -> None:
    for epoch in range(2):
        log(logger, epoch, **{"train/loss": float(epoch)})
    log(logger, 0, **{"test/average": 40.0})  # new processes that test do not know the epoch
    assert rows(tmp_path / "metrics.csv") == [
        {"epoch": "0", "step": "10", "train/loss": "0.0", "test/average": ""},
        {"epoch": "1", "step": "20", "train/loss": "1.0", "test/average": "40.0"},
    ]


def test_a_test_without_training_has_a_row(logger: EpochCSVLogger, tmp_path: Path) -> None:
    log(logger, 0, **{"test/average": 40.0})
    assert rows(tmp_path / "metrics.csv") == [{"epoch": "0", "step": "10", "test/average": "40.0"}]


def test_a_table_of_another_program_is_not_overwritten(logger: EpochCSVLogger, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,loss\nfirst,2\n")
    with pytest.raises(InputError, match=r"metrics\.csv"):
        log(logger, 1, **{"train/loss": 1.0})
    assert (tmp_path / "metrics.csv").read_text() == "epoch,loss\nfirst,2\n"


class Recorder(Logger):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[Any] = []

    @property
    def name(self) -> str:
        return "recorder"

    @property
    def version(self) -> str:
        return "0"

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        self.notes.append(params)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.notes.append(metrics)

    def finalize(self, status: str) -> None:
        self.notes.append(status)


def test_loggers_are_given_the_settings_and_closed() -> None:
    cfg = OmegaConf.create({"seed": 3, "same": "${seed}"})
    one, other = Recorder(), Recorder()
    with logging_to([one, other], cfg):
        pass
    assert one.notes == other.notes == [{"seed": 3, "same": 3}, "success"]


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), SystemExit(143), KeyboardInterrupt()])
def test_loggers_are_told_of_a_failure(error: BaseException) -> None:
    recorder = Recorder()
    with pytest.raises(type(error)), logging_to([recorder], OmegaConf.create({})):
        raise error
    assert recorder.notes == [{}, "failed"]
