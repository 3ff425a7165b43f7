"""``metrics.csv``, and how the loggers of a run are opened and closed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from avvp_pl.files import append_rows, read_rows
from avvp_pl.runs import names

CLOCK = "labeling/"  # prefix of durations, which differ between identical runs


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
        """Write the row of an epoch. Test scores belong to the whole run and are added to the last row."""
        tested = {name: value for name, value in metrics.items() if name.startswith("test/")}
        timings = {name: value for name, value in metrics.items() if name.startswith(CLOCK)}
        row: dict[str, Any] = {"epoch": int(metrics["epoch"]), "step": step}
        if tested:  # the processes that test may be new ones, which do not know the epoch
            last = read_rows(self.metrics)[-1:]
            append_rows(self.metrics, [{**(last[0] if last else row), **tested}], replacing="epoch")
            return
        kept = {name: value for name, value in metrics.items() if name != "epoch" and name not in timings}
        append_rows(self.metrics, [row | kept], replacing="epoch")
        if timings:
            append_rows(self.timings, [row | timings], replacing="epoch")

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: the settings are in ``config.yaml``."""


@contextmanager
def logging_to(loggers: Sequence[Logger], cfg: DictConfig) -> Iterator[None]:
    """Give the configuration to the loggers, and close them in any case.

    An unfinished W&B run would also collect what the next job of a sweep logs in this process.
    """
    settings = OmegaConf.to_container(cfg, resolve=True)
    for logger in loggers:
        logger.log_hyperparams(settings)  # type: ignore[arg-type]
    failed = True
    try:
        yield
        failed = False
    finally:
        for logger in loggers:
            logger.finalize("failed" if failed else "success")
            if isinstance(logger, WandbLogger):
                logger.experiment.finish(exit_code=int(failed))
