"""EM-MIL's networks against loops over segments, and properties of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from avvp_pl.errors import InputError
from avvp_pl.models.convolution import SegmentConvolution
from avvp_pl.models.em_mil import EMMIL, Branch, EMMILOutput, VideoClassifier
from avvp_pl.models.one_modality import extremes_over_segments, mean_over_segments
from avvp_pl.types import Batch
from tests.models.networks import (
    EVENTS,
    STREAM_DIMS,
    assert_close,
    assert_outputs_are_in_full_precision,
    assert_padding_changes_nothing,
    assert_videos_do_not_influence_each_other,
    make_batch,
    modalities_of,
    randomized,
)

STREAMS = ("res152", "r2plus1d_18")
HIDDEN = 4


def make_net(streams: tuple[str, ...] = STREAMS) -> EMMIL:
    return randomized(EMMIL({"visual": streams}, STREAM_DIMS, EVENTS, HIDDEN))


def parsed(net: EMMIL, batch: Batch) -> EMMILOutput:
    output = net(batch)
    assert isinstance(output, EMMILOutput)
    return output


def convolved(x: Tensor, layer: SegmentConvolution) -> Tensor:
    """[T, D] to [T, D']: three neighbors, and zeros beyond both ends."""
    rows = [torch.zeros_like(x[0]), *x, torch.zeros_like(x[0])]
    return torch.stack([layer.bias + sum(layer.weight[:, :, k] @ rows[t + k] for k in range(3)) for t in range(len(x))])


def slow_branch(branch: Branch, x: Tensor) -> Tensor:
    hidden = convolved(x, branch.layer).clamp(min=0)
    return 1 / (1 + (-(hidden @ branch.head.weight.T + branch.head.bias)).exp())


def slow_video(net: VideoClassifier, streams: list[Tensor]) -> list[float]:
    segments = range(len(streams[0]))
    attention, events = [0.0 for _ in segments], [[0.0] * EVENTS for _ in segments]
    for x, a, k in zip(streams, net.attention, net.events, strict=True):
        assert isinstance(a, nn.Linear)
        assert isinstance(k, nn.Linear)
        scores = [math.exp(float(row @ a.weight[0] + a.bias[0])) for row in x]
        for t in segments:
            attention[t] += scores[t] / sum(scores) / len(streams)
            logits = [math.exp(float(x[t] @ k.weight[c] + k.bias[c])) for c in range(EVENTS)]
            for c in range(EVENTS):
                events[t][c] += logits[c] / sum(logits) / len(streams)
    return [sum(attention[t] * events[t][c] for t in segments) for c in range(EVENTS)]


@torch.no_grad()
@pytest.mark.parametrize("streams", [STREAMS[:1], STREAMS, (*STREAMS, "vggish")])
def test_it_equals_the_loops(streams: tuple[str, ...]) -> None:
    net, batch = make_net(streams), make_batch((4, 1, 3), longest=5)
    output = parsed(net, batch)
    assert output.features.shape == (3, 5, 1, net.feature_dim)
    for b, length in enumerate((4, 1, 3)):
        own = [batch.features_in[name][b, :length] for name in streams]
        keys = [slow_branch(branch, x) for branch, x in zip(net.key_branches, own, strict=True)]  # type: ignore[arg-type]
        events = [slow_branch(branch, x) for branch, x in zip(net.event_branches, own, strict=True)]  # type: ignore[arg-type]
        assert_close(output.key_probs[b, :length], torch.cat(keys, dim=1))
        assert_close(output.event_probs[b, :length], torch.stack(events, dim=1))
        assert_close(output.segment_probs[b, :length, 0], torch.stack(events).mean(0))
        assert output.video_probs[b].tolist() == pytest.approx(slow_video(net.video_classifier, own), rel=1e-5)
    assert_close(output.modality_probs[:, 0], output.video_probs)


def test_padding_changes_nothing() -> None:
    assert_padding_changes_nothing(make_net())


def test_videos_do_not_influence_each_other() -> None:
    assert_videos_do_not_influence_each_other(make_net())


def test_outputs_are_in_full_precision() -> None:
    assert_outputs_are_in_full_precision(make_net())


def test_the_probabilities_of_a_video_sum_to_1_and_are_0_without_segments() -> None:
    output = make_net()(make_batch((4, 0, 2)))
    assert_close(output.video_probs.sum(1), torch.tensor([1.0, 0.0, 1.0]))


def test_gradients_are_finite_with_a_video_without_segments() -> None:
    net = make_net()
    output = parsed(net, make_batch((2, 0)))
    loss = output.video_probs.square().sum() + output.key_probs.sum() + output.event_probs.sum()
    for slope in torch.autograd.grad(loss, list(net.parameters())):
        assert slope.isfinite().all()
        assert slope.abs().max() > 0


def test_there_is_one_modality() -> None:
    with pytest.raises(InputError, match=r"network=em_mil .* audio, visual; .*fused: \[vggish, res152, r2plus1d_18\]"):
        EMMIL(modalities_of(2), STREAM_DIMS, EVENTS, HIDDEN)


def test_the_number_of_parameters_with_the_streams_of_thumos14() -> None:
    net = EMMIL({"video": ["rgb", "flow"]}, {"rgb": 1024, "flow": 1024}, 20, 256)
    branches = 2 * (2 * (3 * 1024 * 256 + 256) + 257 * 1 + 257 * 20)
    assert sum(weight.numel() for weight in net.parameters()) == branches + 2 * 1025 * 21


def test_a_mean_and_extremes_of_nothing_are_0() -> None:
    x, mask = torch.tensor([[[3.0], [5.0]]]), torch.zeros(1, 2, dtype=torch.bool)
    assert mean_over_segments(x, mask).tolist() == [[0.0]]
    assert [bound.tolist() for bound in extremes_over_segments(x, mask)] == [[[0.0]], [[0.0]]]
