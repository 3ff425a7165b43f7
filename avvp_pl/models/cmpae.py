"""CMPAE's network: evidence for and against events, and a global branch (Gao, Chen, Xu, CVPR 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avvp_pl.models.dropout import Dropout
from avvp_pl.models.han import HybridAttentionLayer, StreamFusion, StreamFusions, crossing_of, full_precision
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput


@dataclass(frozen=True, kw_only=True)
class CMPAEOutput(ParsingOutput):
    """A parsed batch with uncertainties in (0, 1]: 1 where no evidence was found.

    ``video_probs`` and ``video_uncertainty`` are those of the global branch, which has one uncertainty for all events.
    """

    modality_uncertainty: Float[Tensor, "B M C"]
    video_uncertainty: Float[Tensor, " B"]


class CMPAE(ParsingNetwork):
    """Collect evidence for the presence of an event in a modality, and against it in all modalities together.

    The segments of a modality attend to one another as in :class:`~avvp_pl.models.han.HAN`. Their features are
    ``cross_share`` of those with cross-attention and the rest of those without it, by the same layers. An event has a
    pair of logits in each segment of a modality with the features x_m: one of its presence, a Linear layer of x_m, and
    one of its absence, a Linear layer of x_m + r_m(sum of the x of all modalities). A third one is the attention over
    time, by which the pairs are averaged to those of the modality. A pair gives a probability and an uncertainty
    (:func:`probability_and_uncertainty`).

    The global branch has one logit for each event and segment, of the sum over modalities of their projected features
    after one more layer. ``video_probs`` are the mean over time of its sigmoid.

    ``attending`` is about cross-attention only: the absence of an event is always judged by all modalities.
    ``head_dropout``, ``fuse_single_stream`` and the sizes are those of HAN. Streams are projected with an ELU after
    each Linear layer, and ``negative_slope`` is that of all LeakyReLUs.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]],
        stream_dims: Mapping[str, int],
        num_events: int,
        dim: int,
        feedforward_dim: int,
        num_heads: int,
        num_layers: int,
        dropout: float,
        cross_attention: bool,
        cross_share: float,
        fuse_single_stream: Sequence[str],
        head_dropout: Mapping[str, float],
        absence_dropout: float,
        negative_slope: float,
        evidence_temperature: float,
        evidence_limit: float,
    ) -> None:
        super().__init__()
        self.feature_dim, self.num_events, self.cross_share = dim, num_events, cross_share
        self.temperature, self.limit = evidence_temperature, evidence_limit
        self.modalities = {name: tuple(streams) for name, streams in modalities.items()}
        self.fusions = StreamFusions(modalities, stream_dims, dim, fuse_single_stream, NonlinearFusion)
        self.video_layer = nn.Sequential(nn.Linear(dim, dim), nn.LeakyReLU(negative_slope))
        self.video_head = nn.Linear(dim, num_events)
        self.cross = cross_attention and len(modalities) > 1
        self.layers = nn.ModuleList(
            HybridAttentionLayer(dim, num_heads, feedforward_dim, dropout, self.cross) for _ in range(num_layers)
        )
        self.head_dropout = nn.ModuleDict({name: Dropout(head_dropout.get(name, 0.0)) for name in modalities})
        self.presence_head = nn.Linear(dim, num_events)
        self.absence_layers = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(dim, dim), Dropout(absence_dropout), nn.LeakyReLU(negative_slope))
                for name in modalities
            }
        )
        self.absence_head = nn.Linear(dim, num_events)
        self.temporal_head = nn.Linear(dim, 2 * num_events)  # both logits of an event stand side by side

    def forward(self, batch: Batch) -> CMPAEOutput:
        """Parse a batch; :class:`~avvp_pl.types.ParsingOutput` lists the shapes."""
        projected = self.fusions(batch)  # [B, T, D] each
        video_probs, video_uncertainty = self._whole_video(projected, batch.mask)
        x = torch.stack(projected, dim=1)  # [B, M, T, D]
        encoded = self._encode(x, batch.mask)
        seen = [drop(own) for drop, own in zip(self.head_dropout.values(), encoded.unbind(1), strict=True)]
        evidence, attention = self._evidence(seen)  # [B, T, M, C, 2] each
        segment_probs, _ = probability_and_uncertainty(evidence, self.temperature, self.limit)
        pooled = pool(evidence, attention, batch.mask)  # [B, M, C, 2]
        modality_probs, modality_uncertainty = probability_and_uncertainty(pooled, self.temperature, self.limit)
        return CMPAEOutput(
            full_precision(encoded.transpose(1, 2)),
            segment_probs,
            video_probs,
            modality_probs * batch.mask.any(dim=1)[:, None, None],
            full_precision(x.transpose(1, 2)),
            modality_uncertainty=modality_uncertainty,
            video_uncertainty=video_uncertainty,
        )

    def _whole_video(
        self, projected: Sequence[Float[Tensor, "B T D"]], mask: Bool[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, " B"]]:
        """Return what the global branch says: the probabilities of the events, and its uncertainty."""
        hidden = torch.stack([self.video_layer(own) for own in projected]).sum(0)
        logits = full_precision(self.video_head(hidden))  # [B, T, C]
        real, count = mask[:, :, None], mask.sum(1, keepdim=True).clamp(min=1)
        probs = (logits.sigmoid() * real).sum(1) / count
        strength = to_evidence((logits * real).sum(1) / count, self.temperature, self.limit) + 1  # [B, C]
        return probs, self.num_events / strength.sum(-1)

    def _encode(self, x: Float[Tensor, "B M T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B M T D"]:
        """Let the segments attend to one another, with and without cross-attention."""
        alone = x
        for layer in self.layers:
            alone = layer(alone, mask, cross=False)
        if not self.cross or self.attending == ():
            return alone
        crossing = crossing_of(self.modalities, self.attending, like=x)
        for layer in self.layers:
            x = layer(x, mask, crossing)
        return self.cross_share * x + (1 - self.cross_share) * alone

    def _evidence(
        self, seen: Sequence[Float[Tensor, "B T D"]]
    ) -> tuple[Float[Tensor, "B T M C 2"], Float[Tensor, "B T M C 2"]]:
        """Return the logits of presence and absence, and the attention over time of both before its softmax."""
        everything = torch.stack(list(seen)).sum(0)
        judged = [own + layer(everything) for own, layer in zip(seen, self.absence_layers.values(), strict=True)]
        x = torch.stack(list(seen), dim=2)  # [B, T, M, D]
        logits = torch.stack([self.presence_head(x), self.absence_head(torch.stack(judged, dim=2))], dim=-1)
        return full_precision(logits), full_precision(self.temporal_head(x)).view_as(logits)


class NonlinearFusion(StreamFusion):
    """HAN's projections of the streams of a modality, with an ELU after each Linear layer."""

    def forward(self, streams: Sequence[Float[Tensor, "B T _"]]) -> Float[Tensor, "B T D"]:
        """Project and fuse."""
        projected = [F.elu(project(stream)) for project, stream in zip(self.projections, streams, strict=True)]
        joined = torch.cat(projected, dim=-1)
        return joined if isinstance(self.fuse, nn.Identity) else F.elu(self.fuse(joined))


def to_evidence(logits: Float[Tensor, "*n"], temperature: float, limit: float) -> Float[Tensor, "*n"]:
    """Return exp(logits / temperature), with logits clamped to at most ``limit`` in absolute value."""
    return (logits.clamp(-limit, limit) / temperature).exp()


def probability_and_uncertainty(
    logits: Float[Tensor, "*n 2"], temperature: float, limit: float
) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """Return (e+ + 1) / (e+ + e- + 2) and 2 / (e+ + e- + 2), of the evidence e+ for presence and e- for absence.

    They are the mean of a Beta distribution with the parameters e+ + 1 and e- + 1, and its uncertainty.

    >>> probability, uncertainty = probability_and_uncertainty(torch.tensor([0.0, 0.0]), 0.8, 10.0)
    >>> probability, uncertainty
    (tensor(0.5000), tensor(0.5000))
    """
    strength = to_evidence(logits, temperature, limit) + 1
    total = strength.sum(-1)
    return strength[..., 0] / total, 2 / total


def pool(
    logits: Float[Tensor, "B T M C 2"], attention: Float[Tensor, "B T M C 2"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B M C 2"]:
    """Return the mean of the logits over time, weighted by the softmax of ``attention``; 0 if all is padding."""
    real = mask[:, :, None, None, None]
    weights = attention.masked_fill(~real, torch.finfo(attention.dtype).min).softmax(dim=1)
    return (weights * real * logits).sum(dim=1)
