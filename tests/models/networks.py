"""What the tests of all networks share: small batches, HAN's layers by torch's own, and properties of any network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avvp_pl.models import HAN, LEAP
from avvp_pl.models.han import HybridAttentionLayer, SegmentAttention
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput

Network = TypeVar("Network", bound=nn.Module)

EVENTS = 3
DIM = 8
ONE_STREAM_EACH = {"audio": ["vggish"], "visual": ["res152"]}
THREE = {"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"], "text": ["words"]}
STREAM_DIMS = {"vggish": 5, "res152": 5, "r2plus1d_18": 4, "words": 6}


def modalities_of(count: int) -> dict[str, list[str]]:
    return dict(list(THREE.items())[:count])


def randomized(net: Network, seed: int = 0) -> Network:
    """The net in evaluation mode, with all of its weights, also biases and norms, drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator)
    return net.eval()


def make_batch(lengths: Sequence[int] = (4, 4, 4), longest: int | None = None, seed: int = 0) -> Batch:
    """Random streams; videos of these ``lengths``, padded with zeros to the ``longest``."""
    segments = max(lengths) if longest is None else longest
    mask = torch.arange(segments) < torch.tensor(lengths)[:, None]
    generator = torch.Generator().manual_seed(seed)
    streams = {}
    for name, dim in STREAM_DIMS.items():
        full = torch.randn(len(lengths), max(lengths), dim, generator=generator)
        streams[name] = F.pad(full, (0, 0, 0, segments - max(lengths))) * mask[:, :, None]
    ends = torch.tensor(lengths).cumsum(0)[:, None]
    segment = torch.minimum(ends - torch.tensor(lengths)[:, None] + torch.arange(segments), (ends - 1).clamp(min=0))
    return Batch(streams, mask, torch.zeros(len(lengths), EVENTS), torch.arange(len(lengths)), segment)


def with_streams(batch: Batch, streams: Mapping[str, Tensor]) -> Batch:
    return replace(batch, features_in={**batch.features_in, **streams})


def rows(batch: Batch, videos: list[int]) -> Batch:
    streams = {name: stream[videos] for name, stream in batch.features_in.items()}
    return Batch(streams, batch.mask[videos], batch.weak_labels[videos], batch.index[videos], batch.segment[videos])


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def assert_same_outputs(actual: ParsingOutput, expected: ParsingOutput) -> None:
    assert_close(actual.features, expected.features)
    assert_close(actual.segment_probs, expected.segment_probs)
    assert_close(actual.video_probs, expected.video_probs)
    assert_close(actual.modality_probs, expected.modality_probs)


# The reference: one video at a time, without padding, with torch's own attention


def reference_attention(attention: SegmentAttention, query: Tensor, keys: Tensor) -> Tensor:
    """Of the segments ``query`` [T, D] to the segments ``keys`` [S, D]."""
    theirs = nn.MultiheadAttention(query.shape[1], attention.num_heads, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": attention.in_projection.weight,
            "in_proj_bias": attention.in_projection.bias,
            "out_proj.weight": attention.out_projection.weight,
            "out_proj.bias": attention.out_projection.bias,
        }
    )
    attended: Tensor = theirs.eval()(query[None], keys[None], keys[None], need_weights=True)[0]
    return attended[0]


def reference_layer(layer: nn.Module, x: list[Tensor]) -> list[Tensor]:
    """Eqs. (1)-(2), then feed-forward, both post-norm; ``x`` has [T, D] of each modality."""
    assert isinstance(layer, HybridAttentionLayer)
    outputs: list[Tensor] = []
    for m, own in enumerate(x):
        attended = own + reference_attention(layer.self_attention, own, own)
        read = [*outputs, *x[m:]] if layer.update == "sequential" else x
        others = [other for n, other in enumerate(read) if n != m]
        if others and layer.cross_attention is not None:
            attended = attended + reference_attention(layer.cross_attention, own, torch.cat(others))
        attended = F.layer_norm(attended, own.shape[1:], layer.norm_attention.weight, layer.norm_attention.bias)
        first, last = layer.feedforward[0], layer.feedforward[-1]
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        hidden = (attended @ first.weight.T + first.bias).clamp(min=0)
        joined = attended + hidden @ last.weight.T + last.bias
        outputs.append(F.layer_norm(joined, own.shape[1:], layer.norm_feedforward.weight, layer.norm_feedforward.bias))
    return outputs


def reference_streams(net: HAN | LEAP, batch: Batch, video: int) -> list[Tensor]:
    """The projected streams of each modality, [T, D], of the real segments of one video."""
    x = []
    for name, streams in net.modalities.items():
        weights = net.fusions[name].state_dict()
        projected = [
            batch.features_in[stream][video, batch.mask[video]] @ weights[f"projections.{i}.weight"].T
            + weights[f"projections.{i}.bias"]
            for i, stream in enumerate(streams)
        ]
        fused = torch.cat(projected, dim=1)
        if len(streams) > 1:
            fused = fused @ weights["fuse.weight"].T + weights["fuse.bias"]
        x.append(fused)
    return x


# Properties

# outputs of shape [B, T, ...]
OF_SEGMENTS = {
    *("projected", "features", "segment_probs", "key_probs", "event_probs", "base_logits", "suppressed_logits"),
    *("attention", "stream_attentions", "logits", "magnitudes", "action", "background"),
}


def values(output: ParsingOutput, mask: Tensor) -> Iterator[tuple[str, Tensor]]:
    """All that a network returns, by name; of segments only those that exist."""
    for field in fields(output):
        value = getattr(output, field.name)
        if value is not None:
            yield field.name, value[mask] if field.name in OF_SEGMENTS else value


def assert_padding_changes_nothing(net: ParsingNetwork, longest: int = 7) -> None:
    """Neither how much of it there is, nor what is in it."""
    batch, longer = make_batch((4, 2, 1)), make_batch((4, 2, 1), longest=longest)
    hidden = {name: x.masked_fill(~longer.mask[:, :, None], 50.0) for name, x in longer.features_in.items()}
    expected = dict(values(net(batch), batch.mask))
    for padded in (longer, with_streams(longer, hidden)):
        found = dict(values(net(padded), padded.mask))
        assert found.keys() == expected.keys()
        for name, value in found.items():
            assert_close(value, expected[name])


def assert_videos_do_not_influence_each_other(net: ParsingNetwork) -> None:
    batch = make_batch((4, 2, 3))
    together = net(batch)
    for b in range(3):
        alone = net(rows(batch, [b]))
        assert_close(alone.segment_probs[0], together.segment_probs[b])
        for name, value in values(alone, batch.mask[[b]]):
            if value.ndim < 3 and name not in OF_SEGMENTS:
                assert_close(value[0], getattr(together, name)[b])


def assert_every_parameter_learns(net: ParsingNetwork) -> None:
    output = net.train()(make_batch((4, 3)))
    loss = output.video_probs.square().sum() + output.modality_probs.square().sum()
    names, parameters = zip(*net.named_parameters(), strict=True)
    for name, slope in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        assert slope.isfinite().all(), name
        assert slope.abs().max() > 0, name


def assert_outputs_are_in_full_precision(net: ParsingNetwork) -> None:
    """Also those of half-precision layers; and what is more precise stays so."""
    batch = make_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = net(batch)
    double = net.double()(with_streams(batch, {name: x.double() for name, x in batch.features_in.items()}))
    for output, dtype in ((half, torch.float32), (double, torch.float64)):
        assert {value.dtype for _, value in values(output, batch.mask)} == {dtype}


def assert_all_padding_has_no_events(net: ParsingNetwork, lengths: tuple[int, int]) -> None:
    """The second of two videos has no segments, and nothing that is learned from both is NaN."""
    output = net.train()(make_batch(lengths, longest=4))
    assert (output.video_probs[1] == 0).all()
    assert (output.modality_probs[1] == 0).all()
    loss = output.video_probs.sum() + output.modality_probs.sum() + output.segment_probs.sum()
    for slope in torch.autograd.grad(loss, list(net.parameters()), allow_unused=True):
        assert slope is None or slope.isfinite().all()


def assert_dropout_acts_only_in_training(net: ParsingNetwork, output: str) -> None:
    """On this output; the network is left in training."""
    batch = make_batch()
    assert torch.equal(getattr(net(batch), output), getattr(net(batch), output))
    net.train()
    torch.manual_seed(0)
    assert not torch.allclose(getattr(net(batch), output), getattr(net(batch), output), atol=1e-3)
