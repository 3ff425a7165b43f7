"""What is measured: videos of LLP's shapes, and methods as their configuration makes them."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from avvp_pl.settings.conf import config_dir
from benchmarks.measure import run_module
from benchmarks.plain import Loader, PlainVideos

BATCH_SIZE = 16


def configured(experiment: str, run_dir: str | Path, videos: int, *overrides: str) -> DictConfig:
    """The configuration of ``avvp_pl.train`` for so many training videos with LLP's streams, with torch's threads."""
    splits = f"data.sizes={{train: {videos}, val: 16, test: 16}}"
    settings = [
        f"+experiment={experiment}",
        "data=synthetic_llp_size",
        "logger=csv",
        splits,
        f"paths.run_dir={run_dir}",
        f"threads={torch.get_num_threads()}",  # otherwise a run would set another number
    ]
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        return compose("train", [*settings, *overrides])


class Refreshed(NamedTuple):
    """Medians over the epochs of a training with labeling, in seconds, and the peak memory of its process in bytes."""

    labeling: float
    share: float  # of labeling in the time of training
    peak: int

    @property
    def training(self) -> float:
        """The time of an epoch without labeling."""
        return self.labeling / self.share


def refreshed(run: Path, *settings: str) -> Refreshed:
    """Run ``avvp_pl.train`` with these settings in a process of its own."""
    ended = run_module("avvp_pl.train", *settings, "logger=csv", f"hydra.run.dir={run}")
    with (run / "timings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ("labeling/seconds", "labeling/share_of_training")
    labeling, share = (statistics.median(float(row[column]) for row in rows) for column in columns)
    return Refreshed(labeling, share, ended.peak)


def plain_loader(videos: PlainVideos, batch_size: int = BATCH_SIZE, shuffle: bool = False) -> Loader:
    """One worker, which is started again for every epoch."""
    return DataLoader(videos, batch_size, shuffle=shuffle, num_workers=1)


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder; hundreds of MB of features lie there for a while."""
    with TemporaryDirectory(prefix="avvp_pl_benchmark_") as name:
        yield Path(name)
