"""Binary cross-entropy of probabilities, in full precision."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def binary_cross_entropy(
    probs: Tensor, targets: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Torch's own, also where autocast is on: that refuses probabilities, since in half precision 1 - 1e-7 is 1."""
    with torch.autocast(probs.device.type, enabled=False):
        return F.binary_cross_entropy(probs, targets, weight=weight, reduction=reduction)
