"""What CO2-Net and DELU make detections of."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from avvp_pl.errors import InputError
from avvp_pl.inference.attended_logits import AttendedLogits
from avvp_pl.inference.classifier import Classifier
from avvp_pl.labeling.none import NoLabels
from tests.models.networks import EVENTS, make_batch
from tests.models.test_cross_modal import make_net
from tests.stand_ins import lookup, some_videos


def test_curves_are_attended_logits_and_all_else_is_the_classifiers() -> None:
    net, batch, labeling = make_net(), make_batch((4, 2)), NoLabels()
    output = net(batch)
    found = AttendedLogits(net)(net, batch, output, labeling)
    assert found.curves is not None
    assert found.attention is output.attention
    for b, length in enumerate((4, 2)):
        for t in range(length):
            for c in range(EVENTS):
                expected = output.attention[b, t].item() * output.logits[b, t, c].item()
                assert found.curves[b, t, c].item() == pytest.approx(expected, rel=1e-6)
    assert found.curves.shape == (2, 4, EVENTS)
    usual = Classifier()(net, batch, output, labeling)
    assert torch.equal(found.segment_probs, usual.segment_probs)
    assert torch.equal(found.video_probs, output.video_probs[:, None])
    assert found.modality_probs is not None
    assert torch.equal(found.modality_probs, found.video_probs)  # there is one modality


def test_it_keeps_no_network() -> None:
    assert not list(AttendedLogits(make_net()).parameters())


def test_another_network_is_refused() -> None:
    network: Any = lookup(some_videos([1], [[1.0]]))
    with pytest.raises(InputError, match="inference=attended_logits needs network=cross_modal: Lookup"):
        AttendedLogits(network)
