"""DELU's evidence and curriculum, against loops over videos, events and segments, and by hand."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avvp_pl.losses.evidential import (
    curriculum_weights,
    evidence_loss,
    evidence_of,
    most_attended,
    uncertainty_of,
)

UNCERTAINTY = torch.tensor([[0.9, 0.1, 0.5, 0.3, 0.7, 0.2]])
CURVE = [0.522, 0.677, 0.884, 1.116, 1.323, 1.478]
ALL = torch.ones(1, 6, dtype=torch.bool)
Kind = Literal["rank", "code"]


def randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Evidence


def slow_evidence(evidence: list[float], weak: list[float]) -> float:
    """The loss of one video."""
    strengths = [e + 1 for e in evidence]
    total, events = sum(strengths), len(evidence)
    share_of_all = sum(w / a for w, a in zip(weak, strengths, strict=True))
    loss = 0.0
    for a, w in zip(strengths, weak, strict=True):
        if w:
            loss += (1 - events / total) * sum(weak) * (w / a) / share_of_all * math.log(total / a)
    return loss


@pytest.mark.parametrize(
    ("evidence", "weak", "expected"),
    [
        ([1.0, 1.0], [1.0, 0.0], 0.3466),
        ([3.0, 1.0], [1.0, 1.0], 1.1568),
        ([1.0] * 20, [1.0] + [0.0] * 19, 1.4979),
    ],
)
def test_evidence_by_hand(evidence: list[float], weak: list[float], expected: float) -> None:
    assert evidence_loss(torch.tensor([evidence]), torch.tensor([weak])).item() == pytest.approx(expected, abs=5e-5)


def test_evidence_of_several_videos() -> None:
    evidence, weak = randn(0, 6, 4).exp(), (randn(1, 6, 4) > 0).double()
    weak[2] = 0
    expected = sum(slow_evidence(e, w) for e, w in zip(evidence.tolist(), weak.tolist(), strict=True)) / 6
    assert evidence_loss(evidence, weak).item() == pytest.approx(expected, rel=1e-12)


def test_the_gradient_passes_through_the_shares_and_not_through_the_uncertainty() -> None:
    weak = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
    evidence = torch.tensor([[3.0, 1.0, 0.5]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(evidence_loss(evidence, weak), evidence)

    def loss(values: list[float]) -> float:
        strengths = [e + 1 for e in values]
        total, certainty = sum(strengths), 1 - 3 / (4 + 2 + 1.5)  # as it is, whatever the values are
        shares = 1 / strengths[0] + 1 / strengths[1]
        return sum(certainty * 2 / strengths[c] / shares * math.log(total / strengths[c]) for c in (0, 1))

    for c in range(3):
        up, down = ([3.0, 1.0, 0.5] for _ in range(2))
        up[c], down[c] = up[c] + 1e-6, down[c] - 1e-6
        assert slope[0, c].item() == pytest.approx((loss(up) - loss(down)) / 2e-6, rel=1e-6)


def test_a_video_without_events_has_no_loss() -> None:
    evidence = torch.ones(1, 3, requires_grad=True)
    loss = evidence_loss(evidence, torch.zeros(1, 3))
    (slope,) = torch.autograd.grad(loss, evidence)
    assert loss == 0
    assert not slope.any()


def test_evidence_is_limited() -> None:
    found = evidence_of(torch.tensor([-99.0, 0.0, 1.0, 99.0], dtype=torch.float64)).tolist()
    assert found == pytest.approx([math.exp(-10), 1.0, math.e, math.exp(10)])


@pytest.mark.parametrize("share", [1, 2, 3, 9])
def test_the_most_attended_segments_are_the_same_for_all_events(share: int) -> None:
    lengths = [7, 1, 4, 6]
    scores, attention = randn(2, 4, 7, 3), randn(3, 4, 7).sigmoid()
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    hidden = most_attended(scores.masked_fill(~mask[..., None], 50), attention.masked_fill(~mask, 2), mask, share)
    for b, length in enumerate(lengths):
        best = sorted(range(length), key=lambda t: -attention[b, t].item())[: max(1, length // share)]
        assert hidden[b].tolist() == pytest.approx(scores[b, best].mean(0).tolist())


def test_a_video_without_segments_has_no_scores() -> None:
    found = most_attended(torch.ones(1, 3, 2), torch.ones(1, 3), torch.zeros(1, 3, dtype=torch.bool), 2)
    assert (found == 0).all()


# The curriculum


def test_the_uncertainty_counts_the_evidence_for_the_background() -> None:
    scores = torch.tensor([[[0.0, 1.0, 2.0], [20.0, -20.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    expected = [2 / (3 + 1 + math.e + math.e**2), 2 / (3 + math.exp(10) + math.exp(-10) + 1)]
    found = uncertainty_of(scores)
    assert found[0].tolist() == pytest.approx(expected)
    assert not found.requires_grad


def test_the_curriculum_of_the_public_code_by_hand() -> None:
    """Its weights go by the number of the segment that has a rank, and not by the rank of the segment."""
    found = curriculum_weights(UNCERTAINTY, ALL, 0.0, 0.7, "code")[0]
    assert found.tolist() == pytest.approx([0.677, 1.478, 1.116, 0.884, 1.323, 0.522], abs=5e-4)


def test_the_curriculum_by_rank_by_hand() -> None:
    ranks = [5, 0, 3, 2, 4, 1]
    first, last = (curriculum_weights(UNCERTAINTY, ALL, progress, 0.7, "rank")[0] for progress in (0.0, 1.0))
    assert first.tolist() == pytest.approx([CURVE[5 - rank] for rank in ranks], abs=5e-4)  # the most certain one leads
    assert last.tolist() == pytest.approx([CURVE[rank] for rank in ranks], abs=5e-4)


@pytest.mark.parametrize("by", ["rank", "code"])
def test_in_the_middle_of_the_training_all_weights_are_1(by: Kind) -> None:
    assert (curriculum_weights(UNCERTAINTY, ALL, 0.5, 0.7, by) == 1).all()
    assert (curriculum_weights(UNCERTAINTY, ALL, 0.1, 0.0, by) == 1).all()


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=4),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(["rank", "code"]),
    st.integers(0, 99),
)
def test_weights_of_any_videos(lengths: list[int], progress: float, amplitude: float, by: Kind, seed: int) -> None:
    longest = max(lengths) + 2
    uncertainty = randn(seed, len(lengths), longest).sigmoid()
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    found = curriculum_weights(uncertainty.masked_fill(~mask, 0.0), mask, progress, amplitude, by)
    for b, length in enumerate(lengths):
        own = uncertainty[b, :length].tolist()
        order = sorted(range(length), key=lambda t: own[t])
        curve = [1 + amplitude * math.tanh(((2 * i + 1) / length - 1) * (1 - 2 * progress)) for i in range(length)]
        if by == "code":
            expected = [curve[order[t]] for t in range(length)]
        else:
            expected = [2 - curve[order.index(t)] for t in range(length)]
        assert found[b, :length].tolist() == pytest.approx(expected)
        assert found[b].sum().item() == pytest.approx(length)
        assert (found[b, length:] == 0).all()
