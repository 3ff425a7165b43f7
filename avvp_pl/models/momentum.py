"""The momentum network: an exponential moving average of the trained one."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def momentum_copy(net: Module) -> Module:
    """A frozen copy of ``net`` in evaluation mode, from which the moving average starts."""
    return copy.deepcopy(net).requires_grad_(False).eval()


def momentum_at(step: int, momentum: float, warmup: bool) -> float:
    """The momentum of update number ``step`` (from 0): min(momentum, (1 + step) / (10 + step)) while warming up.

    With a constant 0.999 the average is still half its random start after 700 steps.

    >>> [round(momentum_at(step, 0.999, warmup=True), 3) for step in (0, 10, 100_000)]
    [0.1, 0.55, 0.999]
    """
    return min(momentum, (1 + step) / (10 + step)) if warmup else momentum


@torch.no_grad()
def momentum_update(momentum_net: nn.Module, net: nn.Module, momentum: float) -> None:
    """momentum_net <- momentum * momentum_net + (1 - momentum) * net, in place.

    The paper prints the two factors the other way round with eta = 0.999, which would average nothing.
    Buffers are copied.
    """
    torch._foreach_lerp_(list(momentum_net.parameters()), list(net.parameters()), 1 - momentum)
    for average, current in zip(momentum_net.buffers(), net.buffers(), strict=True):
        average.copy_(current)
