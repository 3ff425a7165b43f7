"""BaS-Net (Lee et al., AAAI 2020): a video has the background, and once its segments are filtered it has none."""

from __future__ import annotations

from avvp_pl.errors import InputError
from avvp_pl.losses.cross_entropy import binary_cross_entropy
from avvp_pl.losses.segments import shares
from avvp_pl.models.bas_net import BaSNet, BaSNetOutput
from avvp_pl.parts import Method, Step, Term
from avvp_pl.types import ParsingNetwork


class BackgroundSuppression(Method):
    """L = BCE(base_probs, [w; 1]) + BCE(suppressed_probs, [w; 0]) + weight_attention * mean over videos of sum_t a_t.

    The labels are divided by their sums, so that they are shares as the probabilities, which a softmax has made; the
    background comes last in both. The attention is summed over the segments and not averaged, so its weight belongs to
    the number of segments in a training batch, which is 750 in the public code.
    """

    def __init__(self, network: ParsingNetwork, weight_attention: float) -> None:
        super().__init__()
        if not isinstance(network, BaSNet):
            raise InputError(f"method=bas_net needs network=bas_net: {type(network).__name__} suppresses no background")
        self.weight_attention = weight_attention

    def forward(self, step: Step) -> dict[str, Term]:
        """Return the losses of the video as it is, without its background, and of the attention."""
        output, labels = step.output, step.batch.weak_labels
        assert isinstance(output, BaSNetOutput)
        return {
            "base": Term(binary_cross_entropy(output.base_probs, shares(labels, background=1.0))),
            "suppressed": Term(binary_cross_entropy(output.suppressed_probs, shares(labels, background=0.0))),
            "attention": Term(output.attention.sum(1).mean(), self.weight_attention),
        }
