"""A run at the size of LLP: time of an epoch, share of labelling, peak memory.

``python -m benchmarks.paper_size [EPOCHS]`` trains ppl_soft on synthetic data with LLP's numbers of videos and stream
dimensions (3 epochs unless told otherwise; memory no longer grows after the second) in a process of its own.
"""

from __future__ import annotations

import csv
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main(epochs: int = 3) -> None:
    """Run, read metrics.csv, print."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "avvp_pl.train", "+experiment=ppl_soft", "data=synthetic_llp_size"]
        settings = ["logger=csv", f"trainer.max_epochs={epochs}", f"hydra.run.dir={folder}"]
        start = time.perf_counter()
        subprocess.run([*command, *settings], check=True)
        seconds = time.perf_counter() - start
        with (Path(folder) / "metrics.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["labelling/seconds"]]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    shares = ", ".join(f"{float(row['labelling/share_of_training']):.2f}" for row in rows)
    labelling = ", ".join(f"{float(row['labelling/seconds']):.1f}" for row in rows)
    print(f"{epochs} epochs and the test: {seconds:.0f} s; peak memory {peak:.2f} GiB")
    print(f"labelling {labelling} s; share of the epoch's training time {shares}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
