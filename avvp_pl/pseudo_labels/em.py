"""Training on soft pseudo labels as expectation maximization (Eqs. 14-18), as the paper prints it.

The labels y of an event's S segments (over time and modalities) are latent and, given the video, independent Bernoulli
variables with the probabilities p_s. The weak label w is predicted by pooling, without access to y, so
p(w | y, x) = p(w | x): ``video_probs`` for w = 1, and one minus it for w = 0. Pseudo labels r stand for the
distribution q(y) = prod_s r_s^y_s (1 - r_s)^(1 - y_s).

All functions take probabilities and labels [B, S, C], or any shape with segments on dimension 1. A reading in which the
weak label is the disjunction of y is in :mod:`avvp_pl.pseudo_labels.disjunction`; the paper does not use it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MARGIN = 1e-7  # keeps logarithms of saturated probabilities finite


def bound(
    segment_probs: Float[Tensor, "B S C"],
    video_probs: Float[Tensor, "B C"],
    pseudo_labels: Float[Tensor, "B S C"],
    weak_labels: Float[Tensor, "B C"],
    mask: Bool[Tensor, "B S"],
) -> Float[Tensor, "B C"]:
    """Eq. (14): E_q[ln p(w | Y, x)] - KL(q || p(y | x)) = ln p(w | x) - sum_s KL(r_s || p_s).

    It equals ln p(w | x) for pseudo_labels = segment_probs, and is smaller for all others.

    >>> p, w = torch.tensor([[[0.5], [0.5]]]), torch.tensor([[0.8]])
    >>> occurs, real = torch.ones(1, 1), torch.ones(1, 2, dtype=torch.bool)
    >>> certain = torch.tensor([[[1.0], [0.5]]])
    >>> bound(p, w, p, occurs, real), bound(p, w, certain, occurs, real)  # ln 0.8, and ln 2 less
    (tensor([[-0.2231]]), tensor([[-0.9163]]))
    """
    p, r = _real(segment_probs, mask).clamp(MARGIN, 1 - MARGIN), _real(pseudo_labels, mask)
    divergence = torch.xlogy(r, r / p) + torch.xlogy(1 - r, (1 - r) / (1 - p))  # 0 ln 0 is 0
    return _log_weak(video_probs, weak_labels) - (divergence * mask[..., None]).sum(1)


def e_step(segment_probs: Float[Tensor, "B S C"], weak_labels: Float[Tensor, "B C"]) -> Float[Tensor, "B S C"]:
    """Eqs. (15)-(16): the probability that y_s = 1 given video and weak label, p_s if w = 1 and 0 if w = 0.

    Naive soft pseudo labels are an exact E step; those from prototypes are another estimate of the same posterior.
    """
    return weak_labels[:, None, :] * segment_probs


def expected_negative_log_joint(
    segment_probs: Float[Tensor, " S"],
    video_prob: Float[Tensor, ""],
    weak_label: float,
    labelings: Float[Tensor, "L S"],
    q: Float[Tensor, " L"],
) -> Float[Tensor, ""]:
    """Eq. (17): -sum_y q(y) ln p(y | x) - sum_y q(y) ln p(w | y, x).

    The sums go over explicit labelings y of one event in one video.
    """
    p = segment_probs.clamp(MARGIN, 1 - MARGIN)
    log_labeling = labelings @ p.log() + (1 - labelings) @ (1 - p).log()
    log_weak = _log_weak(video_prob, torch.full_like(video_prob, weak_label))
    return -(q * (log_labeling + log_weak)).sum()


def m_step_objective(
    segment_probs: Float[Tensor, "B S C"],
    video_probs: Float[Tensor, "B C"],
    pseudo_labels: Float[Tensor, "B S C"],
    weak_labels: Float[Tensor, "B C"],
    mask: Bool[Tensor, "B S"],
) -> Float[Tensor, "B C"]:
    """Eq. (18): the cross-entropy of the segments against their pseudo labels, plus -ln p(w | x); to be minimized.

    Up to the weights of the two terms, this is L_PL (Eq. 11) + L_MIL (Eq. 4).
    """
    p, r = _real(segment_probs, mask).clamp(MARGIN, 1 - MARGIN), _real(pseudo_labels, mask)
    cross_entropy = -(r * p.log() + (1 - r) * (1 - p).log())
    return (cross_entropy * mask[..., None]).sum(1) - _log_weak(video_probs, weak_labels)


def _real(values: Float[Tensor, "B S C"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S C"]:
    """Return the values with a probability at padding, where any number may stand: NaN times 0 is no 0."""
    return values.masked_fill(~mask[..., None], 0.5)


def _log_weak(video_probs: Float[Tensor, "*N"], weak_labels: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Return ln p(w | x)."""
    occurs = video_probs.clamp(MARGIN, 1 - MARGIN)
    return torch.where(weak_labels > 0.5, occurs.log(), (1 - occurs).log())
