"""Learning from weak labels by pooling: L_MIL (Eq. 4), and HAN's guided losses of each modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.losses import guided_loss, inverse_frequency_weights, mil_loss
from avvp_pl.methods.contrast import Contrast
from avvp_pl.methods.segment_targets import SegmentLoss
from avvp_pl.parts import Method, Step, Targets, Term


class Guided(Method):
    """L = weights[video] L_MIL + sum over modalities m of weights[m] BCE(modality_probs[m], targets[m]) + more.

    ``class_weighting`` weights the events in L_MIL by their inverse frequency (Eq. 4) or not at all. A modality that
    ``weights`` does not name has the weight of ``others``. A weight that is missing is 1, and one of 0 leaves its loss
    out. ``targets`` say which label a modality is asked for. ``contrast`` adds a loss that compares the modalities, and
    ``segments`` one of labels of segments from a file, unless their weight is 0 (None: there is none).
    """

    event_weights: Tensor

    def __init__(
        self,
        modalities: Sequence[str],
        events: Sequence[str],
        class_weighting: Literal["inverse_frequency", "none"],
        weights: Mapping[str, float],
        targets: Targets,
        contrast: Contrast | None = None,
        segments: SegmentLoss | None = None,
    ) -> None:
        super().__init__()
        self.class_weighting, self.targets = class_weighting, targets
        self.contrast, self.segments = contrast, segments
        self.video_weight = weights.get("video", 1.0)
        self.modality_weights = weights_of(weights, modalities)
        self.register_buffer("event_weights", torch.ones(len(events)))

    def start(self, videos: VideoSet) -> None:
        """Compute how frequent each event is among the training videos."""
        if self.class_weighting == "inverse_frequency":
            self.event_weights.copy_(inverse_frequency_weights(videos.weak_labels))

    def forward(self, step: Step) -> dict[str, Term]:
        """Return L_MIL, the guided losses, the contrast of the modalities and the loss of segments."""
        return self.guided_terms(step, self.targets(step))

    def guided_terms(self, step: Step, labels: Float[Tensor, "B M C"]) -> dict[str, Term]:
        """Return them for these labels of the targets, which a method may need for more than this."""
        output, batch = step.output, step.batch
        supervised = mil_loss(output.video_probs, batch.weak_labels, self.event_weights)
        guided = guided_loss(output.modality_probs, labels, self.modality_weights)
        terms = {"mil": Term(supervised, self.video_weight), "guided": Term(guided)}
        if self.contrast is not None and self.contrast.weight:
            terms["modality_contrast"] = self.contrast(step)
        if self.segments is not None and self.segments.weight:
            terms["segments"] = self.segments.loss(step)
        return terms


def weights_of(weights: Mapping[str, float], modalities: Sequence[str]) -> list[float]:
    """Return the weight of each modality: its own, or that of ``others``, or 1.

    >>> weights_of({"audio": 2.0, "others": 0.5}, ["audio", "visual"])
    [2.0, 0.5]
    """
    return [weights.get(name, weights.get("others", 1.0)) for name in modalities]
