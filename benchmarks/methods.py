"""A training step and the inference of each method of the field, in turn with those of HAN, on the same 16 videos.

A plain HAN takes its turn, too. A method that has more products than HAN may take longer, so the ratio of the steps is
divided by that of the operations, which are those of all products. The peak memory is that of a process that takes
some steps and infers.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

import torch

from benchmarks.measure import Row, Scale, run_module, seconds
from benchmarks.plain import PlainHAN, train_epoch, write_npy
from benchmarks.step import REPEATS, TrainingStep
from benchmarks.workload import BATCH_SIZE, folder, plain_loader

OF_TABLE_1 = ("han", "ma", "cvcm", "mgn", "jomold", "poibin", "cmpae", "ave", "avsdn", "ppl_soft")
LATER = ("mm_pyramid", "coleaf", "valor", "valor_plus", "uwav", "leap")
REQUIRED = "at most 1.3 for the same FLOP"


def measure(scale: Scale) -> Iterator[Row]:
    """Steps, with all losses that a method has in late epochs, and inferences from features to timelines."""
    han, plain = TrainingStep("han"), PlainHAN()
    optimizer = torch.optim.Adam(plain.parameters(), lr=3e-4)
    with folder() as files:
        batch = [next(iter(plain_loader(write_npy(han.videos, files))))]
    for name in (*OF_TABLE_1, *LATER):
        method = TrainingStep(name)
        ours, of_han, of_plain = medians([method.run, han.run, lambda: train_epoch(plain, batch, optimizer)])
        times, work = ours / of_han, method.flops() / han.flops()
        size = f"{method.flops() / 1e9:.2f} GFLOP, {method.weights / 1e6:.1f} million weights"
        yield Row(
            f"step of `{name}` to that of `han`: {size}",
            f"{1e3 * ours:.1f} ms to {1e3 * of_han:.1f} ms",
            f"{1e3 * of_plain:.1f} ms (HAN)",
            f"{times:.2f} times, with {work:.2f} times the FLOP: {times / work:.2f}",
            REQUIRED,
        )
        yield Row(
            f"peak memory of steps and inference of `{name}`",
            f"{run_module('benchmarks.step', name).peak / 1e9:.2f} GB",
        )
        ours, of_han = (1e3 * time / BATCH_SIZE for time in medians([method.parse, han.parse]))
        yield Row(
            f"inference of a video by `{name}` to that by `han`, {BATCH_SIZE} at once",
            f"{ours:.2f} ms to {of_han:.2f} ms",
            ratio=f"{ours / of_han:.2f} times",
        )


def medians(work: Sequence[Callable[[], object]]) -> list[float]:
    """Seconds of each, taking turns, after one turn that does not count."""
    taken = [[seconds(one) for one in work] for _ in range(REPEATS + 1)][1:]
    return [statistics.median(times) for times in zip(*taken, strict=True)]
