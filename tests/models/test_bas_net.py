"""BaS-Net's network against loops over segments, and properties of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.models.bas_net import BaSNet, BaSNetOutput
from avvp_pl.types import Batch
from tests.models.networks import (
    EVENTS,
    STREAM_DIMS,
    assert_all_padding_has_no_events,
    assert_close,
    assert_dropout_acts_only_in_training,
    assert_outputs_are_in_full_precision,
    assert_padding_changes_nothing,
    assert_videos_do_not_influence_each_other,
    make_batch,
    modalities_of,
    randomized,
)
from tests.models.test_em_mil import convolved

STREAMS = ("res152", "r2plus1d_18")
HIDDEN, SHARE = 4, 2


def make_net(dropout: float = 0.7) -> BaSNet:
    return randomized(BaSNet({"visual": STREAMS}, STREAM_DIMS, EVENTS, HIDDEN, 3, dropout, SHARE))


def parsed(net: BaSNet, batch: Batch) -> BaSNetOutput:
    output = net(batch)
    assert isinstance(output, BaSNetOutput)
    return output


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.01 * x)


def slow_logits(net: BaSNet, x: Tensor) -> tuple[Tensor, Tensor]:
    hidden = leaky(convolved(leaky(convolved(x, net.first)), net.second))
    return hidden, hidden @ net.head.weight.T


def slow_pooled(logits: Tensor) -> Tensor:
    count = max(1, len(logits) // SHARE)
    highest = [sorted(column.tolist(), reverse=True)[:count] for column in logits.T]
    return torch.tensor([sum(column) / count for column in highest]).softmax(0)


@torch.no_grad()
def test_it_equals_the_loops() -> None:
    net, batch = make_net(), make_batch((5, 1, 3), longest=6)
    output, w = parsed(net, batch), net.attention.state_dict()
    for b, length in enumerate((5, 1, 3)):
        x = torch.cat([batch.features_in[name][b, :length] for name in STREAMS], dim=1)
        attention = torch.sigmoid(leaky(x @ w["0.weight"].T + w["0.bias"]) @ w["2.weight"].T + w["2.bias"])
        _, base = slow_logits(net, x)
        features, suppressed = slow_logits(net, attention * x)
        assert_close(output.attention[b, :length], attention[:, 0])
        assert_close(output.base_logits[b, :length], base)
        assert_close(output.suppressed_logits[b, :length], suppressed)
        assert_close(output.base_probs[b], slow_pooled(base))
        assert_close(output.suppressed_probs[b], slow_pooled(suppressed))
        assert_close(output.features[b, :length, 0], features)
        assert_close(output.segment_probs[b, :length, 0], suppressed.softmax(1)[:, :-1])
        assert_close(output.video_probs[b], slow_pooled(suppressed)[:-1])
        assert_close(output.modality_probs[b, 0], slow_pooled(suppressed)[:-1])


@torch.no_grad()
@pytest.mark.parametrize("attention", [0.0, 1.0])
def test_an_attention_of_1_suppresses_nothing_and_one_of_0_all(attention: float) -> None:
    net = make_net()
    for weight in net.attention.parameters():
        weight.zero_()
    dict(net.attention.named_parameters())["2.bias"].fill_(100.0 if attention else -200.0)
    batch = make_batch((5, 3))
    output = parsed(net, batch)
    assert (output.attention[batch.mask] == attention).all()
    if attention:
        assert torch.equal(output.suppressed_logits, output.base_logits)
    else:
        nothing = {name: torch.zeros_like(x) for name, x in batch.features_in.items()}
        assert_close(output.suppressed_logits, parsed(net, Batch(nothing, *_rest(batch))).base_logits)


def _rest(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return batch.mask, batch.weak_labels, batch.index, batch.segment


def test_padding_changes_nothing() -> None:
    assert_padding_changes_nothing(make_net())


def test_videos_do_not_influence_each_other() -> None:
    assert_videos_do_not_influence_each_other(make_net())


def test_outputs_are_in_full_precision() -> None:
    assert_outputs_are_in_full_precision(make_net())


def test_all_padding_has_no_events() -> None:
    assert_all_padding_has_no_events(make_net(), (4, 0))


def test_dropout_acts_only_in_training() -> None:
    assert_dropout_acts_only_in_training(make_net(), "base_logits")


def test_both_runs_have_dropout_of_their_own() -> None:
    net = make_net()
    with torch.no_grad():
        for weight in net.attention.parameters():
            weight.zero_()
        dict(net.attention.named_parameters())["2.bias"].fill_(100.0)
    output = parsed(net.train(), make_batch())
    assert not torch.allclose(output.suppressed_logits, output.base_logits)


def test_there_is_one_modality() -> None:
    with pytest.raises(InputError, match="network=bas_net is for data with one modality, and there are audio, visual;"):
        BaSNet(modalities_of(2), STREAM_DIMS, EVENTS, HIDDEN, 3, 0.7, SHARE)


def test_the_number_of_parameters_with_the_streams_of_thumos14() -> None:
    net = BaSNet({"video": ["rgb", "flow"]}, {"rgb": 1024, "flow": 1024}, 20, 2048, 512, 0.7, 8)
    attention, convolution = 2049 * 512 + 513, 3 * 2048 * 2048 + 2048
    assert sum(weight.numel() for weight in net.parameters()) == attention + 2 * convolution + 2048 * 21
