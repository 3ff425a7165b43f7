"""BaS-Net's network: one classifier for a video and for the same video without its background (Lee et al., AAAI 2020).

Its paper is "Background Suppression Network for Weakly-Supervised Temporal Action Localization".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avvp_pl.models.convolution import SegmentConvolution
from avvp_pl.models.dropout import Dropout
from avvp_pl.models.han import full_precision
from avvp_pl.models.mil_pooling import top_k_pooling
from avvp_pl.models.one_modality import OneModality
from avvp_pl.types import Batch, ParsingOutput

NEGATIVE_SLOPE = 0.01  # of all LeakyReLUs, which is torch's default


@dataclass(frozen=True, kw_only=True)
class BaSNetOutput(ParsingOutput):
    """A parsed batch with the logits of the classifier for C events and, last, the background, and the attention.

    ``base_logits`` (z) are those of the video, and ``suppressed_logits`` (z') those of the video times its attention.
    ``base_probs`` and ``suppressed_probs`` are the same for whole videos, after a softmax over events and background.
    ``segment_probs`` and ``video_probs`` are softmax(z') and ``suppressed_probs`` without the background.
    """

    base_logits: Float[Tensor, "B T C_background"]
    suppressed_logits: Float[Tensor, "B T C_background"]
    base_probs: Float[Tensor, "B C_background"]
    suppressed_probs: Float[Tensor, "B C_background"]
    attention: Float[Tensor, "B T"]


class BaSNet(OneModality):
    """An attention a for each segment, and one classifier that is run on x and on a x, the streams x side by side.

    a is a Linear layer to ``attention_dim`` features, LeakyReLU, Linear and sigmoid. The classifier has two
    convolutions over three segments to ``dim`` features, each with LeakyReLU, dropout and a Linear layer without bias
    to the events and the background. The logit of a video is the mean of its max(1, L // ``top_k_share``) highest ones
    of L segments, for each event and the background. ``features`` are those of a x before the last layer.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]],
        stream_dims: Mapping[str, int],
        num_events: int,
        dim: int,
        attention_dim: int,
        dropout: float,
        top_k_share: int,
    ) -> None:
        super().__init__(modalities, stream_dims, "bas_net")
        self.feature_dim, self.top_k_share = dim, top_k_share
        size = sum(self.input_dims)
        self.attention = nn.Sequential(
            nn.Linear(size, attention_dim), nn.LeakyReLU(NEGATIVE_SLOPE), nn.Linear(attention_dim, 1)
        )
        self.first, self.second = SegmentConvolution(size, dim), SegmentConvolution(dim, dim)
        self.activation, self.dropout = nn.LeakyReLU(NEGATIVE_SLOPE), Dropout(dropout)
        self.head = nn.Linear(dim, num_events + 1, bias=False)

    def forward(self, batch: Batch) -> BaSNetOutput:
        """Parse a batch."""
        x, mask = torch.cat(self.inputs(batch), dim=-1), batch.mask
        attention = full_precision(self.attention(x)).sigmoid()[..., 0] * mask
        _, base = self._classify(x, mask)
        features, suppressed = self._classify(x * attention[:, :, None].to(x.dtype), mask)
        probs = suppressed.softmax(-1)[:, :, None, :-1]
        base_probs, suppressed_probs = self._pool(base, mask), self._pool(suppressed, mask)
        video_probs = suppressed_probs[:, :-1]
        return BaSNetOutput(
            full_precision(features)[:, :, None],
            probs,
            video_probs,
            video_probs[:, None],
            base_logits=base,
            suppressed_logits=suppressed,
            base_probs=base_probs,
            suppressed_probs=suppressed_probs,
            attention=attention,
        )

    def _classify(
        self, x: Float[Tensor, "B T _"], mask: Bool[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B T C_background"]]:
        """Return the features before dropout, and the logits."""
        features = self.activation(self.second(self.activation(self.first(x, mask)), mask))
        return features, full_precision(self.head(self.dropout(features)))

    def _pool(
        self, logits: Float[Tensor, "B T C_background"], mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B C_background"]:
        """Return the probabilities of whole videos; 0 for one without segments."""
        return top_k_pooling(logits, mask, self.top_k_share).softmax(-1) * mask.any(1, keepdim=True)
