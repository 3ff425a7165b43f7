"""A contrast of two modalities of the same video: a segment of one finds its own time in the other."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

Form = Literal["cross_entropy", "log_mix"]


def nce_loss(
    anchors: Float[Tensor, "B T D"],
    others: Float[Tensor, "B T D"],
    mask: Bool[Tensor, "B T"],
    temperature: float = 0.2,
    smoothing: float = 0.1,
    form: Form = "cross_entropy",
    weights: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over the real segments t of ``anchors`` of a loss of the distribution softmax_j(s_tj).

    s_tj is the cosine similarity of anchor t and segment j of ``others``, over ``temperature``. The target q_j is
    1 - ``smoothing`` at j = t, and the rest is shared by the other segments of the video. ``form: cross_entropy`` is
    -sum_j q_j log softmax_j (MA, Wu and Yang 2021); ``form: log_mix`` is -log sum_j q_j softmax_j (JoMoLD, Cheng et al.
    2022). The losses of a video are multiplied by its number in ``weights``, if there are any. A video of one segment
    teaches nothing, and the loss of a batch that is all padding is 0.

    >>> import torch
    >>> orthogonal, real = torch.eye(2)[None], torch.ones(1, 2, dtype=torch.bool)
    >>> nce_loss(orthogonal, orthogonal, real, temperature=1.0, smoothing=0.0)  # ln(1 + 1/e)
    tensor(0.3133)
    """
    with torch.autocast(anchors.device.type, enabled=False):
        anchors, others = (
            F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1) for x in (anchors, others)
        )
        lowest = torch.finfo(anchors.dtype).min
        similarity = (anchors @ others.transpose(1, 2) / temperature).masked_fill(~mask[:, None], lowest)  # [B, T, T]
        log_probs = similarity.log_softmax(-1)
        target = _target(mask, smoothing, log_probs.dtype)
        if form == "cross_entropy":
            rows = -(target * log_probs.masked_fill(~mask[:, None], 0)).sum(-1)
        else:
            rows = -(log_probs + target.clamp(min=torch.finfo(target.dtype).tiny).log()).logsumexp(-1)
        if weights is not None:
            rows = rows * weights[:, None]
        taught = mask & (mask.sum(1, keepdim=True) > 1)
        return (rows * taught).sum() / mask.sum().clamp(min=1)


def _target(mask: Bool[Tensor, "B T"], smoothing: float, dtype: torch.dtype) -> Float[Tensor, "B T T"]:
    """Return the distribution over the segments of the video that each anchor should have."""
    shared = smoothing / (mask.sum(1) - 1).clamp(min=1).to(dtype)  # [B]
    target = shared[:, None, None] * mask[:, None]
    own = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    return target.expand(-1, mask.shape[1], -1).masked_fill(own, 1 - smoothing) * mask[:, None]
