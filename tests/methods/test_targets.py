"""The labels that a method asks each modality for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from avvp_pl.losses import guided_loss
from avvp_pl.methods.targets import Smoothed
from tests.stand_ins import lookup, some_videos, step_of


def targets(
    modalities: Sequence[str], smoothing: Mapping[str, float], weak_labels: Sequence[Sequence[float]]
) -> Tensor:
    videos = some_videos([2] * len(weak_labels), weak_labels)
    network = lookup(videos, len(modalities))
    return Smoothed(modalities, smoothing)(step_of(network, videos[torch.arange(len(weak_labels))]))


def test_smoothing_by_hand() -> None:
    """HAN's: w for audio, 0.9 w + 0.05 for the visual side."""
    found = targets(["audio", "visual"], {"audio": 1.0, "visual": 0.9}, [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    expected = [[[1, 0, 0], [0.95, 0.05, 0.05]], [[1, 1, 0], [0.95, 0.95, 0.05]]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_modality_that_is_not_named_is_not_smoothed() -> None:
    found = targets(["audio", "odour"], {"audio": 0.8, "visual": 0.5}, [[1.0, 0.0]])
    torch.testing.assert_close(found, torch.tensor([[[0.9, 0.1], [1.0, 0.0]]]))


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 0.9, 1.0])
def test_labels_of_both_kinds_are_equally_far_from_one_half(smoothing: float) -> None:
    """And at a distance of s / 2: nothing is left of the labels for s = 0."""
    ((of_event, of_none),) = targets(["audio"], {"audio": smoothing}, [[1.0, 0.0]])[0]
    assert of_event.item() + of_none.item() == pytest.approx(1)
    assert of_event.item() - 0.5 == pytest.approx(smoothing / 2)


def test_hans_visual_loss_is_least_at_its_smoothed_label() -> None:
    """BCE(p_v, 0.9 w + 0.05) has its minimum at p_v = 0.95 for w = 1 and at 0.05 for w = 0."""
    asked = targets(["visual"], {"visual": 0.9}, [[1.0, 0.0]])
    probs = torch.tensor([[[0.95, 0.05]]], requires_grad=True)
    torch.autograd.backward(guided_loss(probs, asked, [1.0]))
    torch.testing.assert_close(probs.grad, torch.zeros(1, 1, 2), atol=1e-6, rtol=0)


def test_it_moves_with_the_module_but_is_not_in_checkpoints() -> None:
    part = Smoothed(["audio"], {"audio": 0.5})
    assert part.state_dict() == {}
    assert part.to("meta").keep.device.type == part.shift.device.type == "meta"
