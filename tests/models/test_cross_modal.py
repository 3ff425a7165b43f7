"""The network of CO2-Net and DELU against loops over videos, segments and taps of its convolutions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from avvp_pl.errors import InputError
from avvp_pl.models import CrossModal
from avvp_pl.models.cross_modal import StreamFilter, suppressed
from avvp_pl.models.dropout import Dropout
from avvp_pl.types import Batch
from tests.models.networks import (
    EVENTS,
    STREAM_DIMS,
    assert_all_padding_has_no_events,
    assert_close,
    assert_dropout_acts_only_in_training,
    assert_every_parameter_learns,
    assert_outputs_are_in_full_precision,
    assert_padding_changes_nothing,
    assert_videos_do_not_influence_each_other,
    make_batch,
    randomized,
    rows,
    with_streams,
)

STREAMS = {"visual": ["vggish", "res152"]}  # of 5 dimensions each
SLOPE = 0.3
WITHOUT = {"dropout": 0.0, "gate_dropout": 0.0, "attention_dropout": 0.0, "attention_logit_dropout": 0.0}


def make_net(seed: int = 0, top_k_share: int = 3, test_top_k_share: int = 2, **dropouts: float) -> CrossModal:
    """A small net in evaluation mode, all of whose weights are random."""
    rates = {**WITHOUT, **dropouts}
    net = CrossModal(
        STREAMS,
        STREAM_DIMS,
        EVENTS,
        dim=6,
        attention_dim=4,
        negative_slope=SLOPE,
        top_k_share=top_k_share,
        test_top_k_share=test_top_k_share,
        **rates,
    )
    return randomized(net, seed)


# The reference


def slow_conv(layer: nn.Module, x: list[Tensor]) -> list[Tensor]:
    """A sequence [T] of [D] through a convolution: one tap after another, and nothing beyond its ends."""
    assert isinstance(layer, nn.Conv1d)
    assert layer.bias is not None
    reach = layer.weight.shape[2] // 2
    found = []
    for t in range(len(x)):
        y = layer.bias
        for tap in range(layer.weight.shape[2]):
            if 0 <= t + tap - reach < len(x):
                y = y + layer.weight[:, :, tap] @ x[t + tap - reach]
        found.append(y)
    return found


def leaky(x: list[Tensor]) -> list[Tensor]:
    return [torch.tensor([v if v > 0 else SLOPE * v for v in y.tolist()]) for y in x]


def slow_filter(part: nn.Module, own: list[Tensor], other: list[Tensor]) -> tuple[list[Tensor], list[float]]:
    assert isinstance(part, StreamFilter)
    mean = [torch.stack(own).sum(0) / len(own)]
    (of_video,) = leaky(slow_conv(part.by_itself[0], mean))
    of_segments = leaky(slow_conv(part.by_other[0], other))
    filtered = [x / (1 + torch.exp(-gate * of_video)) for x, gate in zip(own, of_segments, strict=True)]
    hidden = leaky(slow_conv(part.attend[0], leaky(slow_conv(part.hidden[0], filtered))))
    return filtered, [1 / (1 + math.exp(-logit.item())) for logit in slow_conv(part.attend[2], hidden)]


def top_mean(values: list[float], share: int) -> float:
    highest = sorted(values, reverse=True)[: max(1, len(values) // share)]
    return sum(highest) / len(highest)


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def check(net: CrossModal, batch: Batch, share: int) -> None:
    """Compare each video with the reference; ``share`` is that of the present mode."""
    output = net(batch)
    for b, real in enumerate(batch.mask):
        first, second = (list(batch.features_in[name][b, real]) for name in STREAMS["visual"])
        one, a_one = slow_filter(net.filters[0], first, second)
        two, a_two = slow_filter(net.filters[1], second, first)
        attention = [(x + y) / 2 for x, y in zip(a_one, a_two, strict=True)]
        features = leaky(slow_conv(net.fuse[0], [torch.cat(pair) for pair in zip(one, two, strict=True)]))
        logits = slow_conv(net.classify[4], leaky(slow_conv(net.classify[1], features)))
        scores = [
            [a * (z - min(of)) + min(of) for z in of]
            for a, of in zip(attention, (segment.tolist() for segment in logits), strict=True)
        ]
        attended = [[a * z for z in of.tolist()] for a, of in zip(attention, logits, strict=True)]
        pooled_of = scores if net.training else attended
        pooled = [top_mean(list(column), share) for column in zip(*pooled_of, strict=True)]
        probs = torch.tensor(softmax(pooled)[:EVENTS])
        assert_close(output.features[b, real, 0], torch.stack(features))
        assert_close(output.logits[b, real], torch.stack(logits))
        assert_close(output.attention[b, real], torch.tensor(attention))
        assert_close(output.stream_attentions[b, real], torch.tensor([a_one, a_two]).T)
        assert_close(output.segment_probs[b, real, 0], torch.tensor([softmax(of)[:EVENTS] for of in scores]))
        assert_close(output.video_probs[b], probs)
        assert_close(output.modality_probs[b], probs[None])


@pytest.mark.parametrize("training", [False, True])
def test_equals_reference(training: bool) -> None:
    net = make_net().train(training)
    with torch.no_grad():
        check(net, make_batch((7, 1, 4, 6), longest=9), share=3 if training else 2)


def test_the_streams_are_told_apart_by_their_order() -> None:
    net, batch = make_net(), make_batch()
    streams = batch.features_in
    swapped = with_streams(batch, {"vggish": streams["res152"], "res152": streams["vggish"]})
    once, other = net(batch), net(swapped)
    assert not torch.allclose(once.logits, other.logits, atol=1e-3)
    net.filters = nn.ModuleList([net.filters[1], net.filters[0]])
    assert_close(net(swapped).stream_attentions.flip(2), once.stream_attentions)


# Properties


def test_padding_changes_nothing() -> None:
    net = make_net()
    assert_padding_changes_nothing(net)
    assert_padding_changes_nothing(net.train())


def test_videos_do_not_influence_each_other() -> None:
    net, batch = make_net(), make_batch((4, 2, 3))
    assert_videos_do_not_influence_each_other(net)
    together = net(batch)
    for b, real in enumerate(batch.mask):
        alone = net(rows(batch, [b]))
        for name in ("logits", "attention", "stream_attentions"):
            assert_close(getattr(alone, name)[0, real], getattr(together, name)[b, real])


def test_every_parameter_learns() -> None:
    assert_every_parameter_learns(make_net())


def test_outputs_are_in_full_precision() -> None:
    assert_outputs_are_in_full_precision(make_net())


@pytest.mark.parametrize("training", [False, True])
def test_a_video_that_is_all_padding_has_no_events(training: bool) -> None:
    net = make_net()
    assert_all_padding_has_no_events(net, (3, 0))
    assert (net.train(training)(make_batch((3, 0))).attention[1] == 0).all()


@pytest.mark.parametrize(
    ("rate", "output"),
    [
        ("dropout", "logits"),
        ("gate_dropout", "attention"),
        ("attention_dropout", "attention"),
        ("attention_logit_dropout", "attention"),
    ],
)
def test_dropout_acts_only_in_training(rate: str, output: str) -> None:
    rates: dict[str, Any] = {rate: 0.5}
    assert_dropout_acts_only_in_training(make_net(**rates), output)


def test_the_features_and_the_classifier_have_dropouts_of_their_own() -> None:
    net = CrossModal(STREAMS, STREAM_DIMS, EVENTS, dropout=0.7, gate_dropout=0.5, attention_dropout=0.4)
    rates = [layer.p for layer in (*net.fuse, *net.classify) if isinstance(layer, Dropout)]
    assert rates == [0.7, 0.7, 0.7]


def test_the_dropout_of_the_logit_of_an_attention_leaves_it_at_a_half() -> None:
    torch.manual_seed(0)
    batch = make_batch((60, 60), seed=1)
    with_it = make_net(attention_logit_dropout=0.5).train()(batch).stream_attentions
    assert 0.4 < (with_it == 0.5).float().mean() < 0.6
    assert (make_net().train()(batch).stream_attentions != 0.5).all()


def test_sizes_and_weights_of_the_public_code() -> None:
    with torch.device("meta"):
        net = CrossModal({"visual": ["rgb", "flow"]}, {"rgb": 1024, "flow": 1024}, 20)
    assert sum(parameter.numel() for parameter in net.parameters()) == 34_133_015
    small = CrossModal(STREAMS, STREAM_DIMS, EVENTS, dim=64)
    for layer in small.modules():
        if isinstance(layer, nn.Conv1d):
            assert layer.bias is not None
            assert (layer.bias == 0).all()
            bound = math.sqrt(6 / layer.weight[0].numel())
            assert 0.8 * bound < layer.weight.abs().max() <= bound


# What is suppressed


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=5), st.floats(0, 1))
def test_suppressed_logits_by_hand(logits: list[float], attention: float) -> None:
    found = suppressed(torch.tensor([[logits]], dtype=torch.float64), torch.tensor([[attention]], dtype=torch.float64))
    expected = [attention * (z - min(logits)) + min(logits) for z in logits]
    assert found[0, 0].tolist() == pytest.approx(expected)


def test_full_attention_changes_nothing_and_none_leaves_no_event() -> None:
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    assert_close(suppressed(logits, torch.ones(2, 3)), logits)
    assert_close(suppressed(logits, torch.zeros(2, 3)).softmax(-1), torch.full((2, 3, 4), 0.25))


def test_the_gradient_passes_through_the_lowest_logit() -> None:
    logits = torch.tensor([[[3.0, 1.0]]], requires_grad=True)
    (slope,) = torch.autograd.grad(suppressed(logits, torch.tensor([[0.25]]))[0, 0, 0], logits)
    assert slope.tolist() == [[[0.25, 0.75]]]


# Other data


@pytest.mark.parametrize(
    ("modalities", "message"),
    [
        ({"visual": ["vggish"]}, r"one modality with two streams.*the data has visual: \[vggish \(5\)\]"),
        ({"visual": ["vggish", "res152", "words"]}, "one modality with two streams"),
        (
            {"audio": ["vggish"], "visual": ["res152", "words"]},
            r"audio: \[vggish \(5\)\], visual: \[res152 \(5\), words",
        ),
        ({"visual": ["vggish", "words"]}, r"same dimension; the data has visual: \[vggish \(5\), words \(6\)\]"),
    ],
)
def test_other_data_is_refused(modalities: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CrossModal(modalities, STREAM_DIMS, EVENTS)


def test_its_features_have_the_dimension_that_it_tells() -> None:
    net = make_net()
    assert net(make_batch()).features.shape == (3, 4, 1, net.feature_dim) == (3, 4, 1, 6)
