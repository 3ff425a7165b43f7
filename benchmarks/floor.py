"""The floor of a training step: what its matrix products and its memory traffic alone would take on this machine.

Operations are counted from the shapes of the layers, next to what torch's counter finds in the step (it adds the
products of attention and, in ppl_soft, of the contrastive loss); every product is then timed by itself at its own
shape, its operands in the cache, and a copy gives the rate of memory. Products, copy and step take turns, so that a
busy machine slows all of them alike. The floor is the sum of the medians of the products, and the time of the bytes at
the median rate of a copy. The fraction reached is floor / step, of medians and of what was fastest.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.measure import THREADS, Row, Scale, seconds, threads
from benchmarks.step import FLOAT, TrainingStep
from benchmarks.workload import BATCH_SIZE

COPIED = 64 * 2**20  # floats: far beyond every cache
ROUNDS = 20

# kernels of torch by what they do in a step; all others are "other kernels"
KINDS = {
    **dict.fromkeys(("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"), "products"),
    **dict.fromkeys(("aten::_fused_adam_", "aten::lerp_"), "optimizer and momentum network"),
}


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

    def works(self) -> list[Callable[[], object]]:
        """The two or three products by themselves, results written where there is room for them."""
        x, weight = torch.randn(self.rows, self.into), torch.randn(self.out, self.into)
        y, gradient = torch.randn(self.rows, self.out), torch.empty_like(weight)
        works: list[Callable[[], object]] = [
            lambda: torch.mm(x, weight.T, out=y),
            lambda: torch.mm(y.T, x, out=gradient),
        ]
        if self.input_gradient:
            to_input = torch.empty_like(x)
            works.append(lambda: torch.mm(y, weight, out=to_input))
        return works


class Seconds(NamedTuple):
    """What all products of a step take, one after the other, a copy of ``COPIED`` numbers, and the step."""

    products: float
    copy: float
    step: float

    def floor(self, moved: int) -> float:
        """What the products and so many bytes take."""
        return self.products + self.copy * moved / (2 * FLOAT * COPIED)


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
    products = han_products(BATCH_SIZE, segments=10, dim=512, events=25)
    flops = sum(product.flops for product in products)
    works = [work for product in products for work in product.works()]
    for experiment in ("han", "ppl_soft"):
        step = TrainingStep(experiment)
        *of_products, of_copy, of_step = in_turn([*works, lambda: target.copy_(source), step.run])
        usual, fastest = (
            Seconds(sum(summary(one) for one in of_products), summary(of_copy), summary(of_step))
            for summary in (statistics.median, min)
        )
        moved = step.bytes()
        floor = usual.floor(moved)
        rates = f"{flops / usual.products / 1e9:.0f} GFLOP/s, copy {2 * FLOAT * COPIED / usual.copy / 1e9:.1f} GB/s"
        counted = f"{flops / 1e9:.2f} GFLOP (torch counts {step.flops() / 1e9:.2f}), {moved / 1e6:.0f} MB"
        yield Row(
            f"step of `{experiment}` and its floor: {counted}, products at {rates}; {on}",
            f"{1e3 * usual.step:.1f} ms",
            f"{1e3 * floor:.1f} ms",
            f"{floor / usual.step:.2f} reached, {fastest.floor(moved) / fastest.step:.2f} of the fastest",
        )
        parts = ", ".join(f"{name} {milliseconds:.1f} ms" for name, milliseconds in profiled(step).items())
        yield Row(f"a profiled step of `{experiment}`; {on}", parts)


def profiled(step: TrainingStep) -> dict[str, float]:
    """Milliseconds of a step by kind of kernel, and what is left for Python and for starting kernels."""

    def steps() -> None:
        for _ in range(ROUNDS):
            step.run()

    with profile(activities=[ProfilerActivity.CPU]) as found:
        taken = seconds(steps)
    parts = dict.fromkeys((*KINDS.values(), "other kernels"), 0.0)
    for kernel in found.key_averages():
        if kernel.key.startswith("aten::"):
            parts[KINDS.get(kernel.key, "other kernels")] += kernel.self_cpu_time_total / 1e3 / ROUNDS
    return {**parts, "all else": 1e3 * taken / ROUNDS - sum(parts.values())}


def in_turn(works: Sequence[Callable[[], object]]) -> list[list[float]]:
    """Seconds of each piece of work, in rounds, each time after a run that does not count."""
    found: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, taken in zip(works, found, strict=True):
            work()
            taken.append(seconds(work))
    return found
