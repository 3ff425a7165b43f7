"""A temporal convolution and a classifier of segments, the usual base of weakly supervised localization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from avvp_pl.models.convolution import SegmentConvolution
from avvp_pl.models.dropout import Dropout
from avvp_pl.models.han import check_streams, full_precision
from avvp_pl.models.mil_pooling import attentive_mil_pooling, top_k_pooling
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput


class TemporalConv(ParsingNetwork):
    """Conv1d over time and ReLU, which gives the ``features``; then dropout, Linear and sigmoid for each segment.

    The streams of a modality are read side by side. Each modality has a convolution of its own, and all share the
    classifier. There is no class for the background: a segment without any event has low probabilities. With the
    ``pooling`` ``top_k``, the logit of a video is the mean of its max(1, L // ``top_k_share``) highest ones of L
    segments, for each event and modality, and its mean over the modalities is that of the video. ``attention`` is
    Eq. (3).

    Raises ValueError for a stream without a dimension, and for sizes below 1.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]],
        stream_dims: Mapping[str, int],
        num_events: int,
        dim: int = 512,
        kernel_size: int = 3,
        dropout: float = 0.7,
        pooling: Literal["top_k", "attention"] = "top_k",
        top_k_share: int = 8,
    ) -> None:
        super().__init__()
        check_streams(modalities, stream_dims)
        sizes = {"num_events": num_events, "dim": dim, "top_k_share": top_k_share}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} is {size}; it must be 1 or more")
        self.feature_dim, self.pooling, self.top_k_share = dim, pooling, top_k_share
        self.modalities = {name: tuple(streams) for name, streams in modalities.items()}
        self.convolutions = nn.ModuleDict(
            {
                name: SegmentConvolution(sum(stream_dims[stream] for stream in streams), dim, kernel_size)
                for name, streams in modalities.items()
            }
        )
        self.dropout = Dropout(dropout)
        self.event_head = nn.Linear(dim, num_events)
        attentive = pooling == "attention"
        self.temporal_head = nn.Linear(dim, num_events) if attentive else None
        self.modality_head = nn.Linear(dim, num_events) if attentive else None

    def forward(self, batch: Batch) -> ParsingOutput:
        """Parse a batch; :class:`~avvp_pl.types.ParsingOutput` lists the shapes."""
        x = torch.stack([self._convolved(batch, name) for name in self.modalities], dim=2)  # [B, T, M, D]
        seen = self.dropout(x)
        # from the logits on everything is computed in full precision, also inside autocast
        logits = full_precision(self.event_head(seen))  # [B, T, M, C]
        probs = logits.sigmoid()
        if self.temporal_head is None or self.modality_head is None:
            of_modality = top_k_pooling(logits, batch.mask, self.top_k_share)  # [B, M, C]
            return ParsingOutput(full_precision(x), probs, of_modality.mean(1).sigmoid(), of_modality.sigmoid())
        temporal, modality = (full_precision(head(seen)) for head in (self.temporal_head, self.modality_head))
        pooled = attentive_mil_pooling(probs, temporal, modality, batch.mask)
        return ParsingOutput(full_precision(x), probs, pooled.video_probs, pooled.modality_probs)

    def _convolved(self, batch: Batch, modality: str) -> Float[Tensor, "B T D"]:
        """Return the features of a modality."""
        streams = torch.cat([batch.features_in[stream] for stream in self.modalities[modality]], dim=2)
        convolved: Tensor = self.convolutions[modality](streams, batch.mask)
        return F.relu(convolved)
