"""L_MIL, which learns from video-level labels (Eq. 4), and HAN's guided losses."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from avvp_pl.losses.cross_entropy import binary_cross_entropy

PROBABILITY_MARGIN = 1e-7  # pooled probabilities can exceed 1 (Eq. 3), so they are clamped before the logarithm


def within_margin(probs: Tensor) -> Tensor:
    """Clamp probabilities to [1e-7, 1 - 1e-7], where both they and their complements have a logarithm."""
    return probs.clamp(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)


def mil_loss(
    video_probs: Float[Tensor, "B C"],
    weak_labels: Float[Tensor, "B C"],
    event_weights: Float[Tensor, " C"] | None = None,
) -> Float[Tensor, ""]:
    """Eq. (4): binary cross-entropy of video_probs against weak_labels, weighted by event, mean over [B, C].

    >>> import torch
    >>> mil_loss(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]))  # log 2
    tensor(0.6931)
    """
    return binary_cross_entropy(within_margin(video_probs), weak_labels, weight=event_weights)


def guided_loss(
    modality_probs: Float[Tensor, "B M C"], targets: Float[Tensor, "B M C"], weights: Sequence[float]
) -> Float[Tensor, ""]:
    """Sum over modalities m of weights[m] * BCE(modality_probs[m], targets[m]).

    HAN's guided losses (Tian et al. 2020) ask every modality for every event of the video. Methods that know better
    which modality shows an event give other targets.
    """
    clamped = within_margin(modality_probs)
    loss = modality_probs.new_zeros(())
    # also with a weight of 0, because with several processes every weight of the network needs a gradient
    for probs, target, weight in zip(clamped.unbind(1), targets.unbind(1), weights, strict=True):
        loss = loss + weight * binary_cross_entropy(probs, target)
    return loss


def inverse_frequency_weights(weak_labels: Float[Tensor, "N C"]) -> Float[Tensor, " C"]:
    """Compute weights inversely proportional to the number of training videos with each event; their mean is 1.

    An event that no video has gets the same weight as an event that one video has.

    >>> import torch
    >>> inverse_frequency_weights(torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]]))
    tensor([0.5000, 1.5000])
    """
    inverse = 1 / weak_labels.sum(0).clamp(min=1)
    return inverse / inverse.mean()
