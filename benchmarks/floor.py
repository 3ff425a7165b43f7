"""The floor of a training step: what its matrix products and its memory traffic alone would take on this machine.

Operations are counted from the shapes of the layers, next to what torch's counter finds in the step (it adds the
products of attention and, in ppl_soft, of the contrastive loss); every product is then timed by itself at its own
shape, its operands in the cache, and a copy gives the rate of memory. The floor is the best that was seen of these,
one after the other; a step is its median. The fraction reached is floor / step.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from avvp_pl.commands.build import build_model, build_videos, prepare_process
from avvp_pl.models.momentum import Teacher
from avvp_pl.parts import Team
from benchmarks.measure import THREADS, Row, Scale, seconds, threads
from benchmarks.workload import BATCH_SIZE, configured, folder

FLOAT = 4  # bytes
ADAM_PASSES, MOMENTUM_PASSES = 7, 3  # parameters, gradients and both moments read, all but gradients written; 2 and 1
COPIED = 64 * 2**20  # floats: far beyond every cache
REPEATS = 20
LABELED_EPOCH = 1  # epoch 0 of ppl_soft has no pseudo labels


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
        with FlopCounterMode(display=False) as counter:
            step.learn()
        moved = step.bytes()
        least, taken = floor + moved / copied, statistics.median(times(step.run))
        counts = f"{flops / 1e9:.2f} GFLOP (torch counts {counter.get_total_flops() / 1e9:.2f}), {moved / 1e6:.0f} MB"
        yield Row(
            f"step of `{experiment}` and its floor: {counts}; {on}",
            f"{1e3 * taken:.1f} ms",
            f"{1e3 * least:.1f} ms",
            f"{least / taken:.2f} reached",
        )


class TrainingStep:
    """One step of a method outside the trainer: gather, forward, backward, Adam and, where it has one, the average."""

    def __init__(self, experiment: str) -> None:
        with folder() as run:
            cfg = configured(experiment, run, 4 * BATCH_SIZE)
            prepare_process(cfg)
            made = build_videos(cfg)
            model = build_model(cfg, made)
        assert made.train is not None
        self.videos, self.model = made.train, model.train()
        self.rows = torch.arange(BATCH_SIZE)
        self.optimizer = model.configure_optimizers()
        model.start(self.videos)
        self.has_average = any(isinstance(module, Teacher) for module in model.modules())
        model.labeling.refresh(self.videos, LABELED_EPOCH, Team())

    def learn(self) -> None:
        """Forward and backward."""
        self.optimizer.zero_grad()
        torch.autograd.backward(self.model.training_step(self.videos[self.rows], 0))

    def run(self) -> None:
        """All of a step."""
        self.learn()
        self.optimizer.step()
        for part in self.model.parts.values():
            part.after_step(self.model.network, step=0)

    def bytes(self) -> int:
        """What must be read and written: features gathered, gradients written, optimizer, average."""
        parameters = sum(parameter.numel() for parameter in self.model.network.parameters())
        gathered = 2 * sum(stream.numel() for stream in self.videos[self.rows].features_in.values())
        passes = 1 + ADAM_PASSES + (MOMENTUM_PASSES if self.has_average else 0)
        return FLOAT * (gathered + passes * parameters)


def times(work: Callable[[], object]) -> list[float]:
    """Seconds of ``work``, warm."""
    return [seconds(work) for _ in range(REPEATS + REPEATS // 4)][REPEATS // 4 :]
