"""An extension of the EM view: the weak label as the disjunction of the segment labels. It is not in the paper.

The labels y of an event's S segments (over time and modalities) are latent, independent Bernoulli(p_s) given the video,
and the weak label is w = [some y_s = 1]. Every distribution q over the y that agree with w gives a lower bound on
ln P(w | x). Pseudo labels r, with r_s in (0, 1), stand for

    q(y) = prod_s r_s^y_s (1 - r_s)^(1 - y_s) / Z(r)   over the y that agree with w,

where Z(r) = 1 - prod_s (1 - r_s) for w = 1; for w = 0 only y = 0 agrees. The true posterior has this form with r = p,
so labels r = w p are an exact E step here, too. The bound differs from that of Eq. (14): it needs no pooled
prediction, and with r = p it is the log-likelihood of the weak label under the segment probabilities alone.

All functions take probabilities and labels [B, S, C], or any shape with segments on dimension 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MARGIN = 1e-6  # keeps logarithms of saturated probabilities and of hard labels finite


def disjunction_bound(
    segment_probs: Float[Tensor, "B S C"],
    pseudo_labels: Float[Tensor, "B S C"],
    weak_labels: Float[Tensor, "B C"],
    mask: Bool[Tensor, "B S"],
) -> Float[Tensor, "B C"]:
    """E_q[ln P(y, w | x)] + H(q) <= ln P(w | x), with equality for pseudo_labels = segment_probs.

    A video that is all padding has 0: no labeling of it can agree with w = 1, and its -inf would hide all other videos
    in a mean.
    """
    p, r = _inner(segment_probs, mask), _inner(pseudo_labels, mask)
    mean = disjunction_posterior(pseudo_labels, torch.ones_like(weak_labels), mask)
    valid = mask[..., None]
    gain = mean * (p / r).log() + (1 - mean) * ((1 - p) / (1 - r)).log()
    occurs = (gain * valid).sum(1) + _log_normalizer(r, mask)
    absent = ((1 - p).log() * valid).sum(1)
    return torch.where((weak_labels > 0.5) & mask.any(1, keepdim=True), occurs, absent)


def disjunction_posterior(
    pseudo_labels: Float[Tensor, "B S C"], weak_labels: Float[Tensor, "B C"], mask: Bool[Tensor, "B S"]
) -> Float[Tensor, "B S C"]:
    """P(y_s = 1) under q, w r_s / Z(r): knowing that the event occurs raises the probability of every segment."""
    r = _inner(pseudo_labels, mask)
    mean = (r.log() - _log_normalizer(r, mask)[:, None]).exp().clamp(max=1)
    return weak_labels[:, None, :] * mean * mask[..., None]


def _inner(probs: Float[Tensor, "B S C"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S C"]:
    """Return probabilities inside (0, 1), also at padding, where any number may stand: NaN times 0 is no 0."""
    return probs.masked_fill(~mask[..., None], 0.5).clamp(MARGIN, 1 - MARGIN)


def _log_normalizer(r: Float[Tensor, "B S C"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B C"]:
    """Return ln Z(r) = ln(1 - prod_s (1 - r_s)) over the real segments, accurate where the r are small."""
    return (-torch.expm1((torch.log1p(-r) * mask[..., None]).sum(1))).log()
