"""MM-Pyramid: attention and convolutions at several scales of time (Yu et al., ACM Multimedia 2022)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avvp_pl.models.dropout import Dropout
from avvp_pl.models.han import HAN, SegmentAttention, feedforward


class MMPyramid(HAN):
    """HAN, in which a :class:`Pyramid` takes the place of the attention layers. Heads and pooling are HAN's.

    ``num_levels`` is the number of scales, and ``attention_dropout`` the fraction of the attention that is dropped
    while training. All other arguments are HAN's.
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
        dropout: float = 0.2,
        attention_dropout: float = 0.1,
        cross_attention: bool = True,
        fuse_single_stream: Sequence[str] = (),
        cross_attention_dropout: float = 0.0,
        head_dropout: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(
            modalities,
            stream_dims,
            num_events,
            dim=dim,
            feedforward_dim=feedforward_dim,
            num_heads=num_heads,
            num_layers=0,  # the pyramid takes their place
            fuse_single_stream=fuse_single_stream,
            cross_attention_dropout=cross_attention_dropout,
            head_dropout=head_dropout,
        )
        self.pyramid = Pyramid(
            modalities, dim, feedforward_dim, num_heads, num_levels, dropout, attention_dropout, cross_attention
        )

    def encode(
        self, x: Float[Tensor, "B M T D"], mask: Bool[Tensor, "B T"], crossing: Float[Tensor, " M"] | None = None
    ) -> Float[Tensor, "B M T D"]:
        """Let the segments attend to one another; ``crossing`` is 0 for modalities that do not see the others."""
        return self.pyramid(x, mask, crossing, self.computes_crossing)


class Pyramid(nn.Module):
    """Levels whose windows grow by a factor of two, each on top of the one before, and the fusion of their outputs.

    ``crossing`` is 0 for modalities that see none of the others; with ``cross=False`` none of them does.
    """

    def __init__(
        self,
        modalities: Iterable[str],
        dim: int,
        feedforward_dim: int,
        num_heads: int,
        num_levels: int,
        dropout: float,
        attention_dropout: float,
        cross_attention: bool,
    ) -> None:
        super().__init__()
        names = list(modalities)

        def layer(to_others: bool = False) -> PreNormLayer:
            return PreNormLayer(dim, num_heads, feedforward_dim, dropout, attention_dropout, to_others)

        def level(window: int) -> PyramidLevel:
            crosses = cross_attention and len(names) > 1
            alone = nn.ModuleDict({name: layer() for name in names})
            return PyramidLevel(names, dim, window, alone, layer(to_others=True) if crosses else None)

        self.levels = nn.ModuleList(level(2**i) for i in range(num_levels))
        self.fusions = nn.ModuleDict({name: LevelFusion(dim, layer()) for name in names})

    def forward(
        self,
        x: Float[Tensor, "B M T D"],
        mask: Bool[Tensor, "B T"],
        crossing: Float[Tensor, " M"] | None = None,
        cross: bool = True,
    ) -> Float[Tensor, "B M T D"]:
        """Encode the segments that exist according to ``mask``."""
        outputs = []
        for level in self.levels:
            x = level(x, mask, crossing, cross)
            outputs.append(x)
        every = torch.stack(outputs, dim=3)  # [B, M, T, levels, D]
        fused = [fuse(own) for fuse, own in zip(self.fusions.values(), every.unbind(1), strict=True)]
        return torch.stack(fused, dim=1)

    if TYPE_CHECKING:  # nn.Module's own call is untyped

        def __call__(
            self, x: Tensor, mask: Tensor, crossing: Tensor | None = None, cross: bool = True
        ) -> Float[Tensor, "B M T D"]:
            """Run :meth:`forward`."""
            ...


class PyramidLevel(nn.Module):
    """Attention to the segments at most ``window`` away, then a convolution of that dilation.

    A segment attends to those of its own modality (``alone``, a layer for each modality), which gives s, and to those
    of the others (``cross_layer``, shared by all), which gives c. Both of its layers begin with the segment itself. The
    modality's gate joins them to y = sigmoid(L1 [s; c]) s + sigmoid(L2 [s; c]) c. For a modality that sees none of the
    others, c is 0; if there is no ``cross_layer``, y = sigmoid(L1 s) s.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        dim: int,
        window: int,
        alone: nn.ModuleDict,
        cross_layer: PreNormLayer | None,
    ) -> None:
        super().__init__()
        self.dim, self.window, self.alone, self.cross_layer = dim, window, alone, cross_layer
        joined = dim if cross_layer is None else 2 * dim
        self.gates = nn.ModuleDict({name: nn.Linear(joined, joined) for name in modalities})  # L1 and L2 in one
        self.convolutions = nn.ModuleDict({name: DilatedConvolution(dim, dilation=window) for name in modalities})

    def forward(
        self,
        x: Float[Tensor, "B M T D"],
        mask: Bool[Tensor, "B T"],
        crossing: Float[Tensor, " M"] | None = None,
        cross: bool = True,
    ) -> Float[Tensor, "B M T D"]:
        """Encode the segments that exist according to ``mask``."""
        own = zip(self.alone.values(), x.chunk(x.shape[1], dim=1), strict=True)
        joined = torch.cat([layer(part, part, mask, self.window) for layer, part in own], dim=1)
        if self.cross_layer is not None:
            heard = self.cross_layer(x, x, mask, self.window) if cross else torch.zeros_like(joined)
            if crossing is not None:  # a product, because with several processes every weight needs a gradient
                heard = heard * crossing[:, None, None]
            joined = torch.cat([joined, heard], dim=-1)
        parts = zip(self.gates.values(), self.convolutions.values(), joined.unbind(1), strict=True)
        return torch.stack([convolve(self._mix(gate, part), mask) for gate, convolve, part in parts], dim=1)

    def _mix(self, gate: nn.Module, joined: Float[Tensor, "B T J"]) -> Float[Tensor, "B T D"]:
        """Return the sum of what is joined, each number of it times its gate."""
        gated: Tensor = gate(joined).sigmoid() * joined
        return gated.view(*gated.shape[:2], -1, self.dim).sum(2)


class DilatedConvolution(nn.Module):
    """ReLU(x + Linear(ReLU(convolution(x)))), of each segment with those ``dilation`` before and after it.

    What lies outside of the video counts as 0, whether it is padding of the batch or not.
    """

    def __init__(self, dim: int, dilation: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(dim, dim, kernel_size=3, padding=dilation, dilation=dilation)
        self.linear = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """Convolve over time."""
        real = x.masked_fill(~mask[:, :, None], 0).transpose(1, 2)
        hidden = self.convolution(real).relu().transpose(1, 2)
        output: Tensor = (x + self.linear(hidden)).relu()
        return output


class LevelFusion(nn.Module):
    """Let the outputs of all levels for a segment attend to one another; return the sum of sigmoid(Linear o) o."""

    def __init__(self, dim: int, layer: PreNormLayer) -> None:
        super().__init__()
        self.layer = layer
        self.weight = nn.Linear(dim, 1)

    def forward(self, outputs: Float[Tensor, "B T L D"]) -> Float[Tensor, "B T D"]:
        """Fuse the outputs of L levels."""
        tokens = outputs.flatten(0, 1)  # [B * T, L, D]
        every = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        tokens = self.layer(tokens[:, None], tokens[:, None], every)[:, 0]
        fused: Tensor = (self.weight(tokens).sigmoid() * tokens).sum(dim=1)  # [B * T, D]
        return fused.view(*outputs.shape[:2], -1)


class PreNormLayer(nn.Module):
    """x + attention(norm(x), memory), then the same with feed-forward; what is attended to is not normalized."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        attention_dropout: float,
        to_others: bool = False,
    ) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = SegmentAttention(dim, num_heads, attention_dropout, to_others)
        self.norm_feedforward = nn.LayerNorm(dim)
        self.feedforward = feedforward(dim, feedforward_dim, dropout)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B M T D"],
        memory: Float[Tensor, "B M S D"],
        mask: Bool[Tensor, "B S"],
        window: int | None = None,
    ) -> Float[Tensor, "B M T D"]:
        """Attend to ``memory`` as :meth:`SegmentAttention.forward` does, then feed forward."""
        return self.feed(self.attend(x, memory, mask, window))

    def attend(
        self,
        x: Float[Tensor, "B M T D"],
        memory: Float[Tensor, "B M S D"],
        mask: Bool[Tensor, "B S"],
        window: int | None = None,
    ) -> Float[Tensor, "B M T D"]:
        """Do the first half."""
        return self.dropout.residual(x, self.attention(self.norm_attention(x), mask, memory, window))

    def feed(self, x: Float[Tensor, "B M T D"]) -> Float[Tensor, "B M T D"]:
        """Do the second half."""
        return self.dropout.residual(x, self.feedforward(self.norm_feedforward(x)))
