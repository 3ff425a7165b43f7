"""A run of ``ppl_soft`` at the size of LLP, in a process of its own: time, share of labelling, memory."""

from __future__ import annotations

import csv
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.measure import Row, Scale
from benchmarks.workload import folder


def measure(scale: Scale) -> Iterator[Row]:
    """Run, read metrics.csv."""
    with folder() as run:
        command = [sys.executable, "-m", "avvp_pl.train", "+experiment=ppl_soft", "data=synthetic_llp_size"]
        size = [f"data.sizes.train={scale.llp_videos}", f"trainer.max_epochs={scale.llp_epochs}"]
        subprocess.run([*command, *size, "logger=csv", f"hydra.run.dir={run}"], check=True, stdout=subprocess.DEVNULL)
        with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["labelling/seconds"]]
    labelling, share = (
        statistics.median(float(row[f"labelling/{column}"]) for row in rows)
        for column in ("seconds", "share_of_training")
    )
    videos = f"{scale.llp_videos} videos"
    yield Row(f"labelling, {videos}, `ppl_soft`", f"{labelling:.1f} s")
    yield Row("the same, share of its epoch's training time", f"{share:.2f}", required="at most 0.35")
    yield Row(f"training epoch, {videos}, `ppl_soft`", f"{labelling / share:.1f} s")
    yield Row(f"peak memory of that run, {scale.llp_epochs} epochs and the test", peak(), required="under 3 GB")


def peak() -> str:
    """The most memory that any ended child of this process has had."""
    return f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9:.2f} GB"
