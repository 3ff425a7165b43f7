"""Videos of several lengths: nothing that is learned, labeled or found depends on how they are padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from avvp_pl.data.module import ParsingData
from avvp_pl.data.synthetic import generate
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.labeling import naive, prototype
from avvp_pl.parts import Report, Step, Team, Term, total
from avvp_pl.pseudo_labels import KeySegments, KeySegmentSample, blocks_of
from avvp_pl.training.callbacks.refresh_pseudo_labels import RefreshPseudoLabels
from avvp_pl.training.callbacks.seed_steps import SeedSteps
from avvp_pl.training.module import ParsingModule
from tests.conftest import Build
from tests.stand_ins import find_more, segments_of, with_padding
from tests.tasks.test_parsed import assert_equal
from tests.training.trainers import trainer_of

EXPERIMENTS = ["mil", "npl_soft", "ppl_soft"]
LABELING = ["npl_soft", "ppl_soft", "ppl_per_modality"]
CLOSE: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def made() -> ParsingSet:
    """Videos of 3 to 10 segments."""
    return generate(
        sizes={"train": 32, "val": 12, "test": 12},
        streams={"vggish": 8, "res152": 12, "r2plus1d_18": 6},
        modalities={"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"]},
        seed=0,
        shortest=3,
    )


class Trained:
    """What a training has left behind."""

    def __init__(self, module: ParsingModule, data: ParsingData, reports: list[dict[str, float]]) -> None:
        self.weights = {name: value.clone() for name, value in module.state_dict().items()}
        self.labels = module.labeling.pseudo_labels
        self.parsed = module.parse_all(data.splits["test"], batch_size=5)
        self.reports = reports


class Reports(RefreshPseudoLabels):
    """Keep the numbers of every epoch, the times excepted."""

    def __init__(self, folder: Any) -> None:
        super().__init__(str(folder))
        self.kept: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.kept.append({name: value for name, value in values.items() if not name.startswith("labeling/")})


def train(build: Build, videos: ParsingSet, folder: Any, experiment: str, *settings: str) -> Trained:
    """Two epochs, with labels in both; parsed by prototypes where there are some."""
    labeled = [] if experiment == "mil" else ["labeling.start_epoch=0"]
    module, data = build(experiment, "optimizer.learning_rate=0.003", *labeled, *settings, videos=videos)
    find_more(module, by=0.3)
    reports = Reports(folder)
    trainer_of(2, callbacks=[SeedSteps(0), reports]).fit(module, data)
    return Trained(module, data, reports.kept)


class TestTraining:
    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_what_is_in_padding_changes_no_bit(
        self, build: Build, made: ParsingSet, tmp_path: Any, experiment: str
    ) -> None:
        """Weights, momentum network, prototypes, labels, losses, scores, and what is found in the end."""
        clean, spoiled = (
            train(build, with_padding(made, garbage=garbage), tmp_path, experiment) for garbage in (0.0, 99.0)
        )
        for name, value in clean.weights.items():
            assert torch.equal(value, spoiled.weights[name]), name
        assert (clean.labels is None) == (experiment == "mil")
        if clean.labels is not None:
            assert spoiled.labels is not None
            assert torch.equal(clean.labels, spoiled.labels)
            assert clean.labels.max() > 0.1
        assert clean.reports == spoiled.reports
        assert any(value > 0 for name, value in clean.reports[-1].items() if name.startswith("val/"))
        assert_equal(clean.parsed, spoiled.parsed)
        assert clean.parsed.timelines.any()

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_more_padding_changes_nothing(self, build: Build, made: ParsingSet, tmp_path: Any, experiment: str) -> None:
        """Without dropout, whose numbers are drawn for padding, too; but for what two epochs make of rounding."""
        few, many = (
            train(build, with_padding(made, more=more), tmp_path, experiment, "network.dropout=0") for more in (0, 4)
        )
        for one, other in zip(few.reports, many.reports, strict=True):
            losses = [name for name in one if name.startswith("train/")]
            assert losses
            assert [one[name] for name in losses] == pytest.approx([other[name] for name in losses], rel=1e-4)
        torch.testing.assert_close(few.parsed.probs, many.parsed.probs, atol=1e-3, rtol=0)
        torch.testing.assert_close(few.parsed.video_probs, many.parsed.video_probs, atol=1e-3, rtol=0)
        if few.labels is not None:
            torch.testing.assert_close(few.labels, many.labels, atol=1e-3, rtol=0)

    @pytest.mark.parametrize("network", ["ave", "avsdn"])
    def test_padding_changes_nothing_in_a_recurrent_network(
        self, build: Build, made: ParsingSet, tmp_path: Any, network: str
    ) -> None:
        """Nor in prototypes of its features, nor in what they label; but for rounding."""
        how: tuple[dict[str, Any], ...] = ({}, {"more": 4, "garbage": 9.0})
        plain, padded = (
            train(build, with_padding(made, **given), tmp_path, "ppl_soft", f"network={network}") for given in how
        )
        for one, other in zip(plain.reports, padded.reports, strict=True):
            losses = [name for name in one if name.startswith("train/")]
            assert {"train/mil", "train/guided", "train/pseudo_label", "train/contrastive"} <= set(losses)
            assert [one[name] for name in losses] == pytest.approx([other[name] for name in losses], rel=1e-4)
        assert plain.labels is not None
        assert padded.labels is not None
        assert plain.labels.max() > 0.1
        torch.testing.assert_close(plain.labels, padded.labels, atol=1e-3, rtol=0)
        torch.testing.assert_close(plain.parsed.probs, padded.parsed.probs, atol=1e-3, rtol=0)
        torch.testing.assert_close(plain.parsed.video_probs, padded.parsed.video_probs, atol=1e-3, rtol=0)

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_a_plain_training_is_the_same(self, build: Build, made: ParsingSet, tmp_path: Any, experiment: str) -> None:
        """The stand-in for other padding is no more than that."""
        plain = train(build, made, tmp_path, experiment)
        padded = train(build, with_padding(made), tmp_path, experiment)
        for name, value in plain.weights.items():
            assert torch.equal(value, padded.weights[name]), name
        assert plain.reports == padded.reports


def labeled(build: Build, made: ParsingSet, experiment: str, **settings: Any) -> tuple[ParsingModule, VideoSet, Report]:
    """A module in evaluation mode whose training videos have labels."""
    module, data = build(experiment, *(f"{name}={value}" for name, value in settings.items()), videos=made)
    train = data.splits["train"]
    module.start(train)
    report = module.labeling.refresh(train, 1, Team())
    module.eval()
    assert report is not None
    return module, train, report


class TestSteps:
    """What is made of a video does not depend on its companions, of which some are longer."""

    GROUPS = (
        [[0, 1, 2, 3, 4, 5, 6, 7]],
        [[0], [1], [2], [3], [4], [5], [6], [7]],
        [[0, 7, 20], [1, 2, 3, 4, 5, 6, 21]],
    )

    @staticmethod
    def of_each(module: ParsingModule, videos: VideoSet, groups: Sequence[Sequence[int]]) -> Iterator[tuple[int, Any]]:
        """Output, evidence, and pseudo labels of the first eight videos, each cut to its length."""
        for rows in groups:
            batch = videos[torch.tensor(rows)]
            with torch.no_grad():
                output, parsed = module(batch), module.parse(batch)[module.inference]
                labels = module.labeling.labels(batch)
            assert labels is not None
            for place, row in enumerate(rows):
                length = int(videos.lengths[row])
                if row < 8:
                    yield (
                        row,
                        {
                            "features": output.features[place, :length],
                            "segment_probs": output.segment_probs[place, :length],
                            "modality_probs": output.modality_probs[place],
                            "video_probs": output.video_probs[place],
                            "labels": labels[place, :length],
                            "parsed": parsed.probs[place, :length],
                            "found": parsed.timelines[place, :length].float(),
                        },
                    )

    @pytest.mark.parametrize("experiment", LABELING)
    def test_output_labels_and_evidence_of_a_video(self, build: Build, made: ParsingSet, experiment: str) -> None:
        module, train, _ = labeled(build, made, experiment)
        reference, *others = (dict(self.of_each(module, train, groups)) for groups in self.GROUPS)
        assert sorted(reference) == list(range(8))
        for other in others:
            for row, expected in reference.items():
                for name, value in expected.items():
                    torch.testing.assert_close(other[row][name], value, **CLOSE, msg=f"{name} of video {row}")

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_loss_and_gradients_are_those_of_a_loop_over_videos(
        self, build: Build, made: ParsingSet, experiment: str
    ) -> None:
        """Each video by itself, without any padding: L_MIL and the guided losses are means over videos, and L_PL is one
        over segments. L_CL has its own test, since it compares videos with each other.
        """
        settings = {"labeling.weight_contrastive": 0} if experiment == "ppl_soft" else {}
        if experiment == "mil":
            module, data = build("mil", videos=made)
            train = data.splits["train"]
            module.start(train)
            module.eval()
        else:
            module, train, _ = labeled(build, made, experiment, **settings)
        rows = list(range(8))
        assert len({int(train.lengths[row]) for row in rows}) > 2

        def terms_of(which: list[int]) -> dict[str, Term]:
            batch = train[torch.tensor(which)]
            step = Step(module.network, batch, module(batch), 0, 0.0)
            return module.method(step) | (module.labeling(step) if module.labeling.ready else {})

        loss = total(terms_of(rows))
        segments = sum(int(train.lengths[row]) for row in rows)
        alone = torch.zeros(())
        for row in rows:
            share = {"pseudo_label": int(train.lengths[row]) / segments}
            for name, term in terms_of([row]).items():
                alone = alone + term.weight * term.value * share.get(name, 1 / len(rows))
        weights = list(module.network.parameters())
        torch.testing.assert_close(loss, alone, **CLOSE)
        for one, other in zip(torch.autograd.grad(loss, weights), torch.autograd.grad(alone, weights), strict=True):
            torch.testing.assert_close(one, other, **CLOSE)

    def test_the_contrastive_loss_is_that_of_the_real_segments(self, build: Build, made: ParsingSet) -> None:
        """By the sum over all pairs of them, one at a time."""
        module, train, _ = labeled(build, made, "ppl_soft")
        rows, labels = [0, 3, 5, 9], module.labeling.pseudo_labels
        batch = train[torch.tensor(rows)]
        with torch.no_grad():
            output = module(batch)
            terms = module.labeling(Step(module.network, batch, output, 0, 0.0))
        assert labels is not None
        features, events = [], []
        for place, row in enumerate(rows):
            for t, number in enumerate(segments_of(train, row)):
                features += list(torch.nn.functional.normalize(output.features[place, t].double(), dim=-1))
                events += [set((of_modality >= 0.5).nonzero().flatten().tolist()) for of_modality in labels[number]]
        losses = []
        for i, anchor in enumerate(features):
            similar = [j for j in range(len(features)) if events[i] & events[j]]
            if similar:
                e = torch.stack([(anchor @ other / 0.2).exp() for other in features])
                losses.append(-(e[similar].sum() / e.sum()).log())
        assert 0 < len(losses) < len(features)
        torch.testing.assert_close(terms["contrastive"].value.double(), torch.stack(losses).mean(), **CLOSE)


class TestRefresh:
    @staticmethod
    def refreshed(
        build: Build, made: ParsingSet, experiment: str, segments: int, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[ParsingModule, Report, KeySegments]:
        """Labels of all training videos, from blocks of so many segments; and the sample of key segments."""
        samples = []
        result = KeySegmentSample.result

        def kept(self: KeySegmentSample, gather: Any = None) -> KeySegments:
            samples.append(result(self, gather))
            return samples[-1]

        with monkeypatch.context() as patched:
            patched.setattr(KeySegmentSample, "result", kept)
            for room in (naive, prototype):
                patched.setattr(room, "blocks_of", lambda videos: blocks_of(videos, segments))
            limited = {"labeling.max_segments_per_event": 20} if experiment.startswith("ppl") else {}
            module, train, report = labeled(build, made, experiment, **limited)
        blocks = len(blocks_of(train, segments))
        assert blocks == 1 if segments == 10_000 else blocks >= 25
        nothing = torch.zeros(0, dtype=torch.long)
        return module, report, samples[0] if samples else KeySegments(nothing, nothing, torch.zeros(0, 16))

    @pytest.mark.parametrize("experiment", LABELING)
    def test_small_blocks_and_one_block_give_the_same(
        self, build: Build, made: ParsingSet, experiment: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same sample of key segments, and labels, prototypes and bound but for rounding."""
        few, report, sample = self.refreshed(build, made, experiment, 10, monkeypatch)
        many, report_of_many, sample_of_many = self.refreshed(build, made, experiment, 10_000, monkeypatch)
        for name in ("problem", "segment"):
            assert torch.equal(getattr(sample, name), getattr(sample_of_many, name))
        torch.testing.assert_close(sample.features, sample_of_many.features, **CLOSE)
        assert (len(sample) > 0) == experiment.startswith("ppl")
        assert few.labeling.pseudo_labels is not None
        torch.testing.assert_close(few.labeling.pseudo_labels, many.labeling.pseudo_labels, atol=1e-4, rtol=1e-4)
        assert few.labeling.pseudo_labels.max() > 0.1
        for name, value in few.labeling.state_dict().items():
            torch.testing.assert_close(value, many.labeling.state_dict()[name], atol=1e-4, rtol=1e-4, msg=name)
        assert report.values == pytest.approx(report_of_many.values, rel=1e-4)
        assert report.per_event == report_of_many.per_event

    @pytest.mark.parametrize("experiment", LABELING)
    def test_labels_of_any_batch_are_those_of_the_refresh(
        self, build: Build, made: ParsingSet, experiment: str
    ) -> None:
        module, train, _ = labeled(build, made, experiment)
        batch = train[torch.tensor([9, 2, 30])]
        stored, fresh = module.labeling.pseudo_labels, module.labeling.labels(batch)
        assert stored is not None
        assert fresh is not None
        torch.testing.assert_close(stored[batch.segment][batch.mask], fresh[batch.mask], atol=1e-4, rtol=1e-4)


class General(VideoSet):
    """Videos of equal length that do not know of it, so that they go the way of videos of any length."""

    equal_length = None


class TestEqualLengths:
    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_the_general_path_is_the_fast_path_to_the_bit(
        self, build: Build, tiny: ParsingSet, tmp_path: Any, experiment: str
    ) -> None:
        def general(videos: VideoSet) -> General:
            return General(videos.names, videos.lengths, videos.streams, videos.weak_labels, videos.truth, videos.keys)

        changed: dict[str, Any] = {name: general(videos) for name, videos in tiny.splits.items()}
        slow = replace(tiny, **changed)
        assert slow.train is not None
        assert slow.train.equal_length is None
        assert tiny.train is not None
        assert [len(block) for block in blocks_of(slow.train, 160)] == [len(b) for b in blocks_of(tiny.train, 160)]
        one, other = (train(build, videos, tmp_path, experiment) for videos in (tiny, slow))
        for name, value in one.weights.items():
            assert torch.equal(value, other.weights[name]), name
        assert one.reports == other.reports
        if one.labels is not None:
            assert other.labels is not None
            assert torch.equal(one.labels, other.labels)
        assert_equal(one.parsed, other.parsed)
