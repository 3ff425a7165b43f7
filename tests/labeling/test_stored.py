"""Labels of all training segments: those of a batch, their loss, their resume, and how they are put together."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.labeling.stored import LabelsInProgress, StoredLabels
from avvp_pl.parts import Team
from avvp_pl.pseudo_labels import EncodedBlock
from avvp_pl.pseudo_labels.disjunction import disjunction_bound
from avvp_pl.pseudo_labels.em import bound
from avvp_pl.types import Batch
from tests.stand_ins import Lookup, lookup, segments_of, some_videos, step_of, together

RAGGED = [3, 1, 4, 2, 4]
WEAK = [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]


class Given(StoredLabels):
    """A labeling whose labels a test makes."""

    def labels(self, batch: Batch) -> Tensor:
        raise NotImplementedError


@pytest.fixture(params=[RAGGED, [3] * 5], ids=["ragged", "equal"])
def videos(request: pytest.FixtureRequest) -> VideoSet:
    return some_videos(request.param, WEAK)


@pytest.fixture
def part(videos: VideoSet) -> Given:
    """With a label of its own for every segment, modality and event."""
    made = Given(weight_pseudo_label=0.5, label_threshold=0.6)
    labels = torch.rand(videos.num_segments, 2, 2, generator=torch.Generator().manual_seed(1))
    made.pseudo_labels = labels
    return made


class TestStoredLabels:
    @pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [3, 1], [4, 4], [1]])
    def test_labels_of_a_batch_are_those_of_its_segments(self, videos: VideoSet, part: Given, rows: list[int]) -> None:
        batch = videos[torch.tensor(rows)]
        found = part.of_batch(step_of(lookup(videos), batch))
        assert found.shape == (len(rows), max(int(videos.lengths[row]) for row in rows), 2, 2)
        assert part.pseudo_labels is not None
        for place, row in enumerate(rows):
            for t, number in enumerate(segments_of(videos, row)):
                assert torch.equal(found[place, t], part.pseudo_labels[number])

    def test_videos_without_any_segment_cost_nothing(self) -> None:
        empty, part = some_videos([0, 0], [[1.0, 0.0], [0.0, 1.0]]), Given(0.5, 0.5)
        part.pseudo_labels = torch.zeros(0, 2, 2)
        network, batch = lookup(some_videos([1], [[1.0, 0.0]])), empty[torch.tensor([1, 0])]
        terms = part(step_of(network, batch))
        assert not batch.mask.any()
        assert terms["pseudo_label"].value == 0

    def test_the_loss_is_the_mean_over_real_segments(self, videos: VideoSet, part: Given) -> None:
        rows, network = [2, 1, 0], lookup(videos)
        terms = part(step_of(network, videos[torch.tensor(rows)]))
        assert part.pseudo_labels is not None
        losses = []
        for number in (number for row in rows for number in segments_of(videos, row)):
            probs, labels = network.probs[number].flatten().tolist(), part.pseudo_labels[number].flatten().tolist()
            losses += [-y * math.log(p) - (1 - y) * math.log(1 - p) for p, y in zip(probs, labels, strict=True)]
        assert list(terms) == ["pseudo_label"]
        assert terms["pseudo_label"].value.item() == pytest.approx(math.fsum(losses) / len(losses), rel=1e-5)
        part.over_events = "sum"  # of the two
        of_sums = part(step_of(network, videos[torch.tensor(rows)]))["pseudo_label"].value.item()
        assert of_sums == pytest.approx(2 * math.fsum(losses) / len(losses), rel=1e-5)
        assert terms["pseudo_label"].weight == 0.5

    def test_there_are_labels_once_a_source_has_made_some(self, part: Given) -> None:
        fresh = Given(0.1, 0.5)
        assert (fresh.ready, part.ready) == (False, True)
        assert (fresh.label_threshold, part.label_threshold) == (0.5, 0.6)

    def test_a_resumed_run_has_the_labels_of_its_epoch(self, part: Given) -> None:
        other = Given(0.1, 0.5)
        other.resume(part.progress())
        assert other.pseudo_labels is not None
        assert part.pseudo_labels is not None
        assert torch.equal(other.pseudo_labels, part.pseudo_labels)
        other.resume(Given(0.1, 0.5).progress())  # an epoch before the first labeling
        assert not other.ready

    def test_labels_are_no_part_of_the_model(self, part: Given) -> None:
        assert part.state_dict() == {}


def encoded(videos: VideoSet, network: Lookup, rows: list[int]) -> EncodedBlock:
    batch = videos[torch.tensor(rows)]
    output = network(batch)
    return EncodedBlock(
        index=batch.index,
        segment=batch.segment,
        mask=batch.mask,
        weak_labels=batch.weak_labels,
        features=output.features,
        segment_probs=output.segment_probs.detach(),
        video_probs=network.video_probs[batch.index],
    )


def halved(block: EncodedBlock) -> Tensor:
    """Some labels; those of padding are ignored."""
    labels = block.weak_labels[:, None, None] * block.segment_probs / 2
    return labels.masked_fill(~block.mask[:, :, None, None], 0.77)


def slow_bounds(videos: VideoSet, network: Lookup, labels: Tensor) -> dict[str, float]:
    """The means of both bounds over videos and events, one video without any padding at a time."""
    of_em, of_disjunction = [], []
    for row in range(len(videos)):
        numbers = list(segments_of(videos, row))
        probs, own = (x[numbers].flatten(0, 1)[None] for x in (network.probs, labels))
        weak, real = videos.weak_labels[row : row + 1], torch.ones(1, probs.shape[1], dtype=torch.bool)
        of_em += bound(probs, network.video_probs[row : row + 1], own, weak, real).flatten().tolist()
        of_disjunction += disjunction_bound(probs, own, weak, real).flatten().tolist()
    means = {"train/em/bound": of_em, "train/em/disjunction_bound": of_disjunction}
    return {name: math.fsum(found) / len(found) for name, found in means.items()}


class TestLabelsInProgress:
    @pytest.mark.parametrize("blocks", [[[0, 1, 2, 3, 4]], [[3, 2], [4], [0, 1]]])
    def test_labels_of_blocks_are_put_together_by_a_loop(self, videos: VideoSet, blocks: list[list[int]]) -> None:
        network, made = lookup(videos), LabelsInProgress(videos, 2, torch.device("cpu"))
        for rows in blocks:
            block = encoded(videos, network, rows)
            made.add(block, halved(block))
        labels, bounds = made.result(Team())
        expected = torch.empty(videos.num_segments, 2, 2)
        for row in range(len(videos)):
            for number in segments_of(videos, row):
                expected[number] = videos.weak_labels[row] * network.probs[number] / 2
        assert torch.equal(labels, expected)
        assert bounds == pytest.approx(slow_bounds(videos, network, expected), rel=1e-5)

    def test_processes_put_theirs_together(self, videos: VideoSet) -> None:
        network, blocks = lookup(videos), [[0, 3], [1], [2, 4]]

        def work(team: Team) -> tuple[Tensor, dict[str, float]]:
            made = LabelsInProgress(videos, 2, torch.device("cpu"))
            for rows in team.share(blocks):
                block = encoded(videos, network, rows)
                made.add(block, halved(block))
            return made.result(team)

        ((alone, bounds_alone),) = together(1, work)
        for labels, bounds in together(2, work):
            assert torch.equal(labels, alone)
            assert bounds == pytest.approx(bounds_alone, rel=1e-12)


def test_the_bounds_of_the_models_own_probabilities_are_the_likelihood_of_the_weak_labels() -> None:
    """By pooling: log 0.7 for w = 1, log 0.6 for w = 0. By the segments: log(1 - 0.375) and log 0.375, as all of them
    are without the event with a chance of 0.5 * 0.75. Sums of two of three videos, whose second segments are padding.
    """
    probs = torch.tensor([0.5, 0.25, 0.9, 0.8]).reshape(1, 2, 2, 1).expand(2, 2, 2, 1)
    videos = some_videos([1, 1, 2], [[1.0], [0.0], [1.0]])
    block = EncodedBlock(
        index=torch.arange(2),
        segment=torch.tensor([[0, 0], [1, 1]]),
        mask=torch.tensor([[True, False]] * 2),
        weak_labels=videos.weak_labels[:2],
        features=torch.zeros(2, 2, 2, 3),
        segment_probs=probs,
        video_probs=torch.tensor([[0.7], [0.4]]),
    )
    made = LabelsInProgress(videos, 2, torch.device("cpu"))
    made.add(block, probs)
    _, bounds = made.result(Team())
    assert bounds["train/em/bound"] == pytest.approx((math.log(0.7) + math.log(0.6)) / 3, rel=1e-5)
    assert bounds["train/em/disjunction_bound"] == pytest.approx((math.log(0.625) + math.log(0.375)) / 3, rel=1e-5)
