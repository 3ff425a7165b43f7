"""LSTMs over padded videos against one scalar loop for each video, and what AVE and AVSDN have in common."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from avvp_pl.errors import InputError
from avvp_pl.models import AVE, AVSDN
from avvp_pl.models.recurrent import RecurrentNetwork, SegmentLSTM, State, rotate
from tests.models.networks import (
    EVENTS,
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
    with_streams,
)

HIDDEN = 3
LENGTHS = (4, 1, 3)
TWO = modalities_of(2)
Modalities = Mapping[str, Sequence[str]]
Make = Callable[..., RecurrentNetwork]


def make_ave(modalities: Modalities = TWO) -> AVE:
    """A small network in evaluation mode, all of whose weights are random."""
    net = AVE(modalities, STREAM_DIMS, EVENTS, dim=8, hidden_dim=HIDDEN, feedforward_dim=6)
    return randomized(net)


def make_avsdn(modalities: Modalities = TWO, bidirectional: bool = False) -> AVSDN:
    sizes = {"dim": 8, "hidden_dim": HIDDEN, "feedforward_dim": 6}
    net = AVSDN(modalities, STREAM_DIMS, EVENTS, **sizes, bidirectional=bidirectional)
    return randomized(net)


def make_both_ways(modalities: Modalities = TWO) -> AVSDN:
    return make_avsdn(modalities, bidirectional=True)


MADE = (make_ave, make_avsdn, make_both_ways)


# The reference: one video without padding, one number at a time


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def slow_lstm(lstm: nn.Module, video: Tensor, start: Sequence[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
    """The outputs [T, H] for the segments [T, D] in this order, and the last state: the equations of the LSTM."""
    weights, recurrent = lstm.get_parameter("weight_ih_l0").tolist(), lstm.get_parameter("weight_hh_l0").tolist()
    size = len(recurrent[0])
    hidden, cells = ([0.0] * size, [0.0] * size) if start is None else (start[0].tolist(), start[1].tolist())
    outputs = []
    for segment in video.tolist():
        sums = [
            row[-1]  # the bias
            + sum(w * x for w, x in zip(row[:-1], segment, strict=True))
            + sum(w * h for w, h in zip(own, hidden, strict=True))
            for row, own in zip(weights, recurrent, strict=True)
        ]
        take, keep, new, show = (sums[gate * size : (gate + 1) * size] for gate in range(4))
        cells = [
            sigmoid(keep[n]) * cells[n] + sigmoid(take[n]) * math.tanh(new[n]) for n in range(size)
        ]  # what is kept, and what is new
        hidden = [sigmoid(show[n]) * math.tanh(cells[n]) for n in range(size)]
        outputs.append(hidden)
    return torch.tensor(outputs), [torch.tensor(hidden), torch.tensor(cells)]


def slow_reading(
    module: nn.Module, video: Tensor, start: Sequence[Sequence[Tensor]] | None = None
) -> tuple[Tensor, list[list[Tensor]]]:
    """The outputs [T, directions * H] of a SegmentLSTM for one video, and the last state of each direction."""
    assert isinstance(module, SegmentLSTM)
    outputs, states = [], []
    for number, lstm in enumerate(module.directions):
        given = None if start is None else start[number]
        output, state = slow_lstm(lstm, video.flip(0) if number else video, given)
        outputs.append(output.flip(0) if number else output)
        states.append(state)
    return torch.cat(outputs, dim=1), states


def slow_inputs(net: RecurrentNetwork, batch_streams: dict[str, Tensor]) -> list[Tensor]:
    """The input [T, D] of each modality of one video: HAN's fusion of several streams, or the only one."""
    inputs = []
    for name, streams in net.modalities.items():
        given = [batch_streams[stream] for stream in streams]
        if len(given) > 1:
            w = {key.removeprefix(f"{name}."): value for key, value in net.fusions.state_dict().items()}
            given = [x @ w[f"projections.{i}.weight"].T + w[f"projections.{i}.bias"] for i, x in enumerate(given)]
            given = [torch.cat(given, dim=1) @ w["fuse.weight"].T + w["fuse.bias"]]
        inputs.append(given[0])
    return inputs


# The LSTM


def a_case(bidirectional: bool, lengths: Sequence[int] = LENGTHS, more: int = 2) -> tuple[SegmentLSTM, Tensor, Tensor]:
    """A small LSTM, and videos with something in their padding."""
    module = SegmentLSTM(5, HIDDEN, bidirectional)
    randomized(module)
    segments = max(lengths) + more
    mask = torch.arange(segments) < torch.tensor(lengths)[:, None]
    x = torch.randn(len(lengths), segments, 5, generator=torch.Generator().manual_seed(1))
    return module, x.masked_fill(~mask[:, :, None], 9.0), mask


def a_start(bidirectional: bool, videos: int) -> State:
    generator = torch.Generator().manual_seed(2)
    hidden, cells = torch.randn(2, 1 + bidirectional, videos, HIDDEN, generator=generator)
    return State(hidden, cells)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("more", [0, 2])
def test_from_zero_it_equals_the_loops(bidirectional: bool, more: int) -> None:
    module, x, mask = a_case(bidirectional, more=more)
    found = module(x, mask)
    assert found.outputs.shape == (3, 4 + more, (1 + bidirectional) * HIDDEN)
    for b, length in enumerate(LENGTHS):
        outputs, states = slow_reading(module, x[b, :length])
        assert_close(found.outputs[b, :length], outputs)
        for number, (hidden, cells) in enumerate(states):
            assert_close(found.last.hidden[number, b], hidden)
            assert_close(found.last.cells[number, b], cells)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("more", [0, 2])
def test_from_a_state_it_equals_the_loops(bidirectional: bool, more: int) -> None:
    module, x, mask = a_case(bidirectional, more=more)
    start = a_start(bidirectional, 3)
    found = module(x, mask, start)
    for b, length in enumerate(LENGTHS):
        states = [(start.hidden[number, b], start.cells[number, b]) for number in range(1 + bidirectional)]
        assert_close(found.outputs[b, :length], slow_reading(module, x[b, :length], states)[0])


def test_it_equals_torchs_lstm_with_packing() -> None:
    """The bias is the sum of torch's two."""
    module, x, mask = a_case(bidirectional=True, lengths=(5, 2, 4))
    theirs = nn.LSTM(5, HIDDEN, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for lstm, suffix in zip(module.directions, ("", "_reverse"), strict=True):
            weights = theirs.get_parameter(f"weight_ih_l0{suffix}"), theirs.get_parameter(f"bias_ih_l0{suffix}")
            both = weights[1] + theirs.get_parameter(f"bias_hh_l0{suffix}")
            lstm.get_parameter("weight_ih_l0").copy_(torch.cat([weights[0], both[:, None]], dim=1))
            lstm.get_parameter("weight_hh_l0").copy_(theirs.get_parameter(f"weight_hh_l0{suffix}"))
    packed = nn.utils.rnn.pack_padded_sequence(x, mask.sum(1), batch_first=True, enforce_sorted=False)
    outputs, (hidden, cells) = theirs(packed)
    found = module(x, mask)
    padded, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    assert_close(found.outputs[:, :5][mask[:, :5]], padded[mask[:, :5]])
    assert_close(found.last.hidden, hidden)
    assert_close(found.last.cells, cells)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_video_that_is_all_padding_keeps_the_zero_state(bidirectional: bool) -> None:
    module, x, mask = a_case(bidirectional, lengths=(3, 0))
    found = module(x, mask)
    assert (found.outputs[1] == 0).all()
    assert (found.last.hidden[:, 1] == 0).all()
    assert (found.last.cells[:, 1] == 0).all()


def test_rotation_and_back() -> None:
    x = torch.arange(8.0).view(2, 4, 1)
    turned = rotate(x, torch.tensor([1, 3]))
    assert turned[:, :, 0].tolist() == [[1, 2, 3, 0], [7, 4, 5, 6]]
    assert torch.equal(rotate(turned, -torch.tensor([1, 3])), x)


# The networks


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_shapes_and_ranges(make: Make, modalities: int) -> None:
    net = make(modalities_of(modalities))
    output = net(make_batch((4, 2)))
    assert output.features.shape == (2, 4, modalities, net.feature_dim)
    assert output.segment_probs.shape == (2, 4, modalities, EVENTS)
    assert output.video_probs.shape == (2, EVENTS)
    assert output.modality_probs.shape == (2, modalities, EVENTS)
    for probs in (output.segment_probs, output.video_probs, output.modality_probs):
        assert ((probs > 0) & (probs < 1)).all()


@pytest.mark.parametrize("make", MADE)
def test_features_are_all_that_the_head_of_the_modalities_sees(make: Make) -> None:
    """One head for one space: prototypes of all modalities can be compared with all of them."""
    net, batch = make(THREE), make_batch()
    output, head = net(batch), net.get_submodule("event_head")
    assert_close(output.segment_probs, head(output.features).sigmoid())


@pytest.mark.parametrize("make", MADE)
def test_padding_changes_nothing(make: Make) -> None:
    assert_padding_changes_nothing(make(THREE))
    assert_videos_do_not_influence_each_other(make(THREE))


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize("lengths", [(4, 0), (0, 0)])
def test_a_video_that_is_all_padding_gives_no_nan(make: Make, lengths: tuple[int, int]) -> None:
    net, batch = make(THREE).train(), make_batch(lengths, longest=4)
    output = net(batch)
    assert (output.video_probs[1] == 0).all()
    assert (output.modality_probs[1] == 0).all()
    total = output.video_probs.sum() + output.features.sum() + output.segment_probs.sum()
    assert total.isfinite()
    assert all(slope.isfinite().all() for slope in torch.autograd.grad(total, list(net.parameters())))


@pytest.mark.parametrize("make", MADE)
def test_modalities_stand_in_the_given_order(make: Make) -> None:
    """And each is encoded by itself: of the encodings, its own changes with its stream, and no other."""
    for order in (["audio", "visual", "text"], ["text", "visual", "audio"]):
        net, batch = make({name: THREE[name] for name in order}), make_batch()
        changed = with_streams(batch, {"vggish": -batch.features_in["vggish"]})
        before, after = (net.encode(net.inputs(given), given.mask) for given in (batch, changed))
        same = [torch.equal(own.outputs, its.outputs) for own, its in zip(before, after, strict=True)]
        assert same == [name != "audio" for name in order]


@pytest.mark.parametrize("make", MADE)
def test_every_parameter_learns(make: Make) -> None:
    assert_every_parameter_learns(make(THREE))


@pytest.mark.parametrize("make", MADE)
def test_outputs_are_in_full_precision(make: Make) -> None:
    net, batch = make(THREE), make_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = net(batch)
    torch.testing.assert_close(half.segment_probs, net(batch).segment_probs, atol=0.05, rtol=0)
    assert_outputs_are_in_full_precision(net)


@pytest.mark.parametrize(("make", "name"), [(make_ave, "ave"), (make_avsdn, "avsdn")])
def test_cross_attention_cannot_be_switched_off_where_there_is_none(make: Make, name: str) -> None:
    net = make()
    net.attending = None
    with pytest.raises(InputError, match=rf"labeling\.attending=\['audio'\]: .* network={name}, .*=null"):
        net.attending = ("audio",)
    assert net.attending is None
    assert_same_outputs(copy.deepcopy(net)(make_batch()), net(make_batch()))


def test_the_streams_of_a_modality_are_joined_if_there_are_several() -> None:
    net = make_ave(THREE)
    assert {name: len(streams) for name, streams in THREE.items()} == {"audio": 1, "visual": 2, "text": 1}
    assert list(net.fusions) == ["visual"]
    assert net.input_dims == {"audio": 5, "visual": 8, "text": 6}
    batch = make_batch()
    for b in range(3):
        of_video = {name: x[b] for name, x in batch.features_in.items()}
        for found, expected in zip(net.inputs(batch), slow_inputs(net, of_video), strict=True):
            assert_close(found[b], expected)


@torch.no_grad()
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_autocast_does_not_reach_an_lstm_on_a_cpu(bidirectional: bool, started: bool) -> None:
    lstm, generator = SegmentLSTM(4, HIDDEN, bidirectional), torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, generator=generator).bfloat16()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    shape = (1 + bidirectional, 2, HIDDEN)
    start = State(*torch.randn(2, *shape, generator=generator).bfloat16()) if started else None
    expected = lstm(x.float(), mask, None if start is None else State(start.hidden.float(), start.cells.float()))
    with torch.autocast("cpu", torch.bfloat16):
        found = lstm(x, mask, start)
    assert torch.equal(found.outputs, expected.outputs)
    assert torch.equal(found.last.hidden, expected.last.hidden)
