"""HAN, the hybrid attention network (Eqs. 1-3; Tian, Li, Xu, ECCV 2020)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avvp_pl.errors import nearest
from avvp_pl.models.dropout import Dropout
from avvp_pl.models.mil_pooling import attentive_mil_pooling
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput

OF_LLP = ("audio", "visual")  # modalities that settings may name although the data has others


class HAN(ParsingNetwork):
    """Project the streams of each modality, let segments attend to each other, score and pool them.

    ``modalities`` maps each modality to its streams, in the order of the modality axis; ``stream_dims`` maps each
    stream to its dimension. All modalities share the weights of the layers and heads. With ``cross_attention=False`` no
    modality sees another one before pooling. Several streams of a modality are joined by a second Linear;
    ``fuse_single_stream`` names the modalities that have this second Linear even for a single stream. In the fraction
    ``cross_attention_dropout`` of training batches cross-attention is skipped, so that the network also works without
    it (see ``attending``). ``head_dropout`` has the fraction of features that the heads miss in training, for each
    modality; one that it does not name misses none. The ``features`` of the output are those without this dropout.

    With ``update="sequential"`` the modalities are updated one after another in every layer, in their order, so that
    each of them attends to what those before it have become, as in VALOR and UWAV. ``parallel``: all of them read the
    same input.

    Raises ValueError for a stream without a dimension, a name that is no modality, sizes below 1, and a ``dim`` that
    the heads cannot share.
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
        dropout: float = 0.1,
        cross_attention: bool = True,
        fuse_single_stream: Sequence[str] = (),
        cross_attention_dropout: float = 0.0,
        head_dropout: Mapping[str, float] | None = None,
        update: Literal["parallel", "sequential"] = "parallel",
    ) -> None:
        super().__init__()
        check_streams(modalities, stream_dims)
        _check_modalities("fuse_single_stream", fuse_single_stream, modalities)
        _check_modalities("head_dropout", head_dropout or {}, modalities)
        sizes = {"num_events": num_events, "dim": dim, "num_heads": num_heads, "feedforward_dim": feedforward_dim}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} is {size}; it must be 1 or more")
        if dim % num_heads:
            raise ValueError(f"num_heads is {num_heads}; it must divide dim, {dim}")
        self.feature_dim, self.cross_attention_dropout = dim, cross_attention_dropout
        self.modalities = {name: tuple(streams) for name, streams in modalities.items()}
        self.fusions: nn.ModuleDict = StreamFusions(modalities, stream_dims, dim, fuse_single_stream)
        cross = cross_attention and len(self.modalities) > 1
        self.layers = nn.ModuleList(
            HybridAttentionLayer(dim, num_heads, feedforward_dim, dropout, cross, update) for _ in range(num_layers)
        )
        dropped = {name: p for name, p in (head_dropout or {}).items() if p and name in self.modalities}
        self.head_dropout = nn.ModuleDict({name: Dropout(p) for name, p in dropped.items()})
        self.event_head: nn.Module = nn.Linear(dim, num_events)
        self.temporal_head = nn.Linear(dim, num_events)
        self.modality_head = nn.Linear(dim, num_events)

    def forward(self, batch: Batch) -> ParsingOutput:
        """Parse a batch; :class:`~avvp_pl.types.ParsingOutput` lists the shapes."""
        projected = self.project(batch)  # [B, M, T, D]
        crossing = self._crossing(projected)
        x = seen = self.encode(projected, batch.mask, crossing)
        if self.head_dropout:
            parts = zip(self.modalities, x.unbind(1), strict=True)
            seen = torch.stack(
                [self.head_dropout[name](part) if name in self.head_dropout else part for name, part in parts], 1
            )
        scores = (self.score_events(seen, crossing), self.temporal_head(seen), self.modality_head(seen))
        # from the logits on everything is computed in full precision, also inside autocast
        logits = (full_precision(score.transpose(1, 2)) for score in scores)
        event_logits, temporal_logits, modality_logits = logits  # [B, T, M, C]
        segment_probs = event_logits.sigmoid()  # Eq. (2)
        video_probs, modality_probs = attentive_mil_pooling(segment_probs, temporal_logits, modality_logits, batch.mask)
        features, projected = (full_precision(part.transpose(1, 2)) for part in (x, projected))  # [B, T, M, D]
        return ParsingOutput(features, segment_probs, video_probs, modality_probs, projected)

    def project(self, batch: Batch) -> Float[Tensor, "B M T D"]:
        """Return the features of each segment by itself."""
        return torch.stack(self.fusions(batch), dim=1)

    def encode(
        self, x: Float[Tensor, "B M T D"], mask: Bool[Tensor, "B T"], crossing: Float[Tensor, " M"] | None = None
    ) -> Float[Tensor, "B M T D"]:
        """Let the segments attend to one another; ``crossing`` is 0 for modalities that do not see the others."""
        for layer in self.layers:
            x = layer(x, mask, crossing, self.computes_crossing)
        return x

    def score_events(
        self, x: Float[Tensor, "B M T D"], crossing: Float[Tensor, " M"] | None
    ) -> Float[Tensor, "B M T C"]:
        """Return the logit of each event in each segment; ``crossing`` is that of :meth:`encode`."""
        logits: Tensor = self.event_head(x)
        return logits

    def _crossing(self, x: Tensor) -> Float[Tensor, " M"] | None:
        """Return 1 for each modality that attends to the others in this batch, else 0; None if all do."""
        drawn = self.training and self.cross_attention_dropout > 0
        if drawn and torch.rand(()) < self.cross_attention_dropout:
            return x.new_zeros(len(self.modalities))
        return crossing_of(self.modalities, self.attending, like=x)


def crossing_of(
    modalities: Iterable[str], attending: Collection[str] | None, like: Tensor
) -> Float[Tensor, " M"] | None:
    """Return 1 for each modality that is ``attending`` to the others, else 0; None if all are."""
    if attending is None:
        return None
    attends = [name in attending for name in modalities]
    crossing = like.new_zeros(len(attends))
    for own, on in zip(crossing, attends, strict=True):
        own.fill_(float(on))  # filled in place: a list that is sent to a GPU is waited for
    return crossing


def check_streams(modalities: Mapping[str, Sequence[str]], stream_dims: Mapping[str, int]) -> None:
    """Raise ValueError unless there are modalities, each with a list of streams whose dimensions are known."""
    if not modalities:
        raise ValueError("modalities is empty; give each modality with its streams")
    for name, streams in modalities.items():
        if isinstance(streams, str) or not streams:
            raise ValueError(f"the modality {name!r} has the streams {streams!r}; give a list such as ['clap']")
        for stream in streams:
            if stream not in stream_dims:
                raise ValueError(
                    f"stream_dims has no {stream!r}, a stream of {name}, but only {', '.join(stream_dims)}."
                    f"{nearest(stream, stream_dims)}"
                )


def _check_modalities(argument: str, names: Iterable[str], modalities: Collection[str]) -> None:
    """Raise ValueError for a name in an argument that is no modality, and would have no effect."""
    for name in names:
        if name not in modalities and name not in OF_LLP:
            raise ValueError(
                f"{argument} names {name!r}; the modalities are {', '.join(modalities)}.{nearest(name, modalities)}"
            )


def joined(parts: Sequence[Tensor], dim: int) -> Tensor:
    """Join tensors; torch would also copy a single one."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim)


def full_precision(x: Tensor) -> Tensor:
    """Convert to float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class StreamFusion(nn.Module):
    """Map the streams of a modality to one vector for each segment: a Linear for each, then (``fuse``) one for all."""

    def __init__(self, stream_dims: Sequence[int], dim: int, fuse: bool) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(stream_dim, dim) for stream_dim in stream_dims)
        self.fuse = nn.Linear(len(stream_dims) * dim, dim) if fuse else nn.Identity()

    def forward(self, streams: Sequence[Float[Tensor, "B T _"]]) -> Float[Tensor, "B T D"]:
        """Project and fuse."""
        projected = [project(stream) for project, stream in zip(self.projections, streams, strict=True)]
        fused: Tensor = self.fuse(joined(projected, dim=-1))
        return fused


class StreamFusions(nn.ModuleDict):
    """The fusion of every modality by its name, of the class ``kind``.

    Several streams of a modality are fused, and so is the single one of the modalities in ``fuse_single_stream``.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]],
        stream_dims: Mapping[str, int],
        dim: int,
        fuse_single_stream: Collection[str],
        kind: type[StreamFusion] = StreamFusion,
    ) -> None:
        super().__init__(
            {
                name: kind([stream_dims[s] for s in streams], dim, len(streams) > 1 or name in fuse_single_stream)
                for name, streams in modalities.items()
            }
        )
        self.streams = {name: tuple(streams) for name, streams in modalities.items()}

    def forward(self, batch: Batch) -> list[Float[Tensor, "B T D"]]:
        """Project and fuse the streams of each modality."""
        return [self[name]([batch.features_in[stream] for stream in streams]) for name, streams in self.streams.items()]

    if TYPE_CHECKING:

        def __call__(self, batch: Batch) -> list[Float[Tensor, "B T D"]]:
            """Run :meth:`forward`."""
            ...


class HybridAttentionLayer(nn.Module):
    """The encoder of Eq. (1): x + self-attention(x) + cross-attention(x, the other modalities), then feed-forward.

    Normalization comes after each of the two (post-norm). In the cross-attention the query is a segment of one
    modality, and the keys are all segments of the other modalities. All modalities read the same input; with
    ``update="sequential"``, a modality reads the output of those before it instead. ``crossing`` is 0 for modalities
    that skip cross-attention; with ``cross=False`` all of them do.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        cross: bool,
        update: Literal["parallel", "sequential"] = "parallel",
    ) -> None:
        super().__init__()
        self.update = update
        self.self_attention = SegmentAttention(dim, num_heads, dropout, to_others=False)
        self.cross_attention = SegmentAttention(dim, num_heads, dropout, to_others=True) if cross else None
        self.dropout = Dropout(dropout)
        self.norm_attention = nn.LayerNorm(dim)
        self.feedforward = feedforward(dim, feedforward_dim, dropout)
        self.norm_feedforward = nn.LayerNorm(dim)

    def forward(
        self,
        x: Float[Tensor, "B M T D"],
        mask: Bool[Tensor, "B T"],
        crossing: Float[Tensor, " M"] | None = None,
        cross: bool = True,
    ) -> Float[Tensor, "B M T D"]:
        """Attend within and across modalities."""
        attended = self.dropout.residual(x, self.self_attention(x, mask))
        if not cross or self.cross_attention is None:
            return self._fed_forward(attended)
        if self.update == "parallel":
            heard = self.cross_attention(x, mask)
            if crossing is not None:  # a product, because with several processes every weight needs a gradient
                heard = heard * crossing[:, None, None]
            return self._fed_forward(self.dropout.residual(attended, heard))
        alone = torch.split(attended, 1, dim=1)  # of each modality, [B, 1, T, D]
        current = list(torch.split(x, 1, dim=1))
        for m in range(len(current)):
            others = [*current[:m], *current[m + 1 :]]
            heard = self.cross_attention(current[m], mask.repeat(1, len(others)), torch.cat(others, dim=2))
            if crossing is not None:
                heard = heard * crossing[m]
            current[m] = self._fed_forward(self.dropout.residual(alone[m], heard))
        return torch.cat(current, dim=1)

    def _fed_forward(self, attended: Float[Tensor, "B M T D"]) -> Float[Tensor, "B M T D"]:
        """Normalize, and apply the feed-forward part."""
        x = self.norm_attention(attended)
        output: Tensor = self.norm_feedforward(self.dropout.residual(x, self.feedforward(x)))
        return output


def feedforward(dim: int, hidden_dim: int, dropout: float) -> nn.Sequential:
    """Return two Linear layers with a ReLU and dropout in between."""
    return nn.Sequential(nn.Linear(dim, hidden_dim), nn.ReLU(), Dropout(dropout), nn.Linear(hidden_dim, dim))


class SegmentAttention(nn.Module):
    """Multi-head attention of segments to those of their own modality, or (``to_others``) to those of all others.

    The initialization is that of torch's ``MultiheadAttention``, which is not used because it would project the keys of
    each modality again for every other modality.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float, to_others: bool) -> None:
        super().__init__()
        self.num_heads, self.to_others = num_heads, to_others
        self.dropout = Dropout(dropout)
        self.in_projection = nn.Linear(dim, 3 * dim)
        self.out_projection = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_projection.weight)
        nn.init.zeros_(self.in_projection.bias)
        nn.init.zeros_(self.out_projection.bias)

    def forward(
        self,
        x: Float[Tensor, "B M T D"],
        mask: Bool[Tensor, "B S"],
        memory: Float[Tensor, "B M S D"] | None = None,
        window: int | None = None,
    ) -> Float[Tensor, "B M T D"]:
        """Attend to the segments that exist according to ``mask``.

        They are those of ``memory``, or of ``x`` where that is None; with ``to_others``, a single modality attends to
        all of it. With a ``window``, which needs S = T, a segment attends only to those whose times differ from its own
        by at most that number.
        """
        visible = visible_segments(mask, window)  # [B, 1 or T, S]
        if memory is None:
            query, key, value = self.in_projection(x).chunk(3, dim=-1)
        else:
            query, key, value = self._project(x, memory)
        modalities = x.shape[1]
        if self.to_others and modalities > 1:
            # rolled by s, the modality axis has modality m + s at position m
            turns = range(1, modalities)
            key, value = (
                joined([part.roll(-s, 1) for s in turns], dim=2) for part in (key, value)
            )  # [B, M, (M-1)*S, D]
            visible = visible.repeat(1, 1, modalities - 1)
        query, key, value = (self._heads(part) for part in (query, key, value))  # [B*M*heads, segments, D/heads]
        unseen = torch.zeros_like(visible, dtype=x.dtype).masked_fill(~visible, torch.finfo(x.dtype).min)
        unseen = unseen.repeat_interleave(modalities * self.num_heads, dim=0)
        # torch's own attention needs extra passes to scale queries and keys, and uses its slow dropout
        logits = torch.baddbmm(unseen, query, key.transpose(1, 2), alpha=query.shape[-1] ** -0.5)
        attended = self.dropout(logits.softmax(-1)) @ value
        output: Tensor = self.out_projection(self._join(attended, x.shape))
        return output

    def scores(self, x: Float[Tensor, "B M T D"], memory: Float[Tensor, "B M S D"]) -> Float[Tensor, "B M T S"]:
        """Return the mean over heads of the logits before their softmax, in full precision also inside autocast."""
        query, key, _ = self._project(x, memory)
        with torch.autocast(x.device.type, enabled=False):
            products = full_precision(query) @ full_precision(key).transpose(2, 3)  # the sum over heads
            return torch.mul(products, (x.shape[-1] * self.num_heads) ** -0.5)

    def _project(
        self, x: Float[Tensor, "B M T D"], memory: Float[Tensor, "B M S D"]
    ) -> tuple[Float[Tensor, "B M T D"], Float[Tensor, "B M S D"], Float[Tensor, "B M S D"]]:
        """Return the queries of ``x``, and the keys and values of ``memory``."""
        # split, whose gradients are joined; those of slices would be added up, each filled with zeros
        both, sizes = (self.in_projection.weight, self.in_projection.bias), [x.shape[-1], 2 * x.shape[-1]]
        to_query, to_memory = zip(*(torch.split(part, sizes) for part in both), strict=True)
        key, value = F.linear(memory, *to_memory).chunk(2, dim=-1)
        return F.linear(x, *to_query), key, value

    def _heads(self, part: Float[Tensor, "B M S D"]) -> Float[Tensor, "BMH S D_head"]:
        batch, modalities, segments, dim = part.shape
        heads = part.reshape(batch * modalities, segments, self.num_heads, dim // self.num_heads)
        return heads.transpose(1, 2).flatten(0, 1)

    def _join(self, heads: Float[Tensor, "BMH S D_head"], shape: torch.Size) -> Float[Tensor, "B M S D"]:
        batch, modalities, segments, _ = shape
        return heads.reshape(batch * modalities, self.num_heads, segments, -1).transpose(1, 2).reshape(shape)


def visible_segments(mask: Bool[Tensor, "B S"], window: int | None = None) -> Bool[Tensor, "B _ S"]:
    """Return which segments each one attends to: all that exist, or those that exist and are within the ``window``.

    Padding attends to padding as well, because a softmax over nothing is NaN; so does a video that is all padding.

    >>> visible_segments(torch.tensor([[True, True, True, False]]), window=1)[0].int().tolist()
    [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    """
    if window is None:
        return (mask | ~mask.any(dim=1, keepdim=True))[:, None]
    time = torch.arange(mask.shape[1], device=mask.device)
    near = (time[:, None] - time).abs() <= window
    return near & (mask[:, None] | ~mask[:, :, None])
