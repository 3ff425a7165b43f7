"""L_PL, which learns from the pseudo labels of segments (Eq. 11)."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.losses.cross_entropy import binary_cross_entropy


def pseudo_label_loss(
    segment_probs: Float[Tensor, "B T M C"],
    pseudo_labels: Float[Tensor, "B T M C"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, ""]:
    """Eq. (11): binary cross-entropy of segment_probs against pseudo_labels, mean over the real segments.

    The loss of a batch that is all padding is 0.
    """
    entropy = binary_cross_entropy(segment_probs, pseudo_labels, reduction="none")
    valid = mask[:, :, None, None]
    return (entropy * valid).sum() / (valid.sum() * entropy[0, 0].numel()).clamp(min=1)
