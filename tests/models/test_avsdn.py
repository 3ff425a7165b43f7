"""AVSDN against loops over single videos, and what its decoder knows of a video."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from avvp_pl.models import AVSDN
from tests.models.networks import assert_close, make_batch, modalities_of, with_streams
from tests.models.test_recurrent import HIDDEN, make_avsdn, sigmoid, slow_inputs, slow_reading


def slow_mix(net: AVSDN, states: list[Tensor]) -> Tensor:
    """The states [H] of the modalities, mixed: the mean of tanh(s + m), where m is the mean of U s."""
    states = [state.clamp(min=0) for state in states]
    mixed = [0.0] * HIDDEN
    for name, state in zip(net.modalities, states, strict=True):
        w = {key.removeprefix(f"{name}."): x for key, x in net.mixers.state_dict().items() if key.startswith(name)}
        inner = (state @ w["0.weight"].T + w["0.bias"]).tolist()
        outer = torch.tensor([math.tanh(x) for x in inner]) @ w["2.weight"].T + w["2.bias"]
        mixed = [x + y / len(states) for x, y in zip(mixed, outer.tolist(), strict=True)]
    return torch.tensor(
        [sum(math.tanh(float(state[n]) + mixed[n]) for state in states) / len(states) for n in range(HIDDEN)]
    )


@torch.no_grad()
@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_it_equals_the_loops(modalities: int, bidirectional: bool) -> None:
    net, batch = make_avsdn(modalities_of(modalities), bidirectional), make_batch((4, 1, 3), longest=5)
    output, w = net(batch), net.state_dict()
    for b, length in enumerate((4, 1, 3)):
        inputs = slow_inputs(net, {name: x[b, :length] for name, x in batch.features_in.items()})
        encoded = [slow_reading(lstm, x) for lstm, x in zip(net.encoders.values(), inputs, strict=True)]
        start = [
            [slow_mix(net, [states[number][part] for _, states in encoded]) for part in range(2)]
            for number in range(1 + bidirectional)
        ]
        decoded, _ = slow_reading(net.decoder, torch.cat(inputs, dim=1), start)
        for m, (own, _) in enumerate(encoded):
            features = torch.cat([decoded, own], dim=1)
            probs = 1 / (1 + (-(features @ w["event_head.weight"].T + w["event_head.bias"])).exp())
            assert_close(output.features[b, :length, m], features)
            assert_close(output.segment_probs[b, :length, m], probs)
            assert_close(output.modality_probs[b, m], probs.max(dim=0).values)
        logits = decoded.clamp(min=0) @ w["video_head.weight"].T + w["video_head.bias"]
        for event, highest in enumerate(logits.max(dim=0).values.tolist()):
            assert output.video_probs[b, event].item() == pytest.approx(sigmoid(highest), rel=1e-5)


def test_two_states_mixed_by_hand() -> None:
    """U is tanh here, so relu(1, -5) = (1, 0) gives m = tanh(1) / 2, and tanh(1 + m) and tanh(m) have this mean."""
    net = AVSDN({"audio": ["a"], "visual": ["v"]}, {"a": 1, "v": 1}, 1, hidden_dim=1, feedforward_dim=1)
    for parameter in net.mixers.parameters():
        torch.nn.init.constant_(parameter, float(parameter.ndim == 2))  # weights 1, biases 0
    mixed = net.mix(torch.tensor([1.0, -5.0]).view(2, 1, 1, 1))
    m = math.tanh(1) / 2
    assert mixed.item() == pytest.approx((math.tanh(1 + m) + math.tanh(m)) / 2) == pytest.approx(0.6222, abs=1e-4)


@pytest.mark.parametrize("stream", ["vggish", "res152"])
def test_the_end_of_a_video_is_known_at_its_start(stream: str) -> None:
    """Though all LSTMs read in one direction: by the state in which the decoder starts."""
    net, batch = make_avsdn(), make_batch((4, 4))
    other = batch.features_in[stream].clone()
    other[:, -1] *= -1
    output, changed = net(batch), net(with_streams(batch, {stream: other}))
    for modality in range(2):
        before, after = output.segment_probs[:, 0, modality], changed.segment_probs[:, 0, modality]
        assert (before - after).abs().amin(dim=1).gt(1e-6).all()
    # of the features, the encoder's half knows nothing of it
    assert torch.equal(output.features[:, :-1, :, HIDDEN:], changed.features[:, :-1, :, HIDDEN:])


def test_the_number_of_parameters_with_the_streams_of_llp() -> None:
    """An LSTM has 4 gates of 128; each reads the input, the bias and 128 states."""
    llp = {"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"]}
    net = AVSDN(llp, {"vggish": 128, "res152": 2048, "r2plus1d_18": 512}, 25)
    visual = 2049 * 512 + 513 * 512 + 1025 * 512
    lstms = 4 * 128 * sum(size + 1 + 128 for size in (128, 512, 640))
    mixers = 2 * 2 * 129 * 128
    heads = 257 * 25 + 129 * 25
    assert sum(parameter.numel() for parameter in net.parameters()) == visual + lstms + mixers + heads == 2_765_746
