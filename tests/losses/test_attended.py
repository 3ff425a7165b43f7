"""CO2-Net's losses of logits with a background and of attentions, against loops and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from avvp_pl.losses.attended import agreement_loss, background_gaps, distribution_loss
from avvp_pl.losses.segments import mean_of_segments

MASK = torch.tensor([[True, True, True], [True, False, False]])


def rand(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("background", [False, True])
def test_the_distribution_of_events(background: bool) -> None:
    logits = 4 * rand(0, 5, 4) - 2
    weak = (rand(1, 5, 3) < 0.5).double()
    weak[0], weak[1] = 0, 1
    expected = 0.0
    for z, w in zip(logits.tolist(), weak.tolist(), strict=True):
        labels = [*w, 1.0 if background else 0.0]
        total = math.log(sum(math.exp(value) for value in z))
        expected -= sum(y / (sum(labels) + 1e-4) * (value - total) for y, value in zip(labels, z, strict=True)) / 5
    assert distribution_loss(logits, weak, background).item() == pytest.approx(expected, rel=1e-12)


def test_attentions_learn_from_each_other() -> None:
    """The slope of the first one is the difference to the second over the number of segments, and the other way."""
    attentions = rand(2, 2, 3, 2).requires_grad_()
    loss = agreement_loss(attentions, MASK)
    gaps = (attentions[..., 0] - attentions[..., 1])[MASK]
    assert loss.item() == pytest.approx(gaps.square().mean().item(), rel=1e-12)
    (slope,) = torch.autograd.grad(loss, attentions)
    torch.testing.assert_close(slope[..., 0][MASK], gaps / 4)
    torch.testing.assert_close(slope[..., 1], -slope[..., 0])
    assert not slope[~MASK].any()


def test_gaps_to_the_background() -> None:
    logits, streams = 3 * rand(3, 2, 3, 4), rand(4, 2, 3, 2)
    attention = streams.mean(2)
    found = background_gaps(logits, attention, streams)
    for b in range(2):
        for t in range(3):
            powers = [math.exp(z) for z in logits[b, t].tolist()]
            gaps = [abs(1 - a - powers[-1] / sum(powers)) for a in (attention[b, t].item(), *streams[b, t].tolist())]
            assert found[b, t].item() == pytest.approx(sum(gaps) / 3, rel=1e-12)


def test_the_gaps_teach_the_classifier_and_the_attentions() -> None:
    logits, streams = rand(5, 1, 2, 3).requires_grad_(), rand(6, 1, 2, 2).requires_grad_()
    loss = background_gaps(logits, streams.mean(2), streams).sum()
    assert all(slope.any() for slope in torch.autograd.grad(loss, (logits, streams)))


def test_a_mean_of_nothing_is_0() -> None:
    assert mean_of_segments(torch.full((2, 3), torch.nan), torch.zeros(2, 3, dtype=torch.bool)) == 0
    assert mean_of_segments(torch.tensor([[1.0, 2.0, 3.0], [6.0, 9.0, 9.0]]), MASK) == 3
