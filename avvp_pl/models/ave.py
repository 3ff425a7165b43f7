"""AVE, the audio-visual event localization network (Tian, Shi, Li, Duan, Xu, ECCV 2018), adapted to parsing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from avvp_pl.models.han import full_precision
from avvp_pl.models.mil_pooling import max_mil_pooling
from avvp_pl.models.recurrent import RecurrentNetwork
from avvp_pl.types import Batch, ParsingOutput


class AVE(RecurrentNetwork):
    """A bidirectional LSTM for each modality; one branch fuses them and says what the video contains.

    The fused branch is that of the paper: the LSTMs' outputs side by side, ReLU, Linear, ReLU, Linear. Its maximum over
    the segments is ``video_probs``. The branches of the modalities were added for parsing (Tian, Li, Xu, ECCV 2020):
    one Linear, which all modalities share, scores the LSTM outputs of each of them. So these outputs, which are the
    ``features``, have one space. ``modality_probs`` are maxima over the segments. A modality's segments never depend on
    another modality.

    Left out of the original are the audio-guided attention to 49 places in an image, of which precomputed features know
    nothing, and the softmax over events, because several events can occur at once. For the other arguments see
    :class:`~avvp_pl.models.recurrent.RecurrentNetwork`; ``feedforward_dim`` is the size of the fused branch.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]],
        stream_dims: Mapping[str, int],
        num_events: int,
        dim: int = 512,
        hidden_dim: int = 128,
        feedforward_dim: int = 64,
    ) -> None:
        super().__init__(modalities, stream_dims, dim, hidden_dim, bidirectional=True)
        self.feature_dim = 2 * hidden_dim
        self.event_head = nn.Linear(self.feature_dim, num_events)
        first = nn.Linear(len(self.modalities) * self.feature_dim, feedforward_dim)
        last = nn.Linear(feedforward_dim, num_events)
        for layer in (first, last):  # as in the public code
            nn.init.xavier_uniform_(layer.weight)
        self.video_head = nn.Sequential(nn.ReLU(), first, nn.ReLU(), last)

    def forward(self, batch: Batch) -> ParsingOutput:
        """Parse a batch; :class:`~avvp_pl.types.ParsingOutput` lists the shapes."""
        features = torch.stack([reading.outputs for reading in self.encode(self.inputs(batch), batch.mask)], dim=2)
        segment_probs = full_precision(self.event_head(features)).sigmoid()  # [B, T, M, C]
        fused_probs = full_precision(self.video_head(features.flatten(2))).sigmoid()  # [B, T, C]
        return ParsingOutput(
            full_precision(features),
            segment_probs,
            max_mil_pooling(fused_probs, batch.mask),
            max_mil_pooling(segment_probs, batch.mask),
        )
