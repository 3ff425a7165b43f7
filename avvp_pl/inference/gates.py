"""The decision of all published methods: an event occurs where segment and video are both likely enough."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.parts import Decision, Evidence
from avvp_pl.types import Batch


class Gates(Decision):
    """Find events in real segments by two probabilities, that of the segment and that of the video.

    ``gate: hard`` is [segment_probs >= segment_threshold] [video_probs >= video_threshold]; ``gate: soft`` multiplies
    the two, [segment_probs video_probs >= segment_threshold], as if the video's probability stood for w in Eq. (10).
    ``gate_by`` says which probability of the video: one of all modalities together (``video``, as in HAN), or one of
    each modality alone (``modality``, as in MA and JoMoLD).
    """

    def __init__(
        self,
        segment_threshold: float,
        video_threshold: float,
        gate: Literal["hard", "soft"],
        gate_by: Literal["video", "modality"] = "video",
    ) -> None:
        super().__init__()
        self.segment_threshold, self.video_threshold, self.soft = segment_threshold, video_threshold, gate == "soft"
        self.by_modality = gate_by == "modality"

    def forward(self, evidence: Evidence, batch: Batch) -> Bool[Tensor, "B T M C"]:
        """Decide."""
        real, video_probs = batch.mask[:, :, None, None], self.video_probs(evidence)
        if self.soft:
            return (evidence.segment_probs * video_probs[:, None] >= self.segment_threshold) & real
        occurs = (video_probs >= self.video_threshold)[:, None]  # [B, 1, M, C]
        return (evidence.segment_probs >= self.segment_threshold) & occurs & real

    def video_probs(self, evidence: Evidence) -> Float[Tensor, "B M C"]:
        """Return the probabilities of videos by which events are found.

        Raises :class:`InputError` if they are those of single modalities and the inference has none.
        """
        if not self.by_modality:
            return evidence.video_probs
        if evidence.modality_probs is None:
            raise InputError(
                "protocol.decision.gate_by=modality: the inference returns no probabilities of single modalities; give "
                "protocol.decision.gate_by=video"
            )
        return evidence.modality_probs
