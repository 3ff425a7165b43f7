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


class EpochCSVLogger(Logger):
    """Rows of metrics by epoch, on disk after every epoch; a resumed run goes on below the rows it had.

    Lightning's own CSV logger writes training and validation into different rows and deletes the file of an
    interrupted run.
    """

    def __init__(self, directory: str) -> None:
        super().__init__()
        self.path = Path(directory) / "metrics.csv"
        self.row: dict[str, Any] = {}

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
        """Complete the row of the epoch; test scores, of the whole run, go into the last one."""
        of_run = any(name.startswith("test/") for name in metrics)
        last = read_rows(self.path)[-1:] if of_run else []
        if last:  # the processes that test may not be those that trained, and know of no epoch
            self.row = {**last[0], "epoch": int(last[0]["epoch"])}
        elif metrics["epoch"] != self.row.get("epoch"):
            self.row = {"epoch": int(metrics["epoch"])}
        self.row |= {name: value for name, value in metrics.items() if name != "epoch"}
        if not last:
            self.row["step"] = step
        append_rows(self.path, [self.row], replacing="epoch")

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
