"""CMPAE (Gao, Chen, Xu, CVPR 2023): the global branch and the modalities teach each other in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.losses.mil import within_margin
from avvp_pl.methods.contrast import Contrast
from avvp_pl.methods.guided import Guided
from avvp_pl.methods.segment_targets import SegmentLoss
from avvp_pl.models.cmpae import CMPAE, CMPAEOutput
from avvp_pl.parts import Step, Targets, Term
from avvp_pl.types import ParsingNetwork


class MutualLearning(Guided):
    """L = that of :class:`~avvp_pl.methods.guided.Guided` + weight_mutual * :func:`mutual_loss`.

    The global branch learns in every second batch of an epoch, and the modalities in all others, the first one
    included. It needs a network that knows how uncertain it is.
    """

    called = "cmpae"  # name of the method in messages

    def __init__(
        self,
        network: ParsingNetwork,
        modalities: Sequence[str],
        events: Sequence[str],
        class_weighting: Literal["inverse_frequency", "none"],
        weights: Mapping[str, float],
        targets: Targets,
        contrast: Contrast,
        weight_mutual: float,
        least_uncertainty: float,
        segments: SegmentLoss | None = None,
    ) -> None:
        if not isinstance(network, CMPAE):
            raise InputError(
                f"method={self.called} needs network=cmpae: {type(network).__name__} does not say how uncertain it is"
            )
        super().__init__(modalities, events, class_weighting, weights, targets, contrast, segments)
        self.weight_mutual, self.least_uncertainty = weight_mutual, least_uncertainty

    def forward(self, step: Step) -> dict[str, Term]:
        """Return the terms of Guided, and what the branches teach each other."""
        return self.mutual_terms(step, self.targets(step))

    def mutual_terms(self, step: Step, labels: Float[Tensor, "B M C"]) -> dict[str, Term]:
        """Return them for these labels of the targets, which a method may need for more than this."""
        assert isinstance(step.output, CMPAEOutput)
        mutual = mutual_loss(step.output, step.batch.weak_labels, step.number % 2 == 1, self.least_uncertainty)
        return {**self.guided_terms(step, labels), "mutual": Term(mutual, self.weight_mutual)}


def mutual_loss(
    output: CMPAEOutput, weak_labels: Float[Tensor, "B C"], teach_video: bool, least_uncertainty: float
) -> Float[Tensor, ""]:
    """Return the mean over [B, C] of a (1 - u) (P - q)^2: the global branch P and the modalities q approach each other.

    Where the video has the event, q and u are the probability and uncertainty of its most probable modality, elsewhere
    their means over the modalities. With ``teach_video`` the global branch learns from q, and a is its uncertainty.
    Otherwise the modalities learn from P, and a is 1 minus the uncertainty. The global uncertainty counts as at least
    ``least_uncertainty``. The factors a and 1 - u have gradients of their own, as in the public code.
    """
    video, modalities = within_margin(output.video_probs), within_margin(output.modality_probs)
    highest, place = modalities.max(dim=1)  # [B, C]
    of_highest = output.modality_uncertainty.gather(1, place[:, None]).squeeze(1)
    means = modalities.mean(1), output.modality_uncertainty.mean(1)
    uncertainty = output.video_uncertainty.clamp(min=least_uncertainty)[:, None]
    factor = uncertainty if teach_video else 1 - uncertainty

    def gap(taught_by: Tensor, unsure: Tensor) -> Tensor:
        pair = (video, taught_by.detach()) if teach_video else (video.detach(), taught_by)
        return (1 - unsure) * (pair[0] - pair[1]).square()

    gaps = weak_labels * gap(highest, of_highest) + (1 - weak_labels) * gap(*means)
    return torch.mean(factor * gaps)
