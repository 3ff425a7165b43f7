"""``metrics.csv``, and the life of a run's loggers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from avvp_pl.files import append_rows, read_rows

CLOCK = "labeling/"  # what is measured in seconds, and so is another number every time


class EpochCSVLogger(Logger):
    """Rows by epoch: ``metrics.csv``, which the same settings and seed write to the byte, and ``timings.csv``.

    On disk after every epoch; a resumed run goes on below the rows that it had. Lightning's own CSV logger writes
    training and validation into different rows and deletes the file of an interrupted run.
    """

    def __init__(self, directory: str) -> None:
        super().__init__()
        self.metrics, self.timings = (Path(directory) / name for name in ("metrics.csv", "timings.csv"))

    @property
    def name(self) -> str:
        """Part of no path: checkpoints have a folder of their own."""
        return ""

    @property
    def version(self) -> str:
        """Part of no path."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write the row of an epoch; test scores, of the whole run, complete the last one."""
        tested = {name: value for name, value in metrics.items() if name.startswith("test/")}
        timings = {name: value for name, value in metrics.items() if name.startswith(CLOCK)}
        row: dict[str, Any] = {"epoch": int(metrics["epoch"]), "step": step}
        if tested:  # the processes that test may not be those that trained, and know of no epoch
            last = read_rows(self.metrics)[-1:]
            append_rows(self.metrics, [{**(last[0] if last else row), **tested}], replacing="epoch")
            return
        kept = {name: value for name, value in metrics.items() if name != "epoch" and name not in timings}
        append_rows(self.metrics, [row | kept], replacing="epoch")
        if timings:
            append_rows(self.timings, [row | timings], replacing="epoch")

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """``config.yaml`` has them."""


@contextmanager
def logging_to(loggers: Sequence[Logger], cfg: DictConfig) -> Iterator[None]:
    """Tell the loggers the configuration, and close them whatever happens.

    A W&B run that is not finished would go on collecting in the next job of a sweep in this process.
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
