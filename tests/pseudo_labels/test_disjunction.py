"""The weak label as the disjunction of segment labels, against the enumeration of all labelings of small videos."""

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avvp_pl.pseudo_labels.disjunction import disjunction_bound as bound
from avvp_pl.pseudo_labels.disjunction import disjunction_posterior as posterior
from avvp_pl.pseudo_labels.em import e_step

Labeling = tuple[int, ...]
SIZES = range(1, 7)


def random_case(segments: int, seed: int, videos: int = 3, events: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities p and r [B, S, C], away from 0 and 1, and weak labels of both kinds."""
    generator = torch.Generator().manual_seed(seed)

    def probs() -> Tensor:
        return 0.02 + 0.96 * torch.rand(videos, segments, events, generator=generator, dtype=torch.float64)

    weak = (torch.arange(videos * events).reshape(videos, events) % 3 != seed % 3).double()
    return probs(), probs(), weak


def gain(probs: Tensor, means: Tensor, mask: Tensor) -> Tensor:
    """The expected log-probability of the labels, as a sum over segments."""
    return ((means * probs.log() + (1 - means) * (1 - probs).log()) * mask[..., None]).sum(1)


def all_real(probs: Tensor) -> Tensor:
    return torch.ones(probs.shape[:2], dtype=torch.bool)


def line(probs: Tensor, b: int, c: int, mask: Tensor | None = None) -> list[float]:
    """The real segments of one event in one video."""
    return [float(p) for s, p in enumerate(probs[b, :, c]) if mask is None or mask[b, s]]


def likelihood(labeling: Labeling, probs: Sequence[float]) -> float:
    return math.prod(p if y else 1 - p for y, p in zip(labeling, probs, strict=True))


def agreeing(segments: int, occurs: float) -> list[Labeling]:
    """The labelings whose disjunction is the weak label."""
    return [y for y in itertools.product((0, 1), repeat=segments) if any(y) == bool(occurs)]


def log_evidence(p: Sequence[float], occurs: float) -> float:
    return math.log(math.fsum(likelihood(y, p) for y in agreeing(len(p), occurs)))


def restricted(r: Sequence[float], occurs: float) -> dict[Labeling, float]:
    """Independent Bernoulli(r_s), given that the labeling agrees with the weak label."""
    if not occurs:
        return {(0,) * len(r): 1.0}
    weights = {y: likelihood(y, r) for y in agreeing(len(r), occurs)}
    total = math.fsum(weights.values())
    return {y: weight / total for y, weight in weights.items()}


def slow_bound(p: Sequence[float], r: Sequence[float], occurs: float) -> float:
    q = restricted(r, occurs)
    return math.fsum(share * (math.log(likelihood(y, p)) - math.log(share)) for y, share in q.items())


def slow_posterior(r: Sequence[float], occurs: float) -> list[float]:
    q = restricted(r, occurs)
    return [math.fsum(share for y, share in q.items() if y[s]) for s in range(len(r))]


def pairs(weak: Tensor) -> list[tuple[int, int]]:
    return list(itertools.product(range(weak.shape[0]), range(weak.shape[1])))


@pytest.mark.parametrize("segments", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_the_bound_equals_enumeration(segments: int, seed: int) -> None:
    p, r, weak = random_case(segments, seed)
    found = bound(p, r, weak, all_real(p))
    for b, c in pairs(weak):
        expected = slow_bound(line(p, b, c), line(r, b, c), float(weak[b, c]))
        assert found[b, c].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("segments", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_the_bound_is_below_the_log_likelihood_and_reaches_it(segments: int, seed: int) -> None:
    p, r, weak = random_case(segments, seed)
    tight, loose = bound(p, p, weak, all_real(p)), bound(p, r, weak, all_real(p))
    for b, c in pairs(weak):
        exact = log_evidence(line(p, b, c), float(weak[b, c]))
        assert tight[b, c].item() == pytest.approx(exact, rel=1e-9, abs=1e-12)
        assert loose[b, c].item() <= exact + 1e-12
        if weak[b, c] == 1 and segments > 1:
            assert loose[b, c].item() < exact


@pytest.mark.parametrize("segments", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_an_exact_e_step_never_lowers_the_bound(segments: int, seed: int) -> None:
    p, r, weak = random_case(segments, seed)
    best = bound(p, e_step(p, weak), weak, all_real(p))
    for labels in (r, r.round(), (p + 0.01).clamp(max=0.99), torch.zeros_like(p), torch.ones_like(p)):
        assert (best >= bound(p, labels, weak, all_real(p)) - 1e-12).all()


@pytest.mark.parametrize("segments", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_the_posterior_equals_enumeration(segments: int, seed: int) -> None:
    _, r, weak = random_case(segments, seed)
    found = posterior(r, weak, all_real(r))
    for b, c in pairs(weak):
        assert line(found, b, c) == pytest.approx(slow_posterior(line(r, b, c), float(weak[b, c])), rel=1e-9)


def test_the_posterior_by_hand() -> None:
    """Two segments of 1/2: of the labelings 01, 10 and 11 two have the first."""
    half = torch.full((1, 2, 1), 0.5, dtype=torch.float64)
    found = posterior(half, torch.ones(1, 1, dtype=torch.float64), all_real(half))
    torch.testing.assert_close(found, torch.full_like(half, 2 / 3))


def test_a_lone_segment_of_an_event_is_certain() -> None:
    """And not more than that, where float32 rounds r / Z(r) beyond 1."""
    r = torch.linspace(0.001, 0.999, 999)[:, None, None]
    found = posterior(r, torch.ones(len(r), 1), all_real(r))
    torch.testing.assert_close(found, torch.ones_like(r))
    assert (found <= 1).all()


@pytest.mark.parametrize("seed", range(3))
def test_an_exact_m_step_raises_the_likelihood(seed: int) -> None:
    p, _, weak = random_case(5, seed)
    means = posterior(e_step(p, weak), weak, all_real(p))
    objective = gain(means.clamp(1e-9, 1 - 1e-9), means, all_real(p))
    assert (objective > gain(p, means, all_real(p))).all()
    for b, c in pairs(weak):
        occurs = float(weak[b, c])
        after = [min(max(mean, 1e-9), 1 - 1e-9) for mean in line(means, b, c)]
        assert log_evidence(after, occurs) > log_evidence(line(p, b, c), occurs)


def test_an_event_that_does_not_occur() -> None:
    """Q is certain of no labels: the bound is the sum of log(1 - p), whatever the pseudo labels."""
    p, r, weak = random_case(4, 0)
    absent = torch.zeros_like(weak)
    expected = [math.fsum(math.log(1 - x) for x in line(p, b, c)) for b, c in pairs(weak)]
    for labels in (p, r, torch.zeros_like(p), torch.ones_like(p)):
        assert bound(p, labels, absent, all_real(p)).flatten().tolist() == pytest.approx(expected, rel=1e-9)
        assert (posterior(labels, absent, all_real(p)) == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hard_labels_and_saturated_probabilities_stay_finite(dtype: torch.dtype) -> None:
    """Every combination of 0 and 1, that of no label at all included."""
    lines = torch.tensor(list(itertools.product((0.0, 0.5, 1.0), repeat=3)), dtype=dtype)
    p = lines.repeat_interleave(len(lines), 0)[:, :, None]
    r = lines.repeat(len(lines), 1)[:, :, None]
    for weak in (torch.zeros(len(p), 1, dtype=dtype), torch.ones(len(p), 1, dtype=dtype)):
        assert bound(p, r, weak, all_real(p)).isfinite().all()
        mean = posterior(r, weak, all_real(p))
        assert ((mean >= 0) & (mean <= 1)).all()


def test_hard_labels_are_nearly_certain() -> None:
    """With one label, q is sure of one labeling: the bound is nearly that labeling's log P(y, w | x)."""
    p, _, _ = random_case(4, 0, videos=1, events=1)
    labels = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64).reshape(1, 4, 1)
    found = bound(p, labels, torch.ones(1, 1, dtype=torch.float64), all_real(p))
    assert found.item() == pytest.approx(math.log(likelihood((0, 1, 0, 0), line(p, 0, 0))), abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_padding_never_counts(seed: int) -> None:
    p, r, weak = random_case(6, seed)
    mask = torch.rand(3, 6, generator=torch.Generator().manual_seed(seed)) < 0.6
    mask[:, 0] = True
    found, means = bound(p, r, weak, mask), posterior(r, weak, mask)
    assert (means[~mask] == 0).all()
    for b, c in pairs(weak):
        occurs, own_p, own_r = float(weak[b, c]), line(p, b, c, mask), line(r, b, c, mask)
        assert found[b, c].item() == pytest.approx(slow_bound(own_p, own_r, occurs), rel=1e-9, abs=1e-12)
        expected = slow_posterior(own_r, occurs)
        assert line(means, b, c, mask) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("padding", [math.nan, math.inf, -math.inf, -1.0, 7.0])
def test_any_number_may_stand_at_padding(padding: float) -> None:
    p, r, weak = random_case(6, 0)
    mask = torch.arange(6).expand(3, -1) < 4
    own_p, own_r = (x.masked_fill(~mask[..., None], padding) for x in (p, r))
    assert torch.equal(bound(own_p, own_r, weak, mask), bound(p, r, weak, mask))
    assert torch.equal(posterior(own_r, weak, mask), posterior(r, weak, mask))


def test_a_video_that_is_all_padding_has_nothing_to_bound() -> None:
    p, r, _ = random_case(4, 0)
    mask = all_real(p)
    mask[0] = False
    weak = torch.ones_like(p[:, 0])
    found = bound(p, r, weak, mask)
    assert (found[0] == 0).all()
    assert torch.equal(found[1:], bound(p[1:], r[1:], weak[1:], mask[1:]))
    assert not posterior(r, weak, mask)[0].any()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    orders=st.tuples(*(st.permutations(range(n)) for n in (3, 5, 2))),
    padding=st.integers(0, 3),
)
def test_permuting_permutes_the_answers_and_longer_padding_changes_nothing(
    seed: int, orders: tuple[list[int], list[int], list[int]], padding: int
) -> None:
    p, r, weak = random_case(5, seed)
    videos, segments, events = orders

    def permuted(probs: Tensor) -> Tensor:
        own = probs[videos][:, segments][..., events]
        return torch.cat([own, torch.full((3, padding, 2), 0.7, dtype=torch.float64)], dim=1)

    own_p, own_r, own_weak = permuted(p), permuted(r), weak[videos][:, events]
    mask = torch.arange(5 + padding).expand(3, -1) < 5
    means = posterior(r, weak, all_real(r))
    assert (posterior(own_r, own_weak, mask)[:, 5:] == 0).all()
    for actual, before in (
        (bound(own_p, own_r, own_weak, mask), bound(p, r, weak, all_real(p))[videos][:, events]),
        (posterior(own_r, own_weak, mask)[:, :5], means[videos][:, segments][..., events]),
        (e_step(own_p, own_weak)[:, :5], e_step(p, weak)[videos][:, segments][..., events]),
    ):
        torch.testing.assert_close(actual, before, rtol=1e-9, atol=1e-12)
