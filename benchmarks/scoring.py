"""Scoring 1,200 videos: the vectorized metric against a plain loop over videos, events and runs.

``python -m benchmarks.scoring`` times both in turn, in one process, on one thread, and prints the ratio of medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from avvp_pl.metrics import score_timelines
from tests.metrics.reference_avvp import reference


def main(videos: int = 1200, repeats: int = 5) -> None:
    """Time, compare, print."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    shape = (videos, 10, 2, 25)
    truth, prediction = (torch.rand(shape, generator=generator) < 0.1 for _ in range(2))
    loops = (prediction.tolist(), truth.tolist())
    fast = [_seconds(lambda: score_timelines(prediction, truth)) for _ in range(repeats)]
    slow = [
        _seconds(lambda: [reference(*loops, level) for level in ("segment", "event")])
        for _ in range(max(1, repeats // 2))
    ]
    fast_median, slow_median = statistics.median(fast), statistics.median(slow)
    print(f"{videos} videos: vectorized {1e3 * fast_median:.0f} ms, loop {1e3 * slow_median:.0f} ms, ", end="")
    print(f"{slow_median / fast_median:.0f} times faster")


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
