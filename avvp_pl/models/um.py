"""UM's network: the length of a segment's features says how much it is an action (Lee et al., AAAI 2021).

Its paper is "Weakly-supervised Temporal Action Localization by Uncertainty Modeling".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avvp_pl.models.convolution import SegmentConvolution
from avvp_pl.models.dropout import Dropout
from avvp_pl.models.han import full_precision
from avvp_pl.models.mil_pooling import largest, mean_of, top_k_pooling
from avvp_pl.models.one_modality import OneModality
from avvp_pl.types import Batch, ParsingOutput


@dataclass(frozen=True, kw_only=True)
class UMOutput(ParsingOutput):
    """A parsed batch with the magnitudes n_t = |f_t| of the features, and two sets of segments of each video.

    ``action`` (A) has 1 where a segment belongs to those of the largest n, ``background`` (B) where to those of the
    smallest, and else 0. ``background_probs`` are softmax(mean of the logits over B).
    """

    logits: Float[Tensor, "B T C"]
    magnitudes: Float[Tensor, "B T"]
    action: Float[Tensor, "B T"]
    background: Float[Tensor, "B T"]
    background_probs: Float[Tensor, "B C"]


class UM(OneModality):
    """Features f by a convolution over three segments of all streams and ReLU; a Linear layer without bias on drop(f).

    The logit of a video is the mean of its max(1, L // ``action_share``) highest ones of L segments, and of a softmax
    over the events become the probabilities of the video. A are the as many segments of the largest n m, where m is a
    mask that drops the same fraction of segments in training as ``dropout`` drops features, and scales the others; B
    are the L // ``background_share`` segments of the largest (max n - n) m. ``features`` are f.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]],
        stream_dims: Mapping[str, int],
        num_events: int,
        dim: int,
        dropout: float,
        action_share: int,
        background_share: int,
    ) -> None:
        super().__init__(modalities, stream_dims, "um")
        self.feature_dim, self.action_share, self.background_share = dim, action_share, background_share
        self.layer, self.dropout = SegmentConvolution(sum(self.input_dims), dim), Dropout(dropout)
        self.head = nn.Linear(dim, num_events, bias=False)

    def forward(self, batch: Batch) -> UMOutput:
        """Parse a batch."""
        mask = batch.mask
        encoded = self.layer(torch.cat(self.inputs(batch), dim=-1), mask).relu() * mask[:, :, None]
        logits, features = full_precision(self.head(self.dropout(encoded))), full_precision(encoded)
        magnitudes = features.norm(dim=-1)
        with torch.no_grad():
            kept = self.dropout(torch.ones_like(magnitudes))
            action = largest(magnitudes * kept, mask, self.action_share)
            highest = magnitudes.amax(1, keepdim=True)
            background = largest((highest - magnitudes) * kept, mask, self.background_share)
        some = mask.any(1, keepdim=True)
        video_probs = top_k_pooling(logits, mask, self.action_share).softmax(-1) * some
        background_probs = mean_of(logits, background).softmax(-1) * some
        return UMOutput(
            features[:, :, None],
            logits.softmax(-1)[:, :, None],
            video_probs,
            video_probs[:, None],
            logits=logits,
            magnitudes=magnitudes,
            action=action,
            background=background,
            background_probs=background_probs,
        )
