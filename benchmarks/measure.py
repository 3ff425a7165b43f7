"""How the benchmarks measure: ours and plain in turn, in one process; medians; one table."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import NamedTuple

import torch

THREADS = torch.get_num_threads()  # as torch has it by itself


@dataclass(frozen=True)
class Scale:
    """How much is measured: as required by default, or just enough to see that everything runs (``QUICK``)."""

    repeats: int = 5
    epoch_videos: int = 640  # 40 steps of 16
    small_videos: int = 480
    small_epochs: int = 11
    embedded_videos: int = 1_500  # as many as the embedded data has
    labeled_videos: int = 1_000
    parsed_videos: int = 300
    scored_videos: int = 1_200
    llp_videos: int = 10_000
    llp_epochs: int = 3  # the first is without labels; memory no longer grows after the second
    grown: int = 10
    refreshes: int = 200
    million: int = 1_000_000
    detections: int = 30_000
    clips: int = 1_000
    minutes: int = 20
    long_videos: int = 200  # for training, and 210 for testing
    long_dim: int = 1_024  # of each stream


QUICK = Scale(2, 96, 96, 6, 96, 96, 32, 200, 320, 2, 3, 12, 3_000, 1_000, 20, 2, 40, 16)


class Row(NamedTuple):
    """A line of the table. ``required`` is what the figure must reach, where anything is."""

    measured: str
    ours: str
    plain: str = ""
    ratio: str = ""
    required: str = ""


@dataclass
class Pair:
    """Seconds of the same work, ours and plain, one value a repeat."""

    ours: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)

    def medians(self) -> tuple[float, float]:
        """The median of ours, and that of plain."""
        return statistics.median(self.ours), statistics.median(self.plain)

    def row(self, measured: str, required: str = "", unit: str = "ms", per: int = 1) -> Row:
        """Medians, divided by ``per``, and how many times faster ours is."""
        ours, plain = self.medians()
        factor = {"s": 1.0, "ms": 1e3}[unit] / per
        shown = [f"{factor * seconds:.3g} {unit}" for seconds in (ours, plain)]
        return Row(measured, shown[0], shown[1], f"{plain / ours:.3g} times faster", required)


def alternate(ours: Callable[[], object], plain: Callable[[], object], repeats: int) -> Pair:
    """Time both in turn, after one run of each that does not count."""
    pair = Pair()
    for _ in range(repeats + 1):
        pair.ours.append(seconds(ours))
        pair.plain.append(seconds(plain))
    return Pair(pair.ours[1:], pair.plain[1:])


def seconds(work: Callable[[], object]) -> float:
    """How long ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# Linux counts what the starting process has as memory of the started one, so a small one starts it. It also looks 50
# times a second how much memory of the started one is its own: pages of a mapped file are not, as the system can drop
# them at any time, and processes share them
SMALL_PARENT = """
import resource, subprocess, sys, time
started = subprocess.Popen(sys.argv[1:])
own = 0
while started.poll() is None:
    with open(f"/proc/{started.pid}/status") as status:
        own = max([own, *(int(line.split()[1]) for line in status if line.startswith("RssAnon"))])
    time.sleep(0.02)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, own)
sys.exit(started.returncode)
"""


class Ended(NamedTuple):
    """What a process printed, the most memory it had, and the most that was its own (no mapped files), in bytes."""

    printed: str
    peak: int
    own: int


def run_module(*arguments: str) -> Ended:
    """``python -m`` these in a process of its own; RuntimeError if it fails."""
    command = [sys.executable, "-m", *arguments]
    ended = subprocess.run([sys.executable, "-c", SMALL_PARENT, *command], stdout=subprocess.PIPE, text=True)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}")
    *printed, memory = ended.stdout.splitlines()
    peak, own = (1024 * int(kilobytes) for kilobytes in memory.split())
    return Ended("\n".join(printed), peak, own)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let torch use that many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [Row("measured", "ours", "plain", "ratio", "required"), Row("---", "---", "---", "---", "---"), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def machine() -> str:
    """What the figures were measured on, and when."""
    model = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        names = [line.partition(":")[2].strip() for line in cpus.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB of memory; {platform.system()}, Python "
        f"{platform.python_version()}, torch {torch.__version__}, {THREADS} threads unless said otherwise; "
        f"{date.today()}"
    )
