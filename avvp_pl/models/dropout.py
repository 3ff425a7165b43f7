"""Dropout with random numbers that are cheap on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zero each number with probability ``p`` while training and scale the others by 1 / (1 - p).

    The same as ``nn.Dropout``, which on a CPU draws a double for every number and takes a tenth of HAN's training step.
    Here four numbers share one 64-bit draw, and ``p`` is exact to 1/65536. On a GPU torch's own dropout is one kernel.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Zero some of ``x``."""
        if not (self.training and self.p):
            return x
        return x * self.factors(x) if x.device.type == "cpu" else F.dropout(x, self.p)

    def residual(self, x: Tensor, branch: Tensor) -> Tensor:
        """Compute ``x + self(branch)``, on a CPU in one pass."""
        if self.training and self.p and branch.device.type == "cpu":
            return torch.addcmul(x, branch, self.factors(branch))
        return x + self.forward(branch)

    def factors(self, x: Tensor) -> Tensor:
        """Return a factor for every number of ``x``: 0 with probability p, else 1 / (1 - p)."""
        if x.device.type != "cpu":
            return F.dropout(torch.ones_like(x), self.p)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        dropped = min(65535, round(65536 * self.p))
        kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 32768
        return kept.to(x.dtype).mul_(65536 / (65536 - dropped))
