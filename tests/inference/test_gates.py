"""The decision by two thresholds, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.inference.gates import Gates
from avvp_pl.parts import Evidence
from tests.stand_ins import some_videos


def decide(gates: Gates, segment_probs: list[list[float]], video_probs: list[float], length: int) -> list[list[bool]]:
    """Of one video of one modality, [T, C]; the first ``length`` segments are real."""
    videos = some_videos([length, len(segment_probs)], [[1.0] * len(video_probs)] * 2)
    batch = videos[torch.tensor([0, 1])]
    evidence = Evidence(
        torch.tensor(segment_probs)[None, :, None].expand(2, -1, 1, -1), torch.tensor(video_probs).expand(2, 1, -1)
    )
    found: Tensor = gates(evidence, batch)
    assert found.dtype == torch.bool
    return found[0, :, 0].tolist()


def test_both_gates_are_met_at_their_thresholds() -> None:
    """Of the second event the video has too little, whatever its segments say."""
    found = decide(Gates(0.5, 0.5, "hard"), [[0.9, 0.9], [0.5, 0.5], [0.4999, 0.4]], [0.5, 0.4999], length=3)
    assert found == [[True, False], [True, False], [False, False]]


def test_nothing_occurs_at_padding() -> None:
    assert decide(Gates(0.5, 0.5, "hard"), [[0.9], [0.9], [0.9]], [0.9], length=2) == [[True], [True], [False]]


@pytest.mark.parametrize(
    ("segment_threshold", "video_threshold", "expected"),
    [
        (0.5, 0.5, [[True, False], [False, False]]),
        (0.25, 0.5, [[True, False], [True, False]]),
        (0.5, 0.25, [[True, True], [False, False]]),
        (0.75, 0.25, [[False, True], [False, False]]),
        (0.0, 0.0, [[True, True], [True, True]]),
        (0.0, 1.0, [[False, False], [False, False]]),
    ],
)
def test_thresholds_are_settings(segment_threshold: float, video_threshold: float, expected: list[list[bool]]) -> None:
    gates = Gates(segment_threshold, video_threshold, "hard")
    assert decide(gates, [[0.7, 0.8], [0.3, 0.1]], [0.6, 0.3], length=2) == expected


def test_each_modality_has_a_gate_of_its_own() -> None:
    videos = some_videos([1], [[1.0]])
    evidence = Evidence(torch.full((1, 1, 2, 1), 0.9), torch.tensor([[[0.9], [0.1]]]))
    assert Gates(0.5, 0.5, "hard")(evidence, videos[torch.tensor([0])]).flatten().tolist() == [True, False]


def test_the_gate_may_be_of_what_each_modality_shows_by_itself() -> None:
    """Hard and soft: of the second modality the video has too little, of both together it has enough."""
    videos = some_videos([1], [[1.0]])
    batch = videos[torch.tensor([0])]
    evidence = Evidence(torch.full((1, 1, 2, 1), 0.9), torch.full((1, 2, 1), 0.8), torch.tensor([[[0.7], [0.3]]]))
    for gate in ("hard", "soft"):
        assert Gates(0.5, 0.5, gate)(evidence, batch).flatten().tolist() == [True, True]
        of_modality = Gates(0.5, 0.5, gate, "modality")
        assert of_modality(evidence, batch).flatten().tolist() == [True, False]
        assert torch.equal(of_modality.video_probs(evidence), torch.tensor([[[0.7], [0.3]]]))
    with pytest.raises(InputError, match=r"gate_by=modality: the inference returns no probabilities of single"):
        Gates(0.5, 0.5, "hard", "modality")(evidence._replace(modality_probs=None), batch)


def test_a_soft_gate_multiplies_both_probabilities() -> None:
    """0.9 * 0.6 = 0.54 and 0.75 * 0.6 = 0.45; of the second event 1.0 * 0.5 and 0.99 * 0.5. Not at padding."""
    probs = [[0.9, 1.0], [0.75, 0.99], [0.9, 1.0]]
    assert decide(Gates(0.5, 1.0, "soft"), probs, [0.6, 0.5], length=2) == [
        [True, True],
        [False, False],
        [False, False],
    ]
    assert decide(Gates(0.54, 0.0, "soft"), probs, [0.6, 0.5], length=2)[0] == [0.9 * 0.6 >= 0.54, False]
    assert decide(Gates(0.45, 0.9, "soft"), probs, [0.6, 0.5], length=3)[2] == [True, True]
