"""What is measured: videos of LLP's shapes, and methods as their configuration makes them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from avvp_pl.data.annotations import write_timelines, write_weak_labels
from avvp_pl.data.known import TABLES
from avvp_pl.data.videos import Asked, ParsingSet, VideoSet
from avvp_pl.files import read_rows
from avvp_pl.settings.conf import config_dir
from avvp_pl.types import Batch
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


@dataclass(frozen=True)
class RepeatedVideos(VideoSet):
    """The same videos over and over: row i has the features of row i modulo the number of videos that are stored."""

    def __post_init__(self) -> None:
        """Check nothing: the streams have fewer segments than the videos."""

    @cached_property
    def stored(self) -> VideoSet:
        """The videos that are stored, all of the same length."""
        count = len(next(iter(self.streams.values()))) // self.longest
        return VideoSet(self.names[:count], self.lengths[:count], self.streams, self.weak_labels[:count])

    def __getitem__(self, rows: Asked) -> Batch:
        assert not isinstance(rows, tuple)  # all videos have the same length
        rows = rows.to(self.device)
        stored = rows % len(self.stored)
        batch = self.stored[stored]
        return replace(batch, index=rows, segment=batch.segment + (rows - stored)[:, None] * self.longest)

    @classmethod
    def of(cls, videos: VideoSet, times: int) -> RepeatedVideos:
        """Return these videos, so many times."""
        lengths, weak_labels = videos.lengths.repeat(times), videos.weak_labels.repeat(times, 1)
        names = tuple(f"{name}_{time}" for time in range(times) for name in videos.names)
        return cls(names, lengths, videos.streams, weak_labels)


def write_llp_layout(videos: ParsingSet, root: Path) -> Path:
    """Write tables and feature files of all videos, as people have them who have extracted features; return ``root``.

    Every segment has one row in a file.
    """
    for split, own in videos.splits.items():
        labels = [row.nonzero()[:, 0].tolist() for row in own.weak_labels]
        write_weak_labels(root / "data" / TABLES[split], dict(zip(own.names, labels, strict=True)), videos.events)
        for stream, rows in own.streams.items():
            (root / "feats" / stream).mkdir(parents=True, exist_ok=True)
            for name, features in zip(own.names, torch.split(rows, own.lengths.tolist()), strict=True):
                np.save(root / "feats" / stream / f"{name}.npy", features.numpy())
    annotated = [own for split, own in videos.splits.items() if split != "train"]
    names = [name for own in annotated for name in own.names]
    for m, modality in enumerate(videos.modalities):
        truth = [own.padded(own.truth[:, m]).numpy() for own in annotated if own.truth is not None]
        table = root / "data" / f"AVVP_eval_{modality}.csv"
        write_timelines(table, names, np.concatenate(truth), videos.events, videos.segment_seconds)
    return root


class Refreshed(NamedTuple):
    """Medians over the epochs of a training with labeling, in seconds, and the memory of its process in bytes."""

    labeling: float
    share: float  # of labeling in the time of training
    peak: int
    own: int  # without mapped files

    @property
    def training(self) -> float:
        """The time of an epoch without labeling."""
        return self.labeling / self.share


def refreshed(run: Path, *settings: str) -> Refreshed:
    """Run ``avvp_pl.train`` with these settings in a process of its own."""
    ended = run_module("avvp_pl.train", *settings, "logger=csv", f"hydra.run.dir={run}")
    labeling, share = (statistics.median(column) for column in zip(*labelings(run), strict=True))
    return Refreshed(labeling, share, ended.peak, ended.own)


def labelings(run: Path) -> list[tuple[float, float]]:
    """Return of each epoch with labeling its seconds, and its share of those of training."""
    columns = ("labeling/seconds", "labeling/share_of_training")
    return [(float(row[columns[0]]), float(row[columns[1]])) for row in read_rows(run / "timings.csv")]


def plain_loader(videos: PlainVideos, batch_size: int = BATCH_SIZE, shuffle: bool = False) -> Loader:
    """One worker, which is started again for every epoch."""
    return DataLoader(videos, batch_size, shuffle=shuffle, num_workers=1)


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder; hundreds of MB of features lie there for a while."""
    with TemporaryDirectory(prefix="avvp_pl_benchmark_") as name:
        yield Path(name)
