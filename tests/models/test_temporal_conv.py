"""The temporal convolution against loops over single videos, and its properties."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from avvp_pl.models import TemporalConv
from tests.models.networks import (
    DIM,
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
    modalities_of,
    randomized,
)

POOLINGS = ("top_k", "attention")


def make_net(modalities: int = 2, **options: Any) -> TemporalConv:
    return randomized(TemporalConv(modalities_of(modalities), STREAM_DIMS, EVENTS, DIM, **options))


@torch.no_grad()
@pytest.mark.parametrize("share", [1, 2, 8])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_it_equals_the_loops(modalities: int, share: int) -> None:
    lengths = (4, 1, 3)
    net, batch = make_net(modalities, top_k_share=share), make_batch(lengths, longest=5)
    output, w = net(batch), net.state_dict()
    for b, length in enumerate(lengths):
        pooled = []
        for m, (name, streams) in enumerate(net.modalities.items()):
            x = torch.cat([batch.features_in[stream][b, :length] for stream in streams], dim=1)
            kernel, bias = w[f"convolutions.{name}.weight"], w[f"convolutions.{name}.bias"]
            logits = []
            for t in range(length):
                seen = [(s, t + s) for s in (-1, 0, 1) if 0 <= t + s < length]
                features = bias + sum(kernel[:, :, 1 + s] @ x[at] for s, at in seen)
                features = features.clamp(min=0)
                logits.append(w["event_head.weight"] @ features + w["event_head.bias"])
                assert_close(output.features[b, t, m], features)
                assert_close(output.segment_probs[b, t, m], logits[-1].sigmoid())
            best = torch.stack(logits).sort(dim=0, descending=True).values[: max(1, length // share)]
            pooled.append(best.mean(0))
            assert_close(output.modality_probs[b, m], pooled[-1].sigmoid())
        assert_close(output.video_probs[b], torch.stack(pooled).mean(0).sigmoid())


@torch.no_grad()
def test_attention_pools_as_in_the_paper() -> None:
    net, batch = make_net(2, pooling="attention"), make_batch((4,))
    output, w = net(batch), net.state_dict()
    x = output.features[0]  # [T, M, D]
    temporal, modality = (x @ w[f"{of}_head.weight"].T + w[f"{of}_head.bias"] for of in ("temporal", "modality"))
    expected = (temporal.softmax(0) * modality.softmax(1) * output.segment_probs[0]).sum((0, 1))
    assert_close(output.video_probs[0], expected)


def test_features_are_those_without_dropout() -> None:
    net, batch = make_net().train(), make_batch()
    assert torch.equal(net(batch).features, net(batch).features)
    assert_dropout_acts_only_in_training(make_net(), "segment_probs")


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_changes_nothing(pooling: str) -> None:
    assert_padding_changes_nothing(make_net(pooling=pooling))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("lengths", [(4, 0), (0, 0)])
def test_a_video_that_is_all_padding_has_no_events_and_no_nan(pooling: str, lengths: tuple[int, int]) -> None:
    assert_all_padding_has_no_events(make_net(pooling=pooling), lengths)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_any_network_has_these_properties(pooling: str) -> None:
    assert_videos_do_not_influence_each_other(make_net(pooling=pooling))
    assert_every_parameter_learns(make_net(pooling=pooling, dropout=0.0))
    assert_outputs_are_in_full_precision(make_net(pooling=pooling))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"kernel_size": 2}, "must be odd"), ({"kernel_size": -1}, "must be odd"), ({"top_k_share": 0}, "1 or more")],
)
def test_impossible_sizes_are_refused(options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_net(**options)
