"""MM-Pyramid against loops over videos, levels, segments, heads and modalities, and what its windows let through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from avvp_pl.models import MMPyramid
from avvp_pl.models.mm_pyramid import DilatedConvolution, PreNormLayer, PyramidLevel
from avvp_pl.types import Batch, ParsingOutput
from tests.models.networks import (
    DIM,
    EVENTS,
    STREAM_DIMS,
    THREE,
    assert_all_padding_has_no_events,
    assert_close,
    assert_dropout_acts_only_in_training,
    assert_every_parameter_learns,
    assert_outputs_are_in_full_precision,
    assert_padding_changes_nothing,
    assert_same_outputs,
    assert_videos_do_not_influence_each_other,
    make_batch,
    modalities_of,
    reference_streams,
    with_streams,
)
from tests.models.reference_pyramid import linear, slow_pyramid, with_small_weights


def make_net(
    modalities: Mapping[str, Sequence[str]] = THREE,
    num_levels: int = 3,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    cross_attention: bool = True,
    fuse_single_stream: Sequence[str] = (),
    cross_attention_dropout: float = 0.0,
    head_dropout: Mapping[str, float] | None = None,
    seed: int = 0,
) -> MMPyramid:
    """A small net in evaluation mode, all of whose weights are random."""
    net = MMPyramid(
        modalities,
        STREAM_DIMS,
        EVENTS,
        dim=DIM,
        feedforward_dim=10,
        num_heads=2,
        num_levels=num_levels,
        dropout=dropout,
        attention_dropout=attention_dropout,
        cross_attention=cross_attention,
        fuse_single_stream=fuse_single_stream,
        cross_attention_dropout=cross_attention_dropout,
        head_dropout=head_dropout,
    )
    return with_small_weights(net, seed)


# The reference


def reference(net: MMPyramid, batch: Batch, video: int) -> ParsingOutput:
    streams = dict(zip(net.modalities, reference_streams(net, batch, video), strict=True))
    hears = tuple(net.modalities) if net.attending is None else net.attending
    x = torch.stack(list(slow_pyramid(net.pyramid, streams, hears).values()), dim=1)  # [T, M, D]
    probs = linear(net.event_head, x).sigmoid()
    in_time, in_modalities = linear(net.temporal_head, x).softmax(0), linear(net.modality_head, x).softmax(1)
    whole = (probs * in_time * in_modalities).sum((0, 1))
    return ParsingOutput(x, probs, whole, (probs * in_time).sum(0))


def assert_equals_reference(net: MMPyramid, batch: Batch) -> None:
    output = net(batch)
    for b, mask in enumerate(batch.mask):
        found = ParsingOutput(
            output.features[b, mask], output.segment_probs[b, mask], output.video_probs[b], output.modality_probs[b]
        )
        assert_same_outputs(found, reference(net, batch, b))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_reference(modalities: int, seed: int) -> None:
    """With videos that are shorter and longer than the widest window, 4."""
    assert_equals_reference(make_net(modalities_of(modalities), seed=seed), make_batch((7, 1, 3), longest=9, seed=seed))


@pytest.mark.parametrize("attending", [("audio",), ("visual", "text"), ()])
def test_only_modalities_that_attend_see_the_others(attending: tuple[str, ...]) -> None:
    net = make_net(num_levels=2)
    net.attending = attending
    assert_equals_reference(net, make_batch((5, 2)))


def test_without_cross_attention() -> None:
    net = make_net(cross_attention=False)
    assert_equals_reference(net, make_batch((5, 2)))
    assert not [name for name, _ in net.named_parameters() if "cross" in name]


# What influences what


def visual_changes(net: MMPyramid, of: str = "vggish") -> bool:
    """Whether the visual events change with the audio input."""
    batch = make_batch()
    other = with_streams(batch, {of: batch.features_in[of] + 1})
    return not torch.allclose(net(batch).segment_probs[:, :, 1], net(other).segment_probs[:, :, 1], atol=1e-6)


@pytest.mark.parametrize("modalities", [2, 3])
def test_without_the_gate_of_the_others_audio_leaves_the_visual_events(modalities: int) -> None:
    """c has no part in y if its gate is 0 and the gate of s does not read it."""
    net = make_net(modalities_of(modalities))
    assert visual_changes(net)
    for level in net.pyramid.levels:
        assert isinstance(level, PyramidLevel)
        for gate in level.gates.values():
            assert isinstance(gate, nn.Linear)
            with torch.no_grad():
                gate.bias[DIM:] = -1e4
                gate.weight[:DIM, DIM:] = 0
    assert not visual_changes(net)


def test_no_modality_hears_another_one_if_none_attends_or_there_is_no_cross_attention() -> None:
    net = make_net()
    net.attending = ("audio", "text")
    assert not visual_changes(net)
    net.attending = ("visual",)
    assert visual_changes(net)
    assert not visual_changes(make_net(cross_attention=False))


def influences(output: Tensor, x: Tensor) -> Tensor:
    """Whether segment u of the input [1, M, T, D] influences segment t of the output, [T, T]."""
    rows = []
    for t in range(output.shape[2]):
        (slope,) = torch.autograd.grad(output[:, :, t].sum(), x, retain_graph=True)
        rows.append(slope.abs().sum((0, 1, 3)) > 0)
    return torch.stack(rows)


@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("to_others", [False, True])
def test_nothing_outside_of_the_window_is_attended_to(to_others: bool, window: int) -> None:
    layer = with_small_weights(PreNormLayer(DIM, 2, 10, 0.0, 0.0, to_others))
    x = torch.randn(1, 2, 9, DIM, generator=torch.Generator().manual_seed(0)).requires_grad_()
    time = torch.arange(9)
    near = (time[:, None] - time).abs() <= window
    assert torch.equal(influences(layer(x, x, torch.ones(1, 9, dtype=torch.bool), window), x), near)


@pytest.mark.parametrize("num_levels", [1, 2, 3])
def test_how_far_a_segment_is_heard(num_levels: int) -> None:
    """In a level 2^i by attention and 2^i more by the convolution: 2 (1 + 2 + 4) = 14 after three levels."""
    pyramid = make_net(modalities_of(2), num_levels).pyramid
    x = torch.randn(1, 2, 33, DIM, generator=torch.Generator().manual_seed(0)).requires_grad_()
    time = torch.arange(33)
    reached = (time[:, None] - time).abs() <= 2 * (2**num_levels - 1)
    found = influences(pyramid(x, torch.ones(1, 33, dtype=torch.bool)), x)
    assert not (found & ~reached).any()
    assert (found == reached).float().mean() > 0.9  # a ReLU may stop the last influence


def test_gates_by_hand() -> None:
    """Gates of 1/2 halve the sum of s and c; here s = x and c = x, because attention and feed-forward add nothing."""
    level = make_net(modalities_of(2), num_levels=1).pyramid.levels[0]
    assert isinstance(level, PyramidLevel)
    for name, parameter in level.named_parameters():
        if "out_projection" in name or "feedforward.3" in name or "gates" in name or "linear" in name:
            nn.init.zeros_(parameter)
    x = torch.rand(1, 2, 4, DIM)
    assert_close(level(x, torch.ones(1, 4, dtype=torch.bool)), x)
    assert_close(level(x, torch.ones(1, 4, dtype=torch.bool), crossing=torch.tensor([1.0, 0.0]))[:, 1], x[:, 1] / 2)


def test_a_dilated_convolution_by_hand() -> None:
    """The sum of the segments two before and two after, where the video has them; 100 at padding is not one of them."""
    block = DilatedConvolution(1, dilation=2)
    nn.init.zeros_(block.linear.bias)
    nn.init.ones_(block.linear.weight)
    with torch.no_grad():
        block.convolution.weight.copy_(torch.tensor([[[1.0, 0.0, 1.0]]]))
        block.convolution.bias.zero_()  # type: ignore[union-attr]
    x = torch.tensor([1.0, 2.0, 3.0, 4.0, 100.0, 100.0])[None, :, None]
    found = block(x, torch.tensor([[True] * 4 + [False] * 2]))
    assert found[0, :4, 0].tolist() == [1 + 3, 2 + 4, 3 + 1, 4 + 2]


# Padding


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_padding_changes_nothing(modalities: int) -> None:
    assert_padding_changes_nothing(make_net(modalities_of(modalities)), longest=12)


@pytest.mark.parametrize("lengths", [(4, 0), (0, 0)])
def test_a_video_that_is_all_padding_has_no_events_and_no_nan(lengths: tuple[int, int]) -> None:
    assert_all_padding_has_no_events(make_net(), lengths)


def test_padding_beyond_all_windows_gives_no_nan_in_half_precision() -> None:
    """There the lowest number becomes minus infinity, and a softmax over nothing else is NaN."""
    pyramid = make_net(modalities_of(2)).pyramid.train()
    x = torch.randn(3, 2, 12, DIM, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mask = torch.arange(12) < torch.tensor([3, 1, 0])[:, None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = pyramid(x, mask)
    assert encoded.isfinite().all()
    loss = (encoded * mask[:, None, :, None]).float().sum()
    assert all(slope.isfinite().all() for slope in torch.autograd.grad(loss, [x, *pyramid.parameters()]))


def test_videos_do_not_influence_each_other() -> None:
    assert_videos_do_not_influence_each_other(make_net())


# Training


def test_every_parameter_learns() -> None:
    assert_every_parameter_learns(make_net())


@pytest.mark.parametrize("cross_attention_dropout", [0.0, 1.0])
def test_every_parameter_has_a_gradient_where_none_attends(cross_attention_dropout: float) -> None:
    """As several processes need it: in batches without cross-attention, and in a network without."""
    net = make_net(cross_attention_dropout=cross_attention_dropout).train()
    net.attending = () if not cross_attention_dropout else None
    output = net(make_batch())
    slopes = torch.autograd.grad(output.video_probs.sum(), list(net.parameters()))
    for (name, _), slope in zip(net.named_parameters(), slopes, strict=True):
        assert bool(slope.any()) is not ("cross_layer" in name), name


@pytest.mark.parametrize("which", ["dropout", "attention_dropout"])
def test_dropout_acts_only_in_training(which: str) -> None:
    assert_dropout_acts_only_in_training(make_net(**{which: 0.5}), "features")  # type: ignore[arg-type]


def test_the_heads_miss_visual_features_that_the_output_has() -> None:
    net, batch = make_net(modalities_of(2), head_dropout={"visual": 0.9}), make_batch()
    still = net(batch)
    torch.manual_seed(0)
    output = net.train()(batch)
    assert torch.equal(output.features, still.features)
    assert torch.equal(output.segment_probs[:, :, 0], still.segment_probs[:, :, 0])
    assert not torch.allclose(output.segment_probs[:, :, 1], still.segment_probs[:, :, 1], atol=1e-2)


def test_number_of_weights_on_llp() -> None:
    """A level has 3 attention layers, two gates and two convolutions; then there is a layer to fuse each modality."""
    llp = {"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"]}
    net = MMPyramid(llp, {"vggish": 128, "res152": 2048, "r2plus1d_18": 512}, 25)
    square = 512 * 513
    layer = 4 * square + 2 * square + 2 * 2 * 512
    convolution = (3 * 512 + 1) * 512 + square
    level = 3 * layer + 2 * 4 * (512 * 512) + 2 * 2 * 512 + 2 * convolution
    pyramid = 4 * level + 2 * (layer + 513)
    streams = 129 * 512 + 2049 * 512 + square + 1025 * 512
    assert sum(parameter.numel() for parameter in net.parameters()) == streams + pyramid + 3 * 513 * 25


def test_outputs_are_in_full_precision() -> None:
    assert_outputs_are_in_full_precision(make_net())
