"""CMPAE's network against loops over videos, segments, modalities and events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from avvp_pl.models.cmpae import CMPAE, CMPAEOutput, pool, probability_and_uncertainty
from avvp_pl.models.han import HybridAttentionLayer, StreamFusion
from avvp_pl.types import Batch
from tests.models.networks import (
    DIM,
    EVENTS,
    STREAM_DIMS,
    THREE,
    assert_close,
    assert_dropout_acts_only_in_training,
    assert_every_parameter_learns,
    assert_outputs_are_in_full_precision,
    assert_padding_changes_nothing,
    assert_videos_do_not_influence_each_other,
    make_batch,
    modalities_of,
    randomized,
    reference_layer,
)

OF_SEGMENTS = ("projected", "features", "segment_probs")
SHARE, SLOPE, TEMPERATURE, LIMIT = 0.8, 0.3, 0.7, 1.5


def make_net(
    modalities: Mapping[str, Sequence[str]] = THREE,
    num_layers: int = 1,
    dropout: float = 0.0,
    head_dropout: float = 0.0,
    absence_dropout: float = 0.0,
    cross_attention: bool = True,
    seed: int = 0,
) -> CMPAE:
    """A small net in evaluation mode, all of whose weights are random; some logits are beyond the limit."""
    net = CMPAE(
        modalities,
        STREAM_DIMS,
        EVENTS,
        dim=DIM,
        feedforward_dim=10,
        num_heads=1,
        num_layers=num_layers,
        dropout=dropout,
        cross_attention=cross_attention,
        cross_share=SHARE,
        fuse_single_stream=[],
        head_dropout={"visual": head_dropout},
        absence_dropout=absence_dropout,
        negative_slope=SLOPE,
        evidence_temperature=TEMPERATURE,
        evidence_limit=LIMIT,
    )
    return randomized(net, seed)


def run(net: CMPAE, batch: Batch) -> CMPAEOutput:
    output = net(batch)
    assert isinstance(output, CMPAEOutput)
    return output


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return x @ layer.weight.T + layer.bias


def elu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, x.exp() - 1)


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, SLOPE * x)


def evidence(logit: float) -> float:
    return math.exp(min(max(logit, -LIMIT), LIMIT) / TEMPERATURE)


def reference_video(net: CMPAE, batch: Batch, video: int) -> dict[str, Tensor]:
    """The output for one video without padding, [T, ...] instead of [B, T, ...]."""
    names, segments = list(net.modalities), int(batch.mask[video].sum())
    projected = []
    for name, streams in net.modalities.items():
        fusion = net.fusions[name]
        assert isinstance(fusion, StreamFusion)
        parts = [
            elu(linear(layer, batch.features_in[stream][video, batch.mask[video]]))
            for layer, stream in zip(fusion.projections, streams, strict=True)
        ]
        projected.append(elu(linear(fusion.fuse, torch.cat(parts, 1))) if len(parts) > 1 else parts[0])
    hidden = sum(leaky(linear(net.video_layer[0], x)) for x in projected)
    assert isinstance(hidden, Tensor)
    logits = linear(net.video_head, hidden)  # [T, C]
    video_probs = [sum(1 / (1 + math.exp(-z)) for z in logits[:, c].tolist()) / segments for c in range(EVENTS)]
    uncertain = EVENTS / sum(evidence(sum(logits[:, c].tolist()) / segments) + 1 for c in range(EVENTS))
    alone, crossed = list(projected), list(projected)
    for layer in net.layers:
        crossed = mixed_layer(layer, crossed, [net.attending is None or name in net.attending for name in names])
        alone = mixed_layer(layer, alone, [False] * len(names))
    x = [SHARE * one + (1 - SHARE) * other for one, other in zip(crossed, alone, strict=True)]
    probs = torch.zeros(segments, len(names), EVENTS)
    pooled, unsure = torch.zeros(len(names), EVENTS), torch.zeros(len(names), EVENTS)
    for m, name in enumerate(names):
        everything = torch.stack(x).sum(0)
        between = net.absence_layers[name]
        assert isinstance(between, nn.Sequential)
        present = linear(net.presence_head, x[m])
        absent = linear(net.absence_head, x[m] + leaky(linear(between[0], everything)))
        attention = linear(net.temporal_head, x[m])  # [T, 2 C]: presence and absence of each event side by side
        for c in range(EVENTS):
            means = []
            for k, side in enumerate((present, absent)):
                weights = [math.exp(a) for a in attention[:, 2 * c + k].tolist()]
                values = side[:, c].tolist()
                means.append(sum(a * z for a, z in zip(weights, values, strict=True)) / sum(weights))
            for t in range(segments):
                plus, minus = evidence(present[t, c].item()), evidence(absent[t, c].item())
                probs[t, m, c] = (plus + 1) / (plus + minus + 2)
            plus, minus = evidence(means[0]), evidence(means[1])
            pooled[m, c], unsure[m, c] = (plus + 1) / (plus + minus + 2), 2 / (plus + minus + 2)
    return {
        "projected": torch.stack(projected, 1),
        "features": torch.stack(x, 1),
        "segment_probs": probs,
        "modality_probs": pooled,
        "modality_uncertainty": unsure,
        "video_probs": torch.tensor(video_probs),
        "video_uncertainty": torch.tensor(uncertain),
    }


def mixed_layer(layer: nn.Module, x: list[Tensor], crossing: list[bool]) -> list[Tensor]:
    """A layer in which only some modalities attend to the others."""
    assert isinstance(layer, HybridAttentionLayer)
    together, cross = reference_layer(layer, x), layer.cross_attention
    layer.cross_attention = None
    alone = reference_layer(layer, x)
    layer.cross_attention = cross
    return [one if crosses else other for one, other, crosses in zip(together, alone, crossing, strict=True)]


@torch.no_grad()
def assert_equals_reference(net: CMPAE, batch: Batch) -> None:
    output = net(batch)
    for b in range(len(batch.mask)):
        for name, expected in reference_video(net, batch, b).items():
            found = getattr(output, name)[b]
            assert_close(found[batch.mask[b]] if name in OF_SEGMENTS else found, expected)


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_it_equals_loops(modalities: int, num_layers: int) -> None:
    net = make_net(modalities_of(modalities), num_layers)
    assert_equals_reference(net, make_batch())
    assert_equals_reference(net, make_batch((4, 1, 3), longest=6))


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("attending", [("audio",), ("visual", "text"), (), ("audio", "visual", "text")])
def test_only_modalities_that_attend_see_the_others(num_layers: int, attending: tuple[str, ...]) -> None:
    net = make_net(THREE, num_layers)
    together = net(make_batch()).features
    net.attending = attending
    assert_equals_reference(net, make_batch((4, 2)))
    assert torch.allclose(net(make_batch()).features, together, atol=1e-5) is (len(attending) == 3)


def test_without_cross_attention_no_features_are_mixed() -> None:
    net, alone = make_net(), make_net(cross_attention=False)
    alone.load_state_dict(net.state_dict(), strict=False)
    net.attending = ()
    assert torch.equal(net(make_batch()).features, alone(make_batch()).features)


def test_no_evidence_is_a_probability_and_an_uncertainty_of_one_half() -> None:
    net = make_net()
    for head in (net.presence_head, net.absence_head, net.video_head):
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    output = run(net, make_batch((4, 2)))
    for found in (output.modality_probs, output.modality_uncertainty, output.video_probs, output.video_uncertainty):
        assert_close(found, torch.full_like(found, 0.5))


def test_evidence_by_hand() -> None:
    """Evidence 4 for presence and 1 for absence: (4 + 1) / (4 + 1 + 2) and 2 / 7; beyond the limit it does not grow."""
    logits = torch.tensor([[0.8 * math.log(4), 0.0], [50.0, 0.0], [0.0, 50.0]])
    probability, uncertainty = probability_and_uncertainty(logits, 0.8, 10.0)
    most = math.exp(12.5)
    assert_close(probability, torch.tensor([5 / 7, (most + 1) / (most + 3), 2 / (most + 3)]))
    assert_close(uncertainty, torch.tensor([2 / 7, 2 / (most + 3), 2 / (most + 3)]))


def test_pooling_by_hand() -> None:
    """Attention 3 : 1 to logits of 4 and 8 for presence, even for absence, and nothing to padding."""
    logits = torch.tensor([[4.0, 1.0], [8.0, 3.0], [100.0, 100.0]]).view(1, 3, 1, 1, 2)
    attention = torch.tensor([[math.log(3), 5.0], [0.0, 5.0], [90.0, 90.0]]).view(1, 3, 1, 1, 2)
    found = pool(logits, attention, torch.tensor([[True, True, False]]))
    assert_close(found.flatten(), torch.tensor([5.0, 2.0]))


# Padding


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_padding_changes_nothing(modalities: int) -> None:
    assert_padding_changes_nothing(make_net(modalities_of(modalities), num_layers=2))


@pytest.mark.parametrize("lengths", [(4, 0), (0, 0)])
def test_a_video_that_is_all_padding_has_no_events_and_no_nan(lengths: tuple[int, int]) -> None:
    net, batch = make_net().train(), make_batch(lengths, longest=4)
    output = run(net, batch)
    assert (output.video_probs[1] == 0).all()
    assert (output.modality_probs[1] == 0).all()
    loss = output.video_probs.sum() + output.modality_uncertainty.sum() + output.segment_probs.sum()
    loss = loss + output.video_uncertainty.sum()
    for slope in torch.autograd.grad(loss, list(net.parameters()), allow_unused=True):
        assert slope is None or slope.isfinite().all()


def test_videos_do_not_influence_each_other() -> None:
    assert_videos_do_not_influence_each_other(make_net())


# Training


def test_every_parameter_learns() -> None:
    net = make_net(num_layers=2)
    net.limit = 100.0  # a logit at the limit teaches nothing
    assert_every_parameter_learns(net)


def test_the_heads_miss_visual_features_that_the_output_has() -> None:
    net, batch = make_net(modalities_of(2), head_dropout=0.9), make_batch()
    still = net(batch)
    torch.manual_seed(0)
    output = net.train()(batch)
    assert torch.equal(output.features, still.features)
    assert not torch.allclose(output.segment_probs[:, :, 1], still.segment_probs[:, :, 1], atol=1e-2)
    # what speaks against audio events is of all modalities
    assert not torch.allclose(output.segment_probs[:, :, 0], still.segment_probs[:, :, 0], atol=1e-2)
    assert_close(output.video_probs, still.video_probs)


@pytest.mark.parametrize("which", ["dropout", "absence_dropout"])
def test_dropout_acts_only_in_training(which: str) -> None:
    net, batch = make_net(**{which: 0.5}), make_batch()  # type: ignore[arg-type]
    assert_dropout_acts_only_in_training(net, "segment_probs")
    assert torch.equal(net(batch).features, net(batch).features) is (which == "absence_dropout")


def test_outputs_are_in_full_precision() -> None:
    assert_outputs_are_in_full_precision(make_net())
