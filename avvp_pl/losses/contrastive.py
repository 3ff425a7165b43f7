"""L_CL, a feature space in which segments of a common event are close (Eq. 12)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def contrastive_loss(
    features: Float[Tensor, "B T M D"],
    pseudo_labels: Float[Tensor, "B T M C"],
    mask: Bool[Tensor, "B T"],
    tau_contrastive: float = 0.2,
    include_self: bool = False,
    normalize_features: bool = True,
) -> Float[Tensor, ""]:
    """Eq. (12): over all segments i of a batch, the mean of -log(sum_{j similar} e_ij / sum_j e_ij).

    e_ij = exp(f_i . f_j / tau_contrastive). Two segments are similar if some event has a pseudo label >= 0.5 in
    both. The anchor itself is left out of both sums unless ``include_self``. An anchor with no similar
    segment adds nothing, to the sum or to the count; where no anchor has one the loss is 0 (with a
    gradient, of zeros). Both sums are one log-sum-exp each, so un-normalized features are safe.
    """
    keep = mask[:, :, None].expand(features.shape[:3])
    anchors = features[keep]  # [n, D]
    if normalize_features:
        anchors = F.normalize(anchors, dim=-1)
    events = (pseudo_labels[keep] >= 0.5).to(features.dtype)  # [n, C]
    similar = events @ events.T > 0
    similarity = anchors @ anchors.T / tau_contrastive  # [n, n]
    if not include_self:
        itself = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device)
        similar = similar & ~itself
        # finite, so that a row with nothing else in it (a batch of one segment) still has a log-sum-exp
        similarity = similarity.masked_fill(itself, torch.finfo(similarity.dtype).min)
    has_similar = similar.any(dim=1)
    pulled = similarity.masked_fill(~similar, torch.finfo(similarity.dtype).min).logsumexp(dim=1)
    per_anchor = torch.where(has_similar, similarity.logsumexp(dim=1) - pulled, 0)
    return per_anchor.sum() / has_similar.sum().clamp(min=1)
