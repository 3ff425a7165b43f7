"""AVE against loops over single videos, and what each of its branches sees."""

from __future__ import annotations

import pytest
import torch

from avvp_pl.models import AVE
from tests.models.networks import assert_close, make_batch, modalities_of, with_streams
from tests.models.test_recurrent import make_ave, sigmoid, slow_inputs, slow_reading


@torch.no_grad()
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_it_equals_the_loops(modalities: int) -> None:
    net, batch = make_ave(modalities_of(modalities)), make_batch((4, 1, 3), longest=5)
    output, w = net(batch), net.state_dict()
    for b, length in enumerate((4, 1, 3)):
        inputs = slow_inputs(net, {name: x[b, :length] for name, x in batch.features_in.items()})
        encoded = [slow_reading(lstm, x)[0] for lstm, x in zip(net.encoders.values(), inputs, strict=True)]
        for m, own in enumerate(encoded):
            probs = 1 / (1 + (-(own @ w["event_head.weight"].T + w["event_head.bias"])).exp())
            assert_close(output.features[b, :length, m], own)
            assert_close(output.segment_probs[b, :length, m], probs)
            assert_close(output.modality_probs[b, m], torch.stack(list(probs)).max(dim=0).values)
        fused = torch.cat(encoded, dim=1).clamp(min=0) @ w["video_head.1.weight"].T + w["video_head.1.bias"]
        logits = fused.clamp(min=0) @ w["video_head.3.weight"].T + w["video_head.3.bias"]
        for event, highest in enumerate(logits.max(dim=0).values.tolist()):
            assert output.video_probs[b, event].item() == pytest.approx(sigmoid(highest), rel=1e-5)


def test_one_modality_ignores_the_other_and_the_video_does_not() -> None:
    net, batch = make_ave(), make_batch((4, 3))
    output, changed = net(batch), net(with_streams(batch, {"res152": -batch.features_in["res152"]}))
    for before, after in (
        (output.features, changed.features),
        (output.segment_probs, changed.segment_probs),
        (output.modality_probs[:, None], changed.modality_probs[:, None]),
    ):
        assert torch.equal(before[:, :, 0], after[:, :, 0])
        assert not torch.allclose(before[:, :, 1], after[:, :, 1], atol=1e-2)
    assert not torch.allclose(output.video_probs, changed.video_probs, atol=1e-3)


def test_every_segment_is_read_from_both_sides() -> None:
    """The last segment changes the first one only backwards, and the first the last one only forwards."""
    net, batch = make_ave(), make_batch((4, 4))
    audio = batch.features_in["vggish"]
    for changed, seen, direction in ((3, 0, 1), (0, 3, 0)):
        other = audio.clone()
        other[:, changed] *= -1
        features, found = (net(given).features[:, seen, 0] for given in (batch, with_streams(batch, {"vggish": other})))
        same = [torch.equal(x, y) for x, y in zip(features.chunk(2, 1), found.chunk(2, 1), strict=True)]
        assert same == [number != direction for number in range(2)]


def test_the_number_of_parameters_with_the_streams_of_llp() -> None:
    """An LSTM has 4 gates of 128; each reads the input, the bias and 128 states, in two directions."""
    llp = {"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"]}
    net = AVE(llp, {"vggish": 128, "res152": 2048, "r2plus1d_18": 512}, 25)
    visual = 2049 * 512 + 513 * 512 + 1025 * 512
    lstms = 2 * 4 * 128 * (128 + 1 + 128) + 2 * 4 * 128 * (512 + 1 + 128)
    heads = 257 * 25 + 513 * 64 + 65 * 25
    assert sum(parameter.numel() for parameter in net.parameters()) == visual + lstms + heads == 2_796_978
