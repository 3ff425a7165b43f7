"""Start-up: how long ``python -m avvp_pl.train --help`` takes. Plain code has no counterpart."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.measure import Row, Scale, seconds


def measure(scale: Scale) -> Iterator[Row]:
    """The median of several starts, after one that warms the page cache."""
    command = [sys.executable, "-m", "avvp_pl.train", "--help"]
    times = [
        seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
        for _ in range(scale.repeats + 1)
    ]
    yield Row("`train --help`", f"{statistics.median(times[1:]):.2f} s", required="under 1.5 s")
