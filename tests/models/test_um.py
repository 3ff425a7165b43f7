"""UM's network against loops over segments, and which segments it chooses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.models.mil_pooling import largest, mean_of
from avvp_pl.models.um import UM, UMOutput
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
    modalities_of,
    randomized,
)
from tests.models.test_em_mil import convolved

STREAMS = ("res152", "r2plus1d_18")
HIDDEN, ACTION, BACKGROUND = 4, 3, 2


def make_net(dropout: float = 0.7) -> UM:
    return randomized(UM({"visual": STREAMS}, STREAM_DIMS, EVENTS, HIDDEN, dropout, ACTION, BACKGROUND))


def parsed(net: UM, batch: Batch) -> UMOutput:
    output = net(batch)
    assert isinstance(output, UMOutput)
    return output


def slow_mean(column: list[float], count: int) -> float:
    return sum(sorted(column, reverse=True)[:count]) / count


@torch.no_grad()
def test_it_equals_the_loops() -> None:
    net, batch = make_net(), make_batch((7, 1, 3), longest=8)
    output = parsed(net, batch)
    for b, length in enumerate((7, 1, 3)):
        x = torch.cat([batch.features_in[name][b, :length] for name in STREAMS], dim=1)
        features = convolved(x, net.layer).clamp(min=0)
        logits = features @ net.head.weight.T
        n = [sum(value**2 for value in row.tolist()) ** 0.5 for row in features]
        order = sorted(range(length), key=lambda t: n[t])
        action, background = order[-max(1, length // ACTION) :], order[: max(1, length // BACKGROUND)]
        pooled = torch.tensor([slow_mean(column.tolist(), len(action)) for column in logits.T]).softmax(0)
        assert_close(output.features[b, :length, 0], features)
        assert_close(output.logits[b, :length], logits)
        assert_close(output.segment_probs[b, :length, 0], logits.softmax(1))
        assert output.magnitudes[b, :length].tolist() == pytest.approx(n, rel=1e-5)
        assert output.action[b].nonzero()[:, 0].tolist() == sorted(action)
        assert output.background[b].nonzero()[:, 0].tolist() == sorted(background)
        assert_close(output.video_probs[b], pooled)
        assert_close(output.modality_probs[b, 0], pooled)
        assert_close(output.background_probs[b], logits[background].mean(0).softmax(0))


@settings(max_examples=50, deadline=None)
@given(order=st.permutations(range(12)), length=st.integers(4, 12))
def test_action_and_background_have_no_segment_in_common(order: list[int], length: int) -> None:
    """With the shares of the paper, if no two magnitudes are equal and no segment is dropped."""
    n, mask = torch.tensor([order], dtype=torch.float32), torch.arange(12)[None] < length
    action, background = largest(n, mask, 9), largest(n.max() - n, mask, 4)
    assert not (action * background).any()
    assert action.sum() == max(1, length // 9)
    assert background.sum() == max(1, length // 4)


def test_dropped_segments_are_chosen_last() -> None:
    """In training, a segment that the mask drops has n m = 0 and (max n - n) m = 0."""
    torch.manual_seed(0)
    net, batch = make_net(dropout=0.5).train(), make_batch((16, 16, 16))
    kept: list[Tensor] = []

    def remember(module: object, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if output.ndim == 2:
            kept.append(output > 0)

    net.dropout.register_forward_hook(remember)
    output = parsed(net, batch)
    assert len(kept) == 1  # one mask for both sets
    (mask,) = kept
    assert 0 < mask.sum() < mask.numel()
    for chosen, share in ((output.action, ACTION), (output.background, BACKGROUND)):
        for own, of_video in zip(chosen, mask, strict=True):
            assert (own[of_video]).sum() >= min(16 // share, int(of_video.sum())) - 1  # the longest has max n - n = 0


def test_a_mean_of_nothing_is_0() -> None:
    assert mean_of(torch.ones(1, 2, 3), torch.zeros(1, 2)).tolist() == [[0.0, 0.0, 0.0]]


def test_padding_changes_nothing() -> None:
    assert_padding_changes_nothing(make_net())


def test_padding_has_no_features() -> None:
    """Whatever the bias is: it could be the longest, by which the others are judged."""
    batch = make_batch((4, 2))
    output = parsed(make_net(), batch)
    assert not output.features[~batch.mask].any()
    assert not output.magnitudes[~batch.mask].any()


def test_videos_do_not_influence_each_other() -> None:
    assert_videos_do_not_influence_each_other(make_net())


def test_every_parameter_learns() -> None:
    assert_every_parameter_learns(make_net(dropout=0.0))


def test_outputs_are_in_full_precision() -> None:
    assert_outputs_are_in_full_precision(make_net())


def test_all_padding_has_no_events() -> None:
    assert_all_padding_has_no_events(make_net(), (4, 0))


def test_dropout_acts_only_in_training() -> None:
    assert_dropout_acts_only_in_training(make_net(), "logits")


def test_there_is_one_modality() -> None:
    with pytest.raises(InputError, match="network=um is for data with one modality, and there are audio, visual;"):
        UM(modalities_of(2), STREAM_DIMS, EVENTS, HIDDEN, 0.7, ACTION, BACKGROUND)


def test_the_number_of_parameters_with_the_streams_of_thumos14() -> None:
    net = UM({"video": ["rgb", "flow"]}, {"rgb": 1024, "flow": 1024}, 20, 2048, 0.7, 9, 4)
    assert sum(weight.numel() for weight in net.parameters()) == 3 * 2048 * 2048 + 2048 + 2048 * 20
