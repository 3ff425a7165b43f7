"""Why alternating labels and training is expectation maximization (Eqs. 14-18).

The labels y of an event's S segments (over time and modalities) are latent, independent Bernoulli(p_s) given
the video, and the weak label is their disjunction, w = [some y_s = 1]. Any distribution q over the y that agree
with w gives a lower bound on log P(w | x). Pseudo labels r, with r_s in (0, 1), stand for

    q(y) = prod_s r_s^y_s (1 - r_s)^(1 - y_s) / Z(r)   over the y that agree with w,

where Z(r) = 1 - prod_s (1 - r_s) for w = 1; for w = 0 only y = 0 agrees and q is certain of it. The true
posterior has this very form with r = p, so the E step is exact there; prototypes are another, better informed
choice of r. The paper's own derivation is short; this is the reading of it under which every step can be
checked by enumeration, and tests/pseudo_labels/test_em.py does so.

All functions take probabilities and labels [B, S, C], or any shape with segments on dimension 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MARGIN = 1e-6  # keeps logarithms of saturated probabilities and of hard labels finite


def bound(
    segment_probs: Float[Tensor, "B S C"],
    pseudo_labels: Float[Tensor, "B S C"],
    weak_labels: Float[Tensor, "B C"],
    mask: Bool[Tensor, "B S"],
) -> Float[Tensor, "B C"]:
    """Eq. (14): E_q[log P(y, w | x)] + H(q) <= log P(w | x), with equality for pseudo_labels = segment_probs.

    For w = 1 this is the M step's objective (Eq. 18) plus the entropy of q in closed form; for w = 0 it is
    sum_s log(1 - p_s). A video that is all padding has 0: no labeling of it can agree with w = 1, and the -inf
    of that would hide all other videos in a mean.
    """
    p, r = _inner(segment_probs), _inner(pseudo_labels)
    mean = posterior(r, torch.ones_like(weak_labels), mask)
    valid = mask[..., None]
    gain = mean * (p / r).log() + (1 - mean) * ((1 - p) / (1 - r)).log()
    occurs = (gain * valid).sum(1) + _log_normalizer(r, mask)
    absent = ((1 - p).log() * valid).sum(1)
    return torch.where((weak_labels > 0.5) & mask.any(1, keepdim=True), occurs, absent)


def e_step(segment_probs: Float[Tensor, "B S C"], weak_labels: Float[Tensor, "B C"]) -> Float[Tensor, "B S C"]:
    """Eq. (15): the pseudo labels that maximize the bound for the current model, r = w p."""
    return weak_labels[:, None, :] * segment_probs


def posterior(
    pseudo_labels: Float[Tensor, "B S C"], weak_labels: Float[Tensor, "B C"], mask: Bool[Tensor, "B S"]
) -> Float[Tensor, "B S C"]:
    """Eq. (16): P(y_s = 1) under q, w r_s / Z(r): knowing that the event occurs raises every segment."""
    r = _inner(pseudo_labels)
    mean = (r.log() - _log_normalizer(r, mask)[:, None]).exp().clamp(max=1)
    return weak_labels[:, None, :] * mean * mask[..., None]


def expected_log_joint(
    segment_probs: Float[Tensor, " S"], labelings: Float[Tensor, "L S"], q: Float[Tensor, " L"]
) -> Float[Tensor, ""]:
    """Eq. (17): sum_y q(y) log P(y, w | x) over explicit labelings y of one event in one video.

    q must be 0 where a labeling disagrees with w; where it agrees P(w | y) = 1 and drops out.
    """
    p = _inner(segment_probs)
    log_joint = labelings @ p.log() + (1 - labelings) @ (1 - p).log()
    return (q * log_joint).sum()


def m_step_objective(
    segment_probs: Float[Tensor, "B S C"], posterior_mean: Float[Tensor, "B S C"], mask: Bool[Tensor, "B S"]
) -> Float[Tensor, "B C"]:
    """Eq. (18): the same as (17), as a sum over segments: minus their cross-entropy against P(y_s = 1).

    Its maximization is the minimization of L_PL (Eq. 11).
    """
    p = _inner(segment_probs)
    return ((posterior_mean * p.log() + (1 - posterior_mean) * (1 - p).log()) * mask[..., None]).sum(1)


def _inner(probs: Tensor) -> Tensor:
    return probs.clamp(MARGIN, 1 - MARGIN)


def _log_normalizer(r: Float[Tensor, "B S C"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B C"]:
    """Log Z(r) = log(1 - prod_s (1 - r_s)) over the real segments, accurate where the r are small."""
    return (-torch.expm1((torch.log1p(-r) * mask[..., None]).sum(1))).log()
