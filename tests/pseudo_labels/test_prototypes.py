"""K-means prototypes: small sets are kept as they are, large ones are clustered well and reproducibly."""

import math

import pytest
import torch
from torch import Tensor

from avvp_pl.pseudo_labels import build_prototypes
from avvp_pl.types import Prototypes


def random_features(n: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def of_one_event(
    features: Tensor, k: int, seed: tuple[int, ...] = (0,), max_segments: int | None = None
) -> tuple[Tensor, Tensor]:
    """Prototypes [K, D] and their mask when every segment is a positive one of the only event."""
    every = torch.ones(len(features), 1, dtype=torch.bool)
    found = build_prototypes(features, every, ~every, k, seed, max_segments)
    return found.positive[0], found.positive_mask[0]


def same(a: Prototypes, b: Prototypes) -> bool:
    return (
        torch.equal(a.positive, b.positive)
        and torch.equal(a.positive_mask, b.positive_mask)
        and torch.equal(a.negative, b.negative)
        and torch.equal(a.negative_mask, b.negative_mask)
    )


def rows_of(chosen: Tensor) -> set[tuple[float, ...]]:
    return {tuple(row) for row in chosen.tolist()}


def some_key_segments(n: int, events: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    choice = torch.randint(3, (n, events), generator=torch.Generator().manual_seed(seed))
    return choice == 1, choice == 2


@pytest.mark.parametrize("n", [1, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_most_k_segments_are_the_prototypes_themselves(n: int, dtype: torch.dtype) -> None:
    features = random_features(n, 3).to(dtype) / 3  # a double that no float equals
    centres, mask = of_one_event(features, k=4)
    assert mask.tolist() == [True] * n + [False] * (4 - n)
    assert centres.dtype == dtype
    assert torch.equal(centres[:n], features)
    assert centres.shape == (4, 3)


def test_an_event_without_segments_has_only_masked_prototypes() -> None:
    nothing = torch.zeros(5, 2, dtype=torch.bool)
    found = build_prototypes(random_features(5, 3), nothing, nothing, 4, (0,))
    assert not found.positive_mask.any()
    assert not found.negative_mask.any()
    assert found.positive.isfinite().all()
    assert found.negative.isfinite().all()


def test_no_segments_at_all() -> None:
    nothing = torch.zeros(0, 2, dtype=torch.bool)
    found = build_prototypes(torch.zeros(0, 3), nothing, nothing, 4, (0,))
    assert found.positive.shape == (2, 4, 3)
    assert not found.positive_mask.any()


@pytest.mark.parametrize(("n", "events", "dim", "k"), [(60, 3, 5, 2), (40, 1, 2, 6), (9, 4, 7, 1)])
def test_shapes_and_how_many_prototypes_are_used(n: int, events: int, dim: int, k: int) -> None:
    positive, negative = some_key_segments(n, events)
    found = build_prototypes(random_features(n, dim), positive, negative, k, (0,))
    assert found.positive.shape == found.negative.shape == (events, k, dim)
    assert found.positive_mask.shape == found.negative_mask.shape == (events, k)
    for mask, chosen in ((found.positive_mask, positive), (found.negative_mask, negative)):
        assert mask.sum(1).tolist() == [min(k, int(count)) for count in chosen.sum(0)]


def test_every_event_and_sign_has_its_own_segments() -> None:
    features = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    positive = torch.tensor([[True, False], [False, True], [True, False], [False, False]])
    negative = torch.tensor([[False, True], [True, False], [False, True], [True, True]])
    found = build_prototypes(features, positive, negative, 3, (0,))
    used = {
        (sign, event): centres[event][mask[event]][:, 0].tolist()
        for sign, centres, mask in (
            ("positive", found.positive, found.positive_mask),
            ("negative", found.negative, found.negative_mask),
        )
        for event in range(2)
    }
    assert used == {
        ("positive", 0): [1.0, 3.0],
        ("positive", 1): [2.0],
        ("negative", 0): [2.0, 4.0],
        ("negative", 1): [1.0, 3.0, 4.0],
    }


def test_one_prototype_is_the_mean_of_all_segments() -> None:
    """Also of more than the 256 at which faiss would sample by itself."""
    features = random_features(700, 6)
    centres, _ = of_one_event(features, k=1)
    torch.testing.assert_close(centres[0], features.mean(0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(4))
def test_two_separated_clusters_are_found(seed: int) -> None:
    members = torch.arange(50) % 5 == 0
    features = random_features(50, 4, seed) * 0.1 + torch.where(members[:, None], 10.0, -10.0)
    centres, mask = of_one_event(features, 2, (seed,))
    assert mask.all()
    found = centres[centres[:, 0].argsort()]
    torch.testing.assert_close(
        found, torch.stack([features[~members].mean(0), features[members].mean(0)]), atol=1e-4, rtol=0
    )


def test_three_separated_clusters_are_mostly_found() -> None:
    """K-means from random starts may miss one, whoever does it; more than half of the seeds must not."""
    cluster = torch.arange(60) % 3
    features = random_features(60, 4) * 0.1 + 10 * torch.eye(4)[cluster]
    means = torch.stack([features[cluster == c].mean(0) for c in range(3)])
    found = 0
    for seed in range(10):
        centres, _ = of_one_event(features, 3, (seed,))
        nearest = centres[torch.cdist(means, centres).argmin(1)]
        found += torch.allclose(nearest, means, atol=1e-4, rtol=0)
    assert found > 5


def slow_objective(points: list[list[float]], centres: list[list[float]]) -> float:
    return math.fsum(min(math.dist(point, centre) ** 2 for centre in centres) for point in points)


def slow_kmeans(points: list[list[float]], k: int, generator: torch.Generator) -> float:
    """The objective that Lloyd's algorithm reaches from one random start."""
    centres = [points[i] for i in torch.randperm(len(points), generator=generator)[:k].tolist()]
    objective = math.inf
    while (reached := slow_objective(points, centres)) < objective:
        objective = reached
        groups: list[list[list[float]]] = [[] for _ in centres]
        for point in points:
            distances = [math.dist(point, centre) for centre in centres]
            groups[distances.index(min(distances))].append(point)
        for j, group in enumerate(groups):
            if group:
                centres[j] = [math.fsum(column) / len(group) for column in zip(*group, strict=True)]
    return objective


@pytest.mark.parametrize("seed", range(3))
def test_the_objective_is_near_that_of_many_slow_restarts(seed: int) -> None:
    features = torch.nn.functional.normalize(random_features(120, 32, seed), dim=-1)
    centres, _ = of_one_event(features, 6, (seed,))
    points: list[list[float]] = features.tolist()
    generator = torch.Generator().manual_seed(seed)
    best = min(slow_kmeans(points, 6, generator) for _ in range(8))
    assert slow_objective(points, centres.tolist()) <= 1.05 * best


def test_repeated_segments_do_not_matter() -> None:
    """More than k segments, but fewer than k different ones."""
    features = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(20, 1)
    centres, mask = of_one_event(features, 4)
    assert mask.all()
    assert torch.cdist(centres, features[:2]).amin(1).max() < 1e-2
    assert torch.cdist(features[:2], centres).amin(1).max() < 1e-2


def test_a_seed_gives_the_same_prototypes_bit_by_bit() -> None:
    features = random_features(200, 8)
    positive, negative = some_key_segments(200, 3)
    first = build_prototypes(features, positive, negative, 5, (7, 3), 50)
    again = build_prototypes(features.clone(), positive, negative, 5, (7, 3), 50)
    others = [build_prototypes(features, positive, negative, 5, seed, 50) for seed in ((8, 3), (7, 4), (3, 7))]
    assert same(first, again)
    assert not any(same(first, other) for other in others)


def test_no_seed_of_anyone_else_matters() -> None:
    features = random_features(100, 4)
    before = of_one_event(features, 5)[0]
    torch.manual_seed(1)
    assert torch.equal(of_one_event(features, 5)[0], before)


def test_too_many_segments_are_sampled() -> None:
    """A sample of at most k is kept as it is, so it can be seen."""
    features = random_features(100, 3)
    centres, mask = of_one_event(features, 95, max_segments=90)
    assert mask.sum() == 90
    assert len(rows_of(centres[mask])) == 90
    assert rows_of(centres[mask]) <= rows_of(features)
    again, another = (of_one_event(features, 95, seed, max_segments=90)[0] for seed in ((0,), (1,)))
    assert torch.equal(again, centres)
    assert rows_of(another) != rows_of(centres)


def test_a_sample_is_of_the_segments_of_its_event() -> None:
    features = torch.arange(40.0)[:, None]
    positive, negative = torch.zeros(40, 1, dtype=torch.bool), torch.zeros(40, 1, dtype=torch.bool)
    positive[10:25], negative[30:] = True, True
    found = build_prototypes(features, positive, negative, 4, (0,), max_segments_per_event=4)
    assert set(found.positive.flatten().tolist()) <= set(range(10, 25))
    assert set(found.negative.flatten().tolist()) <= set(range(30, 40))


def test_a_generous_maximum_changes_nothing() -> None:
    features = random_features(60, 3)
    assert torch.equal(of_one_event(features, 4, max_segments=60)[0], of_one_event(features, 4)[0])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite_are_an_error(value: float) -> None:
    features = random_features(20, 3)
    features[4, 1] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        of_one_event(features, 2)
