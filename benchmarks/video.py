"""Parsing a video file: from the file to its timeline, with the two extractors that need no weights, on one core.

A small network is trained on a few made-up clips, only to have a checkpoint. Plain code has no counterpart.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

import avvp_pl
from avvp_pl.video.demo.folder import Kind, write_clips
from benchmarks.extraction import SIZE, write
from benchmarks.measure import Row, Scale, run_module, seconds, threads
from benchmarks.workload import folder

SIZES = {"train": 8, "val": 2, "test": 2}


def measure(scale: Scale) -> Iterator[Row]:
    """The median of several parses of one clip, after one that loads what is needed."""
    with folder() as files, threads(1):
        clip, parser = write(files / "clip.mp4", 10, 25, SIZE), avvp_pl.load(trained(files), device="cpu")
        times = [seconds(lambda: parser.parse(clip)) for _ in range(scale.repeats + 1)]
        what = f"a clip of 10 s, {SIZE[0]} x {SIZE[1]}, from file to timeline, 1 thread"
        yield Row(what, f"{statistics.median(times[1:]):.3g} s", required="under 1 s")


def trained(files: Path) -> Path:
    """Return the checkpoint of a network that was trained on the features of a few clips, for an epoch."""
    clips, run = files / "clips", files / "run"
    for _ in write_clips(clips, SIZES, Kind(seconds=10, side=32, seed=0), workers=0):
        pass
    run_module("avvp_pl.extract", f"videos={clips / 'videos'}", f"output={clips}", "workers=0")
    data = ("data=clips", f"data.root={clips}", "trainer.max_epochs=1", "logger=csv", "threads=1")
    run_module("avvp_pl.train", "+experiment=han", *data, f"hydra.run.dir={run}")
    return run / "checkpoints" / "best.ckpt"
