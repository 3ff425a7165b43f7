"""CVCM's network: HAN with tokens of events, which attend to one another (Lin et al., NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avvp_pl.models.han import HAN, HybridAttentionLayer


class CVCM(HAN):
    """HAN, in which :class:`EventTokens` score the events of a segment instead of a Linear layer.

    So an event is scored by what else occurs in the segment, in any modality. Attention over time and over modalities
    is HAN's. The arguments named ``event_...`` are those of the layer between tokens, and all others are HAN's.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]],
        stream_dims: Mapping[str, int],
        num_events: int,
        dim: int = 512,
        feedforward_dim: int = 512,
        num_heads: int = 1,
        num_layers: int = 1,
        dropout: float = 0.4,
        cross_attention: bool = True,
        fuse_single_stream: Sequence[str] = (),
        cross_attention_dropout: float = 0.0,
        head_dropout: Mapping[str, float] | None = None,
        update: Literal["parallel", "sequential"] = "parallel",
        event_dim: int = 128,
        event_feedforward_dim: int = 128,
        event_heads: int = 1,
        event_dropout: float = 0.25,
    ) -> None:
        super().__init__(
            modalities,
            stream_dims,
            num_events,
            dim,
            feedforward_dim,
            num_heads,
            num_layers,
            dropout,
            cross_attention,
            fuse_single_stream,
            cross_attention_dropout,
            head_dropout,
            update,
        )
        cross = cross_attention and len(modalities) > 1
        attention = HybridAttentionLayer(event_dim, event_heads, event_feedforward_dim, event_dropout, cross)
        self.event_head = EventTokens(list(modalities), dim, num_events, event_dim, attention)

    def score_events(
        self, x: Float[Tensor, "B M T D"], crossing: Float[Tensor, " M"] | None
    ) -> Float[Tensor, "B M T C"]:
        """Return the logits of the tokens; modalities that do not see the others do not see their tokens either."""
        logits: Tensor = self.event_head(x, crossing)
        return logits


class EventTokens(nn.Module):
    """One token for each event in each segment and modality, made of its features by a Linear layer and ReLU.

    ``attention`` lets the tokens of a segment attend to one another, and to those of the same segment in the other
    modalities. A Linear layer makes the logit of an event of its token. Both Linear layers are the modality's own, and
    ``attention`` is shared.
    """

    def __init__(
        self, modalities: Sequence[str], dim: int, num_events: int, event_dim: int, attention: HybridAttentionLayer
    ) -> None:
        super().__init__()
        self.num_events = num_events
        self.tokens = nn.ModuleDict({name: nn.Linear(dim, num_events * event_dim) for name in modalities})
        self.attention = attention
        self.logits = nn.ModuleDict({name: nn.Linear(event_dim, 1) for name in modalities})

    def forward(
        self, x: Float[Tensor, "B M T D"], crossing: Float[Tensor, " M"] | None = None
    ) -> Float[Tensor, "B M T C"]:
        """Score the events; ``crossing`` is 0 for modalities that do not attend to the tokens of the others."""
        batch, modalities, segments, _ = x.shape
        made = [make(own) for make, own in zip(self.tokens.values(), x.unbind(1), strict=True)]
        tokens = torch.stack(made, dim=2).relu().view(batch * segments, modalities, self.num_events, -1)
        every = torch.ones(len(tokens), self.num_events, dtype=torch.bool, device=x.device)
        tokens = self.attention(tokens, every, crossing)  # [B * T, M, C, event_dim]
        scored = [score(own) for score, own in zip(self.logits.values(), tokens.unbind(1), strict=True)]
        return torch.stack(scored, dim=1).view(batch, segments, modalities, self.num_events).transpose(1, 2)
