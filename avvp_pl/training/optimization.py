"""The optimizer, its learning-rate schedule and gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from avvp_pl.errors import InputError

Schedule = Callable[[float, int], float]
"""From the number of epochs that are over (a fraction inside an epoch) and that of all epochs to a factor."""


class Optimization:
    """Adam or AdamW, with a learning rate that is ``learning_rate`` times a factor of the schedule in every step.

    The schedule is a function of how far the training has come, and has no state: a resumed run continues it exactly.
    ``betas`` are those of the moving averages of the gradient and of its square. ``clip_norm`` scales the gradients of
    a step to at most this norm; None leaves them unchanged. The schedule does not apply to the weights of modules that
    are ``unscheduled``, such as the part of a network that a paper trains by itself.
    """

    def __init__(
        self,
        algorithm: Literal["adam", "adamw"],
        learning_rate: float,
        weight_decay: float,
        clip_norm: float | None,
        schedule: Schedule,
        betas: Sequence[float] = (0.9, 0.999),
        unscheduled: Sequence[str] = (),
    ) -> None:
        self.algorithm = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[algorithm]
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.clip_norm, self.schedule = clip_norm, schedule
        first, second = betas
        self.betas = (float(first), float(second))
        self.unscheduled = tuple(unscheduled)

    def build(self, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        """Return the optimizer of those parameters that are trained, given all with their full names.

        Raises :class:`InputError` if an ``unscheduled`` module has no weights.
        """
        trained = [(set(name.split(".")), parameter) for name, parameter in named if parameter.requires_grad]
        for module in self.unscheduled:
            if not any(module in modules for modules, _ in trained):
                raise InputError(f"optimizer.unscheduled: no module of this run is called {module!r}; correct the name")
        split: dict[bool, list[nn.Parameter]] = {False: [], True: []}
        for modules, parameter in trained:
            split[not modules.isdisjoint(self.unscheduled)].append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": parameters, "constant": constant} for constant, parameters in split.items() if parameters
        ]
        optimizer: torch.optim.Optimizer = self.algorithm(
            groups, self.learning_rate, betas=self.betas, weight_decay=self.weight_decay, fused=True
        )
        return optimizer

    def rate(self, epochs: float, of: int) -> float:
        """Return the learning rate after so many ``epochs`` of all of them."""
        return self.learning_rate * self.schedule(epochs, of)

    def set_rate(self, optimizer: torch.optim.Optimizer, epochs: float, of: int) -> None:
        """Set the learning rate of the next step."""
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate if group.get("constant", False) else self.rate(epochs, of)


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


class Jump:
    """The learning rate is multiplied by ``times`` once, after the first ``after`` epochs.

    >>> [Jump(after=20, times=4.0)(epochs, 65) for epochs in (0, 19.9, 20)]
    [1.0, 1.0, 4.0]
    """

    def __init__(self, after: int, times: float) -> None:
        self.after, self.times = after, times

    def __call__(self, epochs: float, of: int) -> float:
        """Return the factor after so many ``epochs``."""
        return float(self.times) if math.floor(epochs) >= self.after else 1.0


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
