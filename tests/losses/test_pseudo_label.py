"""L_PL against loops; padding never counts."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avvp_pl.losses import pseudo_label_loss

SHAPES = [(1, 1, 1, 1), (3, 4, 2, 5), (2, 6, 1, 3), (4, 3, 3, 2)]


def random_case(shape: tuple[int, int, int, int], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities, pseudo labels (some of them hard) and a mask that has a real segment."""
    generator = torch.Generator().manual_seed(seed)
    probs = torch.rand(shape, generator=generator, dtype=torch.float64)
    labels = (1.5 * torch.rand(shape, generator=generator, dtype=torch.float64) - 0.25).clamp(0, 1)
    mask = torch.rand(shape[:2], generator=generator) < 0.6
    mask[0, 0] = True
    return probs, labels, mask


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, of)
    return found


def slow_loss(probs: Tensor, labels: Tensor, mask: Tensor) -> float:
    videos, segments, modalities, events = probs.shape
    terms = []
    for b in range(videos):
        for t in range(segments):
            if not mask[b, t]:
                continue
            for m in range(modalities):
                for c in range(events):
                    p, y = float(probs[b, t, m, c]), float(labels[b, t, m, c])
                    terms.append(-(y * math.log(p) + (1 - y) * math.log(1 - p)))
    return math.fsum(terms) / len(terms)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_mean_cross_entropy_of_real_segments(shape: tuple[int, int, int, int], seed: int) -> None:
    probs, labels, mask = random_case(shape, seed)
    assert pseudo_label_loss(probs, labels, mask).item() == pytest.approx(slow_loss(probs, labels, mask), rel=1e-12)


def test_what_is_in_the_padding_changes_nothing() -> None:
    probs, labels, mask = random_case((3, 4, 2, 5))
    padded = ~mask
    expected = pseudo_label_loss(probs, labels, mask).item()
    for garbage_prob, garbage_label in ((0.0, 1.0), (1.0, 0.0), (0.5, 0.5)):
        probs[padded], labels[padded] = garbage_prob, garbage_label
        given = probs.clone().requires_grad_()
        loss = pseudo_label_loss(given, labels, mask)
        slope = gradient(loss, given)
        assert loss.item() == expected
        assert (slope[padded] == 0).all()
        assert (slope[mask] != 0).all()


def test_longer_padding_changes_nothing() -> None:
    probs, labels, mask = random_case((3, 4, 2, 5))
    longer = [torch.cat([x, torch.full_like(x[:, :3], 0.9)], dim=1) for x in (probs, labels)]
    longer_mask = torch.cat([mask, torch.zeros(3, 3, dtype=torch.bool)], dim=1)
    assert pseudo_label_loss(longer[0], longer[1], longer_mask).item() == pytest.approx(
        pseudo_label_loss(probs, labels, mask).item(), rel=1e-12
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), orders=st.tuples(*(st.permutations(range(n)) for n in (3, 4, 2, 5))))
def test_the_order_of_videos_segments_modalities_and_events_does_not_matter(
    seed: int, orders: tuple[list[int], list[int], list[int], list[int]]
) -> None:
    probs, labels, mask = random_case((3, 4, 2, 5), seed)
    videos, segments, modalities, events = orders
    permuted = [x[videos][:, segments][:, :, modalities][..., events] for x in (probs, labels)]
    loss = pseudo_label_loss(permuted[0], permuted[1], mask[videos][:, segments])
    assert loss.item() == pytest.approx(pseudo_label_loss(probs, labels, mask).item(), rel=1e-12)


def test_all_padding_costs_nothing_and_has_a_gradient() -> None:
    probs, labels, mask = random_case((3, 4, 2, 5))
    probs.requires_grad_()
    loss = pseudo_label_loss(probs, labels, torch.zeros_like(mask))
    assert loss.item() == 0
    assert (gradient(loss, probs) == 0).all()


@pytest.mark.parametrize("label", [0.0, 0.5, 1.0])
def test_saturated_probabilities_stay_finite(label: float) -> None:
    logits = torch.tensor([-200.0, 200.0]).reshape(1, 2, 1, 1).requires_grad_()
    loss = pseudo_label_loss(logits.sigmoid(), torch.full((1, 2, 1, 1), label), torch.ones(1, 2, dtype=torch.bool))
    assert loss.isfinite()
    assert gradient(loss, logits).isfinite().all()


def test_labels_that_equal_the_probabilities_are_the_best() -> None:
    probs, _, mask = random_case((3, 4, 2, 5))
    probs = probs.clamp(0.05, 0.95)
    best = pseudo_label_loss(probs, probs, mask).item()
    assert pseudo_label_loss(probs + 0.02, probs, mask).item() > best
    assert pseudo_label_loss(probs - 0.02, probs, mask).item() > best
