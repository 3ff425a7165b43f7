"""``metrics.csv``, and how the loggers of a run are opened and closed, and kept from harming it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from avvp_pl.errors import brief
from avvp_pl.files import append_rows, read_rows
from avvp_pl.runs import names

CLOCK = "labeling/"  # prefix of durations, which differ between identical runs

log = logging.getLogger(__name__)


class EpochCSVLogger(Logger):
    """One row for each epoch: ``metrics.csv``, identical bytes for the same settings and seed, and ``timings.csv``.

    Rows are on disk after every epoch, and a resumed run adds its rows to the existing ones. Lightning's own CSV logger
    writes training and validation into different rows and deletes the file of an interrupted run.
    """

    def __init__(self, directory: str) -> None:
        super().__init__()
        self.metrics, self.timings = (Path(directory) / name for name in (names.METRICS, names.TIMINGS))

    @property
    def name(self) -> str:
        """Empty, so that it is not part of any path: checkpoints have their own folder."""
        return ""

    @property
    def version(self) -> str:
        """Empty, so that it is not part of any path."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write the row of an epoch, or add the test scores to that of the tested epoch; no other row has any."""
        tested = {name: value for name, value in metrics.items() if name.startswith("test/")}
        timings = {name: value for name, value in metrics.items() if name.startswith(CLOCK)}
        row: dict[str, Any] = {"epoch": int(metrics["epoch"]), "step": step}
        if tested:
            rows: dict[int, dict[str, Any]] = {int(before["epoch"]): dict(before) for before in read_rows(self.metrics)}
            for before in rows.values():  # of an earlier test, before the run was resumed
                before |= {name: "" for name in before if name.startswith("test/")}
            rows[row["epoch"]] = rows.get(row["epoch"], row) | tested
            append_rows(self.metrics, [rows[epoch] for epoch in sorted(rows)], replacing="epoch")
            return
        kept = {name: value for name, value in metrics.items() if name != "epoch" and name not in timings}
        append_rows(self.metrics, [row | kept], replacing="epoch")
        if timings:
            append_rows(self.timings, [row | timings], replacing="epoch")

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: the settings are in ``config.yaml``."""


class Guarded:
    """A logger that cannot harm the run: at its first failure it is warned of, and from then on it does nothing.

    It looks like the logger, also to ``isinstance``, until it has failed. What is done with its ``experiment`` is
    guarded by :func:`guarding`.
    """

    def __init__(self, key: str, logger: Logger) -> None:
        self._key, self._logger = key, logger

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._logger)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            found = getattr(self._logger, name)
        except AttributeError:
            raise
        except Exception as error:
            self.give_up(error)
            found = getattr(self._logger, name)
        if name == "experiment" or not callable(found):
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            with guarding(self):
                return found(*arguments, **options)

        return call

    def give_up(self, error: Exception) -> None:
        """Warn, close the logger as far as that is possible, and use it no longer."""
        warn_of_failure(self._key, error)
        failed, self._logger = self._logger, DummyLogger()
        with suppress(Exception):
            _close(failed, failed=True)


def warn_of_failure(key: str, error: BaseException) -> None:
    """Warn that a logger has failed, which the run has not."""
    what = f"{type(error).__name__}: {brief(error)}"
    log.warning("logger.%s has failed and gets nothing more; the run goes on without it (%s)", key, what)


@contextmanager
def guarding(logger: object) -> Iterator[None]:
    """Let a failure in this block end a guarded logger, and not the run."""
    try:
        yield
    except Exception as error:
        if type(logger) is not Guarded:
            raise
        logger.give_up(error)


@contextmanager
def logging_to(loggers: Sequence[Logger], cfg: DictConfig, parameters: int = 0) -> Iterator[None]:
    """Give the configuration and the number of trained parameters to the loggers, and close them in any case.

    An unfinished W&B run would also collect what the next job of a sweep logs in this process.
    """
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    for logger in loggers:
        logger.log_hyperparams({**settings, "parameters": parameters})
    failed = True
    try:
        yield
        failed = False
    finally:
        for logger in loggers:
            with guarding(logger):
                _close(logger, failed)


def _close(logger: Logger, failed: bool) -> None:
    logger.finalize("failed" if failed else "success")
    if isinstance(logger, WandbLogger):
        import wandb  # slow to import

        if wandb.run is not None:
            wandb.finish(exit_code=int(failed))
