"""Naive pseudo labels: the momentum network's own probabilities of the events that a video has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.labeling import naive
from avvp_pl.labeling.naive import Naive
from avvp_pl.parts import Report, Team
from avvp_pl.pseudo_labels import blocks_of
from avvp_pl.pseudo_labels.em import bound
from tests.conftest import Build
from tests.stand_ins import Lookup, lookup, segments_of, some_videos, together

RAGGED = [3, 1, 4, 2, 4]
WEAK = [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
SETTINGS: dict[str, Any] = {
    "modalities": ["audio", "visual"],
    "labels": "soft",
    "label_threshold": 0.5,
    "weight_pseudo_label": 0.1,
    "over_events": "mean",
    "start_epoch": 1,
    "source": "momentum",
    "momentum": 0.75,
    "momentum_warmup": False,
    "attending": None,
}


@pytest.fixture
def videos() -> VideoSet:
    return some_videos(RAGGED, WEAK)


@pytest.fixture
def network(videos: VideoSet) -> Lookup:
    return lookup(videos)


def slow_labels(videos: VideoSet, network: Lookup, threshold: float | None = None) -> Tensor:
    """One number at a time."""
    labels = torch.empty_like(network.probs)
    for row in range(len(videos)):
        for number in segments_of(videos, row):
            for m in range(labels.shape[1]):
                for c in range(labels.shape[2]):
                    p, w = float(network.probs[number, m, c]), float(videos.weak_labels[row, c])
                    labels[number, m, c] = w * (p if threshold is None else float(p >= threshold))
    return labels


class TestRefresh:
    def test_soft_labels_by_a_loop(self, videos: VideoSet, network: Lookup) -> None:
        part = Naive(network, **SETTINGS)
        assert isinstance(part.refresh(videos, 1, Team()), Report)
        assert part.pseudo_labels is not None
        assert torch.equal(part.pseudo_labels, slow_labels(videos, network))

    @pytest.mark.parametrize("threshold", [0.5, 0.8])
    def test_hard_labels_by_a_loop(self, videos: VideoSet, network: Lookup, threshold: float) -> None:
        network.probs[0, 0, 0] = threshold  # itself counts as positive
        part = Naive(network, **SETTINGS | {"labels": "hard", "label_threshold": threshold})
        part.refresh(videos, 1, Team())
        assert part.pseudo_labels is not None
        assert torch.equal(part.pseudo_labels, slow_labels(videos, network, threshold))
        assert part.pseudo_labels[0, 0, 0] == 1

    def test_there_are_none_before_the_first_epoch_with_labels(self, videos: VideoSet, network: Lookup) -> None:
        part = Naive(network, **SETTINGS | {"start_epoch": 3})
        assert [part.refresh(videos, epoch, Team()) is None for epoch in (0, 2, 3, 4)] == [True, True, False, False]
        assert part.ready

    def test_processes_label_their_share_of_the_videos(
        self, videos: VideoSet, network: Lookup, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(naive, "blocks_of", lambda of: blocks_of(of, 6))
        asked: dict[int, list[int]] = {}

        def work(team: Team) -> tuple[Tensor | None, float]:
            part = Naive(network, **SETTINGS)
            report = part.refresh(videos, 1, team)
            assert report is not None
            own = part.teacher.network
            assert isinstance(own, Lookup)
            asked[team.rank] = [row for rows, _ in own.asked for row in rows]
            return part.pseudo_labels, report.values["train/em/bound"]

        (one, bound_of_one), (other, bound_of_other) = together(2, work)
        assert asked == {0: [0, 1, 3], 1: [2, 4]}
        for labels in (one, other):
            assert labels is not None
            assert torch.equal(labels, slow_labels(videos, network))
        assert bound_of_one == bound_of_other

    def test_the_report_has_the_bound_and_seconds(self, videos: VideoSet, network: Lookup) -> None:
        part = Naive(network, **SETTINGS)
        report = part.refresh(videos, 1, Team())
        assert report is not None
        assert set(report.seconds) == {"encode", "label"}
        bounds = []
        for row in range(len(videos)):
            probs = network.probs[list(segments_of(videos, row))].flatten(0, 1)[None]
            real = torch.ones(1, probs.shape[1], dtype=torch.bool)
            weak, pooled = videos.weak_labels[row : row + 1], network.video_probs[row : row + 1]
            bounds.append(bound(probs, pooled, probs * weak, weak, real))
        assert report.values["train/em/bound"] == pytest.approx(torch.cat(bounds).mean().item(), rel=1e-5)
        assert report.values.keys() == {"train/em/bound", "train/em/disjunction_bound"}
        assert report.per_event == {}


class TestTeacher:
    def test_it_follows_the_network_after_every_step(self, network: Lookup) -> None:
        """0.25 of the way: from 0 towards 4, then 8."""
        part = Naive(network, **SETTINGS)
        for step, weight in enumerate((4.0, 8.0)):
            with torch.no_grad():
                network.weight.fill_(weight)
            part.after_step(network, step)
        (average,) = part.teacher.average.parameters()
        assert average.item() == 0.75 * 1.0 + 0.25 * 8

    def test_labels_of_the_best_network(self, build: Build) -> None:
        module, _ = build("npl_soft")
        part = module.labeling
        assert isinstance(part, Naive)
        with torch.no_grad():
            for parameter in part.teacher.average.parameters():
                parameter.add_(1)
        assert part.teacher.best is not None
        before = [parameter.clone() for parameter in part.teacher.best.parameters()]
        module.keep_best()
        for best, now, was in zip(
            part.teacher.best.parameters(), part.teacher.average.parameters(), before, strict=True
        ):
            torch.testing.assert_close(best, now)
            assert not torch.equal(best, was)
        assert part.teacher.network is part.teacher.best


class TestConfigured:
    def test_naive_labels_are_the_momentum_networks_probabilities(self, build: Build, ragged: ParsingSet) -> None:
        for videos in (None, ragged):
            module, data = build("npl_soft", videos=videos)
            train, part = data.splits["train"], module.labeling
            assert isinstance(part, Naive)
            part.refresh(train, 1, Team())
            output = part.teacher.average(train[torch.arange(len(train))])
            expected = output.segment_probs * train.weak_labels[:, None, None]
            assert part.pseudo_labels is not None
            torch.testing.assert_close(part.pseudo_labels, expected.detach()[train.mask])

    def test_a_modality_that_does_not_attend_while_labeling_labels_what_it_shows_itself(
        self, build: Build, tiny: ParsingSet
    ) -> None:
        module, _ = build("npl_soft", "labeling.attending=[audio]")
        alone, _ = build("npl_soft", "network.cross_attention=false")
        part, apart = module.labeling, alone.labeling
        assert isinstance(part, Naive)
        assert isinstance(apart, Naive)
        assert part.teacher.best is not None
        assert (part.teacher.average.attending, part.teacher.best.attending) == (("audio",), ("audio",))
        assert module.network.attending is None
        apart.teacher.network.load_state_dict(part.teacher.network.state_dict(), strict=False)
        assert tiny.train is not None
        batch = tiny.train[torch.arange(8)]
        together, alone_labels, labels = module.network.eval()(batch), apart.labels(batch), part.labels(batch)
        weak = batch.weak_labels[:, None, :]
        torch.testing.assert_close(labels[:, :, 0], weak * together.segment_probs[:, :, 0])
        torch.testing.assert_close(labels[:, :, 1], alone_labels[:, :, 1])
        assert not torch.allclose(labels[:, :, 1], weak * together.segment_probs[:, :, 1], atol=1e-3)
