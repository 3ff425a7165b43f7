"""Growth: labeling, and as many steps of ``ppl_soft``, with LLP's videos and with ten times as many.

More videos are the same ones over again, so that memory is that of the method and not of the data. Each number of
videos is a process of its own: ``python -m benchmarks.growth VIDEOS STORED STEPS`` prints its seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import lightning.pytorch as pl

from avvp_pl.commands.build import build_data, build_model, build_trainer, build_videos, prepare_process
from avvp_pl.data.videos import Asked, VideoSet
from avvp_pl.training.callbacks.refresh_pseudo_labels import RefreshPseudoLabels
from avvp_pl.types import Batch
from benchmarks.measure import THREADS, Row, Scale, run_module, threads
from benchmarks.workload import BATCH_SIZE, configured, folder

STORED = 1_000
MEASURED_EPOCH = 1  # epoch 0 of ppl_soft has no pseudo labels


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


class Grown(NamedTuple):
    """Seconds of labeling and of the steps of one epoch, and the most memory in bytes."""

    labeling: float
    training: float
    memory: int


class Watch(pl.Callback):
    """Take the times of the measured epoch."""

    def __init__(self) -> None:
        self.labeling = self.training = self.started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Behind the labeling."""
        self.started = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Behind the last step."""
        self.training = time.perf_counter() - self.started
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        refresh = next(callback for callback in callbacks if isinstance(callback, RefreshPseudoLabels))
        self.labeling = refresh.report.get("labeling/seconds", 0.0)  # the first epoch has none


def measure(scale: Scale) -> Iterator[Row]:
    """Ten times the videos, against ten times the time and memory."""
    steps = -(-scale.llp_videos // BATCH_SIZE)  # of an epoch of the few
    few, many = (_in_process(videos, steps) for videos in (scale.llp_videos, scale.grown * scale.llp_videos))
    times = f"{scale.llp_videos} to {scale.grown * scale.llp_videos} videos"
    parts = {"labeling": (few.labeling, many.labeling, scale.grown), f"{steps} steps": (few.training, many.training, 1)}
    for what, (before, after, more) in parts.items():
        linear = f"{after / (more * before):.2f} of linear"
        yield Row(f"{what}, {times}", f"{before:.3g} s to {after:.3g} s", "", linear, "at most 1.1")
    memory = [f"{grown.memory / 1e9:.2f} GB" for grown in (few, many)]
    yield Row(f"peak memory, {times}", " to ".join(memory), "", f"{many.memory / few.memory:.2f} times")


def _in_process(videos: int, steps: int) -> Grown:
    ended = run_module("benchmarks.growth", *map(str, (videos, min(STORED, videos), steps)))
    labeling, training = json.loads(ended.printed.splitlines()[-1])
    return Grown(labeling, training, ended.peak)


def main(videos: int, stored: int, steps: int) -> None:
    """Train for two epochs of some steps and print the times of the second."""
    with folder() as run, threads(THREADS):
        size = [f"trainer.max_epochs={MEASURED_EPOCH + 1}", f"+trainer.limit_train_batches={steps}"]
        cfg = configured("ppl_soft", run, stored, *size)
        prepare_process(cfg)
        made = build_videos(cfg)
        assert made.train is not None
        repeated = replace(made, train=RepeatedVideos.of(made.train, videos // stored))
        watch = Watch()
        # its first epoch, without labels, need only fill the momentum network
        build_trainer(cfg, watch).fit(build_model(cfg, repeated), build_data(cfg, repeated))
    print(json.dumps([watch.labeling, watch.training]))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
