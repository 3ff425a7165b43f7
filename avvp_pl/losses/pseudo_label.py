"""L_PL, which learns from the pseudo labels of segments (Eq. 11)."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.losses.cross_entropy import binary_cross_entropy


def pseudo_label_loss(
    segment_probs: Float[Tensor, "B T M C"],
    pseudo_labels: Float[Tensor, "B T M C"],
    mask: Bool[Tensor, "B T"],
    over_events: Literal["mean", "sum"] = "mean",
    over_modalities: Literal["mean", "sum"] = "mean",
) -> Float[Tensor, ""]:
    """Eq. (11): binary cross-entropy of segment_probs against pseudo_labels, mean over the real segments.

    The paper does not say whether the loss of a segment is the mean or the sum over events: ``over_events``. That of a
    time is the mean over modalities, or (``over_modalities``) their sum, as in VALOR. The loss of a batch that is all
    padding is 0.

    >>> import torch
    >>> half, one = torch.full((1, 1, 1, 4), 0.5), torch.ones(1, 1, 1, 4)
    >>> real = torch.ones(1, 1, dtype=torch.bool)
    >>> pseudo_label_loss(half, one, real), pseudo_label_loss(half, one, real, "sum")  # ln 2, 4 ln 2
    (tensor(0.6931), tensor(2.7726))
    """
    entropy = binary_cross_entropy(segment_probs, pseudo_labels, reduction="none")
    valid = mask[:, :, None, None]
    modalities, events = entropy.shape[2:]
    numbers = (modalities if over_modalities == "mean" else 1) * (events if over_events == "mean" else 1)
    return (entropy * valid).sum() / (valid.sum() * numbers).clamp(min=1)
