"""Pseudo labels against the equations computed with exact decimals, which do not overflow."""

import re
from decimal import Decimal
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avvp_pl.pseudo_labels import (
    hard_labels,
    naive_hard_labels,
    naive_soft_labels,
    prototype_evidence,
    soft_labels,
)
from avvp_pl.types import Prototypes

Shape = tuple[int, int, int, int, int, int]
SHAPES: list[Shape] = [(1, 1, 1, 1, 1, 2), (3, 2, 2, 4, 3, 4), (2, 4, 1, 3, 2, 3), (2, 2, 3, 2, 4, 5)]


def random_case(shape: Shape, seed: int, norm: float = 1.0) -> tuple[Tensor, Prototypes, Tensor]:
    """Features, prototypes of the same norm, any of them masked, and weak labels; ``shape`` is B, T, M, C, K, D."""
    generator = torch.Generator().manual_seed(seed)
    videos, segments, modalities, events, k, dim = shape

    def directions(*size: int) -> Tensor:
        points = torch.randn(size, generator=generator, dtype=torch.float64)
        return norm * torch.nn.functional.normalize(points, dim=-1)

    def mask() -> Tensor:
        return torch.rand(events, k, generator=generator) < 0.6

    prototypes = Prototypes(directions(events, k, dim), mask(), directions(events, k, dim), mask())
    weak = (torch.rand(videos, events, generator=generator) < 0.6).double()
    return directions(videos, segments, modalities, dim), prototypes, weak


def slow_mean(feature: Tensor, centers: Tensor, used: Tensor, tau: str) -> Decimal | None:
    """The mean of exp(f . C_k / tau) over the used prototypes."""
    terms = []
    for center, exists in zip(centers, used, strict=True):
        if exists:
            products = (Decimal(float(a)) * Decimal(float(b)) for a, b in zip(feature, center, strict=True))
            terms.append((sum(products, Decimal(0)) / Decimal(tau)).exp())
    return sum(terms, Decimal(0)) / len(terms) if terms else None


def slow_labels(features: Tensor, prototypes: Prototypes, weak: Tensor, tau: str, hard: bool) -> Tensor:
    videos, segments, modalities, _ = features.shape
    labels = torch.zeros(videos, segments, modalities, weak.shape[1], dtype=torch.float64)
    for b, t, m, c in torch.ones_like(labels).nonzero().tolist():
        if weak[b, c] == 0:
            continue
        f = features[b, t, m]
        positive = slow_mean(f, prototypes.positive[c], prototypes.positive_mask[c], tau)
        negative = slow_mean(f, prototypes.negative[c], prototypes.negative_mask[c], tau)
        if positive is None:
            label = 0.0
        elif negative is None:
            label = 1.0
        else:
            label = float(positive > negative) if hard else float(positive / (positive + negative))
        labels[b, t, m, c] = label
    return labels


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tau", ["0.05", "0.1", "1"])
def test_soft_labels_equal_equation_10(shape: Shape, seed: int, tau: str) -> None:
    features, prototypes, weak = random_case(shape, seed)
    expected = slow_labels(features, prototypes, weak, tau, hard=False)
    found = soft_labels(features, prototypes, weak, float(tau))
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("norm", [1.0, 512**0.5])
def test_hard_labels_equal_equation_9(shape: Shape, seed: int, norm: float) -> None:
    features, prototypes, weak = random_case(shape, seed, norm)
    expected = slow_labels(features, prototypes, weak, "1", hard=True)
    assert torch.equal(hard_labels(features, prototypes, weak), expected)


@pytest.mark.parametrize("seed", range(3))
def test_unnormalized_features_stay_exact(seed: int) -> None:
    """Of the norm that HAN's last LayerNorm gives; exp(512 / 0.05) overflows any float."""
    features, prototypes, weak = random_case((3, 2, 2, 4, 3, 4), seed, norm=512**0.5)
    expected = slow_labels(features, prototypes, weak, "0.05", hard=False)
    torch.testing.assert_close(soft_labels(features, prototypes, weak, 0.05), expected, atol=1e-7, rtol=1e-7)
    single = Prototypes(
        prototypes.positive.float(), prototypes.positive_mask, prototypes.negative.float(), prototypes.negative_mask
    )
    for labels in (
        soft_labels(features.float(), single, weak.float(), 0.05),
        hard_labels(features.float(), single, weak.float()),
    ):
        assert labels.dtype == torch.float32
        assert ((labels >= 0) & (labels <= 1)).all()


def test_one_prototype_a_sign_by_hand() -> None:
    """Similarities 0.6 and 0.8: sigmoid((0.6 - 0.8) / 0.1) = 1 / (1 + e^2)."""
    exists = torch.ones(1, 1, dtype=torch.bool)
    prototypes = Prototypes(torch.tensor([[[1.0, 0.0]]]), exists, torch.tensor([[[0.0, 1.0]]]), exists)
    features = torch.tensor([[0.6, 0.8], [0.8, 0.6]]).reshape(1, 2, 1, 2)
    occurs = torch.ones(1, 1)
    soft = soft_labels(features, prototypes, occurs, tau=0.1).flatten()
    torch.testing.assert_close(soft, torch.tensor([0.1192029, 0.8807971]))
    assert hard_labels(features, prototypes, occurs).flatten().tolist() == [0.0, 1.0]


def test_the_mean_is_over_the_used_prototypes() -> None:
    """Three equal positive prototypes are worth as much as one, and a tie is not more."""
    one = torch.tensor([[[1.0, 0.0]]])
    padding = torch.full((1, 2, 2), 9.0)
    prototypes = Prototypes(
        one.repeat(1, 3, 1),
        torch.ones(1, 3, dtype=torch.bool),
        torch.cat([one, padding], dim=1),
        torch.tensor([[True, False, False]]),
    )
    features, occurs = torch.ones(1, 1, 1, 2), torch.ones(1, 1)
    torch.testing.assert_close(soft_labels(features, prototypes, occurs, 0.1).flatten(), torch.tensor([0.5]))
    evidence = prototype_evidence(features, prototypes, 0.1).flatten()
    torch.testing.assert_close(evidence, torch.zeros(1), atol=1e-5, rtol=0)


def test_a_tie_is_not_positive() -> None:
    center, exists = torch.tensor([[[1.0, 0.0]]]), torch.ones(1, 1, dtype=torch.bool)
    labels = hard_labels(torch.ones(1, 1, 1, 2), Prototypes(center, exists, center, exists), torch.ones(1, 1))
    assert labels.item() == 0


@pytest.mark.parametrize("times", [2, 3, 7])
def test_a_number_of_prototypes_is_as_precise_as_the_features(times: int) -> None:
    """log(times) cancels that of the sum; rounded to float32 it would decide ties of float64."""
    one, exists = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64), torch.ones(1, times, dtype=torch.bool)
    padded = torch.cat([one, torch.full((1, times - 1, 2), 9.0, dtype=torch.float64)], dim=1)
    prototypes = Prototypes(padded, torch.arange(times)[None] == 0, one.repeat(1, times, 1), exists)
    feature = torch.tensor([0.6, 0.8], dtype=torch.float64).reshape(1, 1, 1, 2)
    assert abs(prototype_evidence(feature, prototypes, 1.0).item()) < 1e-15


def test_labels_inside_autocast_are_float32() -> None:
    features, prototypes, weak = random_case((3, 2, 2, 4, 3, 4), 0)
    single = Prototypes(
        prototypes.positive.float(), prototypes.positive_mask, prototypes.negative.float(), prototypes.negative_mask
    )
    expected = soft_labels(features, prototypes, weak, 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        labels = soft_labels(features.float(), single, weak.float(), 1.0)
        evidence = prototype_evidence(features.float(), single, 1.0)
    assert labels.dtype == evidence.dtype == torch.float32
    torch.testing.assert_close(labels.double(), expected, atol=0.01, rtol=0)


def test_hard_and_soft_labels_differ_by_tau() -> None:
    """Eq. (9) has none: means of several similarities are ordered otherwise by exp(x) than by exp(x / 0.05)."""
    exists = torch.ones(1, 2, dtype=torch.bool)
    positive, negative = torch.tensor([[[0.9], [0.0]]]), torch.tensor([[[0.7], [0.7]]])
    prototypes = Prototypes(positive, exists, negative, exists)
    feature, occurs = torch.ones(1, 1, 1, 1), torch.ones(1, 1)
    assert hard_labels(feature, prototypes, occurs).item() == 0
    assert soft_labels(feature, prototypes, occurs, 0.05).item() > 0.9


@pytest.mark.parametrize("garbage", [1e4, -1e4])
def test_unused_prototypes_change_nothing(garbage: float) -> None:
    features, prototypes, weak = random_case((3, 2, 2, 4, 3, 4), 0)
    expected = soft_labels(features, prototypes, weak, 0.1), hard_labels(features, prototypes, weak)
    prototypes.positive[~prototypes.positive_mask] = garbage
    prototypes.negative[~prototypes.negative_mask] = garbage
    assert torch.equal(soft_labels(features, prototypes, weak, 0.1), expected[0])
    assert torch.equal(hard_labels(features, prototypes, weak), expected[1])


@pytest.mark.parametrize(
    ("positives", "negatives", "label"), [(True, False, 1.0), (False, True, 0.0), (False, False, 0.0)]
)
def test_an_event_that_lacks_prototypes(positives: bool, negatives: bool, label: float) -> None:
    """No negative ones: y = w. No positive ones: y = 0."""
    features, prototypes, weak = random_case((4, 2, 2, 3, 3, 4), 0)
    prototypes.positive_mask[1], prototypes.negative_mask[1] = positives, negatives
    expected = (label * weak[:, None, None, 1]).expand(4, 2, 2)
    assert 0 < weak[:, 1].sum() < 4
    assert torch.equal(soft_labels(features, prototypes, weak, 0.1)[..., 1], expected)
    assert torch.equal(hard_labels(features, prototypes, weak)[..., 1], expected)
    evidence = prototype_evidence(features, prototypes, 0.1)[..., 1]
    assert (evidence == (torch.inf if label else -torch.inf)).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_evidence_is_the_logit_of_the_soft_labels(seed: int) -> None:
    features, prototypes, weak = random_case((3, 2, 2, 4, 3, 4), seed)
    by_evidence = weak[:, None, None, :] * prototype_evidence(features, prototypes, 0.1).sigmoid()
    torch.testing.assert_close(soft_labels(features, prototypes, weak, 0.1), by_evidence)


def test_the_evidence_says_nothing_of_weak_labels() -> None:
    """An event that does not occur has evidence as any other has: that of Eq. (10) with w = 1."""
    features, prototypes, weak = random_case((3, 2, 2, 4, 3, 4), 0)
    evidence = prototype_evidence(features, prototypes, 0.1)
    expected = slow_labels(features, prototypes, torch.ones_like(weak), "0.1", hard=False)
    torch.testing.assert_close(evidence.sigmoid(), expected, atol=1e-7, rtol=1e-7)


def test_events_of_no_video_have_no_labels() -> None:
    features, prototypes, weak = random_case((3, 2, 2, 4, 3, 4), 0)
    weak[:] = 0
    prototypes.negative_mask[2] = False
    assert not soft_labels(features, prototypes, weak, 0.1).any()
    assert not hard_labels(features, prototypes, weak).any()


def test_naive_labels_by_hand() -> None:
    probs = torch.tensor([[0.5, 0.9], [0.49, 0.8]]).reshape(1, 2, 1, 2)
    weak = torch.tensor([[1.0, 0.0]])
    assert torch.equal(naive_soft_labels(probs, weak).flatten(), torch.tensor([0.5, 0.0, 0.49, 0.0]))
    assert torch.equal(naive_hard_labels(probs, weak).flatten(), torch.tensor([1.0, 0.0, 0.0, 0.0]))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), orders=st.tuples(*(st.permutations(range(n)) for n in (3, 2, 2, 4, 3))))
def test_permuting_permutes_the_labels_and_the_order_of_prototypes_does_not_matter(
    seed: int, orders: tuple[list[int], list[int], list[int], list[int], list[int]]
) -> None:
    features, given_prototypes, weak = random_case((3, 2, 2, 4, 3, 4), seed)
    videos, segments, modalities, events, k = orders
    prototypes = Prototypes(
        given_prototypes.positive[events][:, k],
        given_prototypes.positive_mask[events][:, k],
        given_prototypes.negative[events],
        given_prototypes.negative_mask[events],
    )
    permuted = features[videos][:, segments][:, :, modalities]
    own_weak = weak[videos][:, events]
    for actual, before in (
        (soft_labels(permuted, prototypes, own_weak, 0.1), soft_labels(features, given_prototypes, weak, 0.1)),
        (prototype_evidence(permuted, prototypes, 0.1), prototype_evidence(features, given_prototypes, 0.1)),
        (hard_labels(permuted, prototypes, own_weak), hard_labels(features, given_prototypes, weak)),
    ):
        torch.testing.assert_close(actual, before[videos][:, segments][:, :, modalities][..., events])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    scale=st.floats(1e-3, 1e4),
    of_prototypes=st.floats(1e-3, 1e4),
    tau=st.sampled_from([0.05, 0.1, 1.0]),
)
def test_features_and_prototypes_of_any_scale_give_labels(
    seed: int, scale: float, of_prototypes: float, tau: float
) -> None:
    features, drawn, weak = random_case((3, 2, 2, 4, 3, 16), seed)
    prototypes = Prototypes(
        (of_prototypes * drawn.positive).float(),
        drawn.positive_mask,
        (of_prototypes * drawn.negative).float(),
        drawn.negative_mask,
    )
    scaled, weak = (scale * features).float(), weak.float()
    assert not prototype_evidence(scaled, prototypes, tau).isnan().any()
    for labels in (soft_labels(scaled, prototypes, weak, tau), hard_labels(scaled, prototypes, weak)):
        assert ((labels >= 0) & (labels <= 1)).all()


def test_everything_is_made_where_the_features_are() -> None:
    """What is made elsewhere is without numbers here, and can not be computed with."""
    features, prototypes, weak = random_case((3, 2, 2, 4, 3, 4), 0)
    expected = soft_labels(features, prototypes, weak, 0.1), prototype_evidence(features, prototypes, 0.1)
    with torch.device("meta"):
        found = soft_labels(features, prototypes, weak, 0.1), prototype_evidence(features, prototypes, 0.1)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("label", [lambda f, p, w: soft_labels(f, p, w, 0.1), hard_labels])
def test_labels_are_the_same_inside_autocast(label: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(4, 6, 2, 16, generator=generator), dim=-1)
    centers = torch.nn.functional.normalize(torch.randn(2, 3, 5, 16, generator=generator), dim=-1)
    used = torch.ones(3, 5, dtype=torch.bool)
    prototypes, weak = Prototypes(centers[0], used, centers[1], used), torch.ones(4, 3)
    expected = label(features, prototypes, weak)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(label(features, prototypes, weak), expected)


@pytest.mark.usefixtures("_unchecked_signatures")
@pytest.mark.parametrize(
    ("features", "weak", "positive", "negative"),
    [
        pytest.param((2, 5, 2, 4), (2, 1), (3, 2, 4), (3, 2, 4), id="events-broadcast"),
        pytest.param((2, 5, 2, 4), (1, 3), (3, 2, 4), (3, 2, 4), id="videos-broadcast"),
        pytest.param((2, 5, 2, 4), (3, 3), (3, 2, 4), (3, 2, 4), id="videos"),
        pytest.param((2, 5, 2, 4), (2, 3), (2, 2, 4), (3, 2, 4), id="positive-events"),
        pytest.param((2, 5, 2, 4), (2, 3), (3, 2, 4), (4, 2, 4), id="negative-events"),
        pytest.param((2, 5, 2, 4), (2, 3), (3, 2, 5), (3, 2, 5), id="dimension"),
        pytest.param((2, 5, 2, 4), (3,), (3, 2, 4), (3, 2, 4), id="no-videos-axis"),
        pytest.param((2, 5, 4), (2, 3), (3, 2, 4), (3, 2, 4), id="no-modalities-axis"),
        pytest.param((2, 5, 2, 4), (2, 3), (3, 4), (3, 4), id="no-prototypes-axis"),
    ],
)
def test_wrong_shapes_raise(
    features: tuple[int, ...], weak: tuple[int, ...], positive: tuple[int, ...], negative: tuple[int, ...]
) -> None:
    used = [torch.ones(shape[:2], dtype=torch.bool) for shape in (positive, negative)]
    prototypes = Prototypes(torch.ones(positive), used[0], torch.ones(negative), used[1])
    said = re.escape(
        f"features {list(features)}, weak labels {list(weak)} and prototypes {list(positive)} and {list(negative)} must"
    )
    with pytest.raises(ValueError, match=f"^{said}"):
        hard_labels(torch.ones(features), prototypes, torch.zeros(weak))
    with pytest.raises(ValueError, match=f"^{said}"):
        soft_labels(torch.ones(features), prototypes, torch.zeros(weak), tau=0.1)


@pytest.mark.parametrize("tau", [0.0, -0.1, float("nan")])
def test_tau_is_above_0(tau: float) -> None:
    features, prototypes, weak = random_case((2, 2, 2, 3, 2, 4), seed=0)
    with pytest.raises(ValueError, match=rf"^tau is {tau}; it must be above 0$"):
        soft_labels(features, prototypes, weak, tau)
