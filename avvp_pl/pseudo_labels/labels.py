"""Pseudo labels of segments: by similarity to prototypes (Eqs. 9-10), or naively from probabilities."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.types import Prototypes


class Lacking(NamedTuple):
    """The evidence for an event without positive, and for one without negative prototypes.

    The paper does not define them. By default an event without positives is never found, and an event without negatives
    is found in all segments of a video that has it.
    """

    positives: float = -torch.inf
    negatives: float = torch.inf


AS_DECIDED = Lacking()


def prototype_evidence(
    features: Float[Tensor, "B T M D"], prototypes: Prototypes, tau: float, lacking: Lacking = AS_DECIDED
) -> Float[Tensor, "B T M C"]:
    """Compute log mean_k exp(f . C_P / tau) - log mean_k exp(f . C_N / tau) of a segment for every event.

    This is the log-ratio of a segment's mean similarities to the positive and to the negative prototypes. It is
    computed in log space, because exp(f . f / 0.1) of features that are not normalized overflows even float64. For
    events that have no prototypes of one sign it is what ``lacking`` says.
    """
    # half precision is not enough for similarities divided by tau
    with torch.autocast(features.device.type, enabled=False):
        return _evidence(
            _similarity(features, prototypes.positive, tau),
            prototypes.positive_mask,
            _similarity(features, prototypes.negative, tau),
            prototypes.negative_mask,
            lacking,
        )


def hard_labels(
    features: Float[Tensor, "B T M D"],
    prototypes: Prototypes,
    weak_labels: Float[Tensor, "B C"],
    lacking: Lacking = AS_DECIDED,
) -> Float[Tensor, "B T M C"]:
    """Eq. (9): y = w * [mean_k exp(f . C_P) > mean_k exp(f . C_N)].

    By default an event without negative prototypes gets y = w, and an event without positive prototypes gets y = 0.
    Raises ValueError if the shapes do not fit.
    """
    evidence = _evidence_of_weak(features, prototypes, weak_labels, 1.0, lacking)
    return weak_labels[:, None, None, :] * (evidence > 0)


def soft_labels(
    features: Float[Tensor, "B T M D"],
    prototypes: Prototypes,
    weak_labels: Float[Tensor, "B C"],
    tau: float,
    lacking: Lacking = AS_DECIDED,
) -> Float[Tensor, "B T M C"]:
    """Eq. (10): y = w * S_P / (S_P + S_N), with S = mean_k exp(f . C / tau).

    By default an event without negative prototypes gets y = w, and an event without positive prototypes gets y = 0.
    Raises ValueError if the shapes do not fit, or if ``tau`` is not above 0.
    """
    evidence = _evidence_of_weak(features, prototypes, weak_labels, tau, lacking)
    return weak_labels[:, None, None, :] * evidence.sigmoid()


def naive_soft_labels(
    segment_probs: Float[Tensor, "B T M C"], weak_labels: Float[Tensor, "B C"]
) -> Float[Tensor, "B T M C"]:
    """NPL_S: y = w * p."""
    return weak_labels[:, None, None, :] * segment_probs


def naive_hard_labels(
    segment_probs: Float[Tensor, "B T M C"], weak_labels: Float[Tensor, "B C"], threshold: float = 0.5
) -> Float[Tensor, "B T M C"]:
    """NPL_H: y = w * [p >= threshold]."""
    return weak_labels[:, None, None, :] * (segment_probs >= threshold)


def _evidence_of_weak(
    features: Float[Tensor, "B T M D"],
    prototypes: Prototypes,
    weak_labels: Float[Tensor, "B C"],
    tau: float,
    lacking: Lacking,
) -> Float[Tensor, "B T M C"]:
    """Compute :func:`prototype_evidence` where w = 1, and 0 elsewhere: a video has one or two of all events."""
    centers = (prototypes.positive.shape, prototypes.negative.shape)
    fits = features.ndim == 4 and weak_labels.ndim == 2 and len(weak_labels) == len(features)
    if not fits or any(len(of) != 3 or of[::2] != (weak_labels.shape[1], features.shape[3]) for of in centers):
        raise ValueError(
            f"features {list(features.shape)}, weak labels {list(weak_labels.shape)} and prototypes "
            f"{' and '.join(str(list(of)) for of in centers)} must be [B, T, M, D], [B, C] and [C, K, D]"
        )
    if not tau > 0:
        raise ValueError(f"tau is {tau}; it must be above 0")
    video, event = (weak_labels > 0).nonzero(as_tuple=True)  # [n] each
    own = features[video].flatten(1, 2)  # [n, T * M, D]
    with torch.autocast(features.device.type, enabled=False):  # as in prototype_evidence
        of_pair = _evidence(
            torch.bmm(own, prototypes.positive[event].transpose(1, 2)) / tau,
            prototypes.positive_mask[event][:, None],
            torch.bmm(own, prototypes.negative[event].transpose(1, 2)) / tau,
            prototypes.negative_mask[event][:, None],
            lacking,
        )  # [n, T * M]
    evidence = features.new_zeros(*features.shape[:3], weak_labels.shape[1])
    evidence[video, :, :, event] = of_pair.reshape(len(video), *features.shape[1:3])
    return evidence


def _similarity(
    features: Float[Tensor, "B T M D"], centers: Float[Tensor, "C K D"], tau: float
) -> Float[Tensor, "B T M C K"]:
    similarity = features @ centers.flatten(0, 1).T / tau
    return similarity.reshape(*features.shape[:-1], *centers.shape[:2])


def _evidence(
    to_positive: Float[Tensor, "*n K"],
    positive_mask: Bool[Tensor, "*#n K"],
    to_negative: Float[Tensor, "*n K"],
    negative_mask: Bool[Tensor, "*#n K"],
    lacking: Lacking,
) -> Float[Tensor, "*n"]:
    """Return the log-ratio of the mean similarities to the used positive and negative prototypes."""
    ratio = _log_mean_exp(to_positive, positive_mask) - _log_mean_exp(to_negative, negative_mask)
    ratio = ratio.masked_fill(~negative_mask.any(-1), lacking.negatives)
    return ratio.masked_fill(~positive_mask.any(-1), lacking.positives)


def _log_mean_exp(similarity: Float[Tensor, "*n K"], mask: Bool[Tensor, "*#n K"]) -> Float[Tensor, "*n"]:
    """Return log mean_k exp(similarity) over the used prototypes; an arbitrary finite number if none is used."""
    total: Tensor = similarity.masked_fill(~mask, torch.finfo(similarity.dtype).min).logsumexp(-1)
    # the logarithm of an integer would be float32, too coarse for float64; half precision is raised to float32
    precise = torch.promote_types(total.dtype, torch.float32)
    return total - mask.sum(-1).clamp(min=1).to(precise).log()
