"""The optimizer, its learning-rate schedule and gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import nn

Schedule = Callable[[float, int], float]
"""From the number of epochs that are over (a fraction inside an epoch) and that of all epochs to a factor."""


class Optimization:
    """Adam or AdamW, with a learning rate that is ``learning_rate`` times a factor of the schedule in every step.

    The schedule is a function of how far the training has come, and has no state: a resumed run continues it exactly.
    ``betas`` are those of the moving averages of the gradient and of its square. ``clip_norm`` scales the gradients of
    a step to at most this norm; None leaves them unchanged.
    """

    def __init__(
        self,
        algorithm: Literal["adam", "adamw"],
        learning_rate: float,
        weight_decay: float,
        clip_norm: float | None,
        schedule: Schedule,
        betas: Sequence[float] = (0.9, 0.999),
    ) -> None:
        self.algorithm = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[algorithm]
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.clip_norm, self.schedule = clip_norm, schedule
        first, second = betas
        self.betas = (float(first), float(second))

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimizer of those parameters that are trained."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        optimizer: torch.optim.Optimizer = self.algorithm(
            trained, self.learning_rate, betas=self.betas, weight_decay=self.weight_decay, fused=True
        )
        return optimizer

    def rate(self, epochs: float, of: int) -> float:
        """Return the learning rate after so many ``epochs`` of all of them."""
        return self.learning_rate * self.schedule(epochs, of)

    def set_rate(self, optimizer: torch.optim.Optimizer, epochs: float, of: int) -> None:
        """Set the learning rate of the next step."""
        for group in optimizer.param_groups:
            group["lr"] = self.rate(epochs, of)


class Constant:
    """The learning rate never changes."""

    def __call__(self, epochs: float, of: int) -> float:
        """Return 1."""
        return 1.0


class StepDecay:
    """The learning rate is multiplied by ``factor`` after every ``every`` epochs.

    >>> [StepDecay(every=10, factor=0.1)(epochs, 40) for epochs in (0, 9.9, 10)]
    [1.0, 1.0, 0.1]
    """

    def __init__(self, every: int, factor: float) -> None:
        self.every, self.factor = every, factor

    def __call__(self, epochs: float, of: int) -> float:
        """Return factor^floor(epochs / every)."""
        return float(self.factor ** (math.floor(epochs) // self.every))


class WarmupCosine:
    """The learning rate rises linearly for ``warmup`` epochs, then falls along half a cosine to ``floor`` times itself.

    ``changes="step"``: it changes with every step. ``epoch``: it is constant within an epoch, whose number counts from
    1, as in VALOR and UWAV: epoch e of a warm-up of n epochs has the factor e / n, and the last epoch has ``floor``.

    >>> schedule = WarmupCosine(warmup=2, floor=0.0)
    >>> [round(schedule(epochs, 10), 3) for epochs in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    >>> schedule = WarmupCosine(warmup=2, floor=0.0, changes="epoch")
    >>> [round(schedule(epochs, 10), 3) for epochs in (0, 0.9, 1, 5, 9)]
    [0.5, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(self, warmup: float, floor: float, changes: Literal["step", "epoch"] = "step") -> None:
        self.warmup, self.floor, self.changes = warmup, floor, changes

    def __call__(self, epochs: float, of: int) -> float:
        """Return the factor after so many ``epochs`` of all of them."""
        if self.changes == "epoch":
            epochs = math.floor(epochs) + 1
        if epochs < self.warmup:
            return epochs / self.warmup
        passed = min(1.0, (epochs - self.warmup) / max(of - self.warmup, 1e-12))
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * passed)) / 2
