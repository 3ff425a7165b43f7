"""The inference of CO2-Net and DELU: intervals come from the attention, and their scores from attended logits."""

from __future__ import annotations

from avvp_pl.errors import InputError
from avvp_pl.inference.classifier import Classifier
from avvp_pl.models.cross_modal import CrossModal, CrossModalOutput
from avvp_pl.parts import Evidence, Labeling
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput


class AttendedLogits(Classifier):
    """The network's own probabilities; the curve of an event is attention times logit, without the background."""

    def __init__(self, network: ParsingNetwork) -> None:
        super().__init__()
        if not isinstance(network, CrossModal):
            raise InputError(
                f"inference=attended_logits needs network=cross_modal: {type(network).__name__} has no attention"
            )

    def forward(self, network: ParsingNetwork, batch: Batch, output: ParsingOutput, labeling: Labeling) -> Evidence:
        """Return the probabilities, the curves and the attention."""
        assert isinstance(output, CrossModalOutput)
        curves = output.attention[:, :, None] * output.logits[:, :, :-1]
        return super().forward(network, batch, output, labeling)._replace(curves=curves, attention=output.attention)
