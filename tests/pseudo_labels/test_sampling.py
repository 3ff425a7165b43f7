"""Samples of key segments: uniform, and the same whatever order segments come in."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avvp_pl.pseudo_labels import KeySegments, KeySegmentSample, sampling
from avvp_pl.pseudo_labels.sampling import sampling_keys


def splitmix(x: int) -> int:
    """SplitMix64's output function, on Python's integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return x ^ (x >> 31)


def choice(segments: int, problems: int, seed: int = 0) -> Tensor:
    return torch.rand(segments, problems, generator=torch.Generator().manual_seed(seed)) < 0.4


def sampled(chosen: Tensor, limit: int | None, blocks: list[Tensor], seed: int = 3) -> KeySegments:
    """A sample of the segments that come in these blocks; the feature of a segment is its number."""
    sample = KeySegmentSample(chosen.shape[1], limit, seed, torch.zeros(1, 1))
    for rows in blocks:
        sample.add(chosen[rows], rows, rows[:, None].float())
    return sample.result()


def equal(a: KeySegments, b: KeySegments) -> bool:
    return (
        torch.equal(a.problem, b.problem) and torch.equal(a.segment, b.segment) and torch.equal(a.features, b.features)
    )


@pytest.mark.parametrize(("problem", "segment", "seed"), [(0, 0, 0), (49, 123_456_789, 7), (3, 2**40, -5)])
def test_keys_are_those_of_splitmix(problem: int, segment: int, seed: int) -> None:
    golden = 0x9E3779B97F4A7C15
    x = splitmix((splitmix((seed + golden) % 2**64) + (problem + 1) * golden) % 2**64)
    expected = splitmix((x + (segment + 1) * golden) % 2**64) % 2**63
    assert sampling_keys(torch.tensor([problem]), torch.tensor([segment]), seed).item() == expected


def test_without_a_limit_all_are_there_in_order() -> None:
    chosen = choice(50, 3)
    found = sampled(chosen, None, [torch.arange(50)])
    expected = [(p, s) for p in range(3) for s in range(50) if chosen[s, p]]
    assert list(zip(found.problem.tolist(), found.segment.tolist(), strict=True)) == expected
    assert torch.equal(found.features[:, 0], found.segment.float())


@pytest.mark.parametrize("pending", [5, 40, 2**16])
@pytest.mark.parametrize("limit", [2, 20])
def test_order_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch, pending: int, limit: int) -> None:
    chosen = choice(300, 4)
    expected = sampled(chosen, limit, [torch.arange(300)])
    assert expected.problem.bincount().tolist() == [limit] * 4
    monkeypatch.setattr(sampling, "PENDING", pending)
    shuffled = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    for blocks in (torch.split(torch.arange(300), 7), torch.split(shuffled, 31), [torch.arange(300).flip(0)]):
        assert equal(sampled(chosen, limit, list(blocks)), expected)


def test_shares_of_several_processes_make_the_sample_of_all() -> None:
    chosen = choice(300, 4)
    expected = sampled(chosen, 20, [torch.arange(300)])
    parts = [torch.arange(300)[r::3] for r in range(3)]
    own = [sampled(chosen, 20, [part]) for part in parts]
    columns = [
        torch.cat([part.problem for part in own]),
        torch.cat([part.segment for part in own]),
        torch.cat([part.features for part in own]),
    ]
    shares: list[Tensor] = []

    def gather(share: Tensor) -> Tensor:
        shares.append(share)
        return columns.pop(0)

    sample = KeySegmentSample(4, 20, 3, torch.zeros(1, 1))
    sample.add(chosen[parts[1]], parts[1], parts[1][:, None].float())
    assert equal(sample.result(gather), expected)
    assert equal(KeySegments(*shares), own[1])


def test_a_sample_is_of_the_chosen_and_keeps_small_problems_whole() -> None:
    chosen = torch.zeros(100, 3, dtype=torch.bool)
    chosen[10:60, 0] = chosen[70:75, 2] = True
    found = sampled(chosen, 8, [torch.arange(100)])
    assert found.problem.bincount(minlength=3).tolist() == [8, 0, 5]
    assert set(found.segment[found.problem == 0].tolist()) <= set(range(10, 60))
    assert found.segment[found.problem == 2].tolist() == list(range(70, 75))


def test_every_segment_is_equally_likely() -> None:
    """2,000 samples of 5 of 20: each segment is in a quarter of them, give or take four deviations."""
    chosen = torch.ones(20, 1, dtype=torch.bool)
    drawn = torch.zeros(20)
    for seed in range(2000):
        drawn[sampled(chosen, 5, [torch.arange(20)], seed).segment] += 1
    deviation = (2000 * 0.25 * 0.75) ** 0.5
    assert (drawn - 500).abs().max() < 4 * deviation


def test_problems_and_seeds_are_sampled_independently() -> None:
    chosen = torch.ones(1000, 2, dtype=torch.bool)
    one, other = sampled(chosen, 100, [torch.arange(1000)]), sampled(chosen, 100, [torch.arange(1000)], seed=4)
    sets = [set(part.segment[part.problem == p].tolist()) for part in (one, other) for p in range(2)]
    for i in range(4):
        for j in range(i):
            assert 0 < len(sets[i] & sets[j]) < 30  # 10 expected


def test_what_is_held_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "PENDING", 64)
    sample = KeySegmentSample(2, 10, 0, torch.zeros(1, 1))
    held = []
    for start in range(0, 20_000, 100):
        rows = torch.arange(start, start + 100)
        sample.add(torch.ones(100, 2, dtype=torch.bool), rows, rows[:, None].float())
        held.append(sum(map(len, sample.parts)))
    assert max(held) <= 20 + 64 + 200  # the sample, what waits, one block
    assert max(held[50:]) <= 20 + 64
    assert len(sample.result()) == 20


def test_everything_is_made_where_the_features_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made elsewhere is without numbers here, and can not be computed with."""
    monkeypatch.setattr(sampling, "PENDING", 40)
    chosen, rows = choice(300, 4), list(torch.split(torch.arange(300), 31))
    expected = sampled(chosen, 20, rows)
    like, features = torch.zeros(1, 1), [own[:, None].float() for own in rows]
    with torch.device("meta"):
        sample = KeySegmentSample(4, 20, 3, like)
        for own, of_own in zip(rows, features, strict=True):
            sample.add(chosen[own], own, of_own)
        found = sample.result()
    assert equal(found, expected)
