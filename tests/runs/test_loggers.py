"""``metrics.csv`` and ``timings.csv``, and loggers that are closed in any case."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger
from omegaconf import OmegaConf

from avvp_pl.errors import InputError
from avvp_pl.runs.loggers import EpochCSVLogger, Guarded, guarding, logging_to
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


def test_scores_of_the_test_stand_in_the_row_of_the_tested_epoch_alone(logger: EpochCSVLogger, tmp_path: Path) -> None:
    for epoch in range(3):
        log(logger, epoch, **{"train/loss": float(epoch)})
    log(logger, 1, **{"test/average": 40.0})
    expected = [
        {"epoch": "0", "step": "10", "train/loss": "0.0", "test/average": ""},
        {"epoch": "1", "step": "20", "train/loss": "1.0", "test/average": "40.0"},
        {"epoch": "2", "step": "30", "train/loss": "2.0", "test/average": ""},
    ]
    assert rows(tmp_path / "metrics.csv") == expected
    log(logger, 3, **{"train/loss": 3.0})  # the run is resumed, and then tested by another epoch
    log(logger, 0, **{"test/average": 41.0})
    found = {row["epoch"]: row["test/average"] for row in rows(tmp_path / "metrics.csv")}
    assert found == {"0": "41.0", "1": "", "2": "", "3": ""}


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
    with logging_to([one, other], cfg, parameters=7):
        pass
    assert one.notes == other.notes == [{"seed": 3, "same": 3, "parameters": 7}, "success"]


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), SystemExit(143), KeyboardInterrupt()])
def test_loggers_are_told_of_a_failure(error: BaseException) -> None:
    recorder = Recorder()
    with pytest.raises(type(error)), logging_to([recorder], OmegaConf.create({})):
        raise error
    assert recorder.notes == [{"parameters": 0}, "failed"]


class Failing(Recorder):
    """Fails from one of its methods on."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def __getattribute__(self, name: str) -> Any:
        where = object.__getattribute__(self, "__dict__").get("where")
        if name == where == "experiment":
            raise OSError("no server")
        found = object.__getattribute__(self, name)
        if name == where:

            def fail(*_: Any, **__: Any) -> None:
                raise RuntimeError("no server")

            return fail
        return found

    @property
    def experiment(self) -> list[Any]:
        return self.notes


@pytest.mark.parametrize("where", ["log_hyperparams", "log_metrics", "experiment", "save", "finalize"])
def test_a_logger_that_fails_is_warned_of_once_and_does_nothing_more(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    failing, good = Failing(where), Recorder()
    guarded: Any = Guarded("mine", failing)
    assert isinstance(guarded, Failing)
    with logging_to([guarded, cast("Logger", Guarded("good", good))], OmegaConf.create({})):
        for _ in range(2):
            guarded.log_metrics({"epoch": 0.0}, step=1)
            guarded.save()
            guarded.experiment.append("a picture")
    (warning,) = caplog.messages
    assert warning.startswith("logger.mine has failed and gets nothing more; the run goes on without it (")
    assert "no server" in warning
    assert vars(guarded)["_logger"].__class__ is DummyLogger
    assert good.notes == [{"parameters": 0}, "success"]
    assert "success" not in failing.notes


def test_what_is_done_with_an_experiment_is_guarded_too(caplog: pytest.LogCaptureFixture) -> None:
    def draw() -> None:
        raise OSError("a broken pipe")

    with guarding(Guarded("mine", Recorder())):
        draw()
    assert len(caplog.messages) == 1
    with pytest.raises(OSError, match="a broken pipe"), guarding(Recorder()):  # this one is not guarded
        draw()


def test_a_stop_is_no_failure_of_a_logger() -> None:
    guarded: Any = Guarded("mine", Recorder())
    with pytest.raises(KeyboardInterrupt), guarding(guarded):
        raise KeyboardInterrupt
    assert isinstance(guarded, Recorder)
    assert not hasattr(guarded, "no_such_method")
