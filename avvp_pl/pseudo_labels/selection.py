"""The key segments of every event in a video (Eqs. 5-6)."""

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
    """Eqs. (5)-(6): the segments that contain an event with high confidence, and those that do not.

    Let p* be the largest probability of the event over the segments and modalities of the video. A segment is
    positive if w = 1 and p >= gamma p* (Eq. 5), and
    negative if w = 1 and p <= beta p*, or if w = 0 and p = p* >= ``mistake_threshold``, a confident mistake (Eq. 6).
    Padding is neither.

    With ``per_modality`` p* is the maximum within each modality, so that no modality is left without key segments. In a
    video with the event, a modality takes part only if its own p* is at least ``min_modality`` times the joint p*. This
    is not in the paper: where one modality is easier, the joint p* selects all key segments from it.

    Raises ValueError if the shapes do not fit, if a factor or threshold is not in [0, 1] or, on the CPU, if a
    probability is NaN or above 1 (on a GPU, that would have to be waited for).

    >>> import torch
    >>> p = torch.tensor([0.9, 0.5, 0.1]).reshape(1, 3, 1, 1)
    >>> found = select_segments(p, torch.ones(1, 1), torch.ones(1, 3, dtype=torch.bool), gamma=0.9, beta=0.2)
    >>> found.positive.flatten().tolist(), found.negative.flatten().tolist()
    ([True, False, False], [False, False, True])
    """
    shape = segment_probs.shape
    if len(shape) != 4 or mask.shape != shape[:2] or weak_labels.shape != (shape[0], shape[3]):
        raise ValueError(
            f"probabilities {list(shape)}, weak labels {list(weak_labels.shape)} and mask {list(mask.shape)} must be "
            "[B, T, M, C], [B, C] and [B, T]"
        )
    if not gamma >= 0:  # with a gamma above 1, which settings cannot have, nothing is positive
        raise ValueError(f"gamma is {gamma}; it must be at least 0")
    for name, factor in {"beta": beta, "min_modality": min_modality, "mistake_threshold": mistake_threshold}.items():
        if not 0 <= factor <= 1:
            raise ValueError(f"{name} is {factor}; it must be in [0, 1]")
    valid = mask[:, :, None, None]
    probs = segment_probs.masked_fill(~valid, -1)
    joint_peak = probs.amax(dim=(1, 2), keepdim=True)  # [B, 1, 1, C]
    if joint_peak.device.type == "cpu" and not (joint_peak <= 1).all():
        raise ValueError("some probabilities are NaN or above 1")
    peak = probs.amax(dim=1, keepdim=True) if per_modality else joint_peak
    occurs = weak_labels[:, None, None, :] > 0.5
    takes_part = valid & (peak >= min_modality * joint_peak)  # true for every modality if the peak is the joint one
    positive = occurs & takes_part & (probs >= gamma * peak)
    below = occurs & takes_part & (probs <= beta * peak)
    mistaken = ~occurs & valid & (probs == peak) & (peak >= mistake_threshold)
    return Segments(positive, below | mistaken)
