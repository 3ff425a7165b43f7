"""L_MIL, the guided losses and the class weights against loops and numbers worked by hand."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avvp_pl.losses import guided_loss, inverse_frequency_weights, mil_loss

SHAPES = [(1, 1), (3, 4), (7, 2)]


def random_case(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Probabilities of any shape, and 0/1 labels of its first and last dimension."""
    generator = torch.Generator().manual_seed(seed)
    probs = torch.rand(shape, generator=generator, dtype=torch.float64)
    labels = torch.rand(shape[0], shape[-1], generator=generator, dtype=torch.float64) < 0.4
    return probs, labels.double()


def random_targets(*shape: int, seed: int = 0) -> Tensor:
    """Labels of modalities, as certain as they may be."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, of)
    return found


def slow_entropy(prob: float, label: float) -> float:
    prob = min(max(prob, 1e-7), 1 - 1e-7)
    return -(label * math.log(prob) + (1 - label) * math.log(1 - prob))


def slow_mil_loss(video_probs: Tensor, weak_labels: Tensor, weights: Sequence[float]) -> float:
    terms = [
        weights[c] * slow_entropy(float(video_probs[b, c]), float(weak_labels[b, c]))
        for b in range(video_probs.shape[0])
        for c in range(video_probs.shape[1])
    ]
    return math.fsum(terms) / len(terms)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_mil_loss_is_the_mean_cross_entropy(shape: tuple[int, int], weighted: bool) -> None:
    probs, labels = random_case(*shape)
    weights = [0.3 + 0.7 * c for c in range(shape[1])]
    given = torch.tensor(weights, dtype=torch.float64) if weighted else None
    expected = slow_mil_loss(probs, labels, weights if weighted else [1.0] * shape[1])
    assert mil_loss(probs, labels, given).item() == pytest.approx(expected, rel=1e-12)


def test_an_event_weight_scales_only_its_event() -> None:
    probs = torch.tensor([[0.5, 0.25]])
    labels = torch.tensor([[1.0, 1.0]])
    loss = mil_loss(probs, labels, torch.tensor([4.0, 0.5]))
    assert loss.item() == pytest.approx((4 * math.log(2) + 0.5 * math.log(4)) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probabilities_at_and_beyond_the_limits_stay_finite(dtype: torch.dtype) -> None:
    probs = torch.tensor([[0.0, 1.0, 1.7, 0.0, 1.0, 1.7]], dtype=dtype, requires_grad=True)
    loss = mil_loss(probs, torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]], dtype=dtype))
    assert gradient(loss, probs).isfinite().all()
    # three of six are certain and wrong, at -log 1e-7 each; float32 has 1 - 2^-23 instead of 1 - 1e-7
    assert loss.item() == pytest.approx(-math.log(1e-7) / 2, rel=2e-2 if dtype == torch.float32 else 1e-6)


def test_the_gradient_pulls_towards_the_label() -> None:
    probs = torch.tensor([[0.3, 0.3]], requires_grad=True)
    loss = mil_loss(probs, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(gradient(loss, probs), torch.tensor([[-0.5 / 0.3, 0.5 / 0.7]]))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 2.0), (1.0, 0.0)])
def test_guided_loss_is_the_weighted_sum_over_modalities(weights: tuple[float, float]) -> None:
    """Also for targets between 0 and 1, of which each modality has its own."""
    probs, targets = random_case(4, 2, 3)[0], random_targets(4, 2, 3)
    expected = sum(weights[m] * slow_mil_loss(probs[:, m], targets[:, m], [1.0] * 3) for m in range(2))
    assert guided_loss(probs, targets, weights).item() == pytest.approx(expected, rel=1e-12)


def test_guided_loss_is_least_at_its_targets() -> None:
    probs = torch.tensor([[[0.95, 0.05]]], dtype=torch.float64, requires_grad=True)
    loss = guided_loss(probs, probs.detach().clone(), [1.0])
    torch.testing.assert_close(gradient(loss, probs), torch.zeros_like(probs), atol=1e-12, rtol=0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), orders=st.tuples(*(st.permutations(range(n)) for n in (4, 3, 5))))
def test_the_order_of_videos_modalities_and_events_does_not_matter(
    seed: int, orders: tuple[list[int], list[int], list[int]]
) -> None:
    probs, labels = random_case(4, 3, 5, seed=seed)
    videos, modalities, events = orders
    permuted, permuted_labels = probs[videos][:, modalities][..., events], labels[videos][:, events]
    event_weights = torch.arange(1.0, 6.0, dtype=torch.float64)
    assert mil_loss(permuted[:, 0], permuted_labels, event_weights[events]).item() == pytest.approx(
        mil_loss(probs[:, modalities[0]], labels, event_weights).item(), rel=1e-12
    )
    weights, targets = [0.5, 1.0, 2.0], random_targets(4, 3, 5, seed=seed)
    of_permuted = guided_loss(permuted, targets[videos][:, modalities][..., events], [weights[m] for m in modalities])
    assert of_permuted.item() == pytest.approx(guided_loss(probs, targets, weights).item(), rel=1e-12)
    torch.testing.assert_close(
        inverse_frequency_weights(permuted_labels), inverse_frequency_weights(labels)[events], rtol=1e-12, atol=0
    )


def test_guided_loss_ignores_a_modality_of_weight_zero() -> None:
    probs, targets = random_case(4, 2, 3)[0], random_targets(4, 2, 3)
    other = probs.clone()
    other[:, 1] = 1 - other[:, 1]
    probs.requires_grad_()
    loss = guided_loss(probs, targets, [0.7, 0.0])
    assert loss.item() == guided_loss(other, targets, [0.7, 0.0]).item()
    slope = gradient(loss, probs)
    assert (slope[:, 0] != 0).all()
    assert (slope[:, 1] == 0).all()


def test_guided_loss_without_any_weight_is_zero() -> None:
    """But it has a gradient, of 0: with several processes, torch wants one for every weight of the network."""
    probs, targets = random_case(4, 2, 3)[0].requires_grad_(), random_targets(4, 2, 3)
    loss = guided_loss(probs, targets, [0.0, 0.0])
    assert loss.item() == 0
    assert (gradient(loss, probs) == 0).all()


def test_guided_loss_wants_a_weight_for_every_modality() -> None:
    probs, targets = random_case(4, 2, 3)[0], random_targets(4, 2, 3)
    with pytest.raises(ValueError):
        guided_loss(probs, targets, [1.0])


def test_guided_loss_of_certain_mistakes_stays_finite() -> None:
    """All four are certain and wrong, at -log 1e-7 each: their mean, once a modality."""
    probs = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]], dtype=torch.float64, requires_grad=True)
    loss = guided_loss(probs, torch.tensor([[[1.0, 0.0], [1.0, 0.0]]], dtype=torch.float64), [1.0, 1.0])
    assert loss.item() == pytest.approx(-2 * math.log(1e-7), rel=1e-6)
    assert gradient(loss, probs).isfinite().all()


def test_guided_loss_takes_a_pooling_that_is_rounded_beyond_one() -> None:
    probs = torch.full((1, 1, 1), 1 + 1e-6)
    assert guided_loss(probs, torch.ones(1, 1, 1), [1.0]).item() == pytest.approx(0, abs=1e-6)


def test_inverse_frequency_weights_by_hand() -> None:
    """Events of 4, 2, 1 and 0 videos: 1/4, 1/2, 1 and, as if of one video, 1, over their mean 11/16."""
    labels = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([4 / 11, 8 / 11, 16 / 11, 16 / 11])
    torch.testing.assert_close(inverse_frequency_weights(labels), expected)


@pytest.mark.parametrize("shape", [(20, 5), (3, 8)])
def test_inverse_frequency_weights_have_mean_one_and_even_out_the_events(shape: tuple[int, int]) -> None:
    labels = random_case(*shape)[1]
    labels[0] = 1
    weights = inverse_frequency_weights(labels)
    assert weights.mean().item() == pytest.approx(1)
    shares = weights * labels.sum(0)
    torch.testing.assert_close(shares, shares[:1].expand_as(shares))
