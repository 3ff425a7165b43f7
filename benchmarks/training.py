"""An epoch of training, as a user gets it and as plain code has it.

Ours is Lightning's Trainer with the callbacks and the logger of the configuration; its time is that from the start of
the epoch, behind the labeling, to the start of validation: data, steps, momentum network, logging of the losses.
Plain is a whole ``train_epoch``: its worker starts, reads from a warm page cache, and trains. Between two of our
epochs the plain network trains for one. Writing checkpoints and validation are in neither.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as pl
import torch

from avvp_pl.commands.build import build_data, build_model, build_trainer, build_videos, prepare_process
from benchmarks.measure import THREADS, Pair, Row, Scale, seconds, threads
from benchmarks.plain import PlainHAN, train_epoch, write_npy
from benchmarks.workload import configured, folder, plain_loader

REQUIRED = {"han": "at least 2.2", "ppl_soft": "at least 1.9"}
WARM_UP = 1  # epochs that do not count; ppl_soft has no pseudo labels in its first one


class PlainBetween(pl.Callback):
    """Time our epochs, and after each one of a plain network on the same videos."""

    def __init__(self, files: Path) -> None:
        self.files, self.times = files, Pair()
        self.started = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the training videos as files."""
        self.loader = plain_loader(write_npy(trainer.datamodule.train, self.files), shuffle=True)  # type: ignore[attr-defined]
        self.network = PlainHAN()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=3e-4)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; being the last callback, behind the labeling."""
        self.started = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock: the last step has been made."""
        self.times.ours.append(time.perf_counter() - self.started)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Train the plain network."""
        self.times.plain.append(seconds(lambda: train_epoch(self.network, self.loader, self.optimizer)))


def measure(scale: Scale) -> Iterator[Row]:
    """Epochs of ``han`` and ``ppl_soft``, with all of torch's threads and with one."""
    for number in dict.fromkeys((THREADS, 1)):
        for experiment, required in REQUIRED.items():
            with folder() as files, threads(number):
                epochs = f"trainer.max_epochs={scale.repeats + WARM_UP}"
                cfg = configured(experiment, files / "run", scale.epoch_videos, epochs)
                prepare_process(cfg)
                videos = build_videos(cfg)
                between = PlainBetween(files / "feats")
                build_trainer(cfg, between).fit(build_model(cfg, videos), build_data(cfg, videos))
                pair = Pair(between.times.ours[WARM_UP:], between.times.plain[WARM_UP:])
            what = f"training epoch of `{experiment}`, {scale.epoch_videos} videos, {number} thread{'s' * (number > 1)}"
            yield pair.row(what, required if number == THREADS else "", unit="s")
