"""A run of ``ppl_soft`` at the size of LLP, in a process of its own: time, share of labeling, memory."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterator

from benchmarks import paper
from benchmarks.measure import Row, Scale, run_module
from benchmarks.workload import folder


def measure(scale: Scale) -> Iterator[Row]:
    """Run, read timings.csv."""
    with folder() as run:
        size = [f"data.sizes.train={scale.llp_videos}", f"trainer.max_epochs={scale.llp_epochs}"]
        settings = ["+experiment=ppl_soft", "data=synthetic_llp_size", *size, "logger=csv", f"hydra.run.dir={run}"]
        ended = run_module("avvp_pl.train", *settings)
        with (run / "timings.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    labeling, share = (
        statistics.median(float(row[f"labeling/{column}"]) for row in rows)
        for column in ("seconds", "share_of_training")
    )
    videos = f"{scale.llp_videos} videos"
    training = labeling / share
    yield Row(f"labeling, {videos}, `ppl_soft`", f"{labeling:.1f} s")
    yield Row(f"training epoch, {videos}, `ppl_soft`", f"{training:.1f} s")
    yield Row(
        "labeling to training of an epoch",
        f"{labeling:.1f} s to {training:.1f} s",
        ratio=paper.ratios(share, paper.LABELING, paper.TRAINING, "s"),
        required="at most 0.35",
    )
    run_of = f"{scale.llp_epochs} epochs and the test"
    yield Row(f"peak memory of {run_of}", f"{ended.peak / 1e9:.2f} GB", required="under 3 GB")
