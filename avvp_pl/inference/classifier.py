"""The inference of all methods of the field: the network's own probabilities."""

from __future__ import annotations

from avvp_pl.parts import Evidence, Inference, Labeling
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput


class Classifier(Inference):
    """The probabilities of the network as they are; ``video_probs`` are the same for every modality."""

    def forward(self, network: ParsingNetwork, batch: Batch, output: ParsingOutput, labeling: Labeling) -> Evidence:
        """Return the network's probabilities."""
        modalities = output.segment_probs.shape[2]
        together = output.video_probs[:, None].expand(-1, modalities, -1)
        return Evidence(output.segment_probs, together, output.modality_probs)
