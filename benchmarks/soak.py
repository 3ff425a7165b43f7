"""Soak: a long run of ``ppl_soft``, in which neither memory nor open files may grow.

A small network on few videos, so that 200 refreshes take two minutes; checkpoints, metrics.csv and all the rest are
written as ever. Memory and descriptors are looked at behind every refresh. Each way to k-means is a process of its own:
``python -m benchmarks.soak faiss REFRESHES`` prints what it saw, ``python -m benchmarks.soak`` runs both and sums up.
"""

from __future__ import annotations

import ctypes
import gc
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import lightning.pytorch as pl

from avvp_pl.commands.build import build_data, build_model, build_trainer, build_videos, prepare_process
from avvp_pl.training.module import ParsingModule
from benchmarks.measure import Row, Scale, run_module, threads
from benchmarks.workload import configured, folder

VIDEOS = 160
SMALL = ("network.dim=128", "network.feedforward_dim=128", "data.streams={vggish: 128, res152: 256, r2plus1d_18: 128}")


class Sample(NamedTuple):
    """What the process has at one time: memory of its own in bytes, open file descriptors."""

    memory: int
    descriptors: int


class Watch(pl.Callback):
    """Take a sample behind every refresh."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Being the last callback, behind the labeling."""
        assert isinstance(pl_module, ParsingModule)
        if pl_module.labeling.ready:
            self.samples.append(sample())


def sample() -> Sample:
    """Look at this process (on Linux), rid of what nothing needs.

    Otherwise the allocator, which keeps some 20 MB at one time and not at another, would hide anything smaller. Pages
    of files are not counted: the system takes and returns them as it likes, libraries of 100 MB among them.
    """
    gc.collect()
    with suppress(AttributeError):  # of a C library that is not GNU's
        ctypes.CDLL(None).malloc_trim(0)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    descriptors = len(list(Path("/proc/self/fd").iterdir())) - 1  # the folder is itself open while it is listed
    return Sample(1024 * int(status["RssAnon"].split()[0]), descriptors)


def growth(values: Sequence[int]) -> float:
    """What is added in 100 refreshes, once the first tenth is over.

    The medians of the first and of the last third of the rest are compared: memory is taken in jumps, which a line
    through all values would take for a slope.
    """
    settled = values[len(values) // 10 :]
    third = len(settled) // 3
    grown = statistics.median(settled[-third:]) - statistics.median(settled[:third])
    return 100 * grown / (len(settled) - third)


def measure(scale: Scale) -> Iterator[Row]:
    """Memory and descriptors, with either k-means."""
    for kmeans in ("faiss", "torch"):
        ended = run_module("benchmarks.soak", kmeans, str(scale.refreshes))
        memory, descriptors = zip(*json.loads(ended.printed.splitlines()[-1]), strict=True)
        what = f"grown in 100 of {scale.refreshes} refreshes, k-means by {kmeans}"
        yield Row(f"memory {what}", f"{growth(memory) / 1e6:.2f} MB of {memory[-1] / 1e6:.0f}", required="under 5 MB")
        yield Row(f"descriptors {what}", f"{growth(descriptors):.1f} of {descriptors[-1]}", required="0")


def soak(kmeans: str, refreshes: int, videos: int = VIDEOS, more: Sequence[pl.Callback] = ()) -> list[Sample]:
    """Train until there were so many refreshes; what each of them left behind."""
    with folder() as run, threads(1):  # of products this small more would be slower
        # epoch 0 has no pseudo labels
        settings = (f"labeling.kmeans={kmeans}", f"trainer.max_epochs={refreshes + 1}", *SMALL)
        cfg = configured("ppl_soft", run, videos, *settings)
        prepare_process(cfg)
        made = build_videos(cfg)
        watch = Watch()
        build_trainer(cfg, *more, watch).fit(build_model(cfg, made), build_data(cfg, made))
    return watch.samples


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(soak(sys.argv[1], int(sys.argv[2]))))
    else:
        for row in measure(Scale()):
            print(" | ".join(filter(None, row)), flush=True)
