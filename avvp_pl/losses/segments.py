"""Labels of videos as shares, and means over real segments: what several losses have in common."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def shares(weak_labels: Float[Tensor, "B C"], background: float | None = None) -> Float[Tensor, "B C_background"]:
    """Return weak labels over their number, with those of the ``background`` last, if they are given; 0 without any.

    >>> import torch
    >>> shares(torch.tensor([[1.0, 0.0, 1.0]]), background=0.0)
    tensor([[0.5000, 0.0000, 0.5000, 0.0000]])
    """
    labels = weak_labels if background is None else F.pad(weak_labels, (0, 1), value=background)
    return labels / labels.sum(1, keepdim=True).clamp(min=1)


def mean_of_segments(values: Float[Tensor, "B T ..."], mask: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Return the mean over all real segments of a batch, and over all further axes; 0 if all is padding.

    >>> import torch
    >>> mean_of_segments(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]]))
    tensor(2.)
    """
    real = mask.view(*mask.shape, *[1] * (values.ndim - 2))
    return values.masked_fill(~real, 0).sum() / (mask.sum() * values[0, 0].numel()).clamp(min=1)
