"""A loss beside that of a method: a segment of one modality finds its own time in another modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.losses.nce import Form, nce_loss
from avvp_pl.parts import Part, Step, Term


class Contrast(Part):
    """weight * nce_loss of the first modality against each of the others, for segments of the same video.

    The features of the first modality are those after the encoder. Those of the others are after it (``others:
    encoded``), or those of each segment by itself, before it (``others: projected``). For ``form``, ``temperature`` and
    ``smoothing`` see :func:`~avvp_pl.losses.nce.nce_loss`.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        others: Literal["encoded", "projected"],
        form: Form,
        temperature: float,
        smoothing: float,
        weight: float,
    ) -> None:
        super().__init__()
        if weight and len(modalities) < 2:
            raise InputError(
                f"method.contrast compares modalities, but the data has only {modalities[0]}; give "
                "method.contrast.weight=0"
            )
        self.projected, self.form, self.weight = others == "projected", form, weight
        self.temperature, self.smoothing = temperature, smoothing

    def forward(self, step: Step) -> Term:
        """Return the mean over the other modalities."""
        output = step.output
        others = output.projected if self.projected else output.features
        if others is None:
            raise InputError(
                f"method.contrast.others=projected: {type(step.network).__name__} returns no features of segments by "
                "themselves; give method.contrast.others=encoded"
            )
        first, count = output.features[:, :, 0], output.features.shape[2] - 1
        losses = [
            nce_loss(first, others[:, :, m], step.batch.mask, self.temperature, self.smoothing, self.form)
            for m in range(1, count + 1)
        ]
        value: Tensor = sum(losses[1:], losses[0]) / count
        return Term(value, self.weight)
