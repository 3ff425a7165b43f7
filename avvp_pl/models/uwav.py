"""UWAV's network: a HAN whose streams are projected by an MLP, or joined before they are (Lai et al., CVPR 2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avvp_pl.models.han import HAN
from avvp_pl.types import Batch


class UWAV(HAN):
    """HAN, in which the streams of a modality are joined first and then projected (:class:`JoinedStreams`).

    ``projection_dims`` has the number of hidden features of the MLP that projects a modality; one that it does not name
    is projected by a single Linear layer. All other arguments are HAN's.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]],
        stream_dims: Mapping[str, int],
        num_events: int,
        dim: int = 512,
        feedforward_dim: int = 2048,
        num_heads: int = 16,
        num_layers: int = 5,
        dropout: float = 0.1,
        cross_attention: bool = True,
        cross_attention_dropout: float = 0.0,
        head_dropout: Mapping[str, float] | None = None,
        update: Literal["parallel", "sequential"] = "sequential",
        projection_dims: Mapping[str, int] | None = None,
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
            cross_attention_dropout=cross_attention_dropout,
            head_dropout=head_dropout,
            update=update,
        )
        self.fusions = JoinedStreams(modalities, stream_dims, dim, projection_dims or {})


class JoinedStreams(nn.ModuleDict):
    """Map the streams of each modality to one vector for each segment: join them, then a Linear layer, or a small MLP.

    ``hidden_dims`` has the number of hidden features of the MLP of a modality; one that it does not name has no MLP.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]],
        stream_dims: Mapping[str, int],
        dim: int,
        hidden_dims: Mapping[str, int],
    ) -> None:
        joined = {name: sum(stream_dims[stream] for stream in streams) for name, streams in modalities.items()}
        super().__init__(
            {
                name: nn.Sequential(nn.Linear(size, hidden_dims[name]), nn.ReLU(), nn.Linear(hidden_dims[name], dim))
                if name in hidden_dims
                else nn.Linear(size, dim)
                for name, size in joined.items()
            }
        )
        self.streams = {name: tuple(streams) for name, streams in modalities.items()}

    def forward(self, batch: Batch) -> list[Float[Tensor, "B T D"]]:
        """Join and project the streams of each modality."""
        return [
            self[name](torch.cat([batch.features_in[stream] for stream in streams], dim=-1))
            for name, streams in self.streams.items()
        ]
