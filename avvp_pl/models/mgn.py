"""MGN, the multi-modal grouping network (Mo, Tian, NeurIPS 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avvp_pl.errors import InputError
from avvp_pl.models.dropout import Dropout
from avvp_pl.models.han import SegmentAttention, StreamFusions, full_precision
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput

Assignment = Literal["soft", "hard", "gumbel"]


class MGN(ParsingNetwork):
    """Learned tokens, one for each event and modality, group the segments, and a group says whether its event occurs.

    The segments and event tokens of a modality attend to one another in ``num_layers`` layers. Then the segments of the
    modalities ``regrouped`` are grouped onto slots, which start from the segments of ``query_modality`` before any
    attention; :class:`Grouping` explains the ``assignment`` of segments to slots. Then the tokens group the segments,
    or the slots in their place. After ``num_fusion_layers`` layers over the groups of all modalities, those of
    ``query_modality`` group the others, and this gives ``video_probs``.

    ``segment_scores`` says how the probability P of an event in a modality becomes that of a segment t. With A, the
    fraction of the segment that the event's token takes, it is P A (``paper``), or P (1 + softmax_t A), at most 1
    (``code``, as in the public code, where P decides nearly alone).

    Regrouping has an MLP over the slots, with weights for each, so its videos have at most ``segments`` segments: a
    shorter one leaves slots empty, and :class:`~avvp_pl.errors.InputError` is raised for a longer one, as well as for
    fewer than two modalities, and if ``query_modality`` is none of them. ``fuse_single_stream`` is that of
    :class:`~avvp_pl.models.han.HAN`. The ``features`` are the segments that the tokens group.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]],
        stream_dims: Mapping[str, int],
        num_events: int,
        segments: int,
        dim: int = 128,
        feedforward_dim: int = 512,
        mixing_dim: int = 64,
        num_heads: int = 8,
        num_layers: int = 3,
        num_fusion_layers: int = 6,
        dropout: float = 0.1,
        query_modality: str = "visual",
        regrouped: Sequence[str] = ("audio",),
        assignment: Assignment = "gumbel",
        segment_scores: Literal["code", "paper"] = "code",
        fuse_single_stream: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if len(modalities) < 2:
            raise InputError(
                f"network=mgn groups the events of one modality by those of another one, and the only modality is "
                f"{next(iter(modalities))}; add one to data.modalities, or choose another network"
            )
        if query_modality not in modalities:
            raise InputError(
                f"network.query_modality={query_modality}: the data has no such modality; it must be one of "
                f"{', '.join(modalities)}"
            )
        self.feature_dim, self.segments, self.segment_scores = dim, segments, segment_scores
        self.modalities = {name: tuple(streams) for name, streams in modalities.items()}
        self.query_modality = query_modality
        self.event_tokens = nn.Parameter(torch.zeros(len(modalities), num_events, dim))  # [M, C, D]

        def layers(number: int) -> nn.ModuleList:
            return nn.ModuleList(AttentionLayer(dim, num_heads, feedforward_dim, dropout) for _ in range(number))

        def grouping(tokens: int, how: Assignment = "soft") -> Grouping:
            return Grouping(tokens, dim, num_heads, feedforward_dim, mixing_dim, how)

        self.fusions = StreamFusions(modalities, stream_dims, dim, fuse_single_stream)
        self.layers = nn.ModuleDict({name: layers(num_layers) for name in modalities})
        self.regroupings = nn.ModuleDict(
            {name: grouping(segments, assignment) for name in modalities if name in regrouped}
        )
        self.longest = segments if self.regroupings else None
        self.groupings = nn.ModuleDict({name: grouping(num_events) for name in modalities})
        self.modality_heads = nn.ModuleDict({name: nn.Linear(dim, 1) for name in modalities})
        self.fusion_layers = layers(num_fusion_layers)
        self.fusion_grouping = grouping(num_events)
        self.video_head = nn.Linear(dim, 1)
        self.apply(initialize)

    def forward(self, batch: Batch) -> ParsingOutput:
        """Parse a batch; :class:`~avvp_pl.types.ParsingOutput` lists the shapes."""
        mask = batch.mask
        if self.longest is not None and mask.shape[1] > self.longest:
            raise InputError(
                f"network.segments={self.segments}: mgn has weights for each segment up to this number, and a video "
                f"has {mask.shape[1]}; train with at least {mask.shape[1]}, or with network.regrouped=[]"
            )
        projected = dict(zip(self.modalities, self.fusions(batch), strict=True))  # [B, T, D] each
        segments, groups, modality_probs, segment_probs = [], {}, [], []
        for tokens, (name, x) in zip(self.event_tokens, projected.items(), strict=True):
            x, tokens = self._attend(name, x, tokens, mask)
            x = self._regroup(name, x, projected[self.query_modality], mask)
            group = self.groupings[name](tokens, x, mask)
            probs = self._probs(self.modality_heads[name], group.tokens)  # [B, C]
            segments.append(x)
            groups[name] = group.tokens
            modality_probs.append(probs)
            segment_probs.append(self._segment_probs(probs, group.assignment, mask))
        pooled = torch.stack(modality_probs, dim=1)  # [B, M, C]
        video_probs = self._fuse(groups)
        # with several processes every weight needs a gradient, also those of a modality that no loss asks
        video_probs = video_probs + 0 * pooled.sum(dim=1)
        features, before = (full_precision(torch.stack(x, dim=2)) for x in (segments, list(projected.values())))
        return ParsingOutput(features, torch.stack(segment_probs, dim=2), video_probs, pooled, before)

    def layers_of(self, name: str) -> nn.ModuleList:
        """Return the attention layers of a modality."""
        layers = self.layers[name]
        assert isinstance(layers, nn.ModuleList)
        return layers

    def _attend(
        self, name: str, x: Float[Tensor, "B T D"], tokens: Float[Tensor, "C D"], mask: Bool[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B C D"]]:
        """Let the segments of a modality and its event tokens attend to one another."""
        joined = torch.cat([x, tokens.expand(len(x), -1, -1)], dim=1)  # [B, T + C, D]
        visible = F.pad(mask, (0, len(tokens)), value=True)
        for layer in self.layers_of(name):
            joined = layer(joined, visible)
        return joined[:, : x.shape[1]], joined[:, x.shape[1] :]

    def _regroup(
        self, name: str, x: Float[Tensor, "B T D"], seeds: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T D"]:
        """Group the segments of a modality that is ``regrouped`` onto slots, and return the slots in their place."""
        if name not in self.regroupings or (self.attending is not None and name not in self.attending):
            return x
        empty = self.segments - mask.shape[1]
        slots, real = F.pad(seeds, (0, 0, 0, empty)), F.pad(mask, (0, empty))
        regrouped: Tensor = self.regroupings[name](slots, x, mask, real).tokens
        return regrouped[:, : mask.shape[1]]

    def _fuse(self, groups: Mapping[str, Float[Tensor, "B C D"]]) -> Float[Tensor, "B C"]:
        """Let the groups of ``query_modality`` group those of the others, and return the probabilities of events."""
        others = [group for name, group in groups.items() if name != self.query_modality]
        joined = torch.cat([*others, groups[self.query_modality]], dim=1)  # [B, M C, D]
        everything = torch.ones_like(joined[..., 0], dtype=torch.bool)
        for layer in self.fusion_layers:
            joined = layer(joined, everything)
        events = self.event_tokens.shape[1]
        group = self.fusion_grouping(joined[:, -events:], joined[:, :-events], everything[:, :-events])
        return self._probs(self.video_head, group.tokens)

    def _probs(self, head: nn.Module, tokens: Float[Tensor, "B C D"]) -> Float[Tensor, "B C"]:
        # from the logits on everything is computed in full precision, also inside autocast
        return full_precision(head(tokens).squeeze(-1)).sigmoid()

    def _segment_probs(
        self, probs: Float[Tensor, "B C"], assignment: Float[Tensor, "B C T"], mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T C"]:
        """Return the probabilities of the events in each segment of a modality."""
        if self.segment_scores == "paper":
            return (probs[:, :, None] * assignment).transpose(1, 2)
        share = assignment.masked_fill(~mask[:, None], torch.finfo(assignment.dtype).min).softmax(dim=-1)
        raised = probs[:, :, None] * (1 + share)
        # a clamp would have a gradient at exactly 1, where that of the cross-entropy can be 1e12
        return raised.masked_fill(raised >= 1, 1).transpose(1, 2)


class Grouped(NamedTuple):
    """Groups, and which fraction of each member every token takes."""

    tokens: Float[Tensor, "B K D"]
    assignment: Float[Tensor, "B K S"]


class Grouping(nn.Module):
    """Collect the members that belong to each of K tokens, after GroupViT's grouping block (Xu et al., CVPR 2022).

    Tokens are mixed by an MLP over their number, attend to the members, and share each member among themselves:
    A = softmax over tokens of q k / sqrt(dim). A group is its token plus the mean of its members, weighted by A, with 1
    added to the sum of the weights; then an MLP. The ``assignment`` is ``soft``; or ``hard``, each member to one token,
    with the gradient of the soft one; or ``gumbel``, the same with Gumbel noise while training.
    """

    def __init__(
        self, num_tokens: int, dim: int, num_heads: int, feedforward_dim: int, mixing_dim: int, assignment: Assignment
    ) -> None:
        super().__init__()
        self.assignment = assignment
        self.norm_tokens, self.norm_members = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mixing = mlp(num_tokens, mixing_dim)
        self.norm_mixed = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.norm_feedforward = nn.LayerNorm(dim)
        self.feedforward = mlp(dim, feedforward_dim)
        self.norm_attended = nn.LayerNorm(dim)
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.projection = nn.Linear(dim, dim)
        self.norm_group = nn.LayerNorm(dim)
        self.group_feedforward = mlp(dim, feedforward_dim)

    def forward(
        self,
        tokens: Float[Tensor, "B K D"],
        members: Float[Tensor, "B S D"],
        mask: Bool[Tensor, "B S"],
        real: Bool[Tensor, "B K"] | None = None,
    ) -> Grouped:
        """Group the members that exist according to ``mask`` by the tokens that are ``real`` (None: all)."""
        tokens, members = self.norm_tokens(tokens), self.norm_members(members)
        if real is not None:
            tokens = tokens * real[:, :, None]
        mixed = self.norm_mixed(self.mixing(tokens.transpose(1, 2)).transpose(1, 2))
        unseen = ~mask & mask.any(dim=1, keepdim=True)  # none if all is padding: a softmax over nothing is NaN
        attended = mixed + self.attention(mixed, members, members, key_padding_mask=unseen, need_weights=False)[0]
        attended = self.norm_attended(attended + self.feedforward(self.norm_feedforward(attended)))
        logits = self.query(attended) @ self.key(members).transpose(1, 2) * members.shape[-1] ** -0.5
        logits = full_precision(logits)  # [B, K, S]
        if real is not None:
            logits = logits.masked_fill(~real[:, :, None], torch.finfo(logits.dtype).min)
        assignment = self._assign(logits) * mask[:, None]
        weights = (assignment / (assignment.sum(dim=-1, keepdim=True) + 1)).to(members.dtype)
        group = attended + self.projection(weights @ self.value(members))
        return Grouped(group + self.group_feedforward(self.norm_group(group)), assignment)

    def _assign(self, logits: Float[Tensor, "B K S"]) -> Float[Tensor, "B K S"]:
        """Share each member among the tokens."""
        if self.assignment == "gumbel" and self.training:
            return F.gumbel_softmax(logits, hard=True, dim=1)
        shares = logits.softmax(dim=1)
        if self.assignment == "soft":
            return shares
        nearest = torch.zeros_like(shares).scatter(1, shares.argmax(dim=1, keepdim=True), 1)
        return nearest - shares.detach() + shares


class AttentionLayer(nn.Module):
    """Self-attention, then feed-forward, each after its normalization (pre-norm).

    While training, each of the two is skipped for a video with probability ``dropout`` (stochastic depth; Huang et al.,
    ECCV 2016).
    """

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = SegmentAttention(dim, num_heads, dropout=0.0, to_others=False)
        self.norm_feedforward = nn.LayerNorm(dim)
        self.feedforward = mlp(dim, feedforward_dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """Attend to what exists according to ``mask``."""
        x = self._add(x, self.attention(self.norm_attention(x)[:, None], mask)[:, 0])
        return self._add(x, self.feedforward(self.norm_feedforward(x)))

    def _add(self, x: Float[Tensor, "B S D"], branch: Float[Tensor, "B S D"]) -> Float[Tensor, "B S D"]:
        """Add a branch, while training not for all videos."""
        if not self.training or not self.dropout.p:
            return x + branch
        return torch.addcmul(x, branch, self.dropout.factors(branch[:, :1, :1]))


def mlp(dim: int, hidden_dim: int) -> nn.Sequential:
    """Return two Linear layers with a GELU in between."""
    return nn.Sequential(nn.Linear(dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, dim))


def initialize(module: nn.Module) -> None:
    """Draw the weights of linear maps from a truncated normal distribution, and set their biases to 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.MultiheadAttention):
        nn.init.trunc_normal_(module.in_proj_weight, std=0.02)  # its biases are 0 already
