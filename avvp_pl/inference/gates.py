"""The decision of all published methods: an event occurs where segment and video are both likely enough."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Bool
from torch import Tensor

from avvp_pl.parts import Decision, Evidence
from avvp_pl.types import Batch


class Gates(Decision):
    """Find events in real segments by two probabilities, that of the segment and that of the video.

    ``gate: hard`` is [segment_probs >= segment_threshold] [video_probs >= video_threshold]; ``gate: soft`` multiplies
    the two, [segment_probs video_probs >= segment_threshold], as if the video's probability stood for w in Eq. (10).
    """

    def __init__(self, segment_threshold: float, video_threshold: float, gate: Literal["hard", "soft"]) -> None:
        super().__init__()
        self.segment_threshold, self.video_threshold, self.soft = segment_threshold, video_threshold, gate == "soft"

    def forward(self, evidence: Evidence, batch: Batch) -> Bool[Tensor, "B T M C"]:
        """Decide."""
        real = batch.mask[:, :, None, None]
        if self.soft:
            return (evidence.segment_probs * evidence.video_probs[:, None] >= self.segment_threshold) & real
        occurs = (evidence.video_probs >= self.video_threshold)[:, None]  # [B, 1, M, C]
        return (evidence.segment_probs >= self.segment_threshold) & occurs & real
