"""ASM-Loc's networks (He et al., CVPR 2022): with intervals to look at, and the one without that finds the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avvp_pl.errors import InputError
from avvp_pl.models.convolution import SegmentConvolution
from avvp_pl.models.dropout import Dropout
from avvp_pl.models.han import full_precision
from avvp_pl.models.mil_pooling import top_k_pooling
from avvp_pl.pseudo_labels.proposals import (
    Samples,
    between,
    covering,
    even_places,
    random_places,
    sampling_weights,
    warp_of,
)
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput

FOREGROUND_SHARE, BACKGROUND_SHARE = 8, 3  # one of so many samples is pooled


@dataclass(frozen=True, kw_only=True)
class ASMLocOutput(ParsingOutput):
    """What the network says about its J samples of each video; the background is the last of C + 1.

    ``logits`` are z, without the attention a, and ``uncertainty`` is u (None: the base network). ``foreground`` is P,
    the softmax of the mean of the J // 8 highest a z of each event, and ``background`` is Q, the same of the J // 3
    highest (1 - a) z.
    """

    logits: Float[Tensor, "B J C1"]
    attention: Float[Tensor, "B J"]
    uncertainty: Float[Tensor, "B J"] | None
    foreground: Float[Tensor, "B C1"]
    background: Float[Tensor, "B C1"]
    samples: Samples

    @property
    def curves(self) -> Float[Tensor, "B J C"]:
        """The softmax of a z over the events and the background, without the background."""
        return (self.attention[:, :, None] * self.logits).softmax(2)[:, :, :-1]


class ASMLoc(ParsingNetwork):
    """Samples of a video, which attend to one another within and across proposals, with attention and uncertainty.

    All streams are joined, so that all modalities have the same probabilities. A training video has ``segments``
    samples, and any other one at most ``test_segments`` (None: all). With ``proposals`` of the data, the segments of
    short proposals are sampled more than once (:func:`~avvp_pl.pseudo_labels.proposals.sampling_weights` explains
    ``oversampled_to``, ``confident_share`` and ``widening``), and :class:`ProposalAttention` follows the convolution
    twice: between samples that one proposal covers, and between the means of proposals, which their samples get. With
    ``none``, it is the base network, which samples every video evenly.

    The features f are a convolution of width 3 and ReLU. The attention is the first output of softmax(Linear f), and
    the uncertainty a Linear of f. The logits are a Linear of f, of which ``dropout`` drops first whole samples and then
    single numbers.

    The segments of the output have the probabilities and features of the samples beside them: ``segment_probs`` are the
    softmax of attended logits, and ``video_probs`` P, without the background. ``warp`` is ``code`` to place intervals
    as the public code does; see :class:`~avvp_pl.pseudo_labels.proposals.Samples`.
    """

    def __init__(
        self,
        modalities: Mapping[str, Sequence[str]],
        stream_dims: Mapping[str, int],
        num_events: int,
        proposals: Literal["none", "data"],
        dim: int = 2048,
        num_heads: int = 8,
        dropout: float = 0.7,
        segments: int = 750,
        test_segments: int | None = 750,
        oversampled_to: float = 12.0,
        confident_share: float = 0.7,
        widening: float = 2.0,
        warp: Literal["exact", "code"] = "exact",
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise InputError(f"network.dim={dim}: it must be a multiple of network.num_heads={num_heads}")
        self.feature_dim, self.modalities = dim, len(modalities)
        self.streams = [name for names in modalities.values() for name in names]
        self.segments, self.test_segments = segments, test_segments
        self.oversampled_to, self.confident_share, self.widening = oversampled_to, confident_share, widening
        self.exact = warp == "exact"
        self.embed = SegmentConvolution(sum(stream_dims[name] for name in self.streams), dim)
        self.attention_head = nn.Linear(dim, 2)
        self.event_head = nn.Linear(dim, num_events + 1)
        self.dropout = Dropout(dropout)
        self.intra = self.inter = self.uncertainty_head = None
        if proposals == "data":
            self.intra, self.inter = (ProposalAttention(dim, num_heads) for _ in range(2))
            self.uncertainty_head = nn.Linear(dim, 1, bias=False)
            nn.init.normal_(self.uncertainty_head.weight, std=1e-4)

    def forward(self, batch: Batch) -> ASMLocOutput:
        """Parse a batch of whole videos."""
        samples = self.sample(batch)
        x = samples.read(torch.cat([batch.features_in[name] for name in self.streams], 2))
        f = self.embed(x, samples.mask).relu()  # [B, J, D]
        if self.intra is not None and self.inter is not None:
            assert batch.proposals is not None
            covered = covering(batch.proposals, samples, self.widening).to(f.dtype)  # [B, K, J]
            f = self.intra.within(f, covered, samples.mask)
            f = self.inter.across(f, covered, samples.mask)
        attention = full_precision(self.attention_head(f)).softmax(2)[:, :, 0]
        uncertainty = None if self.uncertainty_head is None else full_precision(self.uncertainty_head(f)[:, :, 0])
        whole = self.dropout(torch.ones_like(f[:, :, :1]))
        logits = full_precision(self.event_head(self.dropout(f * whole)))
        attended, rest = attention[:, :, None] * logits, (1 - attention[:, :, None]) * logits
        foreground, background = (
            top_k_pooling(scores, samples.mask, share).softmax(1)
            for scores, share in ((attended, FOREGROUND_SHARE), (rest, BACKGROUND_SHARE))
        )
        places, count = samples.of_segments(batch.mask.shape[1]), samples.mask.sum(1)

        def of_segments(values: Float[Tensor, "B J X"]) -> Float[Tensor, "B T M X"]:
            return between(values, places, count)[:, :, None].expand(-1, -1, self.modalities, -1)

        video_probs = foreground[:, :-1]
        return ASMLocOutput(
            features=of_segments(full_precision(f)),
            segment_probs=of_segments(attended.softmax(2)[:, :, :-1]),
            video_probs=video_probs,
            modality_probs=video_probs[:, None].expand(-1, self.modalities, -1),
            logits=logits,
            attention=attention,
            uncertainty=uncertainty,
            foreground=foreground,
            background=background,
            samples=samples,
        )

    if TYPE_CHECKING:

        def __call__(self, batch: Batch) -> ASMLocOutput:
            """Run :meth:`forward`."""
            ...

    def sample(self, batch: Batch) -> Samples:
        """Choose the samples of a batch."""
        weights = torch.ones(batch.mask.shape, dtype=torch.float64, device=batch.mask.device)
        if self.intra is not None:
            if batch.proposals is None:
                raise InputError(
                    "network.proposals=data: the videos have no proposals; give their file, data.proposals=FILE, which "
                    "python -m avvp_pl.refine +refine=asm_loc writes (+recipe=asm_loc does all of it)"
                )
            weights = sampling_weights(
                batch.proposals, batch.mask, self.oversampled_to, self.confident_share, self.widening
            )
        warp = warp_of(weights, batch.mask)
        counts = warp.counts
        if self.training:
            places = random_places(counts, self.segments)
            mask = (counts > 0)[:, None].expand_as(places)
        else:
            places, mask = even_places(counts, self.test_segments)
        return Samples(places, mask, warp, self.exact)


class ProposalAttention(nn.Module):
    """Self-attention with several heads, added to its input after a :class:`SegmentNorm`: nothing is, at first."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.norm = SegmentNorm(dim)

    def within(
        self, x: Float[Tensor, "B J D"], covered: Float[Tensor, "B K J"], mask: Bool[Tensor, "B J"]
    ) -> Float[Tensor, "B J D"]:
        """Let a sample attend to all that a proposal covers together with it."""
        attended = self.attend(x, covered.transpose(1, 2) @ covered > 0)
        return self._added(x, attended, mask)

    def across(
        self, x: Float[Tensor, "B J D"], covered: Float[Tensor, "B K J"], mask: Bool[Tensor, "B J"]
    ) -> Float[Tensor, "B J D"]:
        """Let the means of proposals attend to one another; a sample gets the mean of those that cover it."""
        sizes, times = covered.sum(2, keepdim=True), covered.sum(1, keepdim=True)
        exists = sizes[:, :, 0] > 0  # [B, K]
        means = covered / sizes.clamp(min=1) @ x  # [B, K, D]
        attended = self.attend(means, exists[:, :, None] & exists[:, None])
        back = (covered / times.clamp(min=1)).transpose(1, 2) @ attended
        return self._added(x, back, mask)

    def _added(
        self, x: Float[Tensor, "B J D"], attended: Float[Tensor, "B J D"], mask: Bool[Tensor, "B J"]
    ) -> Float[Tensor, "B J D"]:
        normalized: Tensor = self.norm(self.out(attended), mask)
        return x + normalized

    def attend(self, x: Float[Tensor, "B N D"], allowed: Bool[Tensor, "B N N"]) -> Float[Tensor, "B N D"]:
        """Return what each of N attends to; 0 for one that may attend to nothing."""
        query, key, value = (
            project(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # [B, H, N, D / H]
            for project in (self.query, self.key, self.value)
        )
        # a softmax over nothing is undefined, so who may attend to nothing attends to itself and gets 0
        some = allowed.any(2)
        seen = allowed | torch.diag_embed(~some)
        with torch.autocast(x.device.type, enabled=False):
            attended = F.scaled_dot_product_attention(
                full_precision(query), full_precision(key), full_precision(value), seen[:, None]
            )
        return (attended * some[:, None, :, None]).to(value.dtype).transpose(1, 2).flatten(2)


class SegmentNorm(nn.Module):
    """Batch normalization over all real segments of a batch, whose weight and bias start at 0.

    As in ``nn.BatchNorm1d``, evaluation has running means of the statistics. Each process has those of its own videos.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, dim: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight, self.bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x: Float[Tensor, "B J D"], mask: Bool[Tensor, "B J"]) -> Float[Tensor, "B J D"]:
        """Normalize."""
        x = full_precision(x)
        mean, var = self.running_mean, self.running_var
        if self.training:
            real = mask[:, :, None].to(x.dtype)
            count = real.sum().clamp(min=1)
            mean = (x * real).sum((0, 1)) / count
            var = ((x - mean).square() * real).sum((0, 1)) / count
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * count / (count - 1).clamp(min=1), self.momentum)
        return (x - mean) * (var + self.eps).rsqrt() * self.weight + self.bias
