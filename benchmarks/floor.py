"""The floor of a training step: what its matrix products and its memory traffic alone would take on this machine.

Operations are counted from the shapes of the layers, next to what torch's counter finds in the step (it adds the
products of attention and, in ppl_soft, of the contrastive loss); every product is then timed by itself at its own
shape, its operands in the cache, and a copy gives the rate of memory. The floor is the best that was seen of these,
one after the other; a step is its median. The fraction reached is floor / step.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import NamedTuple

import torch

from benchmarks.measure import THREADS, Row, Scale, threads
from benchmarks.step import FLOAT, TrainingStep, times
from benchmarks.workload import BATCH_SIZE

COPIED = 64 * 2**20  # floats: far beyond every cache


class Product(NamedTuple):
    """A Linear of [rows, into] to [rows, out], and whether its input needs a gradient."""

    rows: int
    into: int
    out: int
    input_gradient: bool = True

    @property
    def flops(self) -> int:
        """Forward and backward: multiplications and additions."""
        return 2 * self.rows * self.into * self.out * (3 if self.input_gradient else 2)

    def seconds(self) -> float:
        """What the two or three products take by themselves, results written where there is room for them."""
        x, weight = torch.randn(self.rows, self.into), torch.randn(self.out, self.into)
        y, gradient = torch.randn(self.rows, self.out), torch.empty_like(weight)
        work = [lambda: torch.mm(x, weight.T, out=y), lambda: torch.mm(y.T, x, out=gradient)]
        if self.input_gradient:
            work.append(lambda: torch.mm(y, weight, out=x))
        return sum(min(times(product)) for product in work)


def han_products(batch: int, segments: int, dim: int, events: int) -> list[Product]:
    """The Linears of HAN with LLP's streams, rows of both modalities together where they share weights."""
    one, both = batch * segments, 2 * batch * segments
    streams = [Product(one, into, dim, input_gradient=False) for into in (128, 2048, 512)]
    attention = [Product(both, dim, 3 * dim), Product(both, dim, dim)]
    feedforward = [Product(both, dim, dim)] * 2
    return [*streams, Product(one, 2 * dim, dim), *attention * 2, *feedforward, *[Product(both, dim, events)] * 3]


def measure(scale: Scale) -> Iterator[Row]:
    """Steps of both experiments, on the same batch again and again, with all of torch's threads and with one."""
    for number in dict.fromkeys((THREADS, 1)):
        with threads(number):
            yield from _steps(f"{number} thread{'s' * (number > 1)}")


def _steps(on: str) -> Iterator[Row]:
    source, target = torch.ones(COPIED), torch.empty(COPIED)
    copied = 2 * FLOAT * COPIED / min(times(lambda: target.copy_(source)))
    products = han_products(BATCH_SIZE, segments=10, dim=512, events=25)
    flops, floor = sum(product.flops for product in products), sum(product.seconds() for product in products)
    yield Row(f"products of a step's shapes; copy; {on}", f"{flops / floor / 1e9:.0f} GFLOP/s; {copied / 1e9:.1f} GB/s")
    for experiment in ("han", "ppl_soft"):
        step = TrainingStep(experiment)
        moved = step.bytes()
        least, taken = floor + moved / copied, statistics.median(times(step.run))
        counts = f"{flops / 1e9:.2f} GFLOP (torch counts {step.flops() / 1e9:.2f}), {moved / 1e6:.0f} MB"
        yield Row(
            f"step of `{experiment}` and its floor: {counts}; {on}",
            f"{1e3 * taken:.1f} ms",
            f"{1e3 * least:.1f} ms",
            f"{least / taken:.2f} reached",
        )
