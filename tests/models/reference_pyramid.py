"""MM-Pyramid's layers again, with loops over levels, segments, heads and modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from avvp_pl.models.mm_pyramid import DilatedConvolution, LevelFusion, PreNormLayer, Pyramid, PyramidLevel
from tests.models.networks import Network, randomized


def with_small_weights(net: Network, seed: int = 0) -> Network:
    """Random weights, but small ones: features are not normalized, so they grow from level to level."""
    with torch.no_grad():
        for parameter in randomized(net, seed).parameters():
            parameter.mul_(0.5)
    return net


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return x @ layer.weight.T + layer.bias


def normalized(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    centered = x - x.mean()
    return centered / (centered.square().mean() + 1e-5).sqrt() * norm.weight + norm.bias


def slow_attention(layer: PreNormLayer, x: Tensor, memory: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """One query x [D] to some vectors; also the logits before their softmax [heads, S]."""
    attention = layer.attention
    size = len(x) // attention.num_heads
    weights, biases = attention.in_projection.weight.chunk(3), attention.in_projection.bias.chunk(3)
    query = weights[0] @ x + biases[0]
    heads, logits = [], []
    for head in range(attention.num_heads):
        part = slice(head * size, (head + 1) * size)
        keys = [(weights[1] @ m + biases[1])[part] for m in memory]
        values = [(weights[2] @ m + biases[2])[part] for m in memory]
        logits.append(torch.stack([query[part] @ key / size**0.5 for key in keys]))
        heads.append(sum(share * value for share, value in zip(logits[-1].softmax(0), values, strict=True)))
    return linear(attention.out_projection, torch.cat(heads)), torch.stack(logits)


def slow_layer(layer: PreNormLayer, x: Tensor, memory: Sequence[Tensor]) -> Tensor:
    """q + attention(norm q, k, v), then feed-forward in the same way: keys and values are not normalized."""
    x = x + slow_attention(layer, normalized(layer.norm_attention, x), memory)[0]
    hidden = linear(layer.feedforward[0], normalized(layer.norm_feedforward, x)).clamp(min=0)
    return x + linear(layer.feedforward[3], hidden)


def slow_convolution(block: DilatedConvolution, y: Sequence[Tensor], reach: int) -> list[Tensor]:
    weight, bias = block.convolution.weight, block.convolution.bias
    assert bias is not None
    outputs = []
    for t, own in enumerate(y):
        hidden = bias
        for tap, place in enumerate((t - reach, t, t + reach)):
            if 0 <= place < len(y):
                hidden = hidden + weight[:, :, tap] @ y[place]
        outputs.append((own + linear(block.linear, hidden.clamp(min=0))).clamp(min=0))
    return outputs


def slow_level(
    level: nn.Module, x: Mapping[str, Sequence[Tensor]], reach: int, hears: Sequence[str]
) -> dict[str, list[Tensor]]:
    """One level for one video: x has T vectors of each modality, and ``hears`` those that attend to the others."""
    assert isinstance(level, PyramidLevel)
    outputs = {}
    for name, own in x.items():
        y = []
        for t, segment in enumerate(own):
            near = [u for u in range(len(own)) if abs(t - u) <= reach]
            alone = level.alone[name]
            assert isinstance(alone, PreNormLayer)
            s = slow_layer(alone, segment, [own[u] for u in near])
            if level.cross_layer is None:
                y.append(linear(level.gates[name], s).sigmoid() * s)
                continue
            others = [part[u] for other, part in x.items() if other != name for u in near]
            c = slow_layer(level.cross_layer, segment, others) if name in hears else torch.zeros_like(s)
            first, second = linear(level.gates[name], torch.cat([s, c])).sigmoid().chunk(2)
            y.append(first * s + second * c)
        block = level.convolutions[name]
        assert isinstance(block, DilatedConvolution)
        outputs[name] = slow_convolution(block, y, reach)
    return outputs


def slow_pyramid(pyramid: Pyramid, streams: Mapping[str, Tensor], hears: Sequence[str]) -> dict[str, Tensor]:
    """The encoded segments [T, D] of each modality of one video."""
    x: dict[str, list[Tensor]] = {name: list(own) for name, own in streams.items()}
    levels = []
    for number, level in enumerate(pyramid.levels):
        x = slow_level(level, x, 2**number, hears)
        levels.append(x)
    encoded = {}
    for name, fusion in pyramid.fusions.items():
        assert isinstance(fusion, LevelFusion)
        assert isinstance(fusion.layer, PreNormLayer)
        segments = []
        for t in range(len(x[name])):
            outputs = [of_level[name][t] for of_level in levels]
            tokens = [slow_layer(fusion.layer, output, outputs) for output in outputs]
            segments.append(sum(linear(fusion.weight, token).sigmoid() * token for token in tokens))
        encoded[name] = torch.stack(segments)  # type: ignore[arg-type]
    return encoded
