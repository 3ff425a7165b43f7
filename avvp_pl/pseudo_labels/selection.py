"""The key segments of every event (Eqs. 5-7)."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.types import Segments


def select_segments(
    segment_probs: Float[Tensor, "B T M C"],
    weak_labels: Float[Tensor, "B C"],
    mask: Bool[Tensor, "B T"],
    gamma: float,
    beta: float,
    per_modality: bool = False,
    min_modality: float = 0.5,
    mistake_threshold: float = 0.5,
) -> Segments:
    """Eqs. (5)-(7): the segments that show an event, and those that do not.

    With p* the largest probability of the event in the video (Eq. 5), a segment is
    positive where w = 1 and p >= gamma p* (Eq. 6), and
    negative where w = 1 and p <= beta p*, or w = 0 and p = p* >= ``mistake_threshold``, a confident mistake (Eq. 7).
    Padding is neither.

    ``per_modality`` takes p* within each modality, so that no modality is left without key segments; for a
    video with the event, one takes part only if its own p* is at least ``min_modality`` of the joint one.
    (Not in the paper: where one modality is easier, the joint p* picks every segment from it.)

    >>> import torch
    >>> p = torch.tensor([0.9, 0.5, 0.1]).reshape(1, 3, 1, 1)
    >>> found = select_segments(p, torch.ones(1, 1), torch.ones(1, 3, dtype=torch.bool), gamma=0.9, beta=0.2)
    >>> found.positive.flatten().tolist(), found.negative.flatten().tolist()
    ([True, False, False], [False, False, True])
    """
    valid = mask[:, :, None, None]
    probs = segment_probs.masked_fill(~valid, -1)
    joint_peak = probs.amax(dim=(1, 2), keepdim=True)  # [B, 1, 1, C]
    peak = probs.amax(dim=1, keepdim=True) if per_modality else joint_peak
    occurs = weak_labels[:, None, None, :] > 0.5
    takes_part = valid & (peak >= min_modality * joint_peak)  # every modality, where the peak is the joint one
    positive = occurs & takes_part & (probs >= gamma * peak)
    below = occurs & takes_part & (probs <= beta * peak)
    mistaken = ~occurs & valid & (probs == peak) & (peak >= mistake_threshold)
    return Segments(positive, below | mistaken)
