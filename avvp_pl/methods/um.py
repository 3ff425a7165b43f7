"""UM (Lee et al., AAAI 2021): the background is what has small features, and it shows all events equally."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.losses.cross_entropy import binary_cross_entropy
from avvp_pl.losses.segments import shares
from avvp_pl.models.mil_pooling import mean_of
from avvp_pl.models.um import UM, UMOutput
from avvp_pl.parts import Method, Step, Term
from avvp_pl.types import ParsingNetwork


class UncertaintyModeling(Method):
    """L = BCE(video_probs, w / |w|) + weight_entropy BCE(background_probs, 1 / C) + weight_magnitude L_n.

    L_n is :func:`magnitude_loss` of the features in the network's segments A and B, with the margin
    ``action_magnitude``.
    """

    def __init__(
        self, network: ParsingNetwork, weight_entropy: float, weight_magnitude: float, action_magnitude: float
    ) -> None:
        super().__init__()
        if not isinstance(network, UM):
            raise InputError(
                f"method=um needs network=um: {type(network).__name__} has no features that tell background"
            )
        self.weight_entropy, self.weight_magnitude = weight_entropy, weight_magnitude
        self.action_magnitude = action_magnitude

    def forward(self, step: Step) -> dict[str, Term]:
        """Return the losses of the events, of the entropy of the background, and of the magnitudes."""
        output, labels = step.output, step.batch.weak_labels
        assert isinstance(output, UMOutput)
        even = torch.full_like(output.background_probs, 1 / labels.shape[1])
        features = output.features[:, :, 0]
        action, background = mean_of(features, output.action), mean_of(features, output.background)
        return {
            "event": Term(binary_cross_entropy(output.video_probs, shares(labels))),
            "entropy": Term(binary_cross_entropy(output.background_probs, even), self.weight_entropy),
            "magnitude": Term(magnitude_loss(action, background, self.action_magnitude), self.weight_magnitude),
        }


def magnitude_loss(action: Float[Tensor, "B D"], background: Float[Tensor, "B D"], margin: float) -> Float[Tensor, ""]:
    """Return the mean over videos of ([margin - |action|]_+ + |background|)^2, of the mean features of A and of B.

    >>> magnitude_loss(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 1.0]]), margin=7.0)  # (7 - 5 + 1)^2
    tensor(9.)
    """
    lengths: Tensor = (margin - action.norm(dim=1)).clamp(min=0) + background.norm(dim=1)
    return lengths.square().mean()
