"""Dropout with random numbers that are cheap on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zero each number with probability ``p`` while training and scale the others by 1 / (1 - p).

    The same as ``nn.Dropout``, which on a CPU draws a double for every number and takes a tenth of HAN's training step.
    Here four numbers share one 64-bit draw, and ``p`` is exact to 1/65536.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Zero some of ``x``."""
        return x * self.factors(x) if self.training and self.p else x

    def residual(self, x: Tensor, branch: Tensor) -> Tensor:
        """Compute ``x + self(branch)`` in one pass."""
        return torch.addcmul(x, branch, self.factors(branch)) if self.training and self.p else x + branch

    def factors(self, x: Tensor) -> Tensor:
        """Return a factor for every number of ``x``: 0 with probability p, else 1 / (1 - p)."""
        if x.device.type != "cpu":  # a single kernel on a GPU
            return torch.empty_like(x).bernoulli_(1 - self.p).div_(1 - self.p)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        dropped = min(65535, round(65536 * self.p))
        kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 32768
        return kept.to(x.dtype).mul_(65536 / (65536 - dropped))
