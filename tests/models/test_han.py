"""HAN against an independent forward pass on videos without padding, and its symmetries."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avvp_pl.models import HAN
from avvp_pl.models.dropout import Dropout
from avvp_pl.models.han import SegmentAttention
from avvp_pl.types import Batch
from tests.models.networks import (
    DIM,
    EVENTS,
    ONE_STREAM_EACH,
    STREAM_DIMS,
    THREE,
    assert_close,
    assert_every_parameter_learns,
    assert_outputs_are_in_full_precision,
    assert_padding_changes_nothing,
    assert_same_outputs,
    assert_videos_do_not_influence_each_other,
    make_batch,
    modalities_of,
    randomized,
    reference_layer,
    reference_streams,
    rows,
    with_streams,
)


def make_net(
    modalities: Mapping[str, Sequence[str]] = ONE_STREAM_EACH,
    num_layers: int = 1,
    num_heads: int = 1,
    dropout: float = 0.1,
    cross_attention: bool = True,
    seed: int = 0,
    update: Literal["parallel", "sequential"] = "parallel",
) -> HAN:
    """A small net in evaluation mode, all of whose weights, also biases and norms, are random."""
    net = HAN(
        modalities,
        STREAM_DIMS,
        EVENTS,
        dim=DIM,
        feedforward_dim=10,
        num_heads=num_heads,
        num_layers=num_layers,
        dropout=dropout,
        cross_attention=cross_attention,
        update=update,
    )
    return randomized(net, seed)


@torch.no_grad()
def assert_equals_reference(net: HAN, batch: Batch) -> None:
    output = net(batch)
    for b in range(len(batch.mask)):
        x = reference_streams(net, batch, b)
        for layer in net.layers:
            x = reference_layer(layer, x)
        real = batch.mask[b]
        video_probs = torch.zeros(EVENTS)
        scores = torch.stack([net.modality_head(own).exp() for own in x])
        for m, own in enumerate(x):
            probs = 1 / (1 + (-net.event_head(own)).exp())
            temporal = net.temporal_head(own).exp() / net.temporal_head(own).exp().sum(0)
            assert_close(output.features[b, real, m], own)
            assert_close(output.segment_probs[b, real, m], probs)
            assert_close(output.modality_probs[b, m], (temporal * probs).sum(0))
            video_probs += (temporal * scores[m] / scores.sum(0) * probs).sum(0)
        assert_close(output.video_probs[b], video_probs)


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize(("num_layers", "num_heads"), [(1, 1), (1, 2), (2, 1), (3, 4)])
@pytest.mark.parametrize("cross_attention", [False, True])
def test_it_equals_the_reference(modalities: int, num_layers: int, num_heads: int, cross_attention: bool) -> None:
    net = make_net(modalities_of(modalities), num_layers, num_heads, cross_attention=cross_attention)
    assert_equals_reference(net, make_batch())
    assert_equals_reference(net, make_batch((4, 1, 3)))


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize(("num_layers", "num_heads"), [(1, 1), (1, 2), (3, 4)])
@pytest.mark.parametrize("cross_attention", [False, True])
def test_a_sequential_update_equals_the_reference(
    modalities: int, num_layers: int, num_heads: int, cross_attention: bool
) -> None:
    net = make_net(
        modalities_of(modalities), num_layers, num_heads, cross_attention=cross_attention, update="sequential"
    )
    assert_equals_reference(net, make_batch())
    assert_equals_reference(net, make_batch((4, 1, 3)))


@pytest.mark.parametrize(("videos", "segments"), [(1, 1), (1, 5), (4, 1)])
def test_one_video_and_one_segment(videos: int, segments: int) -> None:
    assert_equals_reference(make_net(modalities_of(2)), make_batch([segments] * videos))


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_shapes_and_ranges(modalities: int) -> None:
    output = make_net(modalities_of(modalities))(make_batch((4, 2)))
    assert output.features.shape == (2, 4, modalities, DIM)
    assert make_net(modalities_of(modalities)).feature_dim == DIM
    assert output.segment_probs.shape == (2, 4, modalities, EVENTS)
    assert output.video_probs.shape == (2, EVENTS)
    assert output.modality_probs.shape == (2, modalities, EVENTS)
    for probs in (output.segment_probs, output.modality_probs):
        assert ((probs > 0) & (probs < 1)).all()
    assert ((output.video_probs > 0) & (output.video_probs < modalities)).all()


# Symmetries


@pytest.mark.parametrize("num_layers", [1, 2])
def test_the_order_of_segments_does_not_matter(num_layers: int) -> None:
    net, batch = make_net(modalities_of(3), num_layers), make_batch((5, 5), seed=1)
    order = torch.tensor([3, 0, 4, 1, 2])
    output = net(batch)
    permuted = net(with_streams(batch, {name: x[:, order] for name, x in batch.features_in.items()}))
    assert_close(permuted.features, output.features[:, order])
    assert_close(permuted.segment_probs, output.segment_probs[:, order])
    assert_close(permuted.video_probs, output.video_probs)
    assert_close(permuted.modality_probs, output.modality_probs)
    assert not torch.allclose(output.segment_probs, output.segment_probs[:, order], atol=1e-2)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_swapped_modalities_swap_the_outputs(num_layers: int) -> None:
    net, batch = make_net(num_layers=num_layers), make_batch()
    net.fusions["visual"].load_state_dict(net.fusions["audio"].state_dict())
    audio, visual = batch.features_in["vggish"], batch.features_in["res152"]
    output, swapped = net(batch), net(with_streams(batch, {"vggish": visual, "res152": audio}))
    assert_close(swapped.features, output.features.flip(2))
    assert_close(swapped.segment_probs, output.segment_probs.flip(2))
    assert_close(swapped.modality_probs, output.modality_probs.flip(1))
    assert_close(swapped.video_probs, output.video_probs)
    assert not torch.allclose(output.segment_probs, output.segment_probs.flip(2), atol=1e-2)


def test_videos_do_not_influence_each_other() -> None:
    assert_videos_do_not_influence_each_other(make_net())


def test_modalities_stand_in_the_given_order() -> None:
    """The features of ``visual`` change with its stream alone when nothing crosses."""
    net, batch = make_net({"visual": ["res152"], "audio": ["vggish"]}, cross_attention=False), make_batch()
    output, changed = net(batch), net(with_streams(batch, {"res152": -batch.features_in["res152"]}))
    assert torch.equal(changed.features[:, :, 1], output.features[:, :, 1])
    assert not torch.allclose(changed.features[:, :, 0], output.features[:, :, 0], atol=1e-2)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    videos=st.permutations(range(3)),
    modalities=st.permutations(list(THREE)),
    events=st.permutations(range(EVENTS)),
)
def test_permuting_videos_modalities_and_events_permutes_the_outputs(
    seed: int, videos: list[int], modalities: list[str], events: list[int]
) -> None:
    net, batch = make_net(THREE, num_layers=2, seed=seed), make_batch((4, 2, 3), seed=seed)
    permuted = make_net({name: THREE[name] for name in modalities}, num_layers=2)
    heads = ("event_head.", "temporal_head.", "modality_head.")
    weights = {name: x[events] if name.startswith(heads) else x for name, x in net.state_dict().items()}
    permuted.load_state_dict(weights)
    order = [list(THREE).index(name) for name in modalities]
    output, found = net(batch), permuted(rows(batch, videos))
    assert_close(found.features, output.features[videos][:, :, order])
    assert_close(found.segment_probs, output.segment_probs[videos][:, :, order][..., events])
    assert_close(found.video_probs, output.video_probs[videos][:, events])
    assert_close(found.modality_probs, output.modality_probs[videos][:, order][..., events])


# Padding


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_padding_changes_nothing(num_layers: int, modalities: int) -> None:
    assert_padding_changes_nothing(make_net(modalities_of(modalities), num_layers))


@pytest.mark.parametrize("lengths", [(4, 0), (0, 0)])
def test_a_video_that_is_all_padding_gives_no_nan(lengths: tuple[int, int]) -> None:
    net, batch = make_net(modalities_of(3), dropout=0.0).train(), make_batch(lengths, longest=4)
    streams = {name: x.clone().requires_grad_() for name, x in batch.features_in.items()}
    output = net(with_streams(batch, streams))
    assert (output.video_probs[1] == 0).all()
    assert (output.modality_probs[1] == 0).all()
    total = output.video_probs.sum() + output.features.sum() + output.segment_probs.sum()
    assert total.isfinite()
    for slope in torch.autograd.grad(total, [*net.parameters(), *streams.values()]):
        assert slope.isfinite().all()
    if lengths[0]:
        alone = net(rows(batch, [0]))
        assert_close(output.segment_probs[0], alone.segment_probs[0])


def test_a_video_that_is_all_padding_attends_to_everything() -> None:
    """Though another is not: a softmax over nothing would be NaN in half precision."""
    torch.manual_seed(0)
    attention = SegmentAttention(DIM, 2, 0.0, to_others=False)
    x, real = torch.randn(2, 1, 4, DIM), torch.ones(2, 4, dtype=torch.bool)
    padded = torch.tensor([[True, True, True, False], [False] * 4])
    assert_close(attention(x, padded)[1], attention(x, real)[1])


# Cross-attention


@pytest.mark.parametrize("cross_attention", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_modalities_see_each_other_only_by_cross_attention(cross_attention: bool, num_layers: int) -> None:
    net, batch = make_net(num_layers=num_layers, cross_attention=cross_attention), make_batch()
    output, changed = net(batch), net(with_streams(batch, {"vggish": -batch.features_in["vggish"]}))
    for before, after in ((output.segment_probs, changed.segment_probs), (output.features, changed.features)):
        assert not torch.allclose(before[:, :, 0], after[:, :, 0], atol=1e-3)
        assert torch.equal(before[:, :, 1], after[:, :, 1]) is not cross_attention
    assert not torch.allclose(output.video_probs, changed.video_probs, atol=1e-3)


def test_a_single_modality_has_no_cross_attention() -> None:
    one, without = make_net(modalities_of(1)), make_net(modalities_of(1), cross_attention=False)
    assert one.state_dict().keys() == without.state_dict().keys()
    assert_same_outputs(one(make_batch()), without(make_batch()))


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("attending", [("audio",), ("visual", "text"), (), ("audio", "visual", "text")])
def test_only_modalities_that_attend_see_the_others(num_layers: int, attending: tuple[str, ...]) -> None:
    net, batch = make_net(THREE, num_layers=num_layers), make_batch()
    alone = make_net(THREE, num_layers=num_layers, cross_attention=False)
    alone.load_state_dict(net.state_dict(), strict=False)
    together = net(batch)
    net.attending = attending
    output = net(batch)
    for m, name in enumerate(THREE):
        if name not in attending:
            assert_close(output.features[:, :, m], alone(batch).features[:, :, m])
        else:
            # a second layer hears modalities that did not attend in the first
            same = torch.allclose(output.features[:, :, m], together.features[:, :, m], atol=1e-5)
            assert same is (num_layers == 1 or len(attending) == 3)


def test_a_share_of_the_training_batches_goes_without_cross_attention() -> None:
    net, batch = make_net(dropout=0.0), make_batch()
    net.cross_attention_dropout = 0.3
    alone = make_net(dropout=0.0, cross_attention=False)
    alone.load_state_dict(net.state_dict(), strict=False)
    whole, without = net(batch).features, alone(batch).features
    assert_close(whole, net(batch).features)  # never while it is evaluated
    net.train()
    torch.manual_seed(0)
    outputs = [net(batch).features for _ in range(300)]
    dropped = [torch.allclose(features, without, atol=1e-5) for features in outputs]
    assert all(
        gone or torch.allclose(features, whole, atol=1e-5) for gone, features in zip(dropped, outputs, strict=True)
    )
    assert 65 <= sum(dropped) <= 115  # 90 expected, three standard deviations of 8


def test_every_parameter_has_a_gradient_without_cross_attention() -> None:
    net = make_net().train()
    net.cross_attention_dropout = 1.0
    torch.autograd.backward([net(make_batch()).video_probs.sum()])
    assert all(parameter.grad is not None for parameter in net.parameters())


# Sequential update


def test_in_one_sequential_layer_new_audio_reaches_the_visual_side() -> None:
    """It is what a parallel layer would make of it, given audio that this layer has updated; audio is as ever."""
    net, batch = make_net(update="sequential"), make_batch()
    parallel = make_net()
    found, at_once = net(batch).features, parallel(batch).features
    assert_close(found[:, :, 0], at_once[:, :, 0])
    assert not torch.allclose(found[:, :, 1], at_once[:, :, 1], atol=1e-2)
    projected = net(batch).projected
    assert projected is not None
    given = {"audio_features": at_once[:, :, 0], "visual_features": projected[:, :, 1]}
    assert_close(single_layer_of(parallel, 0)(with_streams(batch, given)).features[:, :, 1], found[:, :, 1])


def test_what_audio_becomes_matters_to_the_visual_side_and_not_the_reverse() -> None:
    """By the last bias of a layer: audio has it once in each of 12 segments, the others hear it as well."""
    net, batch = make_net(THREE, update="sequential"), make_batch()
    for m, at_once in ((0, True), (1, False), (2, False)):
        net.zero_grad()
        torch.autograd.backward([net(batch).features[:, :, m].sum()])
        slope = net.layers[0].get_parameter("norm_feedforward.bias").grad
        assert slope is not None
        assert torch.allclose(slope, torch.full_like(slope, 12.0), atol=1e-4) is at_once


def test_sequential_padding_changes_nothing_and_videos_stay_apart() -> None:
    for modalities in (2, 3):
        net = make_net(modalities_of(modalities), num_layers=2, update="sequential")
        assert_padding_changes_nothing(net)
        assert_videos_do_not_influence_each_other(net)


def test_sequential_every_parameter_learns_also_without_cross_attention() -> None:
    assert_every_parameter_learns(make_net(THREE, num_layers=2, update="sequential"))
    net = make_net(update="sequential").train()
    net.cross_attention_dropout = 1.0
    torch.autograd.backward([net(make_batch()).video_probs.sum()])
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_modalities_that_do_not_attend_are_alone_in_a_sequential_layer_too() -> None:
    net, batch = make_net(THREE, update="sequential"), make_batch()
    alone = make_net(THREE, cross_attention=False)
    alone.load_state_dict(net.state_dict(), strict=False)
    together, without = net(batch).features, alone(batch).features
    net.attending = ("text",)
    output = net(batch).features
    assert_close(output[:, :, :2], without[:, :, :2])
    assert not torch.allclose(output[:, :, 2], without[:, :, 2], atol=1e-2)
    assert not torch.allclose(output[:, :, 2], together[:, :, 2], atol=1e-2)  # hears those that did not attend


def test_a_sequential_update_is_in_full_precision() -> None:
    assert_outputs_are_in_full_precision(make_net(update="sequential"))


# Layers


def single_layer_of(net: HAN, layer: int) -> HAN:
    """A net of one of ``net``'s layers and its heads, which reads features instead of streams."""
    names = {name: [f"{name}_features"] for name in net.modalities}
    alone = HAN(names, {f"{name}_features": DIM for name in net.modalities}, EVENTS, dim=DIM, feedforward_dim=10)
    alone.layers.load_state_dict({f"0.{k}": v for k, v in net.layers[layer].state_dict().items()})
    for fusion in alone.fusions.values():
        fusion.load_state_dict({"projections.0.weight": torch.eye(DIM), "projections.0.bias": torch.zeros(DIM)})
    for head in ("event_head", "temporal_head", "modality_head"):
        alone.get_submodule(head).load_state_dict(net.get_submodule(head).state_dict())
    return alone.eval()


def test_a_second_layer_reads_what_the_first_wrote() -> None:
    """The second layer by itself, given the features of the same net cut off after its first layer."""
    deep, shallow, batch = make_net(num_layers=2), make_net(), make_batch()
    shallow.load_state_dict({name: deep.state_dict()[name] for name in shallow.state_dict()})
    first = shallow(batch).features
    given = {"audio_features": first[:, :, 0], "visual_features": first[:, :, 1]}
    second = single_layer_of(deep, 1)(with_streams(batch, given))
    assert_same_outputs(deep(batch), second)
    assert not torch.allclose(deep(batch).features, first, atol=1e-2)


def test_layers_have_their_own_weights() -> None:
    net = make_net(num_layers=2)
    batch = make_batch()
    before = net(batch).features
    with torch.no_grad():
        net.layers[1].get_parameter("norm_feedforward.bias").add_(1)
    assert_close(net(batch).features, before + 1)


# Training


def test_every_parameter_learns() -> None:
    assert_every_parameter_learns(make_net(modalities_of(3), num_layers=2))


def test_dropout_acts_only_in_training() -> None:
    net, batch = make_net(dropout=0.5), make_batch()
    assert_same_outputs(net(batch), net(batch))
    torch.manual_seed(0)
    net.train()
    assert not torch.allclose(net(batch).features, net(batch).features, atol=1e-2)
    still = make_net(dropout=0.0)
    assert_same_outputs(still.train()(batch), still.eval()(batch))


@pytest.mark.parametrize("given", [None, 0.3])
def test_where_dropout_is(given: float | None) -> None:
    """On both attentions' weights, on what each branch adds and within the feed-forward; 0.1 if nothing is said."""
    net = make_net(dropout=given) if given else HAN(ONE_STREAM_EACH, STREAM_DIMS, EVENTS, dim=DIM)
    found = {name: module.p for name, module in net.layers[0].named_modules() if isinstance(module, Dropout)}
    places = ("self_attention.dropout", "cross_attention.dropout", "dropout", "feedforward.2")
    assert found == dict.fromkeys(places, given or 0.1)


def test_attention_starts_like_that_of_torch() -> None:
    """Xavier-uniform over queries, keys and values together, biases of zero."""
    attention = SegmentAttention(64, 1, 0.0, to_others=False)
    limit = math.sqrt(6 / (64 + 3 * 64))
    largest = attention.in_projection.weight.abs().max().item()
    assert 0.95 * limit < largest <= limit
    assert not attention.in_projection.bias.any()
    assert not attention.out_projection.bias.any()


def test_the_number_of_parameters_with_the_streams_of_llp() -> None:
    """Each Linear(a, b) has (a + 1) b; attention has queries, keys, values and output, a norm 2 x 512."""
    llp = {"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"]}
    net = HAN(llp, {"vggish": 128, "res152": 2048, "r2plus1d_18": 512}, 25)
    audio = 129 * 512
    visual = 2049 * 512 + 513 * 512 + 1025 * 512
    attention = 4 * 513 * 512
    layer = 2 * attention + 2 * 513 * 512 + 2 * 2 * 512
    heads = 3 * 513 * 25
    assert sum(parameter.numel() for parameter in net.parameters()) == audio + visual + layer + heads == 4_569_675


def test_a_single_stream_is_fused_where_asked() -> None:
    modalities, dims = {"audio": ["a"], "visual": ["v"]}, {"a": 3, "v": 5}
    plain = HAN(modalities, dims, num_events=2, dim=8, feedforward_dim=8)
    fused = HAN(modalities, dims, num_events=2, dim=8, feedforward_dim=8, fuse_single_stream=["visual"])
    extra = set(fused.state_dict()) - set(plain.state_dict())
    assert extra == {"fusions.visual.fuse.weight", "fusions.visual.fuse.bias"}
    fusion = fused.fusions["visual"]
    stream = torch.randn(1, 2, 5)
    weights = fused.state_dict()
    projected = stream @ weights["fusions.visual.projections.0.weight"].T + weights["fusions.visual.projections.0.bias"]
    expected = projected @ weights["fusions.visual.fuse.weight"].T + weights["fusions.visual.fuse.bias"]
    torch.testing.assert_close(fusion([stream]), expected)
    with pytest.raises(ValueError):
        fusion([stream, stream])


def test_outputs_are_in_full_precision() -> None:
    assert_outputs_are_in_full_precision(make_net())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"modalities": {}}, "modalities is empty"),
        (
            {"modalities": {"audio": "clap"}},
            "the modality 'audio' has the streams 'clap'; give a list such as ['clap']",
        ),
        ({"modalities": {"audio": []}}, "the modality 'audio' has the streams []"),
        ({"stream_dims": {"a": 3, "w": 5}}, "stream_dims has no 'v', a stream of visual, but only a, w."),
        ({"fuse_single_stream": ["visul"]}, "fuse_single_stream names 'visul'; the modalities are audio, visual. Did "),
        (
            {"head_dropout": {"visul": 0.5}},
            "head_dropout names 'visul'; the modalities are audio, visual. Did you mean ",
        ),
        ({"dim": 16, "num_heads": 3}, "num_heads is 3; it must divide dim, 16"),
        ({"num_events": 0}, "num_events is 0; it must be 1 or more"),
        ({"num_heads": 0}, "num_heads is 0; it must be 1 or more"),
        ({"dim": 0}, "dim is 0; it must be 1 or more"),
    ],
)
def test_an_impossible_network_is_refused(change: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"modalities": {"audio": ["a"], "visual": ["v"]}, "stream_dims": {"a": 3, "v": 5}}
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        HAN(**{**given, "num_events": 2, "dim": 8, **change})


def test_settings_may_name_modalities_of_llp_that_the_data_lacks() -> None:
    HAN({"touch": ["t"]}, {"t": 3}, num_events=2, dim=8, fuse_single_stream=["visual"], head_dropout={"audio": 0.5})
