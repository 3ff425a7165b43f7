"""What intervals say about a video, against loops over single videos, and numbers worked by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avvp_pl.pseudo_labels.proposals import (
    Samples,
    Warp,
    apart,
    confident,
    covering,
    even_places,
    random_places,
    sampling_weights,
    segment_labels,
    warp_of,
)
from avvp_pl.types import Proposals

EVENTS = 4
Row = tuple[int, float, float, float]  # event, score, start, end


def proposals_of(*videos: Sequence[Row], widest: int = 1) -> Proposals:
    """Those of some videos, sorted as they should be and padded with what would matter if it were read."""
    width = max([widest, *map(len, videos)])
    bounds = torch.tensor([[0.0, 3.0]], dtype=torch.float64).repeat(len(videos), width, 1)
    events, scores = torch.zeros(len(videos), width, dtype=torch.long), torch.full((len(videos), width), 9.0).double()
    mask = torch.zeros(len(videos), width, dtype=torch.bool)
    for number, rows in enumerate(videos):
        for place, (event, score, start, end) in enumerate(sorted(rows, key=lambda row: (row[0], -row[1]))):
            bounds[number, place] = torch.tensor([start, end], dtype=torch.float64)
            events[number, place], scores[number, place], mask[number, place] = event, score, True
    return Proposals(bounds, events, scores, mask)


def mask_of(*lengths: int, longest: int | None = None) -> Tensor:
    return torch.arange(longest or max(lengths)) < torch.tensor(lengths)[:, None]


def evenly(*lengths: int) -> Samples:
    """All segments of some videos, each once."""
    mask = mask_of(*lengths)
    warp = warp_of(torch.ones(mask.shape, dtype=torch.float64), mask)
    return Samples(*even_places(warp.counts, None), warp)


@st.composite
def some_videos(draw: st.DrawFn) -> tuple[list[list[Row]], list[int]]:
    videos, lengths = [], draw(st.lists(st.integers(1, 40), min_size=1, max_size=3))
    for length in lengths:
        rows = []
        for _ in range(draw(st.integers(0, 7))):
            # not on halves, where what is nearest depends on the last bit
            start = draw(st.integers(0, 100 * length - 1)) / 100 + 0.0031
            size = draw(st.floats(0.2, 9))
            rows.append((draw(st.integers(0, 2)), draw(st.floats(0.01, 1)), start, min(start + size, length + 0.0)))
        videos.append([row for row in rows if row[3] > row[2]])
    return videos, lengths


# The slow references: one video, in loops


def best_first(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row[0], -row[1]))


def slow_confident(rows: Sequence[Row], share: float = 0.7) -> list[Row]:
    kept = []
    for event in {row[0] for row in rows}:
        own = [row for row in best_first(rows) if row[0] == event]
        sums: list[float] = []
        for row in own:
            sums.append((sums[-1] if sums else 0.0) + row[1])
        kept += own[: sum(total <= share * max(sums) for total in sums)]
    return kept


def slow_weights(rows: Sequence[Row], length: int, outputs: float = 12.0) -> list[float]:
    weights = [1.0] * length
    for _, _, start, end in slow_confident(rows):
        first, last = max(round(start - (end - start) / 2), 0), min(round(end + (end - start) / 2), length - 1)
        size = last - first + 1
        if 1 < size <= outputs:
            for i in range(first, last + 1):
                weights[i] = max(weights[i], outputs / size)
    i = 0
    while i < length:
        j = i
        while j < length and weights[j] > 1:
            j += 1
        total = sum(weights[i:j])
        for k in range(i, j):
            weights[k] *= round(total) / total
        i = max(j, i + 1)
    return weights


def slow_place(weights: Sequence[float], segment: float) -> float:
    """G(segment + 1) - 1."""
    x, total = segment + 1, 0.0
    for i, weight in enumerate(weights):
        if x <= i + 1 or i == len(weights) - 1:
            return total + weight * (x - i) - 1
        total += weight
    raise AssertionError


def slow_segment(weights: Sequence[float], output: float) -> float:
    """The inverse."""
    y, total = output + 1, 0.0
    for i, weight in enumerate(weights):
        if y <= total + weight or i == len(weights) - 1:
            return i + (y - total) / weight - 1
        total += weight
    raise AssertionError


def slow_apart(rows: Sequence[Row]) -> list[tuple[float, float]]:
    kept: list[tuple[float, float]] = []
    backwards = best_first(rows)[::-1]
    for _, _, start, end in sorted(backwards, key=lambda row: row[2]):
        if not kept or end > kept[-1][1]:
            kept.append((start, end))
    return kept


# Weights and the warp


def test_a_short_proposal_takes_twelve_places() -> None:
    """Widened to segments 40 to 44 it has 12 / 5 outputs each, 107 in all, and its surroundings move."""
    of_kept = [(0, 0.5, 41.0, 43.0), (0, 0.4, 90.0, 95.0)]  # the second one's running sum is above .7
    mask = mask_of(100)
    weights = sampling_weights(proposals_of(of_kept), mask)
    assert weights[0, 40:45].tolist() == [2.4] * 5
    assert weights.sum().item() == pytest.approx(107)
    warp = warp_of(weights, mask)
    assert warp.counts.tolist() == [107]
    places = warp.to_segments(torch.arange(107.0, dtype=torch.float64)[None])[0]
    assert [round(place, 2) for place in places[39:52].tolist()] == [
        39, 39.42, 39.83, 40.25, 40.67, 41.08, 41.5, 41.92, 42.33, 42.75, 43.17, 43.58, 44,
    ]  # fmt: skip
    assert places[-1] == pytest.approx(99)
    late = warp.ends_to_segments(torch.tensor([[45.0]]).double()) - warp.to_segments(torch.tensor([[45.0]]).double())
    assert late.item() == pytest.approx(1 - 1 / 2.4)


def test_scores_are_kept_up_to_a_share_of_their_sum() -> None:
    rows = [(1, 0.5, 1.0, 2.0), (1, 0.3, 3.0, 4.0), (1, 0.2, 5.0, 6.0)]
    single = [(2, 0.9, 7.0, 8.0)]
    assert confident(proposals_of(rows + single), 0.7).tolist() == [[True, False, False, False]]
    assert confident(proposals_of(rows), 0.8).tolist() == [[True, True, False]]
    assert confident(proposals_of([(0, 0.7, 1.0, 2.0), (0, 0.3, 1.0, 2.0)]), 0.7).tolist() == [[True, False]]


def test_negative_scores_count_as_in_the_public_code() -> None:
    """Of the running sums .6 and .1, one is at most .42; of -.1 and -.4, both are at most -.07."""
    assert confident(proposals_of([(0, 0.6, 1.0, 2.0), (0, -0.5, 1.0, 2.0)]), 0.7).tolist() == [[True, False]]
    assert confident(proposals_of([(0, -0.1, 1.0, 2.0), (0, -0.3, 1.0, 2.0)]), 0.7).tolist() == [[True, True]]


@given(some_videos())
@settings(deadline=None, max_examples=60)
def test_weights_equal_the_loops(given: tuple[list[list[Row]], list[int]]) -> None:
    videos, lengths = given
    mask = mask_of(*lengths, longest=max(lengths) + 2)
    weights = sampling_weights(proposals_of(*videos), mask)
    for number, (rows, length) in enumerate(zip(videos, lengths, strict=True)):
        assert weights[number, :length].tolist() == pytest.approx(slow_weights(rows, length))
        assert weights[number, length:].tolist() == [1.0] * (len(mask[0]) - length)
        assert weights[number, :length].sum().item() == pytest.approx(round(weights[number, :length].sum().item()))


@given(some_videos(), st.lists(st.floats(-1, 41), min_size=1, max_size=5))
@settings(deadline=None, max_examples=60)
def test_the_warp_equals_the_loops_and_its_inverse_undoes_it(
    given: tuple[list[list[Row]], list[int]], segments: list[float]
) -> None:
    videos, lengths = given
    mask = mask_of(*lengths, longest=max(lengths) + 3)
    weights = sampling_weights(proposals_of(*videos), mask)
    warp, places = warp_of(weights, mask), torch.tensor([segments] * len(videos), dtype=torch.float64)
    outputs = warp.to_outputs(places)
    torch.testing.assert_close(warp.to_segments(outputs), places, atol=1e-9, rtol=0)
    for number, length in enumerate(lengths):
        own = weights[number, :length].tolist()
        assert warp.counts[number] == round(sum(own))
        for column, segment in enumerate(segments):
            assert outputs[number, column].item() == pytest.approx(slow_place(own, segment), abs=1e-9)
            found = warp.to_segments(torch.full_like(places, segment))[number, 0].item()
            assert found == pytest.approx(slow_segment(own, segment), abs=1e-9)


def test_without_weights_nothing_moves() -> None:
    warp, places = evenly(5, 3).warp, torch.tensor([[-1.0, 0.0, 2.5, 6.0]] * 2).double()
    for move in (warp.to_outputs, warp.to_segments):
        torch.testing.assert_close(move(places), places, atol=0, rtol=0)


# Samples


def test_training_takes_one_of_each_bin_and_stretches_shorter_videos() -> None:
    counts, samples = torch.tensor([23, 7, 4, 1, 0]), 7
    edges = [round(i * 22 / samples) for i in range(samples + 1)]
    seen: list[set[float]] = [set() for _ in range(samples)]
    torch.manual_seed(0)
    for _ in range(200):
        places = random_places(counts, samples)
        for of_bin, place in zip(seen, places[0].tolist(), strict=True):
            of_bin.add(place)
        assert places[1].tolist() == list(range(7))
        assert places[2].tolist() == pytest.approx([i * 3 / 6 for i in range(7)])
        assert not places[3:].any()
    assert seen == [set(map(float, range(a, b))) for a, b in pairwise(edges)]


def test_a_test_takes_all_or_evenly_spaced_outputs() -> None:
    places, mask = even_places(torch.tensor([5, 17, 0]), 6)
    assert places[0, mask[0]].tolist() == [0, 1, 2, 3, 4]
    assert places[1, mask[1]].tolist() == [math.floor(i * 17 / 6) for i in range(6)]
    assert not mask[2].any()
    assert even_places(torch.tensor([5, 17]), None)[1].sum(1).tolist() == [5, 17]
    assert (places.diff(dim=1) > 0).all()  # also padding, so that what is between two places can be found


def test_samples_are_read_between_outputs_that_are_between_segments() -> None:
    """And straight on before the first segment: an output that stands for less than one segment is there."""
    weights, mask = torch.tensor([[2.0, 2.0, 1.0]]).double(), mask_of(3)
    warp = warp_of(weights, mask)
    outputs = torch.tensor([-0.5, 0.0, 0.5, 1.0, 2.0])  # the places among the segments of 5 outputs
    values = torch.tensor([[0.0, 10.0, 40.0]])
    of_outputs = torch.tensor([-5.0, 0.0, 5.0, 10.0, 40.0])
    assert warp.to_segments(torch.arange(5.0).double()[None])[0].tolist() == outputs.tolist()
    places = torch.tensor([[0.0, 0.5, 3.25, 4.0]]).double()
    read = Samples(places, torch.ones(1, 4, dtype=torch.bool), warp).read(values[:, :, None])[0, :, 0]
    assert read.tolist() == pytest.approx([-5, -2.5, 10 + 30 / 4, 40])
    direct = [of_outputs[3].item(), of_outputs[4].item()]
    assert read[2].item() == pytest.approx(direct[0] * 0.75 + direct[1] * 0.25)


@given(some_videos(), st.booleans())
@settings(deadline=None, max_examples=40)
def test_places_among_samples_come_back(given: tuple[list[list[Row]], list[int]], training: bool) -> None:
    """At each sample, also with fewer samples than outputs; segments are found between the samples beside them."""
    videos, lengths = given
    mask = mask_of(*lengths)
    warp = warp_of(sampling_weights(proposals_of(*videos), mask), mask)
    if training:
        places = random_places(warp.counts, 9)
        chosen = torch.ones(len(videos), 9, dtype=torch.bool)
    else:
        places, chosen = even_places(warp.counts, 9)
    samples = Samples(places, chosen, warp)
    numbers = torch.arange(places.shape[1]).double().expand_as(places)
    there = warp.to_segments(places)
    torch.testing.assert_close(samples.to_segments(numbers)[chosen], there[chosen], atol=1e-9, rtol=0)
    back = samples.of_segments(mask.shape[1])
    for number, length in enumerate(lengths):
        assert (back[number] >= 0).all()
        assert (back[number] <= int(chosen[number].sum()) - 1).all()
        if lengths[number] > 1:
            rows = samples.of(number).to_segments(back[number : number + 1, :length])[0]
            low, high = there[number, 0], there[number, chosen[number]][-1]
            expected = torch.arange(length).double().clamp(low, high)
            torch.testing.assert_close(rows, expected, atol=1e-9, rtol=0)


# What segments attend to


def test_proposals_inside_others_are_one_with_them() -> None:
    rows = [(0, 0.9, 2.0, 6.0), (1, 0.8, 2.0, 6.0), (1, 0.7, 3.0, 5.0), (2, 0.6, 4.0, 8.0)]
    kept = apart(proposals_of(rows, widest=6))
    assert kept.bounds[kept.mask].tolist() == [[2.0, 6.0], [4.0, 8.0]]


@given(some_videos())
@settings(deadline=None, max_examples=60)
def test_what_is_covered_equals_the_loops(given: tuple[list[list[Row]], list[int]]) -> None:
    videos, lengths = given
    mask = mask_of(*lengths)
    proposals = proposals_of(*videos, widest=8)
    weights = sampling_weights(proposals, mask)
    warp = warp_of(weights, mask)
    places, chosen = even_places(warp.counts, None)
    covered = covering(proposals, Samples(places, chosen, warp))
    for number, (rows, length) in enumerate(zip(videos, lengths, strict=True)):
        own, expected = weights[number, :length].tolist(), []
        for bounds in slow_apart(rows):
            start, end = (slow_place(own, bound) for bound in bounds)
            first, last = round(start - (end - start) / 2), round(end + (end - start) / 2)
            expected.append([first <= j <= last and j < warp.counts[number] for j in range(places.shape[1])])
        found = [line for line in covered[number].tolist() if any(line)]
        assert sorted(found) == sorted(line for line in expected if any(line))


def test_in_training_a_sample_is_covered_by_where_it_is() -> None:
    """As in the public code it is taken to be at j * 20 / 4, wherever it was drawn."""
    proposals, warp = proposals_of([(0, 0.9, 9.0, 11.0)]), evenly(20).warp  # widened: 8 to 12
    samples = Samples(torch.tensor([[0.0, 7.0, 12.0, 19.0]]).double(), torch.ones(1, 4, dtype=torch.bool), warp)
    assert covering(proposals, samples).tolist() == [[[False, False, True, False]]]
    code = samples._replace(exact=False)
    assert covering(proposals, code).tolist() == [[[False, False, True, False]]]  # round(1.6) to round(2.4)
    stretched = samples._replace(places=torch.tensor([[0.0, 7.6, 12.4, 19.0]]).double())  # as the nearest output
    assert covering(proposals, stretched).tolist() == [[[False, True, True, False]]]
    moved = samples._replace(places=torch.tensor([[0.0, 8.0, 14.0, 19.0]]).double())
    assert covering(proposals, moved).tolist() == [[[False, True, False, False]]]
    assert covering(proposals, moved._replace(exact=False)).tolist() == [[[False, False, True, False]]]


# What segments show


def test_labels_end_where_proposals_end() -> None:
    proposals = proposals_of([(0, 0.9, 2.0, 4.0), (3, 0.1, 3.0, 5.0)])
    rows = {"bg": [0, 0, 0, 0, 1.0], "0": [1.0, 0, 0, 0, 0], "3": [0, 0, 0, 1.0, 0], "both": [0.5, 0, 0, 0.5, 0]}
    for code, expected in ((False, "bg bg 0 both 3 bg"), (True, "bg bg 0 both both 3")):
        labels = segment_labels(proposals, evenly(6), EVENTS, code)
        assert labels[0].tolist() == [rows[name] for name in expected.split()]


@given(some_videos(), st.booleans())
@settings(deadline=None, max_examples=60)
def test_labels_equal_the_loops(given: tuple[list[list[Row]], list[int]], training: bool) -> None:
    videos, lengths = given
    mask = mask_of(*lengths)
    proposals = proposals_of(*videos, widest=8)
    weights = sampling_weights(proposals, mask)
    warp = warp_of(weights, mask)
    if training:
        samples = Samples(random_places(warp.counts, 11), torch.ones(len(videos), 11, dtype=torch.bool), warp)
    else:
        samples = Samples(*even_places(warp.counts, None), warp)
    labels = segment_labels(proposals, samples, EVENTS)
    for number, (rows, length) in enumerate(zip(videos, lengths, strict=True)):
        own = weights[number, :length].tolist()
        for j in samples.mask[number].nonzero()[:, 0].tolist():
            nearest = torch.tensor(slow_segment(own, samples.places[number, j].item()), dtype=torch.float64)
            if abs(nearest - nearest.floor() - 0.5) < 1e-6:  # between two segments
                continue
            at = int(nearest.round())
            shown = set()
            for event, _, start, end in rows:
                first = min(round(start), length - 1)
                if first <= at < max(round(end), first + 1):
                    shown.add(event)
            expected = [1 / len(shown) if event in shown else 0.0 for event in range(EVENTS)]
            assert labels[number, j].tolist() == pytest.approx([*expected, float(not shown)])


def test_a_proposal_labels_at_least_one_segment() -> None:
    for start, end, at in ((2.6, 3.4, 3), (5.7, 6.0, 5)):
        labels = segment_labels(proposals_of([(1, 0.5, start, end)]), evenly(6), EVENTS)
        assert labels[0, :, 1].nonzero()[:, 0].tolist() == [at]


def test_a_warp_needs_no_other_videos() -> None:
    """Places beyond the end of a video go on as its last segment does, also beside a longer one."""
    weights = torch.tensor([[1.0, 3.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]).double()
    both = Warp(torch.nn.functional.pad(weights.cumsum(1), (1, 0)), torch.tensor([2, 4]))
    beyond = torch.tensor([[2.0], [2.0]]).double()
    assert both.to_outputs(beyond).tolist() == [[6.0], [2.0]]
