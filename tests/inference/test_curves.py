"""Resampled videos against loops, and the curves of BaS-Net and UM by hand and by their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avvp_pl.errors import InputError
from avvp_pl.inference.bas_net import SuppressedLogits
from avvp_pl.inference.curves import from_0_to_1, resample
from avvp_pl.inference.um import Magnitudes
from avvp_pl.labeling.none import NoLabels
from avvp_pl.parts import Evidence, Inference
from avvp_pl.types import Batch, ParsingNetwork
from tests.models.networks import make_batch, rows
from tests.models.test_bas_net import make_net as make_bas_net
from tests.models.test_um import make_net as make_um
from tests.stand_ins import Lookup


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=3).filter(any),
    segments=st.integers(1, 15),
    repeat=st.booleans(),
    more=st.integers(0, 3),
)
def test_segments_at_equal_distances(lengths: list[int], segments: int, repeat: bool, more: int) -> None:
    batch = make_batch(lengths, max(lengths) + more)
    sample = resample(batch, segments, repeat)
    for b, length in enumerate(lengths):
        points = segments if repeat or length > segments else length
        picked = [i * length // points for i in range(points)] if length else []
        assert sample.axis.lengths[b].item() == len(picked)
        assert sample.batch.mask[b].nonzero()[:, 0].tolist() == list(range(len(picked)))
        for name, x in batch.features_in.items():
            found = sample.batch.features_in[name][b]
            assert torch.equal(found[: len(picked)], x[b, picked])
            assert not found[len(picked) :].any()
        assert sample.batch.segment[b, : len(picked)].tolist() == batch.segment[b, picked].tolist()
        # the first point that is not before a segment, or the last one
        for t in range(length):
            expected = next((i for i, position in enumerate(picked) if position >= t), points - 1)
            assert sample.source[b, t].item() == expected
    values = torch.rand(*sample.batch.mask.shape, 2)
    back = sample.back(values)
    assert back.shape[:2] == batch.mask.shape
    assert torch.equal(back[0, 0], values[0, sample.source[0, 0]])


def test_a_range_by_hand() -> None:
    """Of 2 to 4; of -1 to 2, where only the highest counts; of -3 to -1; and of 5 alone, with padding of 100."""
    x = torch.tensor([[2.0, 4.0, 3.0], [-1.0, 2.0, 1.0], [-3.0, -1.0, -2.0], [5.0, 100.0, 100.0]])
    mask = torch.tensor([[True] * 3] * 3 + [[True, False, False]])
    found = from_0_to_1(x, mask)
    assert found[:3].tolist() == [[0.0, 1.0, 0.5], [-0.5, 1.0, 0.5], [-3.0, -1.0, -2.0]]
    assert found[3, 0].item() == 0.0


def ask(inference: Inference, net: ParsingNetwork, batch: Batch) -> Evidence:
    return inference(net, batch, net(batch), NoLabels())


@torch.no_grad()
def test_the_curves_of_bas_net() -> None:
    net, batch = make_bas_net(), make_batch((5, 3), longest=6)
    output, evidence = net(batch), ask(SuppressedLogits(net, None), net, batch)
    assert evidence.axis is None
    assert evidence.curves is not None
    for b, length in enumerate((5, 3)):
        for c in range(3):
            z = output.suppressed_logits[b, :length, c].tolist()  # type: ignore[attr-defined]
            low, high = max(0.0, min(z)), max(0.0, max(z))
            size = high - low if high > low else 1.0
            assert evidence.curves[b, :length, c].tolist() == pytest.approx([(x - low) / size for x in z], abs=1e-5)
    assert torch.equal(evidence.video_probs[:, 0], output.video_probs)


@torch.no_grad()
def test_the_curves_of_um() -> None:
    net, batch = make_um(), make_batch((9, 4), longest=10)
    output, evidence = net(batch), ask(Magnitudes(net, None), net, batch)
    assert evidence.curves is not None
    assert evidence.attention is not None
    for b, length in enumerate((9, 4)):
        n = [math.dist(row, [0.0] * len(row)) for row in output.features[b, :length, 0].tolist()]
        rising = sorted(n)
        high = sum(rising[-max(1, length // 3) :]) / max(1, length // 3)
        low = sum(rising[: length // 2]) / (length // 2)
        q = [min(1.0, max(0.0, (x - low) / (high - low))) for x in n]
        assert evidence.attention[b, :length].tolist() == pytest.approx(q, abs=1e-5)
        for c in range(3):
            curve = [p * x for p, x in zip(output.segment_probs[b, :length, 0, c].tolist(), q, strict=True)]
            size = max(curve) - min(curve)
            expected = [(x - min(curve)) / size for x in curve]
            assert evidence.curves[b, :length, c].tolist() == pytest.approx(expected, abs=1e-5)
            assert evidence.segment_probs[b, :length, 0, c].tolist() == pytest.approx(curve, abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("method", ["bas_net", "um"])
def test_videos_that_are_resampled_are_parsed_as_shorter_ones(method: str) -> None:
    """And mapped back; BaS-Net repeats the segments of shorter videos, and UM takes them whole."""
    net: ParsingNetwork = make_bas_net() if method == "bas_net" else make_um()
    kind = SuppressedLogits if method == "bas_net" else Magnitudes
    batch = make_batch((9, 3))
    found = ask(kind(net, 6), net, batch)
    assert found.axis is not None
    assert found.axis.lengths.tolist() == ([6, 6] if method == "bas_net" else [6, 3])
    assert found.curves is not None
    for b, picked in enumerate(([0, 1, 3, 4, 6, 7], [0, 0, 1, 1, 2, 2] if method == "bas_net" else [0, 1, 2])):
        one = rows(batch, [b])
        streams = {name: x[:, picked] for name, x in one.features_in.items()}
        short = Batch(streams, one.mask[:, picked], one.weak_labels, one.index, one.segment[:, picked])
        expected = ask(kind(net, None), net, short)
        assert expected.curves is not None
        torch.testing.assert_close(found.curves[[b], : len(picked)], expected.curves, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.video_probs[[b]], expected.video_probs)
        where = [0, 1, 2, 2, 3, 4, 4, 5, 5] if not b else [picked.index(t) for t in range(3)]
        back = expected.segment_probs[0, where]
        torch.testing.assert_close(found.segment_probs[b, : len(where)], back, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_batch_without_a_longer_video_is_parsed_once() -> None:
    net, batch = make_um(), make_batch((5, 3))
    assert ask(Magnitudes(net, 5), net, batch).axis is None


@pytest.mark.parametrize(("kind", "name"), [(SuppressedLogits, "bas_net"), (Magnitudes, "um")])
def test_another_network_is_an_error(kind: type[SuppressedLogits | Magnitudes], name: str) -> None:
    with pytest.raises(InputError, match=f"inference={name} needs network={name}: Lookup .*; choose another inference"):
        kind(Lookup(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)), None)
