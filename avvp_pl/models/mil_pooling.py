"""Multiple-instance pooling, from segments to the video: attentive (Eq. 3), by the maximum, and by the highest ones."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class PooledProbs(NamedTuple):
    """Event probabilities of whole videos, from all modalities together and from each one alone."""

    video_probs: Float[Tensor, "B C"]
    modality_probs: Float[Tensor, "B M C"]


def attentive_mil_pooling(
    segment_probs: Float[Tensor, "B T M C"],
    temporal_logits: Float[Tensor, "B T M C"],
    modality_logits: Float[Tensor, "B T M C"],
    mask: Bool[Tensor, "B T"],
) -> PooledProbs:
    """Eq. (3): video_probs = sum over t, m of softmax_t(temporal) * softmax_m(modality) * segment_probs.

    Padding gets no temporal attention, and the result for a video that is all padding is 0. The products of the two
    attentions sum to a value in (0, M), not to 1, so ``video_probs`` can exceed 1: clamp it before a logarithm.
    ``modality_probs`` are computed without the modality attention and stay in [0, 1].

    >>> half, even = torch.full((1, 4, 2, 1), 0.5), torch.zeros(1, 4, 2, 1)
    >>> attentive_mil_pooling(half, even, even, torch.ones(1, 4, dtype=torch.bool)).video_probs
    tensor([[0.5000]])
    """
    valid = mask[:, :, None, None]
    temporal = temporal_logits.masked_fill(~valid, torch.finfo(temporal_logits.dtype).min).softmax(dim=1)
    weighted = temporal * valid * segment_probs  # [B, T, M, C]
    video_probs = (weighted * modality_logits.softmax(dim=2)).sum(dim=(1, 2))
    return PooledProbs(video_probs, weighted.sum(dim=1))


def max_mil_pooling(segment_probs: Float[Tensor, "B T ..."], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B ..."]:
    """Return the highest probability among the segments of each video; 0 for a video that is all padding.

    >>> probs, mask = torch.tensor([[[0.2], [0.4], [0.9]]]), torch.tensor([[True, True, False]])
    >>> max_mil_pooling(probs, mask)
    tensor([[0.4000]])
    """
    padding = ~mask.view(*mask.shape, *[1] * (segment_probs.ndim - 2))
    return segment_probs.masked_fill(padding, 0).amax(dim=1)


def top_k_pooling(logits: Float[Tensor, "B T ..."], mask: Bool[Tensor, "B T"], share: int) -> Float[Tensor, "B ..."]:
    """Return the mean of the max(1, L // ``share``) highest logits of each video of L segments.

    Each event, and each other axis, has highest segments of its own. A video without segments gets the lowest finite
    number, whose sigmoid is 0.

    >>> logits, mask = torch.tensor([[[1.0], [5.0], [3.0], [9.0]]]), torch.tensor([[True, True, True, False]])
    >>> top_k_pooling(logits, mask, 8), top_k_pooling(logits, mask, 1)
    (tensor([[5.]]), tensor([[3.]]))
    """
    count, taken = _places(mask, share)
    most, lowest = taken.shape[1], torch.finfo(logits.dtype).min
    ones = [1] * (logits.ndim - 2)
    highest = logits.masked_fill(~mask.view(*mask.shape, *ones), lowest).topk(most, dim=1).values
    mean = (highest * taken.view(len(logits), most, *ones)).sum(1) / count.view(-1, *ones)
    return torch.where(mask.any(1).view(-1, *ones), mean, lowest)


def largest(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], share: int) -> Float[Tensor, "B T"]:
    """Return 1 for the max(1, L // ``share``) largest numbers of the L real ones in each row, and 0 for the others.

    >>> x, mask = torch.tensor([[3.0, 1.0, 2.0, 9.0]]), torch.tensor([[True, True, True, False]])
    >>> largest(x, mask, 1), largest(x, mask, 3)
    (tensor([[1., 1., 1., 0.]]), tensor([[1., 0., 0., 0.]]))
    """
    _, taken = _places(mask, share)
    rows = x.masked_fill(~mask, -torch.inf).topk(taken.shape[1], dim=1).indices
    return torch.zeros_like(x).scatter(1, rows, taken.to(x.dtype)) * mask


def mean_of(x: Float[Tensor, "B T ..."], chosen: Float[Tensor, "B T"]) -> Float[Tensor, "B ..."]:
    """Return the mean over the segments for which ``chosen`` is 1; 0 if there are none."""
    ones = [1] * (x.ndim - 2)
    return (x * chosen.view(*chosen.shape, *ones)).sum(1) / chosen.sum(1).clamp(min=1).view(-1, *ones)


def _places(mask: Bool[Tensor, "B T"], share: int) -> tuple[Int[Tensor, " B"], Bool[Tensor, "B K"]]:
    """Return max(1, L // ``share``) for each video of L segments, and which of the K highest places these are."""
    count = mask.sum(1).div(share, rounding_mode="floor").clamp(min=1)
    most = max(1, mask.shape[1] // share)  # known without waiting for a device
    return count, torch.arange(most, device=mask.device) < count[:, None]
