"""MGN's loss (Mo, Tian, NeurIPS 2022): HAN's guided losses, and event tokens that can be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from avvp_pl.errors import InputError
from avvp_pl.methods.contrast import Contrast
from avvp_pl.methods.guided import Guided
from avvp_pl.methods.segment_targets import SegmentLoss
from avvp_pl.models.mgn import MGN, initialize
from avvp_pl.parts import Step, Targets, Term
from avvp_pl.types import ParsingNetwork


class EventTokens(Guided):
    """Add to the guided losses weight_classification * sum over modalities of CE(classifier(tokens), their events).

    The classifier is linear, and all modalities share it: it says which event each token stands for. Only
    ``network=mgn`` has such tokens, and :class:`~avvp_pl.errors.InputError` is raised for any other.
    """

    def __init__(
        self,
        network: ParsingNetwork,
        modalities: Sequence[str],
        events: Sequence[str],
        class_weighting: Literal["inverse_frequency", "none"],
        weights: Mapping[str, float],
        targets: Targets,
        weight_classification: float,
        contrast: Contrast | None = None,
        segments: SegmentLoss | None = None,
    ) -> None:
        super().__init__(modalities, events, class_weighting, weights, targets, contrast, segments)
        if not isinstance(network, MGN):
            raise InputError("method=mgn needs network=mgn, because no other network has event tokens")
        self.weight_classification = weight_classification
        self.classifier = nn.Linear(network.feature_dim, len(events))
        self.classifier.apply(initialize)

    def forward(self, step: Step) -> dict[str, Term]:
        """Return the terms of :class:`~avvp_pl.methods.guided.Guided`, and that of the event tokens."""
        network = step.network
        assert isinstance(network, MGN)
        logits = self.classifier(network.event_tokens)  # [M, C, C]
        events = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
        mean = F.cross_entropy(logits.flatten(0, 1), events.flatten())
        return super().forward(step) | {"classification": Term(len(logits) * mean, self.weight_classification)}
