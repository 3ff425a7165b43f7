"""Key segments against loops over the text of Eqs. (5)-(7), and their edge cases."""

import itertools
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avvp_pl.pseudo_labels import select_segments
from avvp_pl.types import Segments

Where = set[tuple[int, ...]]  # b, t, m, c

SHAPES = [(1, 1, 1, 1), (4, 5, 2, 3), (3, 4, 1, 2), (3, 3, 3, 4)]
SELECTIONS = [(0.5, 0.25), (0.75, 0.5), (1.0, 0.125), (0.25, 0.0)]


def random_case(shape: tuple[int, int, int, int], seed: int, steps: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities (multiples of 1/``steps``, for ties and exact products), weak labels and a mask."""
    generator = torch.Generator().manual_seed(seed)
    probs = torch.rand(shape, generator=generator, dtype=torch.float64)
    if steps is not None:
        probs = (probs * steps).round() / steps
    weak = (torch.rand(shape[0], shape[3], generator=generator) < 0.5).double()
    mask = torch.rand(shape[:2], generator=generator) < 0.75
    return probs, weak, mask


def slow_selection(
    probs: Tensor, weak: Tensor, mask: Tensor, gamma: float, beta: float, per_modality: bool, min_modality: float
) -> tuple[Where, Where]:
    videos, segments, modalities, events = probs.shape
    positive: Where = set()
    negative: Where = set()
    for b, c in itertools.product(range(videos), range(events)):
        real = [t for t in range(segments) if mask[b, t]]
        if not real:
            continue
        own_best = [max(float(probs[b, t, m, c]) for t in real) for m in range(modalities)]
        joint_best = max(own_best)
        for t, m in itertools.product(real, range(modalities)):
            p = float(probs[b, t, m, c])
            best = own_best[m] if per_modality else joint_best
            where = (b, t, m, c)
            if weak[b, c] == 1:
                if per_modality and own_best[m] < min_modality * joint_best:
                    continue
                if p >= gamma * best:
                    positive.add(where)
                if p <= beta * best:
                    negative.add(where)
            elif p == best and p >= 0.5:
                negative.add(where)
    return positive, negative


def where(chosen: Tensor) -> Where:
    return {tuple(row) for row in chosen.nonzero().tolist()}


def select_one(
    probs: list[list[float]], occurs: bool, gamma: float = 0.5, beta: float = 0.2, per_modality: bool = False
) -> Segments:
    """Of one event in one video without padding, ``probs`` [T][M]."""
    given = torch.tensor(probs, dtype=torch.float64)[None, :, :, None]
    weak = torch.full((1, 1), float(occurs), dtype=torch.float64)
    return select_segments(given, weak, torch.ones(1, len(probs), dtype=torch.bool), gamma, beta, per_modality)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("gamma", "beta"), SELECTIONS)
@pytest.mark.parametrize("per_modality", [False, True])
def test_it_equals_the_loops(shape: tuple[int, int, int, int], gamma: float, beta: float, per_modality: bool) -> None:
    for seed, steps, min_modality in ((0, 8, 0.5), (1, 8, 0.875), (2, None, 0.5), (3, None, 0.9)):
        probs, weak, mask = random_case(shape, seed, steps)
        found = select_segments(probs, weak, mask, gamma, beta, per_modality, min_modality)
        positive, negative = slow_selection(probs, weak, mask, gamma, beta, per_modality, min_modality)
        assert where(found.positive) == positive
        assert where(found.negative) == negative


def test_a_video_by_hand() -> None:
    """P* = 0.8, so positive from 0.4 on and negative up to 0.16, in either modality."""
    found = select_one([[0.8, 0.4], [0.39, 0.17], [0.16, 0.0]], occurs=True)
    assert where(found.positive) == {(0, 0, 0, 0), (0, 0, 1, 0)}
    assert where(found.negative) == {(0, 2, 0, 0), (0, 2, 1, 0)}


def test_a_video_by_hand_per_modality() -> None:
    """Second modality: p* = 0.5, more than half of 0.8, so positive from 0.25 on and negative up to 0.1."""
    found = select_one([[0.8, 0.5], [0.39, 0.25], [0.16, 0.1]], occurs=True, per_modality=True)
    assert where(found.positive) == {(0, 0, 0, 0), (0, 0, 1, 0), (0, 1, 1, 0)}
    assert where(found.negative) == {(0, 2, 0, 0), (0, 2, 1, 0)}


def test_a_modality_that_shows_nothing_takes_no_part() -> None:
    found = select_one([[0.8, 0.39], [0.1, 0.01]], occurs=True, per_modality=True)
    assert where(found.positive) == {(0, 0, 0, 0)}
    assert where(found.negative) == {(0, 1, 0, 0)}


def test_a_gamma_of_one_picks_exactly_the_maxima() -> None:
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(6, 10, 2, 3, generator=generator)
    probs[0, 3, 1, 0] = probs[0, 7, 0, 0] = 0.99999
    found = select_segments(probs, torch.ones(6, 3), torch.ones(6, 10, dtype=torch.bool), 1.0, 0.0)
    assert torch.equal(found.positive, probs == probs.amax(dim=(1, 2), keepdim=True))
    assert found.positive[0, :, :, 0].sum() == 2


@pytest.mark.parametrize("per_modality", [False, True])
@pytest.mark.parametrize(("best", "counts"), [(0.5, True), (0.49, False), (0.51, True)])
def test_a_mistake_must_be_confident(best: float, counts: bool, per_modality: bool) -> None:
    found = select_one([[0.1, 0.2], [best, 0.3]], occurs=False, per_modality=per_modality)
    assert not found.positive.any()
    assert where(found.negative) == ({(0, 1, 0, 0)} if counts else set())


def test_only_the_largest_mistake_counts() -> None:
    shared = select_one([[0.9, 0.7], [0.8, 0.6]], occurs=False)
    assert where(shared.negative) == {(0, 0, 0, 0)}
    own = select_one([[0.9, 0.7], [0.8, 0.6]], occurs=False, per_modality=True)
    assert where(own.negative) == {(0, 0, 0, 0), (0, 0, 1, 0)}


def test_equal_largest_mistakes_all_count() -> None:
    found = select_one([[0.75, 0.75], [0.75, 0.5]], occurs=False)
    assert where(found.negative) == {(0, 0, 0, 0), (0, 0, 1, 0), (0, 1, 0, 0)}


@pytest.mark.parametrize("occurs", [False, True])
@pytest.mark.parametrize("per_modality", [False, True])
def test_padding_that_holds_the_largest_probability_never_counts(occurs: bool, per_modality: bool) -> None:
    probs = torch.tensor([0.6, 0.1, 1.0, 0.0]).reshape(1, 4, 1, 1)
    mask = torch.tensor([[True, True, False, False]])
    found = select_segments(probs, torch.full((1, 1), float(occurs)), mask, 0.9, 0.2, per_modality)
    assert where(found.positive) == ({(0, 0, 0, 0)} if occurs else set())
    assert where(found.negative) == ({(0, 1, 0, 0)} if occurs else {(0, 0, 0, 0)})


@pytest.mark.parametrize("per_modality", [False, True])
def test_a_video_that_is_all_padding_has_no_key_segments(per_modality: bool) -> None:
    weak = torch.tensor([[1.0, 0.0]])
    found = select_segments(torch.ones(1, 3, 2, 2), weak, torch.zeros(1, 3, dtype=torch.bool), 0.5, 0.2, per_modality)
    assert not found.positive.any()
    assert not found.negative.any()


@pytest.mark.parametrize("per_modality", [False, True])
def test_videos_and_events_do_not_influence_each_other(per_modality: bool) -> None:
    probs, weak, mask = random_case((4, 5, 2, 3), 0, None)
    together = select_segments(probs, weak, mask, 0.5, 0.25, per_modality)
    for b, c in itertools.product(range(4), range(3)):
        video, event = slice(b, b + 1), slice(c, c + 1)
        alone = select_segments(probs[video, ..., event], weak[video, event], mask[video], 0.5, 0.25, per_modality)
        assert torch.equal(alone.positive, together.positive[video, ..., event])
        assert torch.equal(alone.negative, together.negative[video, ..., event])


# Multiples of powers of two, so that every product below is exact
SIXTY_FOURTHS = st.integers(0, 64).map(lambda n: n / 64)
EIGHTHS = st.integers(0, 8).map(lambda n: n / 8)


@settings(max_examples=60, deadline=None)
@given(
    probs=st.lists(st.lists(SIXTY_FOURTHS, min_size=2, max_size=2), min_size=1, max_size=5),
    scale=st.integers(1, 1024).map(lambda n: n / 1024),
    gamma=EIGHTHS,
    beta=EIGHTHS,
    per_modality=st.booleans(),
)
def test_only_proportions_matter_where_the_event_occurs(
    probs: list[list[float]], scale: float, gamma: float, beta: float, per_modality: bool
) -> None:
    found = select_one(probs, True, gamma, beta, per_modality)
    scaled = select_one([[scale * p for p in row] for row in probs], True, gamma, beta, per_modality)
    assert torch.equal(found.positive, scaled.positive)
    assert torch.equal(found.negative, scaled.negative)
    assert found.positive.any()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    thresholds=st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted),
    per_modality=st.booleans(),
)
def test_stricter_thresholds_select_less(seed: int, thresholds: list[float], per_modality: bool) -> None:
    low, high = thresholds
    case = random_case((3, 4, 2, 2), seed, None)
    generous = select_segments(*case, gamma=low, beta=high, per_modality=per_modality)
    strict = select_segments(*case, gamma=high, beta=low, per_modality=per_modality)
    assert not (strict.positive & ~generous.positive).any()
    assert not (strict.negative & ~generous.negative).any()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    orders=st.tuples(*(st.permutations(range(n)) for n in (4, 5, 3, 2))),
    padding=st.integers(0, 3),
    per_modality=st.booleans(),
)
def test_permuting_permutes_the_key_segments_and_longer_padding_changes_nothing(
    seed: int, orders: tuple[list[int], list[int], list[int], list[int]], padding: int, per_modality: bool
) -> None:
    probs, weak, mask = random_case((4, 5, 3, 2), seed, 8)
    videos, segments, modalities, events = orders
    expected = select_segments(probs, weak, mask, 0.75, 0.5, per_modality)
    permuted = probs[videos][:, segments][:, :, modalities][..., events]
    longer = torch.cat([permuted, torch.ones(4, padding, 3, 2, dtype=torch.float64)], dim=1)
    longer_mask = torch.cat([mask[videos][:, segments], torch.zeros(4, padding, dtype=torch.bool)], dim=1)
    found = select_segments(longer, weak[videos][:, events], longer_mask, 0.75, 0.5, per_modality)
    for actual, before in ((found.positive, expected.positive), (found.negative, expected.negative)):
        assert torch.equal(actual[:, :5], before[videos][:, segments][:, :, modalities][..., events])
        assert not actual[:, 5:].any()


@pytest.mark.usefixtures("_unchecked_signatures")
@pytest.mark.parametrize(
    ("probs", "weak", "mask"),
    [
        pytest.param((2, 5, 2, 3), (1, 3), (2, 5), id="weak-videos-broadcast"),
        pytest.param((2, 5, 2, 3), (2, 1), (2, 5), id="weak-events-broadcast"),
        pytest.param((2, 5, 2, 3), (2, 4), (2, 5), id="weak-events"),
        pytest.param((2, 5, 2, 3), (3,), (2, 5), id="weak-no-videos-axis"),
        pytest.param((2, 5, 2, 3), (2, 3), (1, 5), id="mask-videos-broadcast"),
        pytest.param((2, 5, 2, 3), (2, 3), (2, 1), id="mask-segments-broadcast"),
        pytest.param((2, 5, 3), (2, 3), (2, 5), id="no-modalities-axis"),
    ],
)
def test_wrong_shapes_raise(probs: tuple[int, ...], weak: tuple[int, ...], mask: tuple[int, ...]) -> None:
    said = re.escape(
        f"probabilities {list(probs)}, weak labels {list(weak)} and mask {list(mask)} must be [B, T, M, C]"
    )
    with pytest.raises(ValueError, match=f"^{said}"):
        select_segments(torch.zeros(probs), torch.zeros(weak), torch.ones(mask, dtype=torch.bool), 0.9, 0.2)


@pytest.mark.parametrize("name", ["beta", "min_modality", "mistake_threshold"])
@pytest.mark.parametrize("value", [2.0, -0.1, float("nan")])
def test_factors_are_fractions(name: str, value: float) -> None:
    probs, weak, mask = random_case((4, 5, 2, 3), seed=0, steps=None)
    factors: dict[str, Any] = {"gamma": 0.9, "beta": 0.2, name: value}
    with pytest.raises(ValueError, match=rf"^{name} is {value}; it must be in \[0, 1\]$"):
        select_segments(probs, weak, mask, **factors)


@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_gamma_is_not_negative_and_above_1_nothing_is_positive(value: float) -> None:
    probs, weak, mask = random_case((4, 5, 2, 3), seed=0, steps=None)
    with pytest.raises(ValueError, match=rf"^gamma is {value}; it must be at least 0$"):
        select_segments(probs, weak, mask, gamma=value, beta=0.2)
    assert not select_segments(probs, weak, mask, gamma=1.01, beta=0.2).positive.any()


@pytest.mark.parametrize("value", [float("nan"), 1.5, float("inf")])
def test_what_is_no_probability_raises_unless_it_is_padding(value: float) -> None:
    probs, weak = torch.full((2, 3, 1, 2), 0.5), torch.ones(2, 2)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    probs[0, 2] = value
    select_segments(probs, weak, mask, 0.9, 0.2)
    probs[0, 1, 0, 1] = value
    with pytest.raises(ValueError, match=r"^some probabilities are NaN or above 1$"):
        select_segments(probs, weak, mask, 0.9, 0.2)
