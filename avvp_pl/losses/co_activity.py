"""Two videos with the same event: their segments of the event are alike (W-TALC, Paul et al., ECCV 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

MARGIN = 0.5


def co_activity_loss(
    features: Float[Tensor, "B T D"],
    scores: Float[Tensor, "B T E"],
    weak_labels: Float[Tensor, "B C"],
    mask: Bool[Tensor, "B T"],
    pairs: int,
) -> Float[Tensor, ""]:
    """Pull a pair's features of a shared event together, and push them from those of everything else.

    The first ``pairs`` times two videos are the pairs, two after two; the others are ignored. For each event,
    v = softmax over time of its scores, H = sum over t of v f, and N = sum over t of (1 - v) / (L - 1) f, with the
    features f of a video of L segments. With d = 1 - cosine similarity, the loss is the sum over pairs (i, j) and
    events of both of [d(H_i, H_j) - d(H_i, N_j) + 0.5]_+ / 2 + [d(H_i, H_j) - d(H_j, N_i) + 0.5]_+ / 2, over their
    number (0 if no pair shares an event). The last scores, of the background, are not used.

    >>> eye = torch.eye(2)[None].expand(2, -1, -1)  # two segments without anything in common, in both videos
    >>> scores = torch.tensor([[[100.0, 0.0], [0.0, 0.0]]]).expand(2, -1, -1)  # the event is in the first one
    >>> co_activity_loss(eye, scores, torch.ones(2, 1), torch.ones(2, 2, dtype=torch.bool), pairs=1)
    tensor(0.)
    """
    with torch.autocast(features.device.type, enabled=False):
        paired = slice(0, 2 * pairs)
        real, lowest = mask[paired, :, None], torch.finfo(scores.dtype).min
        weights = scores[paired, :, :-1].masked_fill(~real, lowest).softmax(1) * real  # [2 pairs, T, C]
        others = (1 - weights) * real / (real.sum(1, keepdim=True) - 1).clamp(min=1)
        inside, outside = (torch.einsum("btc,btd->bcd", part, features[paired]) for part in (weights, others))
        same = _distance(inside[::2], inside[1::2])  # [pairs, C]
        losses = F.relu(same - _distance(inside[::2], outside[1::2]) + MARGIN) / 2
        losses = losses + F.relu(same - _distance(inside[1::2], outside[::2]) + MARGIN) / 2
        shared = weak_labels[paired][::2] * weak_labels[paired][1::2]
        total: Tensor = (losses * shared).sum() / shared.sum().clamp(min=1)
        return total


def _distance(x: Float[Tensor, "P C D"], y: Float[Tensor, "P C D"]) -> Float[Tensor, "P C"]:
    """Return 1 - cosine similarity; 1 for a vector of zeros."""
    norms: Tensor = torch.linalg.vector_norm(x, dim=-1) * torch.linalg.vector_norm(y, dim=-1)
    return 1 - (x * y).sum(-1) / norms.clamp(min=torch.finfo(x.dtype).tiny)
