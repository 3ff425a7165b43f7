"""What CO2-Net asks of logits with a background, and of the attentions of two streams (Hong et al., ACM MM 2021).

The axis E has all C events and, last, the background.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.losses.segments import mean_of_segments

MARGIN = 1e-4  # is added to the number of events of a video, as in the public code


def distribution_loss(
    pooled: Float[Tensor, "B E"], weak_labels: Float[Tensor, "B C"], background: bool
) -> Float[Tensor, ""]:
    """Return the mean over videos of -sum over c of y_c log softmax(pooled)_c, for all events and the background.

    y are the weak labels, with 1 for the background if ``background`` and else 0, over their sum (plus 1e-4).

    >>> distribution_loss(torch.zeros(1, 3), torch.tensor([[1.0, 0.0]]), background=True)  # log 3, but for the 1e-4
    tensor(1.0986)
    """
    last = torch.full_like(weak_labels[:, :1], float(background))
    labels = torch.cat([weak_labels, last], dim=1)
    labels = labels / (labels.sum(1, keepdim=True) + MARGIN)
    return -(labels * pooled.log_softmax(-1)).sum(-1).mean()


def agreement_loss(stream_attentions: Float[Tensor, "B T 2"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Return half of the mean squared difference of two attentions, as the first learns from the second, plus the same.

    Each of the two is the target of the other one, so that the gradient is that of half of the value.
    """
    first, second = stream_attentions.unbind(2)
    gaps = (first - second.detach()).square() / 2 + (second - first.detach()).square() / 2
    return mean_of_segments(gaps, mask)


def background_gaps(
    logits: Float[Tensor, "B T E"], attention: Float[Tensor, "B T"], stream_attentions: Float[Tensor, "B T 2"]
) -> Float[Tensor, "B T"]:
    """Return the mean of abs(1 - a' - softmax(logits) of the background) over the attentions a' of a segment.

    They are ``attention`` and those of both streams: each should say the opposite of the background.
    """
    attentions = torch.cat([attention[:, :, None], stream_attentions], dim=2)
    background = logits.softmax(-1)[:, :, -1:]
    return (1 - attentions - background).abs().mean(2)
