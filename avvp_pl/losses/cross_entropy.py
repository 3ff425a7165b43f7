"""Binary cross-entropy of probabilities, in full precision."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def binary_cross_entropy(
    probs: Tensor, targets: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Compute torch's binary cross-entropy, also inside autocast; the result is NaN if a probability is NaN.

    Autocast refuses this loss, because 1 - 1e-7 is 1 in half precision. For a NaN, torch raises on a CPU, and on a GPU
    it fails an assertion from which the process cannot recover; a NaN in the result can be checked for later.
    """
    with torch.autocast(probs.device.type, enabled=False):
        known = probs.nan_to_num(0.5)
        entropy = F.binary_cross_entropy(known, targets, weight=weight, reduction=reduction)
        spoiled = (probs - known).detach()  # 0, or NaN
        return entropy + (spoiled if reduction == "none" else spoiled.sum())
