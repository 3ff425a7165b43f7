"""EM-MIL's curves by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avvp_pl.errors import InputError
from avvp_pl.inference.em_mil import KeyMixture
from avvp_pl.labeling.none import NoLabels
from avvp_pl.parts import Evidence
from tests.models.networks import make_batch
from tests.models.test_em_mil import make_net, parsed
from tests.stand_ins import Lookup


def found(share: float, longest: int | None = None) -> Evidence:
    net, batch = make_net(), make_batch((4, 1), longest)
    output = parsed(net, batch)
    # q = 0, 0.4, 0.8, 0.4 and p = 0.5, 0, 0, 0.5 of event 0, by the mean of two streams
    q, p = torch.tensor([0.0, 0.4, 0.8, 0.4]), torch.tensor([0.5, 0.0, 0.0, 0.5])
    keys, probs = output.key_probs.clone(), output.segment_probs.clone()
    keys[0, :4] = torch.stack([q - 0.1, q + 0.1], dim=1)
    probs[0, :4, 0, 0] = p
    keys[:, 4:], probs[:, 4:] = 9.0, 9.0
    return KeyMixture(net, share)(net, batch, replace(output, key_probs=keys, segment_probs=probs), NoLabels())


@pytest.mark.parametrize("longest", [None, 6])
def test_a_curve_by_hand(longest: int | None) -> None:
    """0.8 q + 0.2 p is 0.1, 0.32, 0.64, 0.42: the mean is 0.37, and the range 0.54."""
    evidence = found(0.8, longest)
    assert evidence.curves is not None
    assert evidence.attention is not None
    assert evidence.curves[0, :4, 0].tolist() == pytest.approx([x / 0.54 for x in (-0.27, -0.05, 0.27, 0.05)], abs=1e-6)
    assert evidence.attention[0, :4].tolist() == pytest.approx([0.0, 0.4, 0.8, 0.4])
    assert evidence.curves[1, 0].tolist() == [0.0, 0.0, 0.0]  # a single segment has no range


def test_equal_shares_are_the_public_code() -> None:
    """It adds 0.8 q and 0.8 p, which is 0.4, 0.32, 0.64, 0.72: the mean is 0.52, and the range 0.4."""
    evidence = found(0.5)
    assert evidence.curves is not None
    assert evidence.curves[0, :, 0].tolist() == pytest.approx([x / 0.4 for x in (-0.12, -0.2, 0.12, 0.2)], abs=1e-6)


def test_the_video_is_judged_by_its_own_classifier() -> None:
    net, batch = make_net(), make_batch((4, 2))
    output = net(batch)
    evidence = KeyMixture(net, 0.8)(net, batch, output, NoLabels())
    assert torch.equal(evidence.video_probs[:, 0], output.video_probs)


def test_another_network_is_an_error() -> None:
    with pytest.raises(InputError, match="inference=em_mil needs network=em_mil: Lookup has no branch of keys"):
        KeyMixture(Lookup(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)), 0.8)
