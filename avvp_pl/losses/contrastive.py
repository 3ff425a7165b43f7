"""L_CL, a feature space in which segments of a common event are close (Eq. 12)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 2**22  # similarities in memory at once: 16 MB; at the usual batch sizes this is the whole matrix


def contrastive_loss(
    features: Float[Tensor, "B T M D"],
    pseudo_labels: Float[Tensor, "B T M C"],
    mask: Bool[Tensor, "B T"],
    tau_contrastive: float = 0.2,
    include_self: bool = True,
    normalize_features: bool = True,
    label_threshold: float = 0.5,
    max_segments: int | None = None,
) -> Float[Tensor, ""]:
    """Eq. (12): over all segments i of a batch, the mean of -log(sum_{j similar} e_ij / sum_j e_ij).

    e_ij = exp(f_i . f_j / tau_contrastive). Two segments are similar if some event has a pseudo label of at least
    ``label_threshold`` in both, so a segment with such a label is similar to itself; without ``include_self``, the
    anchor itself is left out of both sums. An anchor without any similar segment is left out of the mean. If no anchor
    has a similar segment, the loss is 0 and its gradient is zero. With ``max_segments``, only a random sample of so
    many segments is compared, of which half have a label, as far as there are enough of each kind. Each sum is computed
    by log-sum-exp, so features that are not normalized do not overflow.

    The gradient is computed in the forward pass, one block of anchors at a time, so memory is O(n) for n segments.
    There is no second derivative.
    """
    anchors = features.flatten(0, 2)  # [n, D]
    events = (pseudo_labels.flatten(0, 2) >= label_threshold).to(anchors.dtype)  # [n, C]
    real = mask[:, :, None].expand(features.shape[:3]).flatten()  # [n]
    if max_segments is not None and len(anchors) > max_segments:
        drawn = half_labeled_sample(events.any(1), real, max_segments)
        anchors, events, real = anchors[drawn], events[drawn], real[drawn]
    if normalize_features:
        anchors = F.normalize(anchors, dim=-1)
    loss: Tensor = _Contrast.apply(anchors, events, real, tau_contrastive, include_self)  # type: ignore[no-untyped-call]
    return loss


def half_labeled_sample(labeled: Bool[Tensor, " n"], real: Bool[Tensor, " n"], size: int) -> Int[Tensor, " size"]:
    """Draw ``size`` of n segments: half of them labeled, or more of one kind where the other kind has too few.

    Padding is drawn last. The shape is known without waiting for a device.
    """
    order = torch.rand(len(labeled), device=labeled.device).argsort()
    kinds = torch.stack([labeled & real, ~labeled & real])[:, order]
    # the i-th of each kind has the place 2 i or 2 i + 1, so that both kinds take turns
    places = 2 * kinds.cumsum(1) + torch.arange(2, device=labeled.device)[:, None]
    place = torch.where(kinds, places, 3 * len(labeled)).amin(0)
    return order[place.argsort()[:size]]


class _Contrast(torch.autograd.Function):
    """Eq. (12). The shapes depend only on the shapes of the input, so the host never waits for a GPU."""

    @staticmethod
    def forward(
        ctx: Any,
        anchors: Float[Tensor, "n D"],
        events: Float[Tensor, "n C"],
        real: Bool[Tensor, " n"],
        tau: float,
        include_self: bool,
    ) -> Float[Tensor, ""]:
        segments = len(anchors)
        lowest = torch.finfo(anchors.dtype).min  # finite, so that the log-sum-exp of an empty row is finite, too
        total, count = anchors.new_zeros(()), anchors.new_zeros(())
        gradient = torch.zeros_like(anchors)
        step = max(1, BLOCK // max(1, segments))
        with torch.autocast(anchors.device.type, enabled=False):
            for start in range(0, segments, step):
                block = slice(start, start + step)
                similarity = (anchors[block] @ anchors.T).div_(tau)  # [b, n]
                counted = real.expand_as(similarity)
                if not include_self:
                    counted = counted.clone()
                    counted.diagonal(start).fill_(False)
                similar = (events[block] @ events.T > 0) & counted
                similarity.masked_fill_(~counted, lowest)
                everything = similarity.logsumexp(dim=1, keepdim=True)
                pulled = similarity.masked_fill(~similar, lowest).logsumexp(dim=1, keepdim=True)
                has_similar = similar.any(dim=1, keepdim=True) & real[block, None]
                total += torch.where(has_similar, everything - pulled, 0).sum()
                count += has_similar.sum()
                # gradient of (everything - pulled): the fraction of each segment in one sum minus that in the other
                pull = torch.where(similar, (similarity - pulled).exp_(), 0)
                push = similarity.sub_(everything).exp_().sub_(pull).mul_(has_similar)
                gradient[block] += push @ anchors
                gradient += push.T @ anchors[block]
        count = count.clamp(min=1)
        ctx.save_for_backward(gradient / (tau * count))
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Float[Tensor, ""]) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None, None, None
