"""Binary cross-entropy of probabilities, in full precision."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def binary_cross_entropy(
    probs: Tensor, targets: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Torch's own, also where autocast is on, and NaN where a probability is.

    Autocast refuses probabilities, since in half precision 1 - 1e-7 is 1. At a NaN torch raises on a CPU, and on a GPU
    it fails an assertion that no process recovers from; a NaN can be looked for when there is time.
    """
    with torch.autocast(probs.device.type, enabled=False):
        known = probs.nan_to_num(0.5)
        entropy = F.binary_cross_entropy(known, targets, weight=weight, reduction=reduction)
        spoiled = (probs - known).detach()  # 0, or NaN
        return entropy + (spoiled if reduction == "none" else spoiled.sum())
