"""Parsing a video file: from the file to its timeline, with the extractors that need no weights, on one core.

A small network is trained on a few made-up clips, only to have a checkpoint: its scores do not matter, and its time
does hardly. The clip has the size and the frames of a common video. Plain code has no counterpart.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import avvp_pl
from avvp_pl.video.demo.clips import FPS, encoded, pictures_of, sound_of
from avvp_pl.video.demo.folder import Clip, Kind, plan_of, write_clips
from benchmarks.measure import Row, Scale, run_module, seconds, threads
from benchmarks.workload import folder

SECONDS, WIDTH, HEIGHT, FRAMES = 10, 320, 240, 24
SIZES = {"train": 8, "val": 2, "test": 2}


def measure(scale: Scale) -> Iterator[Row]:
    """The median of several parses of one clip, after one that loads what is needed."""
    with folder() as files, threads(1):
        checkpoint, clip = trained(files), files / "clip.mp4"
        clip.write_bytes(common_clip())
        parser = avvp_pl.load(checkpoint, device="cpu")
        times = [seconds(lambda: parser.parse(clip)) for _ in range(scale.repeats + 1)]
        what = f"{SECONDS}-s clip of {WIDTH} x {HEIGHT}, {FRAMES} frames a second, from file to timeline, 1 thread"
        yield Row(what, f"{statistics.median(times[1:]):.2f} s", required="under 1 s")


def common_clip() -> bytes:
    """Return a file of a made-up clip in the size of a common one."""
    kind = Kind(SECONDS, WIDTH, seed=0)
    plan, rng = plan_of(Clip("test", 0), kind)
    sound, pictures = sound_of(plan, rng), pictures_of(plan, rng, kind.side)
    top = (WIDTH - HEIGHT) // 2
    return encoded(sound, np.repeat(pictures[:, top : top + HEIGHT], FRAMES // FPS, axis=0), FRAMES)


def trained(files: Path) -> Path:
    """Return the checkpoint of a network that was trained on the features of a few clips, for an epoch."""
    clips, run = files / "clips", files / "run"
    for _ in write_clips(clips, SIZES, Kind(SECONDS, 32, seed=0), workers=0):
        pass
    run_module("avvp_pl.extract", f"videos={clips / 'videos'}", f"output={clips}", "workers=0")
    data = ("data=clips", f"data.root={clips}", "trainer.max_epochs=1", "logger=csv", "threads=1")
    run_module("avvp_pl.train", "+experiment=han", *data, f"hydra.run.dir={run}")
    return run / "checkpoints" / "best.ckpt"
