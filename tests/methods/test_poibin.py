"""PoiBin: the loss of the count and the minimum counts, by all labelings of a video's segments."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.methods import poibin
from avvp_pl.methods.poibin import PoiBin
from avvp_pl.methods.targets import Smoothed
from avvp_pl.parts import Report, Step, Team, total
from avvp_pl.pseudo_labels import blocks_of
from avvp_pl.testing import losses, resume_differences
from tests.conftest import Build
from tests.losses.test_mil import gradient
from tests.methods.test_guided import guided
from tests.small import same_bits
from tests.stand_ins import Lookup, lookup, segments_of, some_videos, step_of, together, with_padding

Count = Literal["joint", "per_modality"]
COUNTS: tuple[Count, ...] = ("joint", "per_modality")
MODALITIES = ("audio", "visual", "odour")
RAGGED = [3, 1, 2, 2, 2]
WEAK = [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
SETTINGS: dict[str, Any] = {
    "modalities": MODALITIES,
    "events": ("bell", "dog"),
    "class_weighting": "inverse_frequency",
    "weights": {},
    "count": "joint",
    "confidence": 0.9,
    "max_count": 20,
    "weight_count": 0.1,
    "start_epoch": 4,
    "momentum": 0.75,
    "momentum_warmup": False,
}


@pytest.fixture
def videos() -> VideoSet:
    return some_videos(RAGGED, WEAK)


@pytest.fixture
def network(videos: VideoSet) -> Lookup:
    """Probabilities that are often near 0 or 1, so that some counts are certain."""
    found = lookup(videos, len(MODALITIES))
    found.probs = (8 * found.probs - 4).sigmoid()
    return found


def part_of(network: Lookup, **settings: Any) -> PoiBin:
    smoothing = {"audio": 1.0, "visual": 0.9, "odour": 0.8}
    return PoiBin(network, **SETTINGS | settings, targets=Smoothed(MODALITIES, smoothing))


def groups_of(videos: VideoSet, network: Lookup, row: int, event: int, count: Count) -> list[list[float]]:
    """The probabilities of a video's segments: in one list, or in one for each modality."""
    probs = network.probs[list(segments_of(videos, row)), :, event]  # [T, M]
    return [probs.flatten().tolist()] if count == "joint" else probs.T.tolist()


def probability(groups: list[list[float]], minimum: list[int]) -> float:
    """Of the labelings in which each group has its minimum, and any group a positive segment."""
    found = []
    for labelings in itertools.product(*(itertools.product((0, 1), repeat=len(group)) for group in groups)):
        if any(map(any, labelings)) and all(sum(y) >= n for y, n in zip(labelings, minimum, strict=True)):
            pairs = zip(itertools.chain(*groups), itertools.chain(*labelings), strict=True)
            found.append(math.prod(p if y else 1 - p for p, y in pairs))
    return math.fsum(found)


def slow_counts(videos: VideoSet, network: Lookup, count: Count, confidence: float, most: int) -> Tensor:
    """The largest counts that are reached with the confidence, one video and event at a time."""
    counts = torch.zeros(len(videos), 1 if count == "joint" else 3, 2, dtype=torch.int)
    for row, event in (videos.weak_labels > 0).nonzero().tolist():
        groups = groups_of(videos, network, row, event, count)
        for g in range(len(groups)):
            for k in range(1, min(most, len(groups[g])) + 1):
                asked = [k if other == g else 0 for other in range(len(groups))]
                if probability(groups, asked) / probability(groups, [0] * len(groups)) >= confidence:
                    counts[row, g, event] = k
    return counts


class TestForward:
    @pytest.mark.parametrize("count", COUNTS)
    def test_at_first_one_positive_segment_is_asked_for(self, videos: VideoSet, network: Lookup, count: Count) -> None:
        part, rows = part_of(network, count=count, weight_count=0.3), [4, 0, 3, 2]
        step = step_of(network, videos[torch.tensor(rows)])
        terms = part(step)
        expected = []
        for row, event in itertools.product(rows, range(2)):
            occurs = probability(groups_of(videos, network, row, event, "joint"), [1])
            expected.append(-math.log(occurs if videos.weak_labels[row, event] else 1 - occurs))
        assert terms["count"].weight == 0.3
        assert terms["count"].value.item() == pytest.approx(math.fsum(expected) / len(expected), rel=1e-5)

    @pytest.mark.parametrize("count", COUNTS)
    def test_each_video_is_asked_for_its_own_minimum(self, videos: VideoSet, network: Lookup, count: Count) -> None:
        part, rows = part_of(network, count=count, confidence=0.4), [4, 2, 1, 3, 0]
        part.refresh(videos, 4, Team())
        minimum = slow_counts(videos, network, count, 0.4, 20)
        network.probs = 1 - 0.7 * network.probs  # what the network says has changed since then
        found = part(step_of(network, videos[torch.tensor(rows)]))["count"].value
        expected = []
        for row, event in itertools.product(rows, range(2)):
            groups = groups_of(videos, network, row, event, count)
            occurs = probability(groups, [0] * len(groups))
            enough = probability(groups, minimum[row, :, event].tolist())
            expected.append(-math.log(enough if videos.weak_labels[row, event] else 1 - occurs))
        assert found.item() == pytest.approx(math.fsum(expected) / len(expected), rel=1e-5)

    @pytest.mark.parametrize("count", COUNTS)
    def test_counting_only_the_events_of_a_video_changes_nothing(self, count: Count) -> None:
        """What counts all five events is a part that has not seen that videos have two at most."""
        videos = some_videos([3, 1, 2], [[0.0, 1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0, 0.0], [0.0] * 5])
        network, found = lookup(videos, len(MODALITIES)), []
        network.probs = (8 * network.probs.double() - 4).sigmoid().requires_grad_()
        for starts in (False, True):
            part = part_of(network, count=count, confidence=0.3, events=tuple("abcde"))
            if starts:
                part.start(videos)
            part.refresh(videos, 4, Team())
            value = part(step_of(network, videos[torch.tensor([2, 0, 1])]))["count"].value
            found.append((part.most_labels, part.largest, value, gradient(value, network.probs)))
        (every, largest, value, slope), (most, _, same, same_slope) = found
        assert (every, most) == (5, 2)
        assert largest > 1
        torch.testing.assert_close(same, value, rtol=1e-12, atol=0)
        torch.testing.assert_close(same_slope, slope, rtol=1e-12, atol=1e-15)
        assert slope.abs().max() > 1

    def test_all_other_losses_are_those_of_guided(self, videos: VideoSet, network: Lookup) -> None:
        part, plain = part_of(network), guided({})
        part.start(videos)
        plain.start(videos)
        step = step_of(network, videos[torch.arange(5)])
        terms, expected = part(step), plain(step)
        assert list(terms) == ["mil", "guided", "count"]
        for name, term in expected.items():
            assert terms[name] == term
        summed = total(expected) + 0.1 * terms["count"].value
        torch.testing.assert_close(total(terms), summed)

    def test_a_video_without_any_segment_costs_nothing(self) -> None:
        videos = some_videos([0, 2], [[1.0, 0.0], [1.0, 0.0]])
        network = lookup(videos, len(MODALITIES))
        part = part_of(network)
        part.refresh(videos, 4, Team())
        both, one = (part(step_of(network, videos[torch.tensor(rows)]))["count"].value for rows in ([0, 1], [1]))
        torch.testing.assert_close(both, one / 2)  # of four and of two videos and events

    @pytest.mark.parametrize("count", COUNTS)
    def test_padding_does_not_matter(self, build: Build, ragged: ParsingSet, count: Count) -> None:
        found = []
        for made in (ragged, with_padding(ragged, more=3, garbage=7.0)):
            module, data = build("poibin", f"method.count={count}", videos=made)
            train, method = data.splits["train"], module.method.eval()
            assert isinstance(method, PoiBin)
            method.refresh(train, 4, Team())
            batch = train[torch.arange(8)]
            terms = method(Step(module.network, batch, module.eval()(batch), 4, 0.0))
            found.append((terms["count"].value, method.counts))
        (one, counts), (other, other_counts) = found
        torch.testing.assert_close(one, other)
        assert counts is not None
        assert other_counts is not None
        assert torch.equal(counts, other_counts)


class TestRefresh:
    @pytest.mark.parametrize("count", COUNTS)
    @pytest.mark.parametrize(("confidence", "most"), [(0.9, 20), (0.5, 20), (0.2, 3)])
    def test_minimum_counts_by_all_labelings(
        self, videos: VideoSet, network: Lookup, count: Count, confidence: float, most: int
    ) -> None:
        part = part_of(network, count=count, confidence=confidence, max_count=most)
        report = part.refresh(videos, 4, Team())
        expected = slow_counts(videos, network, count, confidence, most)
        assert part.counts is not None
        assert torch.equal(part.counts, expected)
        assert part.largest == max(1, int(expected.max()))
        assert isinstance(report, Report)
        assert set(report.seconds) == {"encode", "count"}
        of_pairs = [max(1, int(expected[row, :, event].sum())) for row, event in videos.weak_labels.nonzero().tolist()]
        assert report.values == {"train/em/count": pytest.approx(sum(of_pairs) / len(of_pairs))}

    def test_they_are_as_large_as_a_confident_network_says(self, videos: VideoSet, network: Lookup) -> None:
        """All segments of a video with one segment, and two of the nine of another one."""
        network.probs = torch.zeros_like(network.probs)
        network.probs[list(segments_of(videos, 1)), :, 0] = 1
        network.probs[1, 0, 0] = network.probs[2, 2, 0] = 1
        for count, of_video, of_other in (("joint", [3], [2]), ("per_modality", [1, 1, 1], [1, 0, 1])):
            part = part_of(network, count=count)
            part.refresh(videos, 4, Team())
            assert part.counts is not None
            assert part.counts[1, :, 0].tolist() == of_video
            assert part.counts[0, :, 0].tolist() == of_other
            assert (part.counts[3] == 0).all()  # a video without any event

    def test_they_rise_and_never_fall(self, videos: VideoSet, network: Lookup) -> None:
        part, high, seen = part_of(network), network.probs, []
        follower = part.teacher.network
        assert isinstance(follower, Lookup)
        for epoch, factor in enumerate((0.2, 1.0, 0.1), start=4):
            follower.probs = factor * high
            part.refresh(videos, epoch, Team())
            assert part.counts is not None
            seen.append(part.counts.clone())
        assert (seen[1] >= seen[0]).all()
        assert seen[1].sum() > seen[0].sum()
        assert torch.equal(seen[2], seen[1])

    def test_nothing_is_counted_before_the_first_epoch(self, videos: VideoSet, network: Lookup) -> None:
        part = part_of(network, start_epoch=2)
        assert [part.refresh(videos, epoch, Team()) is None for epoch in (0, 1, 2, 3)] == [True, True, False, False]

    @pytest.mark.parametrize("count", COUNTS)
    def test_processes_count_in_their_share_of_the_videos(
        self, videos: VideoSet, network: Lookup, monkeypatch: pytest.MonkeyPatch, count: Count
    ) -> None:
        monkeypatch.setattr(poibin, "blocks_of", lambda of: blocks_of(of, 4))
        asked: dict[int, list[int]] = {}

        def work(team: Team) -> tuple[Tensor | None, dict[str, float]]:
            part = part_of(network, count=count)
            report = part.refresh(videos, 4, team)
            assert report is not None
            own = part.teacher.network
            assert isinstance(own, Lookup)
            asked[team.rank] = [row for rows, _ in own.asked for row in rows]
            return part.counts, report.values

        (one, of_one), (other, of_other) = together(2, work)
        assert sorted(asked[0] + asked[1]) == [0, 1, 2, 3, 4]
        assert min(map(len, asked.values())) > 0
        for counts in (one, other):
            assert counts is not None
            assert torch.equal(counts, slow_counts(videos, network, count, 0.9, 20))
        assert of_one == of_other

    def test_the_momentum_network_counts(self, videos: VideoSet, network: Lookup) -> None:
        """0.25 of the way: from 0 towards 4, then 8."""
        part = part_of(network)
        for step, weight in enumerate((4.0, 8.0)):
            with torch.no_grad():
                network.weight.fill_(weight)
            part.after_step(network, step)
        (average,) = part.teacher.network.parameters()
        assert average.item() == 0.75 * 1.0 + 0.25 * 8
        assert not average.requires_grad


class TestProgress:
    def test_a_resumed_run_has_the_minimum_counts(self, videos: VideoSet, network: Lookup) -> None:
        part, other = part_of(network), part_of(network)
        assert part.progress() == {}
        part.refresh(videos, 4, Team())
        other.resume(part.progress())
        assert same_bits(other.progress(), part.progress())
        assert other.largest == part.largest > 1
        other.resume({})
        assert (other.counts, other.largest) == (None, 1)

    @pytest.mark.parametrize("count", COUNTS)
    def test_a_resumed_run_is_the_same_to_the_bit(self, tmp_path: Path, count: Count) -> None:
        """Also where the counts of its second epoch are needed in the third."""
        overrides = ["+experiment=poibin", f"method.count={count}", "method.start_epoch=1", "method.confidence=0.5"]
        overrides += ["network.dim=16", "network.feedforward_dim=16", "optimizer.learning_rate=0.003"]
        assert resume_differences(overrides, tmp_path) == []


def test_the_loss_falls_with_minimum_counts() -> None:
    small = ["network.dim=16", "network.feedforward_dim=16", "optimizer.learning_rate=0.003"]
    found = losses(["+experiment=poibin", *small, "method.start_epoch=0"])
    assert found[-1] < 0.9 * found[0]


def test_it_teaches_beside_pseudo_labels_of_prototypes(build: Build, tiny: ParsingSet) -> None:
    module, _ = build("poibin", "labeling=prototype")
    assert tiny.train is not None
    module.start(tiny.train)
    for part in module.parts.values():
        part.refresh(tiny.train, 4, Team())
    module.training_step(tiny.train[torch.arange(8)], 0)
    assert module.losses.keys() == {"mil", "guided", "count", "pseudo_label", "contrastive", "loss"}
