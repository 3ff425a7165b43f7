"""The network of CO2-Net and DELU: two streams of one modality filter each other (Hong et al., ACM MM 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avvp_pl.errors import InputError
from avvp_pl.models.dropout import Dropout
from avvp_pl.models.han import full_precision
from avvp_pl.models.mil_pooling import top_k_pooling
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput


@dataclass(frozen=True, kw_only=True)
class CrossModalOutput(ParsingOutput):
    """A parsed batch with the logits of all events and, last, of the background, and with attentions in (0, 1).

    E is the number of events plus 1. An attention says how much a segment shows any event: that of each stream, and
    their mean. It is 0 at padding.
    """

    logits: Float[Tensor, "B T E"]
    attention: Float[Tensor, "B T"]
    stream_attentions: Float[Tensor, "B T 2"]


class CrossModal(ParsingNetwork):
    """Each stream is filtered by the other one; an attention finds action, and a classifier tells which.

    The data has one modality with two streams of the same dimension, such as RGB and optical flow; their order has no
    meaning but in ``stream_attentions``. The filtered streams and their attentions are those of :class:`StreamFilter`.
    With conv``n`` a convolution over ``n`` segments, LReLU a LeakyReLU and drop the dropout ``dropout``,

    - ``features`` = drop(LReLU(conv1(both filtered streams))),
    - ``logits`` z = conv1(drop(LReLU(conv3(drop(features))))), for each event and the background,
    - ``segment_probs`` = softmax(s), where s are the logits :func:`suppressed` by the attention,
    - ``video_probs`` = softmax(mean of the L // ``top_k_share`` highest s over time) while training, and
      softmax(mean of the L // ``test_top_k_share`` highest a z) otherwise, for a video of L segments and attention a.

    The background takes part in both softmaxes and is left out of the result. In the public code, the dropout of an
    attention comes after its last convolution, so that half of the attentions of a stream are 0.5 while training;
    ``attention_logit_dropout`` is its rate. Weights start as in the public code, Kaiming uniform and with biases of 0.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]],
        stream_dims: Mapping[str, int],
        num_events: int,
        dim: int = 2048,
        attention_dim: int = 512,
        dropout: float = 0.7,
        gate_dropout: float = 0.5,
        attention_dropout: float = 0.5,
        attention_logit_dropout: float = 0.5,
        negative_slope: float = 0.2,
        top_k_share: int = 7,
        test_top_k_share: int = 10,
    ) -> None:
        super().__init__()
        self.streams = two_streams(modalities, stream_dims)
        self.feature_dim, self.top_k_share, self.test_top_k_share = dim, top_k_share, test_top_k_share
        size = stream_dims[self.streams[0]]
        self.filters = nn.ModuleList(
            StreamFilter(size, attention_dim, gate_dropout, attention_dropout, attention_logit_dropout, negative_slope)
            for _ in self.streams
        )
        self.fuse = nn.Sequential(nn.Conv1d(2 * size, dim, 1), nn.LeakyReLU(negative_slope), Dropout(dropout))
        self.classify = nn.Sequential(
            Dropout(dropout),
            nn.Conv1d(dim, dim, 3, padding=1),
            nn.LeakyReLU(negative_slope),
            Dropout(dropout),
            nn.Conv1d(dim, num_events + 1, 1),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv1d):
                nn.init.kaiming_uniform_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, batch: Batch) -> CrossModalOutput:
        """Parse a batch; :class:`CrossModalOutput` and :class:`~avvp_pl.types.ParsingOutput` list the shapes."""
        real = batch.mask[:, None]  # [B, 1, T]
        first, second = (batch.features_in[name].transpose(1, 2) * real for name in self.streams)  # [B, D, T]
        filtered, attentions = zip(
            self.filters[0](first, second, batch.mask), self.filters[1](second, first, batch.mask), strict=True
        )
        features = self.fuse(torch.cat(filtered, dim=1)) * real
        logits = full_precision(self.classify(features).transpose(1, 2))  # [B, T, E]
        stream_attentions = full_precision(torch.stack(attentions, dim=2)) * batch.mask[:, :, None]
        attention = stream_attentions.mean(2)
        scores = suppressed(logits, attention)
        if self.training:
            pooled = top_k_pooling(scores, batch.mask, self.top_k_share)
        else:
            pooled = top_k_pooling(attention[:, :, None] * logits, batch.mask, self.test_top_k_share)
        video_probs = pooled.softmax(-1)[:, :-1] * batch.mask.any(1, keepdim=True)
        return CrossModalOutput(
            features=full_precision(features).transpose(1, 2)[:, :, None],
            segment_probs=scores.softmax(-1)[:, :, None, :-1],
            video_probs=video_probs,
            modality_probs=video_probs[:, None],
            logits=logits,
            attention=attention,
            stream_attentions=stream_attentions,
        )

    if TYPE_CHECKING:

        def __call__(self, batch: Batch) -> CrossModalOutput:
            """Run :meth:`forward`."""
            ...


class StreamFilter(nn.Module):
    """Filter a stream x by the other one x', and find action in what is left.

    With drop the dropout ``gate_dropout``, the filtered stream is
    f = sigmoid(drop(LReLU(conv3(x'))) * drop(LReLU(conv3(mean of x over time)))) * x. The mean is a sequence of length
    1, of which the second convolution sees nothing but its middle. The attention is
    sigmoid(drop(conv1(LReLU(conv3(drop(LReLU(conv3(f)))))))), with ``attention_dropout`` inside and ``logit_dropout``
    at its end.
    """

    def __init__(
        self,
        size: int,
        attention_dim: int,
        gate_dropout: float,
        attention_dropout: float,
        logit_dropout: float,
        negative_slope: float,
    ) -> None:
        super().__init__()

        def gate() -> nn.Sequential:
            return nn.Sequential(
                nn.Conv1d(size, size, 3, padding=1), nn.LeakyReLU(negative_slope), Dropout(gate_dropout)
            )

        self.by_other, self.by_itself = gate(), gate()
        self.hidden = nn.Sequential(
            nn.Conv1d(size, attention_dim, 3, padding=1), nn.LeakyReLU(negative_slope), Dropout(attention_dropout)
        )
        self.attend = nn.Sequential(
            nn.Conv1d(attention_dim, attention_dim, 3, padding=1),
            nn.LeakyReLU(negative_slope),
            nn.Conv1d(attention_dim, 1, 1),
            Dropout(logit_dropout),
        )

    def forward(
        self, own: Float[Tensor, "B D T"], other: Float[Tensor, "B D T"], mask: Bool[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B D T"], Float[Tensor, "B T"]]:
        """Return the filtered stream and its attention; both streams are 0 at padding, and so is the filtered one."""
        count = mask.sum(1).clamp(min=1)[:, None, None]
        gates = self.by_other(other) * self.by_itself(own.sum(2, keepdim=True) / count)
        filtered = gates.sigmoid() * own
        # a convolution must not see what the one before makes of padding
        return filtered, full_precision(self.attend(self.hidden(filtered) * mask[:, None])[:, 0]).sigmoid()


def suppressed(logits: Float[Tensor, "B T E"], attention: Float[Tensor, "B T"]) -> Float[Tensor, "B T E"]:
    """Return a (z - min z) + min z: where nothing is attended to, all logits are the lowest one of the segment.

    >>> suppressed(torch.tensor([[[3.0, 1.0]]]), torch.tensor([[0.5]]))
    tensor([[[2., 1.]]])
    """
    lowest = logits.amin(-1, keepdim=True)
    return attention[:, :, None] * (logits - lowest) + lowest


def two_streams(modalities: Mapping[str, Sequence[str]], stream_dims: Mapping[str, int]) -> tuple[str, str]:
    """Return the two streams of the only modality; :class:`InputError` if the data has anything else."""
    found = {name: [f"{stream} ({stream_dims[stream]})" for stream in streams] for name, streams in modalities.items()}
    said = ", ".join(f"{name}: [{', '.join(streams)}]" for name, streams in found.items())
    if len(modalities) != 1 or [len(streams) for streams in modalities.values()] != [2]:
        raise InputError(
            "network=cross_modal needs one modality with two streams, such as data.modalities={visual: [rgb, flow]}; "
            f"the data has {said}"
        )
    first, second = next(iter(modalities.values()))
    if stream_dims[first] != stream_dims[second]:
        raise InputError(f"network=cross_modal needs two streams of the same dimension; the data has {said}")
    return first, second
