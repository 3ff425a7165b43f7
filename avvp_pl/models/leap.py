"""LEAP's network: events are queries to the segments (Zhou et al., ECCV 2024)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avvp_pl.errors import InputError, brief
from avvp_pl.models.han import StreamFusions, crossing_of, full_precision
from avvp_pl.models.mm_pyramid import PreNormLayer, Pyramid
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput


class LEAP(ParsingNetwork):
    """The events query the segments of each modality, which :class:`~avvp_pl.models.mm_pyramid.Pyramid` has encoded.

    A query is an event's embedding, mapped by a Linear layer. In each modality it attends to the segments in
    ``num_query_layers`` layers. P_m, the probability that modality m shows the event at all, is the sigmoid of a Linear
    layer of the query. The probability of a segment is the sigmoid of a logit of the last layer's attention: the mean
    over heads of query times key, both projected, over sqrt(dim / num_heads). The query here is the one that has just
    attended in this layer, and it is not normalized.

    ``video_probs`` is the maximum of P_m over modalities. An event is then found in the video exactly if one of its
    modalities shows it, whatever the threshold is.

    ``event_embeddings`` is an .npy file [C, E] with the embeddings of the events in their order, such as those of their
    names by a language model. They are not trained. None: each event has ``dim`` numbers that are learned. The file is
    read whenever the network is built, also to test a checkpoint, whose own embeddings are then used. All other
    arguments are those of :class:`~avvp_pl.models.mm_pyramid.MMPyramid`.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]],
        stream_dims: Mapping[str, int],
        num_events: int,
        dim: int = 512,
        feedforward_dim: int = 512,
        num_heads: int = 8,
        num_levels: int = 4,
        num_query_layers: int = 2,
        dropout: float = 0.2,
        attention_dropout: float = 0.1,
        cross_attention: bool = True,
        fuse_single_stream: Sequence[str] = (),
        event_embeddings: str | None = None,
    ) -> None:
        super().__init__()
        self.feature_dim = dim
        self.modalities = {name: tuple(streams) for name, streams in modalities.items()}
        self.fusions = StreamFusions(modalities, stream_dims, dim, fuse_single_stream)
        self.pyramid = Pyramid(
            modalities, dim, feedforward_dim, num_heads, num_levels, dropout, attention_dropout, cross_attention
        )
        if event_embeddings is None:
            self.event_embeddings: Tensor = nn.Parameter(torch.randn(num_events, dim))
        else:
            self.register_buffer("event_embeddings", embeddings_of(Path(event_embeddings), num_events))
        self.embed = nn.Linear(self.event_embeddings.shape[1], dim)
        self.queries = nn.ModuleDict(
            {
                name: EventQueries(
                    dim,
                    [
                        PreNormLayer(dim, num_heads, feedforward_dim, dropout, attention_dropout)
                        for _ in range(num_query_layers)
                    ],
                )
                for name in modalities
            }
        )

    def forward(self, batch: Batch) -> ParsingOutput:
        """Parse a batch; :class:`~avvp_pl.types.ParsingOutput` lists the shapes."""
        projected = torch.stack(self.fusions(batch), dim=1)  # [B, M, T, D]
        crossing = crossing_of(self.modalities, self.attending, like=projected)
        x = self.pyramid(projected, batch.mask, crossing, self.computes_crossing)
        events = self.embed(self.event_embeddings)  # [C, D]
        asked = [ask(events, own, batch.mask) for ask, own in zip(self.queries.values(), x.unbind(1), strict=True)]
        segment_logits, modality_logits = (torch.stack(list(logits), dim=-2) for logits in zip(*asked, strict=True))
        modality_probs = modality_logits.sigmoid() * batch.mask.any(dim=1)[:, None, None]
        features, before = (full_precision(part.transpose(1, 2)) for part in (x, projected))
        return ParsingOutput(features, segment_logits.sigmoid(), modality_probs.amax(1), modality_probs, before)


class EventQueries(nn.Module):
    """The queries of the events to the segments of one modality."""

    def __init__(self, dim: int, layers: Iterable[PreNormLayer]) -> None:
        super().__init__()
        *first, self.last = layers
        self.first = nn.ModuleList(first)
        self.head = nn.Linear(dim, 1)

    def forward(
        self, events: Float[Tensor, "C D"], x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B C"]]:
        """Return the logits of the events in each segment and in the modality as a whole."""
        memory, query = x[:, None], events.expand(len(x), 1, -1, -1)  # [B, 1, T, D], [B, 1, C, D]
        for layer in self.first:
            query = layer(query, memory, mask)
        query = self.last.attend(query, memory, mask)
        scores = self.last.attention.scores(query, memory)[:, 0]  # [B, C, T]
        logits = self.head(self.last.feed(query)[:, 0]).squeeze(-1)
        return scores.transpose(1, 2), full_precision(logits)


def embeddings_of(path: Path, num_events: int) -> Float[Tensor, "C E"]:
    """Read the embeddings of the events from an .npy file; :class:`InputError` if it is not what it should be."""
    try:
        with path.open("rb") as file:
            found = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; network.event_embeddings names it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # whatever numpy raises for a damaged file, or for one that it would have to unpickle
        raise InputError(
            f"{path}: not an .npy file of numbers ({brief(error)}); write the embeddings of the events with numpy.save"
        ) from None
    if found.ndim != 2 or len(found) != num_events or not found.shape[1] or found.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: has shape {list(found.shape)} and type {brief(found.dtype)}; needed are numbers of shape "
            f"[{num_events}, E], the embedding of each of the {num_events} events in their order"
        )
    with np.errstate(over="ignore"):
        embeddings = torch.from_numpy(found.astype(np.float32))
    if len(wrong := (~embeddings.isfinite()).nonzero()):
        raise InputError(f"{path}: row {wrong[0, 0]} has a value that is not a finite number; correct the file")
    return embeddings
