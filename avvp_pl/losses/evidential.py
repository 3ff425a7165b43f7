"""DELU: evidence for the events of a video, and an order of its segments by their uncertainty (Chen et al., ECCV 2022).

Evidence for an event is the exponential of its logit. With e of each of C events, the events have a Dirichlet
distribution with the parameters A = e + 1, whose uncertainty is C / sum of A: 1 without any evidence. The axis E has
all C events and, last, the background.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.models.mil_pooling import largest, mean_of

LIMIT = 10.0  # logits count as at most this number, in absolute value
LEAST = 1e-8  # of a sum of w / A, which is at least 4e-5 for a video with events


def evidence_of(logits: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return exp(logits), with logits clamped to [-10, 10]."""
    return logits.clamp(-LIMIT, LIMIT).exp()


def most_attended(
    scores: Float[Tensor, "B T C"], attention: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], share: int
) -> Float[Tensor, "B C"]:
    """Return the mean of the scores over the max(1, L // ``share``) segments of each video with the highest attention.

    The segments are the same for all events; L is the number of segments of the video. A video without any has zeros.
    """
    return mean_of(scores, largest(attention, mask, share))


def evidence_loss(evidence: Float[Tensor, "B C"], weak_labels: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
    """Return the mean over videos of sum over c of g_c ln(S / A_c), where A = evidence + 1 and S = sum of A.

    g_c = (1 - C / S) |w| (w_c / A_c) / sum over j of (w_j / A_j), with the weak labels w and their number |w|: the
    events of a video with little evidence weigh more than its others, and a video with little evidence in all weighs
    less. The uncertainty C / S has no gradient here, but the A in g do, as in the public code. 0 without events.

    >>> evidence_loss(torch.ones(1, 2), torch.tensor([[1.0, 0.0]]))  # ln(2) / 2
    tensor(0.3466)
    """
    strength = evidence + 1
    total = strength.sum(-1, keepdim=True)
    certainty = 1 - evidence.shape[-1] / total.detach()
    shares = weak_labels / strength
    shares = shares / shares.sum(-1, keepdim=True).clamp(min=LEAST)
    weights = certainty * weak_labels.sum(-1, keepdim=True) * shares
    return (weights * (total.log() - strength.log())).sum(-1).mean()


@torch.no_grad()
def uncertainty_of(scores: Float[Tensor, "B T E"]) -> Float[Tensor, "B T"]:
    """Return C / sum over all C events and the background of (evidence + 1)."""
    return (scores.shape[-1] - 1) / (evidence_of(scores) + 1).sum(-1)


@torch.no_grad()
def curriculum_weights(
    uncertainty: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    progress: float,
    amplitude: float,
    by: Literal["rank", "code"],
) -> Float[Tensor, "B T"]:
    """Return a weight for each segment, whose mean over a video is 1; 0 at padding.

    With theta_i = (2 i + 1) / L - 1 of a video of L segments, delta = 1 - 2 progress, and the amplitude m,

    - ``rank``: 1 - m tanh(theta_r delta) of the segment that has rank r when segments are sorted from the most certain
      one, number 0, to the least certain one. Certain ones come first in training, and uncertain ones at its end.
    - ``code``: 1 + m tanh(theta_i delta), as the public code has it. There i is not the rank of segment t but the
      number of the segment whose rank is t, so that the weights hardly depend on the uncertainty.

    >>> curriculum_weights(torch.tensor([[0.9, 0.1]]), torch.ones(1, 2, dtype=torch.bool), 0.0, 0.7, "rank")
    tensor([[0.6765, 1.3235]])
    """
    order = uncertainty.masked_fill(~mask, torch.inf).argsort(dim=1, stable=True)
    place, sign = (order.argsort(dim=1), -1) if by == "rank" else (order, 1)
    theta = (2 * place + 1).to(uncertainty.dtype) / mask.sum(1, keepdim=True).clamp(min=1) - 1
    return (1 + sign * amplitude * torch.tanh(theta * (1 - 2 * progress))) * mask
