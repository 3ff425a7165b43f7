"""Pseudo labels of segments: by similarity to prototypes (Eqs. 9-10), or naively from probabilities."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.types import Prototypes


def prototype_evidence(
    features: Float[Tensor, "B T M D"], prototypes: Prototypes, tau: float
) -> Float[Tensor, "B T M C"]:
    """Log-ratio of a segment's mean similarity to an event's positive and to its negative prototypes.

    log mean_k exp(f . C_P / tau) - log mean_k exp(f . C_N / tau), in log space, since exp(f . f / 0.1) of
    un-normalized features overflows even float64. +inf for an event without negative prototypes, -inf for one
    without positive ones.
    """
    positive = _log_mean_exp(features, prototypes.positive, prototypes.positive_mask, tau)
    negative = _log_mean_exp(features, prototypes.negative, prototypes.negative_mask, tau)
    evidence = (positive - negative).masked_fill(~prototypes.negative_mask.any(1), torch.inf)
    return evidence.masked_fill(~prototypes.positive_mask.any(1), -torch.inf)


def hard_labels(
    features: Float[Tensor, "B T M D"], prototypes: Prototypes, weak_labels: Float[Tensor, "B C"]
) -> Float[Tensor, "B T M C"]:
    """Eq. (9): y = w * [mean_k exp(f . C_P) > mean_k exp(f . C_N)].

    y = w for an event without negative prototypes, 0 for one without positive ones.
    """
    return weak_labels[:, None, None, :] * (_evidence_of_weak(features, prototypes, weak_labels, tau=1.0) > 0)


def soft_labels(
    features: Float[Tensor, "B T M D"], prototypes: Prototypes, weak_labels: Float[Tensor, "B C"], tau: float
) -> Float[Tensor, "B T M C"]:
    """Eq. (10): y = w * S_P / (S_P + S_N), with S = mean_k exp(f . C / tau).

    y = w for an event without negative prototypes, 0 for one without positive ones.
    """
    return weak_labels[:, None, None, :] * _evidence_of_weak(features, prototypes, weak_labels, tau).sigmoid()


def naive_soft_labels(
    segment_probs: Float[Tensor, "B T M C"], weak_labels: Float[Tensor, "B C"]
) -> Float[Tensor, "B T M C"]:
    """NPL_S: y = w * p."""
    return weak_labels[:, None, None, :] * segment_probs


def naive_hard_labels(
    segment_probs: Float[Tensor, "B T M C"], weak_labels: Float[Tensor, "B C"]
) -> Float[Tensor, "B T M C"]:
    """NPL_H: y = w * [p >= 0.5]."""
    return weak_labels[:, None, None, :] * (segment_probs >= 0.5)


def _evidence_of_weak(
    features: Float[Tensor, "B T M D"], prototypes: Prototypes, weak_labels: Float[Tensor, "B C"], tau: float
) -> Float[Tensor, "B T M C"]:
    """:func:`prototype_evidence` where w = 1, 0 elsewhere: a video has one or two of all the events."""
    evidence = features.new_zeros(*features.shape[:3], weak_labels.shape[1])
    for event, occurs in enumerate((weak_labels > 0).unbind(1)):
        videos = occurs.nonzero().squeeze(1)
        one = slice(event, event + 1)
        own = Prototypes(
            prototypes.positive[one],
            prototypes.positive_mask[one],
            prototypes.negative[one],
            prototypes.negative_mask[one],
        )
        evidence[videos, :, :, event] = prototype_evidence(features[videos], own, tau)[..., 0]
    return evidence


def _log_mean_exp(
    features: Float[Tensor, "B T M D"], centres: Float[Tensor, "C K D"], mask: Bool[Tensor, "C K"], tau: float
) -> Float[Tensor, "B T M C"]:
    """Log mean_k exp(f . C_k / tau) over the used prototypes; a finite number, of no meaning, where none is."""
    events, k, dim = centres.shape
    similarity = features @ centres.reshape(events * k, dim).T / tau
    similarity = similarity.reshape(*features.shape[:-1], events, k)
    lowest = torch.finfo(similarity.dtype).min
    total: Tensor = similarity.masked_fill(~mask, lowest).logsumexp(-1)
    return total - mask.sum(1).clamp(min=1).log()
