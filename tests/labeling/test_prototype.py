"""Labels from prototypes: one labeling by hand, the steps one by one, and what a refresh reports."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.labeling import prototype
from avvp_pl.labeling.prototype import Prototype
from avvp_pl.losses import contrastive_loss
from avvp_pl.parts import Report, Team
from avvp_pl.pseudo_labels import blocks_of, kmeans_device, select_segments, soft_labels
from avvp_pl.pseudo_labels.em import bound
from avvp_pl.types import Prototypes
from tests.conftest import Build
from tests.stand_ins import Lookup, lookup, segments_of, some_videos, step_of, together

SETTINGS: dict[str, Any] = {
    "modalities": ["audio", "visual"],
    "events": ["bell", "dog"],
    "labels": "soft",
    "label_threshold": 0.5,
    "weight_pseudo_label": 0.1,
    "over_events": "mean",
    "start_epoch": 1,
    "source": "momentum",
    "momentum": 0.75,
    "momentum_warmup": False,
    "attending": None,
    "gamma": 0.5,
    "beta": 0.2,
    "mistake_threshold": 0.5,
    "k": 100,
    "k_positive": None,
    "k_negative": None,
    "without_positives": "zero",
    "without_negatives": "weak",
    "tau": 0.1,
    "prototypes": "shared",
    "min_modality": 0.5,
    "normalize_features": True,
    "max_segments_per_event": None,
    "kmeans": "faiss",
    "feature_memory_gb": 1.0,
    "weight_contrastive": 0.25,
    "tau_contrastive": 0.2,
    "include_self": False,
    "seed": 0,
}
RAGGED = [3, 1, 4, 2, 4]
WEAK = [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]


@pytest.fixture
def videos() -> VideoSet:
    return some_videos(RAGGED, WEAK)


@pytest.fixture
def network(videos: VideoSet) -> Lookup:
    return lookup(videos)


def refreshed(network: Lookup, videos: VideoSet, epoch: int = 1, **changed: Any) -> tuple[Prototype, Report]:
    part = Prototype(network, **SETTINGS | changed)
    report = part.refresh(videos, epoch, Team())
    assert report is not None
    return part, report


def labels_of(part: Prototype) -> Tensor:
    assert part.pseudo_labels is not None
    return part.pseudo_labels


class TestByHand:
    """Two videos of two segments and of one, one event that only the first has, one modality, features on a circle."""

    def made(self, **changed: Any) -> tuple[Prototype, Report]:
        """The event at 0 degrees (p = 0.8), not at 90 (0.1); at 60 a confident mistake (0.6) of a video without it."""
        videos = some_videos([2, 1], [[1.0], [0.0]])
        angles = torch.tensor([0.0, 90.0, 60.0]).deg2rad()
        features = 2 * torch.stack([angles.cos(), angles.sin()], dim=1)[:, None]  # of length 2
        network = Lookup(features, torch.tensor([0.8, 0.1, 0.6])[:, None, None])
        return refreshed(network, videos, modalities=["audio"], events=["bell"], **changed)

    def test_key_segments_are_the_prototypes_where_they_are_few(self) -> None:
        part, report = self.made()
        assert report.per_event == {
            "positive_segments": [1],
            "negative_segments": [2],
            "positive_prototypes": [1],
            "negative_prototypes": [2],
        }
        torch.testing.assert_close(part.bank.positive[0, 0, 0], torch.tensor([1.0, 0.0]))
        half, root = 0.5, math.sqrt(3) / 2
        expected = torch.tensor([[0.0, 1.0], [half, root]])
        torch.testing.assert_close(part.bank.negative[0, 0, :2], expected, atol=1e-6, rtol=0)

    def test_soft_labels(self) -> None:
        """y = S_P / (S_P + S_N), S = mean exp(cos / tau), for the first two segments; the third has w = 0."""
        part, _ = self.made()
        at_0 = math.exp(10), (math.exp(0) + math.exp(5)) / 2
        at_90 = math.exp(0), (math.exp(10) + math.exp(10 * math.sqrt(3) / 2)) / 2
        expected = [s_p / (s_p + s_n) for s_p, s_n in (at_0, at_90)]
        assert labels_of(part).flatten().tolist() == pytest.approx([*expected, 0], rel=1e-4)

    def test_hard_labels(self) -> None:
        part, _ = self.made(labels="hard")
        assert labels_of(part).flatten().tolist() == [1, 0, 0]

    def test_a_mistake_counts_from_its_threshold_on(self) -> None:
        part, report = self.made(mistake_threshold=0.61)
        assert report.per_event["negative_segments"] == [1]
        s_p, s_n = math.exp(10), math.exp(0)
        assert labels_of(part)[0].item() == pytest.approx(s_p / (s_p + s_n), rel=1e-5)
        _, report = self.made(mistake_threshold=0.6)
        assert report.per_event["negative_segments"] == [2]

    @pytest.mark.parametrize(
        ("settings", "numbers"), [({"k": 1}, (1, 1)), ({"k_negative": 1}, (1, 1)), ({"k": 1, "k_negative": 2}, (1, 2))]
    )
    def test_each_sign_may_have_a_number_of_prototypes_of_its_own(
        self, settings: dict[str, Any], numbers: tuple[int, int]
    ) -> None:
        """One prototype of the two negative segments, at 90 and 60 degrees, is their mean."""
        part, report = self.made(**settings)
        assert (report.per_event["positive_prototypes"], report.per_event["negative_prototypes"]) == tuple(
            [number] for number in numbers
        )
        if numbers[1] == 1:
            mean = torch.tensor([0.25, (1 + math.sqrt(3) / 2) / 2])
            torch.testing.assert_close(part.bank.negative[0, 0, 0], mean, atol=1e-5, rtol=0)

    def test_features_may_keep_their_length(self) -> None:
        part, _ = self.made(normalize_features=False, tau=2.0)
        torch.testing.assert_close(part.bank.positive[0, 0, 0], torch.tensor([2.0, 0.0]))
        s_p, s_n = math.exp(4 / 2), (math.exp(0) + math.exp(4 * 0.5 / 2)) / 2
        assert labels_of(part)[0].item() == pytest.approx(s_p / (s_p + s_n), rel=1e-5)


class TestRefresh:
    def test_there_are_no_labels_before_the_first_epoch_with_labels(self, videos: VideoSet, network: Lookup) -> None:
        part = Prototype(network, **SETTINGS | {"start_epoch": 2})
        assert part.refresh(videos, 1, Team()) is None
        assert not part.ready
        assert not part.bank.is_built
        assert part.refresh(videos, 2, Team()) is not None
        assert part.ready

    def test_building_for_a_test_is_a_refresh_of_epoch_0(self, videos: VideoSet, network: Lookup) -> None:
        """Also where training would have no labels in that epoch; two of 11 segments are drawn by the epoch."""
        few: dict[str, Any] = {"k": 2, "max_segments_per_event": 3}
        built, (first, _), (second, _) = (
            Prototype(network, **SETTINGS | few),
            refreshed(network, videos, epoch=0, start_epoch=0, **few),
            refreshed(network, videos, epoch=1, **few),
        )
        assert built.build(videos, Team()) is not None
        assert torch.equal(built.bank.positive, first.bank.positive)
        assert not torch.equal(built.bank.positive, second.bank.positive)

    @pytest.mark.parametrize("changed", [{"seed": 1}, {"epoch": 2}])
    def test_samples_and_clusters_depend_on_seed_and_epoch(
        self, videos: VideoSet, network: Lookup, changed: dict[str, Any]
    ) -> None:
        few: dict[str, Any] = {"k": 2, "max_segments_per_event": 3}
        (one, _), (again, _) = refreshed(network, videos, **few), refreshed(network, videos, **few)
        (other, _) = refreshed(network, videos, **few, **changed)
        assert torch.equal(one.bank.positive, again.bank.positive)
        assert not torch.equal(one.bank.positive, other.bank.positive)

    @pytest.mark.parametrize("prototypes", ["shared", "per_modality"])
    @pytest.mark.parametrize("limit", [None, 3])
    def test_processes_do_their_share_of_everything(
        self, videos: VideoSet, network: Lookup, prototypes: str, limit: int | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Labels, prototypes and reports of two processes, and of three, are those of one."""
        monkeypatch.setattr(prototype, "blocks_of", lambda of: blocks_of(of, 6))
        changed = {"prototypes": prototypes, "max_segments_per_event": limit, "k": 2}

        def work(team: Team) -> tuple[Prototype, Report]:
            part = Prototype(network, **SETTINGS | changed)
            report = part.refresh(videos, 1, team)
            assert report is not None
            return part, report

        (alone, report_alone), *_ = together(1, work)
        for size in (2, 3):
            for part, report in together(size, work):
                assert torch.equal(labels_of(part), labels_of(alone))
                for name, value in part.bank.state_dict().items():
                    assert torch.equal(value, alone.bank.state_dict()[name])
                assert report.per_event == report_alone.per_event
                assert report.values == pytest.approx(report_alone.values)
                assert report.warnings == report_alone.warnings

    def test_events_that_lack_prototypes_are_named_once(self) -> None:
        """Bell has no video, and dog is in every segment of every video: nothing positive, nothing negative."""
        videos = some_videos([2, 1], [[0.0, 1.0], [0.0, 1.0]])
        network = Lookup(torch.ones(3, 2, 2), torch.tensor([0.1, 0.9]).expand(3, 2, 2))
        part, report = refreshed(network, videos)
        assert report.warnings == ["bell has no positive segments, so its pseudo labels are 0"]
        first, *others = report.summary
        assert first == (
            "2 training videos: 6 positive and 0 negative key segments, 6 and 0 prototypes (k-means on the "
            f"{kmeans_device('faiss', torch.device('cpu'))})"
        )
        assert others == [
            "without positive prototypes, so never found: bell",
            "without negative prototypes, so found in all segments of a video that has the event: dog",
        ]
        assert not labels_of(part)[..., 0].any()
        assert (labels_of(part)[..., 1] == 1).all()
        assert report.values["pseudo_labels/positive_segments"] == 6
        assert report.values["pseudo_labels/negative_prototypes"] == 0

    def test_events_that_lack_prototypes_may_get_other_labels(self) -> None:
        """Bell occurs, but gamma asks for more than its peak; nothing speaks against dog."""
        videos = some_videos([2, 1], [[1.0, 1.0], [0.0, 1.0]])
        network = Lookup(torch.ones(3, 2, 2), torch.tensor([0.9, 0.9]).expand(3, 2, 2))
        part, report = refreshed(network, videos, gamma=1.01, without_positives="weak")
        assert report.warnings[0] == "bell has no positive segments, so its pseudo labels are those of the video"
        assert report.summary[1] == (
            "without positive prototypes, so found in all segments of a video that has the event: bell, dog"
        )
        assert torch.equal(
            labels_of(part), videos.weak_labels.repeat_interleave(videos.lengths, 0)[:, None].expand(3, 2, 2)
        )
        part, report = refreshed(network, videos, without_negatives="zero")
        assert report.summary[1] == "without negative prototypes, so never found: dog"
        assert not labels_of(part)[..., 1].any()

    def test_a_modality_that_lacks_them_is_named(self) -> None:
        """Only a modality whose peak is 0.6 of the joint one takes part, and the visual one's is 0.5 of it."""
        videos = some_videos([2], [[1.0]])
        network = Lookup(torch.ones(2, 2, 2), torch.tensor([[0.8, 0.4], [0.1, 0.3]])[..., None])
        settings: dict[str, Any] = {"prototypes": "per_modality", "events": ["bell"]}
        part, report = refreshed(network, videos, min_modality=0.6, **settings)
        assert report.warnings == ["bell has no positive segments in visual, so its pseudo labels in visual are 0"]
        assert "without positive prototypes, so never found: bell in visual" in report.summary
        assert not labels_of(part)[:, 1].any()
        assert labels_of(part)[:, 0].any()
        _, report = refreshed(network, videos, min_modality=0.5, **settings)
        assert report.warnings == []

    def test_every_stage_is_timed(self, videos: VideoSet, network: Lookup) -> None:
        assert set(refreshed(network, videos)[1].seconds) == {"encode", "select", "cluster", "label"}

    def test_a_user_reads_where_k_means_runs(self, network: Lookup) -> None:
        notes = Prototype(network, **SETTINGS | {"kmeans": "torch"}).notes(torch.device("cpu"))
        assert notes == ["k-means runs on the CPU (torch)"]


class TestTerms:
    def test_both_losses_and_their_weights(self, videos: VideoSet, network: Lookup) -> None:
        part, _ = refreshed(network, videos)
        step = step_of(network, videos[torch.tensor([2, 0])])
        terms = part(step)
        labels = labels_of(part)[step.batch.segment]
        expected = contrastive_loss(step.output.features, labels, step.batch.mask, 0.2, False, True, 0.5)
        assert list(terms) == ["pseudo_label", "contrastive"]
        torch.testing.assert_close(terms["contrastive"].value, expected)
        assert expected > 0
        assert (terms["pseudo_label"].weight, terms["contrastive"].weight) == (0.1, 0.25)

    @pytest.mark.parametrize(
        ("setting", "value"), [("include_self", True), ("tau_contrastive", 1.0), ("label_threshold", 0.99)]
    )
    def test_a_setting_of_the_contrastive_loss_has_its_effect(
        self, videos: VideoSet, network: Lookup, setting: str, value: Any
    ) -> None:
        part, _ = refreshed(network, videos)
        other, _ = refreshed(network, videos, **{setting: value})
        step = step_of(network, videos[torch.tensor([2, 0])])
        assert part(step)["contrastive"].value != other(step)["contrastive"].value

    def test_without_a_weight_there_is_no_contrastive_loss(self, videos: VideoSet, network: Lookup) -> None:
        part, _ = refreshed(network, videos, weight_contrastive=0.0)
        assert list(part(step_of(network, videos[torch.tensor([2, 0])]))) == ["pseudo_label"]

    def test_segments_are_contrasted_with_those_of_all_processes(self, videos: VideoSet, network: Lookup) -> None:
        """Two batches of two processes (padded alike) have the contrastive loss of both of them together."""
        part, _ = refreshed(network, videos)
        rows = torch.tensor([[2, 0], [4, 1]])

        def work(team: Team) -> float:
            return part(step_of(network, videos[rows[team.rank]], team=team))["contrastive"].value.item()

        (whole,) = together(1, lambda team: part(step_of(network, videos[rows.flatten()]))["contrastive"].value.item())
        assert together(2, work) == pytest.approx([whole, whole])


class TestConfigured:
    @staticmethod
    def built(build: Build, *arguments: str, videos: ParsingSet | None = None) -> tuple[Prototype, VideoSet]:
        module, data = build(*arguments, videos=videos)
        assert isinstance(module.labeling, Prototype)
        return module.labeling, data.splits["train"]

    @pytest.mark.parametrize("experiment", ["ppl_soft", "ppl_per_modality"])
    def test_prototype_labels_equal_those_made_step_by_step(self, build: Build, experiment: str) -> None:
        part, train = self.built(build, experiment)
        report = part.refresh(train, 1, Team())
        output = part.teacher.network(train[torch.arange(len(train))])
        features = F.normalize(output.features, dim=-1)
        labels = train.padded(labels_of(part))
        for m in range(2):
            g = m if experiment == "ppl_per_modality" else 0
            bank = part.bank
            own = Prototypes(bank.positive[g], bank.positive_mask[g], bank.negative[g], bank.negative_mask[g])
            expected = soft_labels(features[:, :, m : m + 1], own, train.weak_labels, part.tau)
            torch.testing.assert_close(labels[:, :, m : m + 1], expected)
        assert report is not None
        assert sum(report.per_event["positive_prototypes"]) == part.bank.positive_mask.sum()
        assert (labels[train.weak_labels[:, None, None].expand_as(labels) == 0] == 0).all()

    @pytest.mark.parametrize("attending", ["null", "[audio]"])
    def test_labels_of_a_batch_are_those_of_the_refresh(self, build: Build, attending: str) -> None:
        part, train = self.built(build, "ppl_hard", f"labeling.attending={attending}")
        part.refresh(train, 1, Team())
        rows = torch.tensor([3, 30, 7])
        torch.testing.assert_close(part.labels(train[rows]), train.padded(labels_of(part))[rows])

    @pytest.mark.parametrize("experiment", ["ppl_soft", "ppl_per_modality"])
    def test_memory_for_features_changes_no_bit(
        self, build: Build, experiment: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(prototype, "blocks_of", lambda videos: blocks_of(videos, 160))  # 16 videos
        reports, parts = [], []
        for memory in (6, 0, 3e-5):  # gigabytes: all, none, and a block of three
            part, train = self.built(build, experiment, f"labeling.feature_memory_gb={memory}")
            reports.append(part.refresh(train, 1, Team()))
            parts.append(part)
        for part, report in zip(parts[1:], reports[1:], strict=True):
            assert torch.equal(labels_of(part), labels_of(parts[0]))
            assert torch.equal(part.bank.positive, parts[0].bank.positive)
            assert report is not None
            assert reports[0] is not None
            assert report.values == reports[0].values

    def test_the_bound_is_the_mean_over_videos_and_events(self, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(prototype, "blocks_of", lambda videos: blocks_of(videos, 160))
        part, train = self.built(build, "ppl_soft")
        report = part.refresh(train, 1, Team())
        output = part.teacher.network(train[torch.arange(40)])
        probs = output.segment_probs.flatten(1, 2)
        real = train.mask.repeat_interleave(2, dim=1)
        labels = train.padded(labels_of(part)).flatten(1, 2)
        assert report is not None
        expected = bound(probs, output.video_probs, labels, train.weak_labels, real).mean()
        assert report.values["train/em/bound"] == pytest.approx(expected.item(), rel=1e-5)

    def test_key_segments_are_counted_over_all_blocks(self, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(prototype, "blocks_of", lambda videos: blocks_of(videos, 160))
        part, train = self.built(build, "ppl_per_modality")
        report = part.refresh(train, 1, Team())
        output = part.teacher.network(train[torch.arange(40)])
        found = select_segments(
            output.segment_probs, train.weak_labels, train.mask, part.gamma, part.beta, True, part.min_modality
        )
        assert report is not None
        assert report.per_event["positive_segments"] == found.positive.sum((0, 1, 2)).tolist()
        assert report.per_event["negative_segments"] == found.negative.sum((0, 1, 2)).tolist()
        features = F.normalize(output.features, dim=-1)
        event = int(found.positive[:, :, 1].sum((0, 1)).argmin())  # few enough to be prototypes themselves
        own = features[:, :, 1][found.positive[:, :, 1, event]]
        used = part.bank.positive[1, event][part.bank.positive_mask[1, event]]
        assert len(used) == min(len(own), part.k[0])
        if len(own) <= part.k[0]:
            torch.testing.assert_close(used, own)

    def test_torch_clusters_as_well(self, build: Build) -> None:
        part, train = self.built(build, "ppl_soft", "labeling.kmeans=torch")
        report = part.refresh(train, 1, Team())
        assert report is not None
        segments, prototypes = (report.per_event[f"positive_{name}"] for name in ("segments", "prototypes"))
        assert prototypes == [min(found, part.k[0]) for found in segments]
        assert labels_of(part).max() > 0.5

    def test_refresh_is_the_same_twice(self, build: Build) -> None:
        (one, train), (two, _) = self.built(build, "ppl_soft"), self.built(build, "ppl_soft")
        for part in (one, two):
            part.refresh(train, 1, Team())
        assert torch.equal(labels_of(one), labels_of(two))
        assert torch.equal(one.bank.positive, two.bank.positive)

    def test_a_modality_without_positive_segments_is_reported(self, build: Build, tiny: ParsingSet) -> None:
        """Only a modality with the peak of both takes part, which is one of them in one video."""
        assert tiny.train is not None
        one = int(tiny.train.weak_labels.sum(1).argmin())
        length = int(tiny.train.lengths[one])
        segments = list(segments_of(tiny.train, one))
        alone = replace(
            tiny.train,
            names=tiny.train.names[:1],
            lengths=torch.tensor([length]),
            streams={name: stream[segments] for name, stream in tiny.train.streams.items()},
            weak_labels=tiny.train.weak_labels[one : one + 1],
            truth=None,
        )
        part, train = self.built(
            build, "ppl_per_modality", "labeling.min_modality=1.0", videos=replace(tiny, train=alone)
        )
        part.refresh(train, 1, Team())
        (event,) = train.weak_labels[0].nonzero().flatten().tolist()
        lacking = ~part.bank.positive_mask.any(-1)
        others = [number for number in range(len(tiny.events)) if number != event]
        assert lacking[:, others].all()
        assert lacking[:, event].sum() == 1
        without = int(lacking[:, event].nonzero())
        assert not labels_of(part)[:, without].any()
        assert labels_of(part)[:, 1 - without, event].all()
