"""K-means prototypes: small sets are kept as they are, large ones are clustered well and reproducibly."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import faiss
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from avvp_pl.pseudo_labels import (
    KeySegments,
    KeySegmentSample,
    build_prototypes,
    kmeans_device,
    prototypes,
    prototypes_of,
)
from avvp_pl.pseudo_labels.prototypes import Backend, lloyd
from avvp_pl.types import Segments

Cluster = Callable[..., tuple[Tensor, Tensor]]


class Found(NamedTuple):
    """Prototypes of either sign, [C, K, D], and their masks."""

    positive: Tensor
    positive_mask: Tensor
    negative: Tensor
    negative_mask: Tensor


@pytest.fixture(params=["faiss", "torch"])
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen


@pytest.fixture
def of_events(backend: Backend) -> Callable[..., Found]:
    """Prototypes of segments that the columns of two masks [n, C] choose."""

    def find(
        features: Tensor, positive: Tensor, negative: Tensor, k: int, seed: int = 0, max_segments: int | None = None
    ) -> Found:
        events = positive.shape[1]
        sample = KeySegmentSample(2 * events, max_segments, seed, like=features)
        sample.add(torch.cat([positive, negative], dim=1), torch.arange(len(features)), features)
        centers, mask = build_prototypes(sample.result(), 2 * events, k, (seed,), backend)
        return Found(centers[:events], mask[:events], centers[events:], mask[events:])

    return find


@pytest.fixture
def of_one_event(of_events: Callable[..., Found]) -> Cluster:
    """Prototypes [K, D] and their mask when every segment is a positive one of the only event."""

    def find(features: Tensor, k: int, seed: int = 0, max_segments: int | None = None) -> tuple[Tensor, Tensor]:
        every = torch.ones(len(features), 1, dtype=torch.bool)
        found = of_events(features, every, ~every, k, seed, max_segments)
        return found.positive[0], found.positive_mask[0]

    return find


def random_features(n: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def same(a: Found, b: Found) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def rows_of(chosen: Tensor) -> set[tuple[float, ...]]:
    return {tuple(row) for row in chosen.tolist()}


def some_key_segments(n: int, events: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    choice = torch.randint(3, (n, events), generator=torch.Generator().manual_seed(seed))
    return choice == 1, choice == 2


@pytest.mark.parametrize("n", [1, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_most_k_segments_are_the_prototypes_themselves(of_one_event: Cluster, n: int, dtype: torch.dtype) -> None:
    features = random_features(n, 3).to(dtype) / 3  # a double that no float equals
    centers, mask = of_one_event(features, k=4)
    assert mask.tolist() == [True] * n + [False] * (4 - n)
    assert centers.dtype == dtype
    assert torch.equal(centers[:n], features)
    assert centers.shape == (4, 3)


def test_an_event_without_segments_has_only_masked_prototypes(of_events: Callable[..., Found]) -> None:
    nothing = torch.zeros(5, 2, dtype=torch.bool)
    found = of_events(random_features(5, 3), nothing, nothing, 4)
    assert not found.positive_mask.any()
    assert not found.negative_mask.any()
    assert found.positive.isfinite().all()
    assert found.negative.isfinite().all()


def test_no_segments_at_all(of_events: Callable[..., Found]) -> None:
    nothing = torch.zeros(0, 2, dtype=torch.bool)
    found = of_events(torch.zeros(0, 3), nothing, nothing, 4)
    assert found.positive.shape == (2, 4, 3)
    assert not found.positive_mask.any()


@pytest.mark.parametrize(("n", "events", "dim", "k"), [(60, 3, 5, 2), (40, 1, 2, 6), (9, 4, 7, 1)])
def test_shapes_and_how_many_prototypes_are_used(
    of_events: Callable[..., Found], n: int, events: int, dim: int, k: int
) -> None:
    positive, negative = some_key_segments(n, events)
    found = of_events(
        random_features(n, dim),
        positive,
        negative,
        k,
    )
    assert found.positive.shape == found.negative.shape == (events, k, dim)
    assert found.positive_mask.shape == found.negative_mask.shape == (events, k)
    for mask, chosen in ((found.positive_mask, positive), (found.negative_mask, negative)):
        assert mask.sum(1).tolist() == [min(k, int(count)) for count in chosen.sum(0)]


def test_every_problem_may_have_another_number_of_prototypes(backend: Backend) -> None:
    """k_p and k_n: each problem has the prototypes that it would have if its number were that of all."""
    features, chosen = random_features(40, 3), torch.arange(40)[:, None] % 4 == torch.arange(4)
    chosen[4:, 3] = False  # one segment for a problem that may have two prototypes
    sample = KeySegmentSample(4, None, 0, like=features)
    sample.add(chosen, torch.arange(40), features)
    numbers, segments = [1, 5, 3, 2], sample.result()
    found = build_prototypes(segments, 4, numbers, (0,), backend)
    assert found.mask.tolist() == [[slot < used for slot in range(5)] for used in (1, 5, 3, 1)]
    for problem, number in enumerate(numbers):
        alone = build_prototypes(segments, 4, number, (0,), backend)
        mine = found.centers[problem][found.mask[problem]]
        torch.testing.assert_close(mine, alone.centers[problem][alone.mask[problem]])


def test_every_event_and_sign_has_its_own_segments(of_events: Callable[..., Found]) -> None:
    features = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    positive = torch.tensor([[True, False], [False, True], [True, False], [False, False]])
    negative = torch.tensor([[False, True], [True, False], [False, True], [True, True]])
    found = of_events(
        features,
        positive,
        negative,
        3,
    )
    used = {
        (sign, event): centers[event][mask[event]][:, 0].tolist()
        for sign, centers, mask in (
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


def test_one_prototype_is_the_mean_of_all_segments(of_one_event: Cluster) -> None:
    """Also of more than the 256 at which faiss would sample by itself."""
    features = random_features(700, 6)
    centers, _ = of_one_event(features, k=1)
    torch.testing.assert_close(centers[0], features.mean(0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(4))
def test_two_separated_clusters_are_found(of_one_event: Cluster, seed: int) -> None:
    members = torch.arange(50) % 5 == 0
    features = random_features(50, 4, seed) * 0.1 + torch.where(members[:, None], 10.0, -10.0)
    centers, mask = of_one_event(features, 2, seed)
    assert mask.all()
    found = centers[centers[:, 0].argsort()]
    torch.testing.assert_close(
        found, torch.stack([features[~members].mean(0), features[members].mean(0)]), atol=1e-4, rtol=0
    )


def test_three_separated_clusters_are_mostly_found(of_one_event: Cluster) -> None:
    """K-means from random starts may miss one, whoever does it; more than half of the seeds must not."""
    cluster = torch.arange(60) % 3
    features = random_features(60, 4) * 0.1 + 10 * torch.eye(4)[cluster]
    means = torch.stack([features[cluster == c].mean(0) for c in range(3)])
    found = 0
    for seed in range(10):
        centers, _ = of_one_event(features, 3, seed)
        nearest = centers[torch.cdist(means, centers).argmin(1)]
        found += torch.allclose(nearest, means, atol=1e-4, rtol=0)
    assert found > 5


def slow_objective(points: list[list[float]], centers: list[list[float]]) -> float:
    return math.fsum(min(math.dist(point, center) ** 2 for center in centers) for point in points)


def slow_kmeans(points: list[list[float]], k: int, generator: torch.Generator) -> float:
    """The objective that Lloyd's algorithm reaches from one random start."""
    centers = [points[i] for i in torch.randperm(len(points), generator=generator)[:k].tolist()]
    objective = math.inf
    while (reached := slow_objective(points, centers)) < objective:
        objective = reached
        groups: list[list[list[float]]] = [[] for _ in centers]
        for point in points:
            distances = [math.dist(point, center) for center in centers]
            groups[distances.index(min(distances))].append(point)
        for j, group in enumerate(groups):
            if group:
                centers[j] = [math.fsum(column) / len(group) for column in zip(*group, strict=True)]
    return objective


@pytest.mark.parametrize("seed", range(3))
def test_the_objective_is_near_that_of_many_slow_restarts(of_one_event: Cluster, seed: int) -> None:
    features = torch.nn.functional.normalize(random_features(120, 32, seed), dim=-1)
    centers, _ = of_one_event(features, 6, seed)
    points: list[list[float]] = features.tolist()
    generator = torch.Generator().manual_seed(seed)
    best = min(slow_kmeans(points, 6, generator) for _ in range(8))
    assert slow_objective(points, centers.tolist()) <= 1.05 * best


def test_repeated_segments_do_not_matter(of_one_event: Cluster) -> None:
    """More than k segments, but fewer than k different ones."""
    features = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(20, 1)
    centers, mask = of_one_event(features, 4)
    assert mask.all()
    assert torch.cdist(centers, features[:2]).amin(1).max() < 1e-2
    assert torch.cdist(features[:2], centers).amin(1).max() < 1e-2


def test_a_seed_gives_the_same_prototypes_bit_by_bit(of_events: Callable[..., Found]) -> None:
    features = random_features(200, 8)
    positive, negative = some_key_segments(200, 3)
    first = of_events(features, positive, negative, 5, 7, 50)
    again = of_events(features.clone(), positive, negative, 5, 7, 50)
    others = [of_events(features, positive, negative, 5, seed, 50) for seed in (8, 3)]
    assert same(first, again)
    assert not any(same(first, other) for other in others)


def test_torch_keeps_its_threads() -> None:
    """In a process of its own: faiss and torch share their threads, and the tests have one."""
    code = (
        "import os, torch; before = torch.get_num_threads(); import avvp_pl.commands.build\n"
        "from avvp_pl.pseudo_labels import KeySegments, build_prototypes\n"
        "found = KeySegments(torch.zeros(50).long(), torch.arange(50), torch.randn(50, 4))\n"
        "build_prototypes(found, 1, 3, (0,), 'faiss')\n"
        "print(before, torch.get_num_threads())"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    before, after = printed.stdout.split()
    assert before == after  # 2, where there are two cores


def test_no_seed_of_anyone_else_matters(of_one_event: Cluster) -> None:
    features = random_features(100, 4)
    before = of_one_event(features, 5)[0]
    torch.manual_seed(1)
    assert torch.equal(of_one_event(features, 5)[0], before)


def test_too_many_segments_are_sampled(of_one_event: Cluster) -> None:
    """A sample of at most k is kept as it is, so it can be seen."""
    features = random_features(100, 3)
    centers, mask = of_one_event(features, 95, max_segments=90)
    assert mask.sum() == 90
    assert len(rows_of(centers[mask])) == 90
    assert rows_of(centers[mask]) <= rows_of(features)
    again, another = (of_one_event(features, 95, seed, max_segments=90)[0] for seed in (0, 1))
    assert torch.equal(again, centers)
    assert rows_of(another) != rows_of(centers)


def test_a_sample_is_of_the_segments_of_its_event(of_events: Callable[..., Found]) -> None:
    features = torch.arange(40.0)[:, None]
    positive, negative = torch.zeros(40, 1, dtype=torch.bool), torch.zeros(40, 1, dtype=torch.bool)
    positive[10:25], negative[30:] = True, True
    found = of_events(features, positive, negative, 4, max_segments=4)
    assert set(found.positive.flatten().tolist()) <= set(range(10, 25))
    assert set(found.negative.flatten().tolist()) <= set(range(30, 40))


def test_a_generous_maximum_changes_nothing(of_one_event: Cluster) -> None:
    features = random_features(60, 3)
    assert torch.equal(of_one_event(features, 4, max_segments=60)[0], of_one_event(features, 4)[0])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite_are_an_error(of_one_event: Cluster, value: float) -> None:
    features = random_features(20, 3)
    features[4, 1] = value
    with pytest.raises(ValueError, match=r"^some segment features are NaN or infinite: the network has diverged$"):
        of_one_event(features, 2)


def test_another_seed_starts_elsewhere(of_one_event: Cluster) -> None:
    features = random_features(100, 4)
    assert not torch.equal(of_one_event(features, 5, 0)[0], of_one_event(features, 5, 1)[0])


@pytest.mark.parametrize("gpu", [False, True])
def test_where_it_runs_in_words(monkeypatch: pytest.MonkeyPatch, gpu: bool) -> None:
    monkeypatch.setattr(prototypes, "_gpu_found", lambda: gpu)
    assert kmeans_device("faiss", torch.device("cpu")) == ("GPU (faiss-gpu)" if gpu else "CPU (faiss)")
    assert kmeans_device("torch", torch.device("cuda")) == "CUDA (torch)"


@pytest.mark.parametrize(("built_for_gpus", "gpus"), [(False, 0), (True, 0), (True, 1), (True, 8)])
def test_a_gpu_takes_faiss_gpu_and_a_gpu(monkeypatch: pytest.MonkeyPatch, built_for_gpus: bool, gpus: int) -> None:
    monkeypatch.delattr(faiss, "StandardGpuResources", raising=False)
    monkeypatch.delattr(faiss, "get_num_gpus", raising=False)
    if built_for_gpus:
        monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: gpus, raising=False)
    assert kmeans_device("faiss", torch.device("cpu")) == ("GPU (faiss-gpu)" if gpus else "CPU (faiss)")


@pytest.mark.parametrize("gpu", [False, True])
def test_what_faiss_is_asked_for(monkeypatch: pytest.MonkeyPatch, gpu: bool) -> None:
    """20 iterations over every segment, on the GPU if there is one, each problem with a seed of its own."""
    asked: list[dict[str, Any]] = []

    class Kmeans:
        def __init__(self, dim: int, k: int, **settings: Any) -> None:
            asked.append({"dim": dim, "k": k, **settings})

        def train(self, points: NDArray[np.float32]) -> None:
            asked[-1]["points"], self.centroids = len(points), points[: asked[-1]["k"]]

    monkeypatch.setattr(faiss, "Kmeans", Kmeans)
    monkeypatch.setattr(prototypes, "_gpu_found", lambda: gpu)
    problem = torch.arange(100).repeat_interleave(5)
    build_prototypes(KeySegments(problem, torch.arange(500), random_features(500, 3)), 100, 2, (0,), "faiss")
    seeds = {settings.pop("seed") for settings in asked}
    assert len(asked) == 100
    assert len(seeds) > 95
    assert all(
        settings
        == {
            "dim": 3,
            "k": 2,
            "points": 5,
            "niter": 20,
            "gpu": gpu,
            "min_points_per_centroid": 1,
            "max_points_per_centroid": 5,
        }
        for settings in asked
    )


def test_what_lloyd_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts are k different segments of the problem; padding is never more than the segments of any problem."""
    asked: list[tuple[Tensor, Tensor, Tensor]] = []

    def remember(points: Tensor, sizes: Tensor, centers: Tensor, iterations: int) -> Tensor:
        assert iterations == 20
        asked.append((points, sizes, centers))
        return centers

    monkeypatch.setattr(prototypes, "lloyd", remember)
    counts = torch.tensor([8, 16, 17, 32, 7, 6, 5, 4, 9, 12])
    problem = torch.arange(10).repeat_interleave(counts)
    features = random_features(len(problem), 2)
    build_prototypes(KeySegments(problem, torch.arange(len(problem)), features), 10, 4, (0,), "torch")
    together = [sorted(sizes.tolist()) for _, sizes, _ in asked]
    assert together == [[16, 17, 32], [6, 7, 8, 9, 12], [5]]
    for points, sizes, centers in asked:
        for own, size, start in zip(points, sizes, centers, strict=True):
            assert len(rows_of(start)) == 4
            assert rows_of(start) <= rows_of(own[:size])
            assert (own[size:] == 0).all()


def test_memory_bounds_how_many_problems_are_clustered_together(monkeypatch: pytest.MonkeyPatch) -> None:
    found = sizes_of_llp(0)
    expected, _ = build_prototypes(found, 12, 10, (5,), "torch")
    asked: list[int] = []

    def remember(points: Tensor, sizes: Tensor, centers: Tensor, iterations: int) -> Tensor:
        asked.append(points.numel())
        return lloyd(points, sizes, centers, iterations)

    monkeypatch.setattr(prototypes, "lloyd", remember)
    monkeypatch.setattr(prototypes, "PADDED_NUMBERS", 800 * 48)
    centers, _ = build_prototypes(found, 12, 10, (5,), "torch")
    assert asked[0] == 1500 * 48  # one problem at least
    assert max(asked[1:]) <= 800 * 48
    torch.testing.assert_close(centers, expected)


def test_everything_is_made_where_the_features_are() -> None:
    """What is made elsewhere is without numbers here, and can not be computed with."""
    found = sizes_of_llp(0)
    expected, expected_mask = build_prototypes(found, 12, 10, (5,), "torch")
    with torch.device("meta"):
        centers, mask = build_prototypes(found, 12, 10, (5,), "torch")
    assert torch.equal(centers, expected)
    assert torch.equal(mask, expected_mask)


def test_faiss_is_what_clusters_if_nothing_is_said() -> None:
    found = sizes_of_llp(0)
    by_default, chosen = build_prototypes(found, 12, 10, (5,)), build_prototypes(found, 12, 10, (5,), "faiss")
    assert torch.equal(by_default.centers, chosen.centers)
    assert not torch.equal(by_default.centers, build_prototypes(found, 12, 10, (5,), "torch").centers)


def sizes_of_llp(seed: int) -> KeySegments:
    """Normalized features of twelve problems of many sizes, so weakly around directions that starts matter little."""
    generator = torch.Generator().manual_seed(seed)
    numbers, parts = [], []
    for problem, size in enumerate((700, 12, 90, 3, 0, 400, 400, 25, 1500, 60, 11, 200)):
        directions = torch.randn(7, 48, generator=generator)
        noise = 2 * torch.randn(size, 48, generator=generator)
        features = directions[torch.randint(7, (size,), generator=generator)] + noise
        numbers.append(torch.full((size,), problem))
        parts.append(torch.nn.functional.normalize(features, dim=-1))
    joined = torch.cat(parts)
    return KeySegments(torch.cat(numbers), torch.arange(len(joined)), joined)


def test_both_backends_reach_the_same_objective() -> None:
    """Within 1 percent on every set of problems, and 0.2 percent on ten together; they start elsewhere."""
    totals: dict[Backend, list[float]] = {"faiss": [], "torch": []}
    for seed in range(10):
        found = sizes_of_llp(seed)
        for backend, objectives in totals.items():
            centers, mask = build_prototypes(found, 12, 10, (seed,), backend)
            total = 0.0
            for problem in range(12):
                points, own = found.features[found.problem == problem], centers[problem][mask[problem]]
                assert len(own) == min(10, len(points))
                if len(points):
                    total += float((torch.cdist(points, own).amin(1) ** 2).sum())
            objectives.append(total)
    for one, other in zip(*totals.values(), strict=True):
        assert one == pytest.approx(other, rel=0.01)
    assert sum(totals["faiss"]) == pytest.approx(sum(totals["torch"]), rel=0.002)


def test_padding_and_neighbours_change_nothing() -> None:
    """A problem clustered among others of other sizes is the problem clustered alone."""
    found = sizes_of_llp(0)
    together, _ = build_prototypes(found, 12, 10, (5,), "torch")
    for problem in (0, 5, 7, 8):
        alone, _ = build_prototypes(found[found.problem == problem], 12, 10, (5,), "torch")
        torch.testing.assert_close(alone[problem], together[problem])


def test_lloyd_equals_the_loop_from_the_same_start() -> None:
    points = random_features(30, 3)
    start = points[:4].clone()
    centers = start.tolist()
    for _ in range(6):
        groups: list[list[list[float]]] = [[] for _ in centers]
        for point in points.tolist():
            distances = [math.dist(point, center) for center in centers]
            groups[distances.index(min(distances))].append(point)
        centers = [[math.fsum(column) / len(group) for column in zip(*group, strict=True)] for group in groups]
    found = lloyd(points[None], torch.tensor([30]), start[None], 6)
    torch.testing.assert_close(found[0], torch.tensor(centers))


def test_a_center_without_points_moves_to_the_farthest_ones() -> None:
    points = torch.tensor([[0.0], [1.0], [10.0], [14.0]])
    start = torch.tensor([[0.5], [100.0], [200.0]])  # all points are nearest to the first
    found = lloyd(points[None], torch.tensor([4]), start[None], 1)
    assert found[0].flatten().tolist() == [6.25, 14.0, 10.0]


def test_the_farthest_point_may_be_on_either_side() -> None:
    points = torch.tensor([[0.0], [1.0], [10.0], [-14.0]])
    start = torch.tensor([[0.5], [100.0], [200.0]])
    found = lloyd(points[None], torch.tensor([4]), start[None], 1)
    assert found[0].flatten().tolist() == [-0.75, -14.0, 10.0]


def test_a_center_of_one_point_is_that_point() -> None:
    points = torch.tensor([[0.0], [1.0], [10.0]])
    found = lloyd(points[None], torch.tensor([3]), torch.tensor([[[0.0], [9.0]]]), 3)
    assert found[0].flatten().tolist() == [0.5, 10.0]


def test_a_center_without_points_never_moves_to_padding() -> None:
    """Padding at 0 is farther from the points than they are from each other."""
    points = torch.tensor([[[9.0], [10.0], [14.0], [0.0], [0.0]]])
    found = lloyd(points, torch.tensor([3]), torch.tensor([[[10.0], [100.0]]]), 1)
    assert found[0].flatten().tolist() == [11.0, 14.0]


class TestPrototypesOf:
    """From the output of a network and its key segments to prototypes, in one call."""

    features = torch.randn(4, 6, 2, 3, generator=torch.Generator().manual_seed(0))
    positive = torch.rand(4, 6, 2, 5, generator=torch.Generator().manual_seed(1)) < 0.3
    segments = Segments(positive, ~positive)

    def test_one_prototype_is_the_mean_of_the_key_segments(self, backend: Backend) -> None:
        found = prototypes_of(self.features, self.segments, k=1, normalize=False, backend=backend)
        assert found.positive.shape == found.negative.shape == (5, 1, 3)
        for event in range(5):
            for sign, mask in ((found.positive, self.positive), (found.negative, ~self.positive)):
                torch.testing.assert_close(sign[event, 0], self.features[mask[..., event]].mean(0))

    def test_few_segments_are_the_prototypes(self) -> None:
        rare = self.positive & (torch.arange(4) == 0)[:, None, None, None]
        found = prototypes_of(self.features, Segments(rare, self.positive), k=(24, 2))
        assert found.positive.shape == found.negative.shape == (5, 24, 3)
        assert found.positive_mask.sum(1).tolist() == rare.sum((0, 1, 2)).tolist()
        assert found.negative_mask.sum(1).tolist() == [2] * 5
        own = self.features[rare[..., 3]]
        torch.testing.assert_close(found.positive[3][found.positive_mask[3]], own / own.norm(dim=1, keepdim=True))

    def test_the_seed_decides(self, backend: Backend) -> None:
        one, same, other = (
            prototypes_of(self.features, self.segments, k=3, seed=seed, backend=backend) for seed in (0, 0, 1)
        )
        assert torch.equal(one.negative, same.negative)
        assert not torch.equal(one.negative, other.negative)

    @pytest.mark.usefixtures("_unchecked_signatures")
    @pytest.mark.parametrize("k", [0, (1, 0), 2.5, (2, 2.5), (1, 2, 3), "5", None])
    def test_an_impossible_k_is_refused(self, k: Any) -> None:
        with pytest.raises(ValueError, match="it must be a number of prototypes, 1 or more, or a pair"):
            prototypes_of(self.features, self.segments, k)

    def test_segments_of_other_videos_are_refused(self) -> None:
        with pytest.raises(ValueError, match="must be of the same videos, segments and modalities"):
            prototypes_of(self.features[:3], self.segments, 1)

    @pytest.mark.usefixtures("_unchecked_signatures")
    def test_segments_of_other_shapes_are_refused(self) -> None:
        one = Segments(self.positive, self.positive[..., :1])
        with pytest.raises(ValueError, match="must be of the same videos, segments and modalities"):
            prototypes_of(self.features, one, 1)
        with pytest.raises(ValueError, match="must be of the same videos, segments and modalities"):
            prototypes_of(self.features.flatten(0, 1), self.segments, 1)

    @pytest.mark.usefixtures("_unchecked_signatures")
    def test_a_backend_that_does_not_exist_is_refused(self) -> None:
        backend: Any = "torhc"
        with pytest.raises(ValueError, match=r"^backend is 'torhc'; it must be one of faiss, torch$"):
            prototypes_of(self.features, self.segments, 1, backend=backend)
