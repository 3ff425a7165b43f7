"""The labels that a method asks each modality for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from avvp_pl.parts import Step, Targets


class Smoothed(Targets):
    """The weak label of the video for every modality, w -> s w + (1 - s) / 2.

    ``smoothing`` has s for each modality; one that it does not name has s = 1. HAN (Tian et al. 2020) takes 1 for audio
    and 0.9 for the visual side, which allows for events that are only heard.
    """

    keep: Tensor
    shift: Tensor

    def __init__(self, modalities: Sequence[str], smoothing: Mapping[str, float]) -> None:
        super().__init__()
        kept = [float(smoothing.get(name, 1.0)) for name in modalities]
        self.register_buffer("keep", torch.tensor(kept)[:, None], persistent=False)
        self.register_buffer("shift", torch.tensor([(1 - s) / 2 for s in kept])[:, None], persistent=False)

    def forward(self, step: Step) -> Float[Tensor, "B M C"]:
        """Smooth the weak labels."""
        return self.keep * step.batch.weak_labels[:, None] + self.shift
