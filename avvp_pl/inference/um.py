"""UM's inference: probabilities of events times the normalized magnitude of the features."""

from __future__ import annotations

from avvp_pl.errors import InputError
from avvp_pl.inference.curves import from_0_to_1, resample
from avvp_pl.models.mil_pooling import mean_of
from avvp_pl.models.um import UM, UMOutput
from avvp_pl.parts import Evidence, Inference, Labeling
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput


class Magnitudes(Inference):
    """The ``attention`` is q = (n - b) / (a - b), clamped to [0, 1], with the means a of n over A and b over B.

    The curve of an event is softmax(z) q, brought to a range of 0 to 1 (:func:`from_0_to_1`). Where a is not above b,
    q is n - b. The network looks at up to ``segments`` segments of each video, at equal distances; a video that is not
    longer is taken as it is. None: it looks at all segments of every video.
    """

    def __init__(self, network: ParsingNetwork, segments: int | None) -> None:
        super().__init__()
        if not isinstance(network, UM):
            raise InputError(
                f"inference=um needs network=um: {type(network).__name__} has no features that tell background; choose "
                "another inference, such as classifier"
            )
        self.segments = segments

    def forward(self, network: ParsingNetwork, batch: Batch, output: ParsingOutput, labeling: Labeling) -> Evidence:
        """Return the curves, the attention, and the probabilities that belong to them."""
        if self.segments is None or batch.mask.shape[1] <= self.segments:
            return _evidence(output, batch)
        sample = resample(batch, self.segments, repeat=False)
        return sample.of_segments(_evidence(network(sample.batch), sample.batch))


def _evidence(output: ParsingOutput, batch: Batch) -> Evidence:
    assert isinstance(output, UMOutput)
    low, high = (mean_of(output.magnitudes, chosen)[:, None] for chosen in (output.background, output.action))
    attention = ((output.magnitudes - low) / (high - low).masked_fill(high <= low, 1)).clamp(0, 1)
    probs = output.segment_probs[:, :, 0] * attention[:, :, None]
    curves = from_0_to_1(probs, batch.mask)
    return Evidence(probs[:, :, None], output.modality_probs, output.modality_probs, curves, attention)
