"""The network's own probabilities."""

from __future__ import annotations

import torch

from avvp_pl.inference.classifier import Classifier
from avvp_pl.labeling.none import NoLabels
from avvp_pl.parts import Team
from tests.stand_ins import lookup, some_videos


def test_probabilities_are_those_of_the_network() -> None:
    videos = some_videos([3, 1, 2], [[1.0, 0.0]] * 3)
    network, batch, part = lookup(videos, modalities=3), videos[torch.tensor([2, 0])], Classifier()
    output = network(batch)
    found = part(network, batch, output, NoLabels())
    assert found.segment_probs is output.segment_probs
    assert found.video_probs.shape == (2, 3, 2)
    for m in range(3):
        assert torch.equal(found.video_probs[:, m], output.video_probs)
    assert len(network.asked) == 1  # not again


def test_it_has_nothing_to_fit() -> None:
    part, labeling, network = Classifier(), NoLabels(), lookup(some_videos([2], [[1.0]]))
    part.check(labeling)
    assert part.needs(labeling) == ()
    assert part.fit(network, {}, labeling, Team()) is None
