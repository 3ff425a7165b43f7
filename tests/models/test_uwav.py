"""UWAV's network: HAN's layers, one modality after another, on streams that are joined first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from avvp_pl.models import HAN, UWAV
from tests.models.networks import (
    DIM,
    EVENTS,
    STREAM_DIMS,
    assert_close,
    assert_every_parameter_learns,
    assert_outputs_are_in_full_precision,
    assert_padding_changes_nothing,
    assert_videos_do_not_influence_each_other,
    make_batch,
    modalities_of,
    randomized,
    reference_layer,
)


def make_net(modalities: Mapping[str, Sequence[str]] | None = None, num_layers: int = 2) -> UWAV:
    net = UWAV(
        modalities or modalities_of(2),
        STREAM_DIMS,
        EVENTS,
        dim=DIM,
        feedforward_dim=10,
        num_heads=2,
        num_layers=num_layers,
        projection_dims={"audio": 7},
    )
    return randomized(net)


def linear(x: Tensor, layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return x @ layer.weight.T + layer.bias


@pytest.mark.parametrize("modalities", [1, 2, 3])
@torch.no_grad()
def test_it_equals_the_reference(modalities: int) -> None:
    """Audio by a Linear, ReLU and a Linear; every other modality by one Linear of its joined streams."""
    net, batch = make_net(modalities_of(modalities)), make_batch((4, 1, 3))
    output = net(batch)
    for b in range(3):
        real, x = batch.mask[b], []
        for name, streams in net.modalities.items():
            joined = torch.cat([batch.features_in[stream][b, real] for stream in streams], dim=1)
            layers = net.fusions[name]
            if name == "audio":
                assert isinstance(layers, nn.Sequential)
                x.append(linear(linear(joined, layers[0]).clamp(min=0), layers[2]))
            else:
                x.append(linear(joined, layers))
        assert output.projected is not None
        assert_close(output.projected[b, real], torch.stack(x, 1))
        for layer in net.layers:
            x = reference_layer(layer, x)
        assert_close(output.features[b, real], torch.stack(x, 1))
        assert_close(output.segment_probs[b, real], net.event_head(torch.stack(x, 1)).sigmoid())


def test_the_modalities_are_updated_one_after_another() -> None:
    assert [layer.update for layer in make_net().layers] == ["sequential"] * 2


def test_pooling_is_hans() -> None:
    net, batch = make_net(), make_batch()
    output = net(batch)
    han = HAN({"audio": ["a"], "visual": ["v"]}, {"a": DIM, "v": DIM}, EVENTS, dim=DIM, num_layers=0)
    for head in ("event_head", "temporal_head", "modality_head"):
        han.get_submodule(head).load_state_dict(net.get_submodule(head).state_dict())
    for fusion in han.fusions.values():
        fusion.load_state_dict({"projections.0.weight": torch.eye(DIM), "projections.0.bias": torch.zeros(DIM)})
    streams = {"a": output.features[:, :, 0], "v": output.features[:, :, 1]}
    pooled = han(type(batch)(streams, batch.mask, batch.weak_labels, batch.index, batch.segment))
    assert_close(output.video_probs, pooled.video_probs)
    assert_close(output.modality_probs, pooled.modality_probs)


def test_properties_of_any_network() -> None:
    for modalities in (2, 3):
        net = make_net(modalities_of(modalities))
        assert_padding_changes_nothing(net)
        assert_videos_do_not_influence_each_other(net)
    assert_every_parameter_learns(make_net())
    assert_outputs_are_in_full_precision(make_net())
