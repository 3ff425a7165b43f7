"""CVCM's network against an independent forward pass on videos without padding, and its symmetries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from avvp_pl.models import CVCM
from avvp_pl.models.cvcm import EventTokens
from avvp_pl.models.dropout import Dropout
from tests.models.networks import (
    DIM,
    EVENTS,
    ONE_STREAM_EACH,
    STREAM_DIMS,
    THREE,
    assert_close,
    assert_every_parameter_learns,
    assert_outputs_are_in_full_precision,
    make_batch,
    modalities_of,
    randomized,
    reference_layer,
    reference_streams,
    with_streams,
)

EVENT_DIM = 4


def make_net(
    modalities: Mapping[str, Sequence[str]] = ONE_STREAM_EACH,
    event_heads: int = 1,
    cross_attention: bool = True,
    seed: int = 0,
    **settings: float,
) -> CVCM:
    """A small net in evaluation mode, all of whose weights, also biases and norms, are random."""
    net = CVCM(
        modalities,
        STREAM_DIMS,
        EVENTS,
        dim=DIM,
        feedforward_dim=10,
        cross_attention=cross_attention,
        event_dim=EVENT_DIM,
        event_feedforward_dim=6,
        event_heads=event_heads,
        **settings,  # type: ignore[arg-type]
    )
    return randomized(net, seed)


def tokens_of(net: CVCM) -> EventTokens:
    assert isinstance(net.event_head, EventTokens)
    return net.event_head


def reference_logits(net: CVCM, x: list[Tensor]) -> list[Tensor]:
    """The logits [T, C] of each modality, token by token; ``x`` has the encoded segments [T, D] of each modality."""
    weights = tokens_of(net).state_dict()
    rows: list[list[Tensor]] = [[] for _ in x]
    for t in range(len(x[0])):
        tokens = []
        for name, own in zip(net.modalities, x, strict=True):
            weight, bias = weights[f"tokens.{name}.weight"], weights[f"tokens.{name}.bias"]
            made = []
            for c in range(EVENTS):
                of_event = slice(c * EVENT_DIM, (c + 1) * EVENT_DIM)
                made.append((weight[of_event] @ own[t] + bias[of_event]).clamp(min=0))
            tokens.append(torch.stack(made))  # [C, event_dim]
        attended = reference_layer(tokens_of(net).attention, tokens)
        for m, name in enumerate(net.modalities):
            rows[m].append(attended[m] @ weights[f"logits.{name}.weight"][0] + weights[f"logits.{name}.bias"])
    return [torch.stack(of_modality) for of_modality in rows]


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize(("cross_attention", "event_heads"), [(True, 1), (True, 2), (False, 1)])
@torch.no_grad()
def test_it_equals_the_reference(modalities: int, cross_attention: bool, event_heads: int) -> None:
    net, batch = make_net(modalities_of(modalities), event_heads, cross_attention), make_batch((4, 1, 3))
    output = net(batch)
    assert output.projected is not None
    for b, real in enumerate(batch.mask):
        projected = reference_streams(net, batch, b)
        x = reference_layer(net.layers[0], projected)
        video_probs = torch.zeros(EVENTS)
        scores = torch.stack([net.modality_head(own).exp() for own in x])
        for m, (own, logits) in enumerate(zip(x, reference_logits(net, x), strict=True)):
            probs = 1 / (1 + (-logits).exp())
            temporal = net.temporal_head(own).exp() / net.temporal_head(own).exp().sum(0)
            assert_close(output.projected[b, real, m], projected[m])
            assert_close(output.features[b, real, m], own)
            assert_close(output.segment_probs[b, real, m], probs)
            assert_close(output.modality_probs[b, m], (temporal * probs).sum(0))
            video_probs += (temporal * scores[m] / scores.sum(0) * probs).sum(0)
        assert_close(output.video_probs[b], video_probs)


def test_padding_changes_nothing() -> None:
    net, batch, longer = make_net(modalities_of(3)), make_batch((4, 2, 1)), make_batch((4, 2, 1), longest=7)
    output = net(batch)
    hidden = {name: x.masked_fill(~longer.mask[:, :, None], 50.0) for name, x in longer.features_in.items()}
    found = net(with_streams(longer, hidden))
    assert_close(found.segment_probs[longer.mask], output.segment_probs[batch.mask])
    assert_close(found.video_probs, output.video_probs)
    assert_close(found.modality_probs, output.modality_probs)


# Tokens


def test_tokens_attend_to_those_of_the_same_segment_only() -> None:
    """Of both modalities: a change of what is heard in one segment changes its scores, and no others."""
    tokens = tokens_of(make_net())
    x = torch.randn(2, 2, 5, DIM, generator=torch.Generator().manual_seed(1))
    changed = x.clone()
    changed[1, 0, 3] += 1
    moved = (tokens(changed) - tokens(x)).abs() > 1e-4  # [B, M, T, C]
    assert moved[1, :, 3].all()
    assert moved.sum() == 2 * EVENTS


def test_an_event_is_scored_by_the_tokens_of_the_others() -> None:
    tokens = tokens_of(make_net())
    x = torch.randn(1, 2, 1, DIM, generator=torch.Generator().manual_seed(1))
    before = tokens(x)
    with torch.no_grad():
        tokens.get_parameter("tokens.audio.bias")[:EVENT_DIM] += 1  # the token of the first event that is heard
    assert ((tokens(x) - before).abs() > 1e-4).all()


def test_events_have_no_order() -> None:
    net, order = make_net(), torch.tensor([2, 0, 1])
    batch, permuted = make_batch(), make_net()
    weights = dict(net.state_dict())
    for name in weights:
        if name.startswith(("temporal_head", "modality_head")):
            weights[name] = weights[name][order]
        elif name.startswith("event_head.tokens"):
            weights[name] = weights[name].unflatten(0, (EVENTS, EVENT_DIM))[order].flatten(0, 1)
    permuted.load_state_dict(weights)
    output, found = net(batch), permuted(batch)
    assert_close(found.segment_probs, output.segment_probs[..., order])
    assert_close(found.video_probs, output.video_probs[:, order])


@pytest.mark.parametrize("attending", [("audio",), ("visual", "text"), ()])
def test_modalities_that_do_not_attend_see_neither_segments_nor_tokens_of_the_others(
    attending: tuple[str, ...],
) -> None:
    net, batch = make_net(THREE), make_batch()
    alone = make_net(THREE, cross_attention=False)
    alone.load_state_dict(net.state_dict(), strict=False)
    together, by_itself = net(batch).segment_probs, alone(batch).segment_probs
    net.attending = attending
    found = net(batch).segment_probs
    for m, name in enumerate(THREE):
        assert torch.allclose(found[:, :, m], by_itself[:, :, m], atol=1e-5) is (name not in attending)
    assert not torch.allclose(found, together, atol=1e-3)


# Training


def test_every_parameter_learns() -> None:
    assert_every_parameter_learns(make_net(modalities_of(3)))


def test_where_dropout_is() -> None:
    """In the encoder and in the layer between tokens, each with its own; 0.4 and 0.25 if nothing is said."""
    for net, dropout, event_dropout in (
        (make_net(), 0.4, 0.25),
        (make_net(dropout=0.3, event_dropout=0.2), 0.3, 0.2),
    ):
        found = {name: module.p for name, module in net.named_modules() if isinstance(module, Dropout)}
        places = ("self_attention.dropout", "cross_attention.dropout", "dropout", "feedforward.2")
        assert found == {
            **{f"layers.0.{place}": dropout for place in places},
            **{f"event_head.attention.{place}": event_dropout for place in places},
        }


def test_a_share_of_the_training_batches_goes_without_cross_attention_of_segments_and_tokens() -> None:
    net, batch = make_net(dropout=0.0, event_dropout=0.0, cross_attention_dropout=0.5), make_batch()
    alone = make_net(cross_attention=False)
    alone.load_state_dict(net.state_dict(), strict=False)
    whole, without = net(batch), alone(batch)
    net.train()
    torch.manual_seed(0)
    outputs = [net(batch).segment_probs for _ in range(20)]
    dropped = [torch.allclose(found, without.segment_probs, atol=1e-5) for found in outputs]
    assert 3 <= sum(dropped) <= 17
    assert all(
        gone or torch.allclose(found, whole.segment_probs, atol=1e-5)
        for gone, found in zip(dropped, outputs, strict=True)
    )


def test_the_number_of_parameters_with_the_streams_of_llp() -> None:
    """Those of HAN but for its Linear layer of events, and those of tokens."""
    llp = {"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"]}
    net = CVCM(llp, {"vggish": 128, "res152": 2048, "r2plus1d_18": 512}, 25)
    layer = 2 * 4 * 129 * 128 + 2 * 129 * 128 + 2 * 2 * 128
    tokens = 2 * 513 * 25 * 128 + layer + 2 * 129
    assert sum(parameter.numel() for parameter in net.parameters()) == 4_569_675 - 513 * 25 + tokens == 8_005_940


def test_outputs_are_in_full_precision() -> None:
    assert_outputs_are_in_full_precision(make_net())


def test_a_video_that_is_all_padding_gives_no_nan() -> None:
    net, batch = make_net(), make_batch((4, 0))
    output = net(batch)
    assert all(tensor.isfinite().all() for tensor in (output.segment_probs, output.video_probs, output.features))
    assert (output.video_probs[1] == 0).all()
