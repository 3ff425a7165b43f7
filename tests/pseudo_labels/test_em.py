"""Eqs. (14)-(18) as printed, against the enumeration of all labelings of small videos."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from avvp_pl.losses import mil_loss, pseudo_label_loss
from avvp_pl.pseudo_labels import naive_soft_labels
from avvp_pl.pseudo_labels.em import bound, e_step, expected_negative_log_joint, m_step_objective

Labeling = tuple[int, ...]
SIZES = range(1, 6)


def case(segments: int, seed: int, videos: int = 3, events: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Probabilities p and r [B, S, C] and those of videos [B, C], away from 0 and 1, and weak labels of both kinds."""
    generator = torch.Generator().manual_seed(seed)

    def probs(*shape: int) -> Tensor:
        return 0.02 + 0.96 * torch.rand(*shape, generator=generator, dtype=torch.float64)

    weak = (torch.arange(videos * events).reshape(videos, events) % 3 != seed % 3).double()
    return probs(videos, segments, events), probs(videos, segments, events), probs(videos, events), weak


def real(probs: Tensor) -> Tensor:
    return torch.ones(probs.shape[:2], dtype=torch.bool)


def likelihood(labeling: Labeling, probs: Sequence[float]) -> float:
    return math.prod(p if y else 1 - p for y, p in zip(labeling, probs, strict=True))


def slow_bound(p: Sequence[float], video: float, r: Sequence[float], weak: float) -> float:
    """E_q[ln p(w | Y, x)] - KL(q || p(y | x)), as two sums over all labelings."""
    labelings = list(itertools.product((0, 1), repeat=len(p)))
    q = {y: likelihood(y, r) for y in labelings}
    expected = math.fsum(q[y] * math.log(video if weak else 1 - video) for y in labelings)
    divergence = math.fsum(q[y] * math.log(q[y] / likelihood(y, p)) for y in labelings if q[y] > 0)
    return expected - divergence


def each(weak: Tensor) -> list[tuple[int, int]]:
    return list(itertools.product(range(weak.shape[0]), range(weak.shape[1])))


@pytest.mark.parametrize("segments", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_the_bound_equals_enumeration(segments: int, seed: int) -> None:
    p, r, video, weak = case(segments, seed)
    for labels in (r, r.round(), e_step(p, weak)):
        found = bound(p, video, labels, weak, real(p))
        for b, c in each(weak):
            expected = slow_bound(p[b, :, c].tolist(), float(video[b, c]), labels[b, :, c].tolist(), float(weak[b, c]))
            assert found[b, c].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_is_at_most_the_log_likelihood_and_reaches_it(seed: int) -> None:
    p, r, video, weak = case(4, seed)
    exact = torch.where(weak > 0, video, 1 - video).log()
    torch.testing.assert_close(bound(p, video, p, weak, real(p)), exact)
    assert (bound(p, video, r, weak, real(p)) < exact).all()


@pytest.mark.parametrize("segments", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_an_exact_e_step_never_lowers_the_bound(segments: int, seed: int) -> None:
    """Among the distributions that agree with the weak label: where w = 0, no segment has the event."""
    p, r, video, weak = case(segments, seed)
    best = bound(p, video, e_step(p, weak), weak, real(p))
    for labels in (r, r.round(), (p + 0.01).clamp(max=0.99), torch.zeros_like(p), torch.ones_like(p)):
        agreeing = weak[:, None] * labels
        assert (best >= bound(p, video, agreeing, weak, real(p)) - 1e-12).all()


def test_the_e_step_by_hand_and_as_naive_soft_labels() -> None:
    p, weak = torch.tensor([[[0.2, 0.9], [0.7, 0.4]]]), torch.tensor([[1.0, 0.0]])
    assert torch.equal(e_step(p, weak), torch.tensor([[[0.2, 0.0], [0.7, 0.0]]]))
    assert torch.equal(e_step(p, weak), naive_soft_labels(p[:, :, None], weak)[:, :, 0])


@pytest.mark.parametrize("segments", SIZES)
@pytest.mark.parametrize("weak", [0.0, 1.0])
def test_both_forms_of_the_m_step_are_equal(segments: int, weak: float) -> None:
    """Eq. (17) sums over labelings and Eq. (18) over segments; q sums to 1, so that the constant between them is 0."""
    p, r, video, _ = case(segments, 0, videos=1, events=1)
    labels = weak * r
    labelings = list(itertools.product((0, 1), repeat=segments))
    q = [likelihood(y, labels[0, :, 0].tolist()) for y in labelings]
    found = expected_negative_log_joint(
        p[0, :, 0],
        video[0, 0],
        weak,
        torch.tensor(labelings, dtype=torch.float64),
        torch.tensor(q, dtype=torch.float64),
    )
    expected = -math.fsum(
        share * (math.log(likelihood(y, p[0, :, 0].tolist())) + math.log(video.item() if weak else 1 - video.item()))
        for y, share in zip(labelings, q, strict=True)
    )
    over_segments = m_step_objective(p, video, labels, torch.full((1, 1), weak, dtype=torch.float64), real(p))
    assert found.item() == pytest.approx(expected, rel=1e-9)
    assert over_segments.item() == pytest.approx(expected, rel=1e-9)


def test_saturated_probabilities_keep_their_margin_in_both_forms() -> None:
    """p = 0 and p = 1 count as 1e-7 and 1 - 1e-7, so labels on the other side cost 2 ln 1e-7."""
    p, video = torch.tensor([0.0, 1.0], dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    labelings = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    for q, expected in (([1.0, 0.0], -2 * math.log(1e-7)), ([0.0, 1.0], -2 * math.log(1 - 1e-7))):
        found = expected_negative_log_joint(p, video, 1.0, labelings, torch.tensor(q, dtype=torch.float64))
        assert found.item() == pytest.approx(expected + math.log(2), rel=1e-9)
        labels, ones = (torch.tensor(q, dtype=torch.float64) @ labelings)[None, :, None], torch.ones(1, 1).double()
        over_segments = m_step_objective(p[None, :, None], video[None, None], labels, ones, real(p[None, :, None]))
        assert over_segments.item() == pytest.approx(found.item(), rel=1e-9)


def test_training_minimizes_the_m_step() -> None:
    """Its mean over videos and events is L_MIL + S L_PL: with weights of 1 and S, the losses of Eq. (13)."""
    p, r, video, weak = case(6, 1)
    mask = torch.ones(3, 3, dtype=torch.bool)  # T = 3 segments in M = 2 modalities
    p, video = p.requires_grad_(), video.requires_grad_()
    segments, labels = p.reshape(3, 3, 2, 2), (weak[:, None] * r).reshape(3, 3, 2, 2)
    objective = m_step_objective(p, video, labels.reshape(3, 6, 2), weak, real(p)).mean()
    trained = mil_loss(video, weak) + 6 * pseudo_label_loss(segments, labels, mask)
    assert objective.item() == pytest.approx(trained.item(), rel=1e-9)
    for of_objective, of_training in zip(
        torch.autograd.grad(objective, [p, video]), torch.autograd.grad(trained, [p, video]), strict=True
    ):
        torch.testing.assert_close(of_objective, of_training)


def test_the_e_step_and_the_m_step_take_turns_to_raise_the_log_likelihood() -> None:
    """A toy model with one parameter for each segment, whose video is the mean of its segments."""
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 1, dtype=torch.float64)
    weak = torch.ones(1, 1, dtype=torch.float64)
    before = -math.inf
    for _ in range(20):
        p = logits.sigmoid()
        labels = e_step(p, weak)
        reached = bound(p, p.mean(1), labels, weak, real(p)).item()
        assert reached >= before - 1e-12
        before = reached
        for _ in range(50):  # an M step by gradient descent
            logits = logits.detach().requires_grad_()
            p = logits.sigmoid()
            (gradient,) = torch.autograd.grad(m_step_objective(p, p.mean(1), labels, weak, real(p)).sum(), logits)
            logits = logits - 0.1 * gradient
        logits = logits.detach()
    assert before > math.log(0.5)


def test_padding_is_ignored() -> None:
    p, r, video, weak = case(6, 0)
    mask = torch.arange(6).expand(3, -1) < 4
    for function in (bound, m_step_objective):
        torch.testing.assert_close(
            function(p, video, r, weak, mask), function(p[:, :4], video, r[:, :4], weak, mask[:, :4])
        )


@pytest.mark.parametrize("padding", [math.nan, math.inf, -math.inf, -1.0, 0.0, 1.0, 7.0])
def test_any_number_may_stand_at_padding(padding: float) -> None:
    """Of probabilities and of labels, and for gradients, too."""
    p, r, video, weak = case(6, 0)
    mask = torch.arange(6).expand(3, -1) < 4
    for function in (bound, m_step_objective):
        own_p = p.masked_fill(~mask[..., None], padding).requires_grad_()
        own_r = r.masked_fill(~mask[..., None], padding)
        found = function(own_p, video, own_r, weak, mask)
        assert torch.equal(found, function(p, video, r, weak, mask))
        (gradient,) = torch.autograd.grad(found.sum(), own_p)
        assert gradient[mask].isfinite().all()
        assert (gradient[~mask] == 0).all()


def test_saturated_probabilities_and_hard_labels_stay_finite() -> None:
    lines = torch.tensor(list(itertools.product((0.0, 0.5, 1.0), repeat=3)))
    p = lines.repeat_interleave(len(lines), 0)[:, :, None]
    r = lines.repeat(len(lines), 1)[:, :, None]
    for weak in (torch.zeros(len(p), 1), torch.ones(len(p), 1)):
        for video in (torch.zeros(len(p), 1), torch.full((len(p), 1), 1.3)):  # pooled probabilities can exceed 1
            assert bound(p, video, r, weak, real(p)).isfinite().all()
            assert m_step_objective(p, video, r, weak, real(p)).isfinite().all()
