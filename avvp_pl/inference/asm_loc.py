"""ASM-Loc's inference: curves and an attention with a point for each sample of its network."""

from __future__ import annotations

from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.models.asm_loc import ASMLocOutput
from avvp_pl.parts import CurveAxis, Evidence, Inference, Labeling
from avvp_pl.pseudo_labels.proposals import Samples
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput


class SampledCurves(Inference):
    """The probabilities of attended logits, the attention, and the video's probabilities, of samples of the video."""

    def forward(self, network: ParsingNetwork, batch: Batch, output: ParsingOutput, labeling: Labeling) -> Evidence:
        """Return what the network says, and where its samples are in the video."""
        return sampled_curves(output)


def sampled_curves(output: ParsingOutput) -> Evidence:
    """Return the evidence of :class:`SampledCurves`."""
    if not isinstance(output, ASMLocOutput):
        raise InputError("inference=asm_loc reads the outputs of network=asm_loc; give that network")
    return Evidence(
        output.segment_probs,
        output.modality_probs,
        output.modality_probs,
        output.curves,
        output.attention,
        axis_of(output.samples),
    )


def axis_of(samples: Samples) -> CurveAxis:
    """Return the axis of curves that have a point for each sample."""

    def to_segments(row: int, edges: Tensor, value: float) -> Tensor:
        return samples.of(row).to_segments((edges - value)[None])[0] + value

    return CurveAxis(samples.mask.sum(1), to_segments)
