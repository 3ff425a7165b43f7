"""The count of positive segments against the enumeration of all labelings, and the losses and minimums made of it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from avvp_pl.losses import confident_count, count_distribution, count_loss
from avvp_pl.losses.poisson_binomial import log_at_least, log_occurs
from tests.losses.test_mil import gradient

SIZES = [1, 2, 3, 5, 8]


def random_probs(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def enumerated(probs: list[float]) -> list[float]:
    """P(N = k) by the probabilities of all 2^S labelings."""
    counts: list[list[float]] = [[] for _ in range(len(probs) + 1)]
    for labeling in itertools.product((0, 1), repeat=len(probs)):
        counts[sum(labeling)].append(math.prod(p if y else 1 - p for p, y in zip(probs, labeling, strict=True)))
    return [math.fsum(terms) for terms in counts]


def real(probs: Tensor) -> Tensor:
    return torch.ones_like(probs, dtype=torch.bool)


class TestCountDistribution:
    @pytest.mark.parametrize("segments", SIZES)
    def test_it_is_that_of_all_labelings(self, segments: int) -> None:
        probs = random_probs(4, segments)
        found = count_distribution(probs, real(probs), most=segments).exp()
        for of_row, row in zip(found.tolist(), probs.tolist(), strict=True):
            assert of_row[: segments + 1] == pytest.approx(enumerated(row), rel=1e-12)
            assert of_row[segments + 1 :] == [0.0] * (len(of_row) - segments - 1)

    @pytest.mark.parametrize("most", [1, 2, 3, 5, 7])
    def test_the_last_number_is_of_all_larger_counts(self, most: int) -> None:
        probs = random_probs(3, 8)
        found = count_distribution(probs, real(probs), most).exp()
        assert found.shape == (3, most + 1)
        for of_row, row in zip(found.tolist(), probs.tolist(), strict=True):
            expected = enumerated(row)
            assert of_row == pytest.approx([*expected[:most], math.fsum(expected[most:])], rel=1e-12)

    def test_segments_that_do_not_exist_are_not_counted(self) -> None:
        """Whatever stands there, and wherever it stands."""
        probs, mask = random_probs(8), torch.tensor([True, False, True, True, False, True, False, False])
        expected = enumerated(probs[mask].tolist())
        for padding in (0.0, 0.7, 1.0, float("nan")):
            spoiled = torch.where(mask, probs, padding).requires_grad_()
            found = count_distribution(spoiled, mask, most=8)
            assert found.exp().tolist()[:5] == pytest.approx(expected, rel=1e-12)
            assert found.exp().tolist()[5:] == [0.0] * 4
            slope = gradient(found[2], spoiled)
            assert (slope != 0).tolist() == mask.tolist()
            assert slope.isfinite().all()

    def test_the_order_of_segments_does_not_matter(self) -> None:
        probs = random_probs(7)
        order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
        found = [count_distribution(p, real(p), most=4) for p in (probs, probs[order])]
        torch.testing.assert_close(*found)

    def test_tiny_tails_are_exact_in_single_precision(self) -> None:
        """40 segments of 1e-4: P(N >= 12) is nearly C(40, 12) 1e-48, which float32 has no number for."""
        probs = torch.full((40,), 1e-4)
        found = log_at_least(count_distribution(probs, real(probs), most=12), torch.tensor(12))
        terms = [math.comb(40, k) * 1e-4**k * (1 - 1e-4) ** (40 - k) for k in range(12, 41)]
        assert found.item() == pytest.approx(math.log(math.fsum(terms)), rel=1e-6)

    def test_of_a_long_video_memory_grows_with_its_length_only(self) -> None:
        """All counts of 4,096 segments would be 16 million pairs in the last step alone."""
        probs = torch.full((4096,), 1e-3)
        found = count_distribution(probs, real(probs), most=6)
        expected = [math.comb(4096, k) * 1e-3**k * (1 - 1e-3) ** (4096 - k) for k in range(6)]
        assert found.exp().tolist() == pytest.approx([*expected, 1 - math.fsum(expected)], rel=1e-3)
        assert len(found) == 7


class TestCountLoss:
    def test_by_hand(self) -> None:
        """Three segments of 1/2: 7/8 for one, 4/8 for two, 1/8 for three and for none."""
        probs = torch.full((1, 1, 4, 3), 0.5)
        log_counts = count_distribution(probs, real(probs), most=3)
        for minimum, event in ((1, 7 / 8), (2, 4 / 8), (3, 1 / 8)):
            asked = torch.full((1, 1, 4), minimum, dtype=torch.int)
            found = count_loss(log_counts, asked, torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
            assert found.item() == pytest.approx(-(math.log(event) + 3 * math.log(1 / 8)) / 4)

    def test_by_the_labelings_of_two_groups(self) -> None:
        """Each group has its minimum; if neither has one, the weak label asks for one positive segment in either."""
        probs = random_probs(2, 4)
        log_counts = count_distribution(probs, real(probs), most=4)[None, :, None]  # [1, 2, 1, K]
        (one, other), none = (enumerated(row) for row in probs.tolist()), torch.zeros(1, 1)
        for a, b in itertools.product(range(5), repeat=2):
            enough = sum(one[a:]) * sum(other[b:]) if a or b else 1 - one[0] * other[0]
            asked = torch.tensor([a, b], dtype=torch.int)[None, :, None]
            assert count_loss(log_counts, asked, none + 1).item() == pytest.approx(-math.log(enough), rel=1e-6)
            assert count_loss(log_counts, asked, none).item() == pytest.approx(-math.log(one[0] * other[0]))

    @pytest.mark.parametrize(("groups", "minimum"), [(1, 1), (1, 0), (2, 0), (3, 0)])
    def test_at_first_it_is_noisy_or_in_value_and_gradient(self, groups: int, minimum: int) -> None:
        probs, weak = random_probs(3, groups, 2, 5).requires_grad_(), random_probs(3, 2, seed=1).round()
        log_counts = count_distribution(probs, real(probs), most=1)
        loss = count_loss(log_counts, torch.full((3, groups, 2), minimum, dtype=torch.int), weak)
        none = (1 - probs).transpose(1, 2).flatten(2).prod(-1)
        expected = torch.nn.functional.binary_cross_entropy(1 - none, weak)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradient(loss, probs), gradient(expected, probs))

    @pytest.mark.parametrize("minimum", [1, 2, 4])
    def test_its_gradient_is_that_of_the_enumeration(self, minimum: int) -> None:
        probs, step = random_probs(1, 1, 1, 5), 1e-6
        asked, weak = torch.full((1, 1, 1), minimum, dtype=torch.int), torch.ones(1, 1)

        def loss(p: Tensor) -> Tensor:
            return count_loss(count_distribution(p, real(p), most=minimum), asked, weak)

        slope, row = gradient(loss(probs.requires_grad_()), probs).flatten(), probs.flatten().tolist()
        for s in range(5):
            down, up = (enumerated([*row[:s], row[s] + change, *row[s + 1 :]]) for change in (-step, step))
            expected = (math.log(sum(down[minimum:])) - math.log(sum(up[minimum:]))) / (2 * step)
            assert slope[s].item() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("groups", [1, 2])
    @pytest.mark.parametrize("minimum", [0, 1, 3])
    def test_certain_segments_stay_finite(self, dtype: torch.dtype, groups: int, minimum: int) -> None:
        certain = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.5]], dtype=dtype)
        probs = certain.repeat(2, 1)[None, None].expand(1, groups, 6, 3).clone().requires_grad_()
        weak = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]], dtype=dtype)
        asked = torch.full((1, groups, 6), minimum, dtype=torch.int)
        loss = count_loss(count_distribution(probs, real(probs), most=3), asked, weak)
        slope = gradient(loss, probs)
        assert loss.isfinite()
        assert loss > 1
        assert slope.isfinite().all()
        assert (slope[..., 2] != 0).any()  # of the segment that is not certain

    @pytest.mark.parametrize("groups", [1, 2])
    def test_a_video_without_segments_is_finite(self, groups: int) -> None:
        probs = torch.full((1, groups, 1, 2), 0.3, requires_grad=True)
        log_counts = count_distribution(probs, ~real(probs), most=3)
        none = torch.zeros(1, groups, 1, dtype=torch.int)
        assert count_loss(log_counts, none, torch.zeros(1, 1)) == 0
        assert gradient(count_loss(log_counts, none, torch.ones(1, 1)), probs).tolist() == [[[[0.0, 0.0]]] * groups]


class TestConfidentCount:
    @pytest.mark.parametrize("groups", [1, 2])
    @pytest.mark.parametrize("confidence", [0.3, 0.9, 0.99])
    def test_by_the_labelings(self, groups: int, confidence: float) -> None:
        for seed in range(20):
            probs = random_probs(groups, 5, seed=seed)
            found = confident_count(count_distribution(probs, real(probs), most=5)[None, :, None], confidence)
            alone = [enumerated(row) for row in probs.tolist()]
            occurs = 1 - math.prod(counts[0] for counts in alone)
            for counts, count in zip(alone, found.flatten().tolist(), strict=True):
                assert count == max((k for k in range(1, 6) if sum(counts[k:]) / occurs >= confidence), default=0)

    def test_one_group_that_occurs_has_one_positive_segment_with_certainty(self) -> None:
        """Rounding takes nothing from it."""
        probs = random_probs(50, 1, 3, 6).float() / 2
        assert (confident_count(count_distribution(probs, real(probs), most=6), 1.0) == 1).all()

    def test_the_cap_is_the_largest_count(self) -> None:
        probs = torch.full((1, 1, 1, 9), 0.999)
        found = [confident_count(count_distribution(probs, real(probs), most), 0.9).item() for most in (1, 4, 9, 20)]
        assert found == [1, 4, 9, 9]


def test_noisy_or_of_improbable_segments_is_exact() -> None:
    """1 - (1 - 1e-6)^8 is 8e-6, and single precision has 1 - 1e-6 only to 6 percent of 1e-6."""
    probs = torch.full((1, 2, 1, 4), 1e-6)
    assert log_occurs(count_distribution(probs, real(probs), most=1)).item() == pytest.approx(math.log(8e-6), rel=1e-6)
