"""The decision of all published methods: an event occurs where segment and video are both likely enough."""

from __future__ import annotations

from jaxtyping import Bool
from torch import Tensor

from avvp_pl.parts import Decision, Evidence
from avvp_pl.types import Batch


class Gates(Decision):
    """[segment_probs >= segment_threshold] [video_probs >= video_threshold], for real segments."""

    def __init__(self, segment_threshold: float, video_threshold: float) -> None:
        super().__init__()
        self.segment_threshold, self.video_threshold = segment_threshold, video_threshold

    def forward(self, evidence: Evidence, batch: Batch) -> Bool[Tensor, "B T M C"]:
        """Decide."""
        occurs = (evidence.video_probs >= self.video_threshold)[:, None]  # [B, 1, M, C]
        return (evidence.segment_probs >= self.segment_threshold) & occurs & batch.mask[:, :, None, None]
