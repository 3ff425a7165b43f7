"""Inference by prototypes (Sec. 4.4): Eq. (10) or Eq. (9) with the video's own probabilities in place of w."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError
from avvp_pl.inference.classifier import Classifier
from avvp_pl.parts import Evidence, Inference, Labeling, Report, Team
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput


class PrototypeInference(Inference):
    """Similarity to the prototypes of the labeling, by Eq. (10) (``soft``) or Eq. (9) (``hard``).

    Features are those of the tested network; prototypes are those of the network that labeled at the start of the
    epoch. Validation before the first labeling is by the classifier, because there are none yet; before a test, they
    are built if necessary. Probabilities are the sigmoid of the evidence.
    """

    def __init__(self, labels: Literal["soft", "hard"]) -> None:
        super().__init__()
        self.hard = labels == "hard"
        self.without = Classifier()

    def check(self, labeling: Labeling) -> None:
        """Raise :class:`InputError` where the labeling never has prototypes."""
        if labeling.bank is None:
            raise InputError(
                f"inference by prototypes: labeling {type(labeling).__name__} has none; labeling=prototype has, and "
                "evaluate with labeling=prototype builds them from the training data. Without prototypes, give "
                "inference=classifier"
            )

    def start(self, videos: VideoSet) -> None:
        """Raise :class:`InputError` where a training could never build prototypes, before it begins."""
        if not (videos.weak_labels.cpu().any(1) & (videos.lengths.cpu() > 0)).any():
            raise InputError(
                "inference by prototypes: no training video has both an event and a segment, so there are no prototypes"
            )

    def needs(self, labeling: Labeling) -> tuple[str, ...]:
        """Return ``train`` where the prototypes are not built yet."""
        return () if labeling.bank is None or labeling.bank.is_built else ("train",)

    def fit(
        self, network: ParsingNetwork, splits: Mapping[str, VideoSet], labeling: Labeling, team: Team
    ) -> Report | None:
        """Build the prototypes of the training videos as training would (PPL_Test, Table 3)."""
        try:
            report = labeling.build(splits["train"], team)
        except ValueError as error:
            raise InputError(f"prototypes of the training videos: {error}; give another checkpoint") from error
        if labeling.bank is None or not labeling.bank.is_built:
            raise InputError("prototypes of the training videos: none of these videos has any event")
        return report

    def forward(self, network: ParsingNetwork, batch: Batch, output: ParsingOutput, labeling: Labeling) -> Evidence:
        """Return the probabilities of segments by similarity, and those of videos by the classifier."""
        by_classifier = self.without(network, batch, output, labeling)
        if labeling.bank is None or not labeling.bank.is_built:
            return by_classifier
        evidence = labeling.bank.evidence(network, batch, output, self.hard)
        probs = _strictly(evidence) if self.hard else evidence.sigmoid()
        return by_classifier._replace(segment_probs=probs)


def _strictly(evidence: Tensor) -> Tensor:
    """Return the sigmoid, below 0.5 where nothing speaks for the event: Eq. (9) is a strict comparison."""
    probs = evidence.sigmoid()
    return torch.where(evidence > 0, probs, probs.clamp(max=0.5 - 2**-25))
