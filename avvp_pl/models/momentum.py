"""The momentum network: an exponential moving average of the trained one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal, TypeVar

import torch
from torch import nn

from avvp_pl.types import ParsingNetwork

Module = TypeVar("Module", bound=nn.Module)


def momentum_copy(net: Module) -> Module:
    """Return a frozen copy of ``net`` in evaluation mode, from which the moving average starts."""
    return copy.deepcopy(net).requires_grad_(False).eval()


def momentum_at(step: int, momentum: float, warmup: bool) -> float:
    """Return the momentum of update number ``step`` (from 0); with ``warmup`` min(momentum, (1 + step) / (10 + step)).

    With a constant 0.999 half of the average is still its random start after 700 steps.

    >>> [round(momentum_at(step, 0.999, warmup=True), 3) for step in (0, 10, 100_000)]
    [0.1, 0.55, 0.999]
    """
    return min(momentum, (1 + step) / (10 + step)) if warmup else momentum


@torch.no_grad()
def momentum_update(momentum_net: nn.Module, net: nn.Module, momentum: float) -> None:
    """Update in place: momentum_net <- momentum * momentum_net + (1 - momentum) * net. Buffers are copied.

    The paper prints the two factors the other way round with eta = 0.999; taken literally, that is no average.
    """
    torch._foreach_lerp_(list(momentum_net.parameters()), list(net.parameters()), 1 - momentum)
    for average, current in zip(momentum_net.buffers(), net.buffers(), strict=True):
        average.copy_(current)


class Teacher(nn.Module):
    """The network that labels: the momentum network, or that network as it was at the best validation epoch so far.

    ``source`` says which of the two. ``momentum`` and ``warmup`` are those of :func:`momentum_at`. While it labels,
    only the modalities ``attending`` attend to the others (None: all): one that does not cannot take for its own what
    another modality shows. Its weights are never trained and its dropout is always off.
    """

    def __init__(
        self,
        network: ParsingNetwork,
        source: Literal["momentum", "best"],
        momentum: float,
        warmup: bool,
        attending: Sequence[str] | None,
    ) -> None:
        super().__init__()
        self.momentum, self.warmup = momentum, warmup
        self.average = momentum_copy(network)
        self.best = momentum_copy(network) if source == "best" else None
        for frozen in (self.average, self.best):
            if frozen is not None:
                frozen.attending = None if attending is None else tuple(attending)

    @property
    def network(self) -> ParsingNetwork:
        """The network whose probabilities and features make pseudo labels."""
        return self.average if self.best is None else self.best

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode."""
        return super().train(False)

    def follow(self, network: nn.Module, step: int) -> None:
        """Move the average towards ``network`` after optimizer step number ``step``, counted from 0."""
        momentum_update(self.average, network, momentum_at(step, self.momentum, self.warmup))

    def keep_best(self) -> None:
        """Remember the average as it is now."""
        if self.best is not None:
            self.best.load_state_dict(self.average.state_dict())
