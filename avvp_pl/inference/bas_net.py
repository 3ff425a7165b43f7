"""BaS-Net's inference: the logits of a video without its background, brought to a range of 0 to 1."""

from __future__ import annotations

from avvp_pl.errors import InputError
from avvp_pl.inference.curves import from_0_to_1, resample
from avvp_pl.models.bas_net import BaSNet, BaSNetOutput
from avvp_pl.parts import Evidence, Inference, Labeling
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput


class SuppressedLogits(Inference):
    """The curve of an event are its logits z', brought to a range of 0 to 1 (:func:`from_0_to_1`).

    The network looks at ``segments`` segments of each video, at equal distances, and those of shorter videos are
    repeated as in training. None: it looks at each segment once. ``attention`` is the network's.
    """

    def __init__(self, network: ParsingNetwork, segments: int | None) -> None:
        super().__init__()
        if not isinstance(network, BaSNet):
            raise InputError(
                f"inference=bas_net needs network=bas_net: {type(network).__name__} suppresses no background; choose "
                "another inference, such as classifier"
            )
        self.segments = segments

    def forward(self, network: ParsingNetwork, batch: Batch, output: ParsingOutput, labeling: Labeling) -> Evidence:
        """Return the curves, and the probabilities that belong to them."""
        if self.segments is None:
            return _evidence(output, batch)
        sample = resample(batch, self.segments, repeat=True)
        return sample.of_segments(_evidence(network(sample.batch), sample.batch))


def _evidence(output: ParsingOutput, batch: Batch) -> Evidence:
    assert isinstance(output, BaSNetOutput)
    curves = from_0_to_1(output.suppressed_logits[..., :-1], batch.mask)
    return Evidence(output.segment_probs, output.modality_probs, output.modality_probs, curves, output.attention)
