"""EM-MIL's inference: keys and events of a segment mixed to one curve for each event."""

from __future__ import annotations

from avvp_pl.errors import InputError
from avvp_pl.models.em_mil import EMMIL, EMMILOutput
from avvp_pl.models.one_modality import extremes_over_segments, mean_over_segments
from avvp_pl.parts import Evidence, Inference, Labeling
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput


class KeyMixture(Inference):
    """The curve of an event is s = ``key_share`` q + (1 - ``key_share``) p, minus its mean, over its range.

    q and p are the means over the streams. The public code gives both the weight 0.8, which is ``key_share`` 0.5: what
    both have in common falls out with the range. ``attention`` is q.
    """

    def __init__(self, network: ParsingNetwork, key_share: float) -> None:
        super().__init__()
        if not isinstance(network, EMMIL):
            raise InputError(
                f"inference=em_mil needs network=em_mil: {type(network).__name__} has no branch of keys; choose "
                "another inference, such as classifier"
            )
        self.key_share = key_share

    def forward(self, network: ParsingNetwork, batch: Batch, output: ParsingOutput, labeling: Labeling) -> Evidence:
        """Return the network's probabilities, and the curves."""
        assert isinstance(output, EMMILOutput)
        keys, mask = output.key_probs.mean(2), batch.mask
        mixed = self.key_share * keys[:, :, None] + (1 - self.key_share) * output.segment_probs[:, :, 0]
        lowest, highest = extremes_over_segments(mixed, mask)
        size = highest - lowest
        curves = (mixed - mean_over_segments(mixed, mask)[:, None]) / size.masked_fill(size == 0, 1)[:, None]
        return Evidence(output.segment_probs, output.modality_probs, output.modality_probs, curves, keys)
