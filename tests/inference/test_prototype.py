"""Inference by prototypes: what it says of segments, when it is possible, and what it is fitted to."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError
from avvp_pl.inference.classifier import Classifier
from avvp_pl.inference.gates import Gates
from avvp_pl.inference.prototype import PrototypeInference
from avvp_pl.labeling.naive import Naive
from avvp_pl.labeling.none import NoLabels
from avvp_pl.labeling.prototype import Prototype
from avvp_pl.parts import Evidence, Report, Team
from avvp_pl.pseudo_labels import hard_labels, soft_labels
from avvp_pl.types import Prototypes
from tests.conftest import Build
from tests.labeling.test_naive import SETTINGS as OF_NAIVE
from tests.labeling.test_prototype import SETTINGS as OF_PROTOTYPES
from tests.stand_ins import Lookup, lookup, some_videos

RAGGED = [3, 1, 4, 2, 4]
WEAK = [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]


@pytest.fixture
def videos() -> VideoSet:
    return some_videos(RAGGED, WEAK)


@pytest.fixture
def network(videos: VideoSet) -> Lookup:
    return lookup(videos)


def unbuilt(network: Lookup, **changed: Any) -> Prototype:
    return Prototype(network, **OF_PROTOTYPES | changed)


def parse(part: PrototypeInference, network: Lookup, videos: VideoSet, labeling: Prototype) -> Evidence:
    batch = videos[torch.arange(len(videos))]
    return part(network, batch, network(batch), labeling)


class TestByHand:
    """One event with the prototypes (1, 0) and, for what it is not, (0, 1), and segments at 30, 45 and 60 degrees."""

    def parse(self, labels: Any, tau: float = 0.5) -> list[float]:
        videos = some_videos([3], [[1.0]])
        root = math.sqrt(3) / 2
        features = torch.tensor([[root, 0.5], [1.0, 1.0], [0.5, root]])[:, None]
        network = Lookup(features, torch.tensor([0.1, 0.2, 0.3])[:, None, None])
        network.video_probs[0] = 0.2
        labeling = unbuilt(network, modalities=["audio"], events=["bell"], k=1, tau=tau)
        centers = torch.eye(2)[None, :, None, None]
        labeling.bank.replace(centers, torch.ones(1, 2, 1, 1, dtype=torch.bool))
        evidence = parse(PrototypeInference(labels), network, videos, labeling)
        assert evidence.video_probs.item() == pytest.approx(0.2)  # of the classifier
        found = Gates(0.5, 0.0, "hard")(evidence, videos[torch.tensor([0])]).flatten().tolist()
        assert found == [True, labels == "soft", False]  # Eq. (9) is a strict comparison
        probs: list[float] = evidence.segment_probs.flatten().tolist()
        return probs

    @pytest.mark.parametrize("tau", [0.5, 0.1])
    def test_soft_probabilities(self, tau: float) -> None:
        difference = (math.sqrt(3) / 2 - 0.5) / tau
        expected = 1 / (1 + math.exp(-difference))
        assert self.parse("soft", tau) == pytest.approx([expected, 0.5, 1 - expected], abs=1e-6)

    def test_hard_probabilities_have_no_temperature(self) -> None:
        expected = 1 / (1 + math.exp(-(math.sqrt(3) / 2 - 0.5)))
        high, middle, low = self.parse("hard", tau=0.1)
        assert (high, low) == pytest.approx((expected, 1 - expected), abs=1e-6)
        assert 0.5 - 1e-6 < middle < 0.5  # evidence of exactly 0 is not found


class TestWhenItIsPossible:
    @pytest.mark.parametrize("labels", ["soft", "hard"])
    def test_the_classifier_decides_before_the_first_labeling(
        self, videos: VideoSet, network: Lookup, labels: Any
    ) -> None:
        part, labeling, batch = PrototypeInference(labels), unbuilt(network), videos[torch.tensor([3, 1])]
        output = network(batch)
        found, expected = (inference(network, batch, output, labeling) for inference in (part, Classifier()))
        assert torch.equal(found.segment_probs, expected.segment_probs)
        assert torch.equal(found.video_probs, expected.video_probs)
        labeling.build(videos, Team())
        assert not torch.equal(part(network, batch, output, labeling).segment_probs, expected.segment_probs)

    def test_a_labeling_without_prototypes_is_refused(self, network: Lookup) -> None:
        part = PrototypeInference("soft")
        part.check(unbuilt(network))
        for labeling in (NoLabels(), Naive(network, **OF_NAIVE)):
            with pytest.raises(InputError, match=rf"labeling {type(labeling).__name__} has none; labeling=prototype"):
                part.check(labeling)

    def test_it_is_refused_where_a_run_is_composed(self, build: Build) -> None:
        with pytest.raises(InputError, match="inference by prototypes: labeling NoLabels has none"):
            build("mil", "inference=prototype")


class TestFit:
    def test_training_videos_are_needed_until_there_are_prototypes(self, videos: VideoSet, network: Lookup) -> None:
        part, labeling = PrototypeInference("soft"), unbuilt(network)
        assert part.needs(labeling) == ("train",)
        report = part.fit(network, {"train": videos}, labeling, Team())
        assert isinstance(report, Report)
        assert report.summary[0].startswith("5 training videos: ")
        assert part.needs(labeling) == ()

    def test_prototypes_are_those_of_the_first_epoch_of_a_training(self, videos: VideoSet, network: Lookup) -> None:
        fitted, trained = unbuilt(network), unbuilt(network, start_epoch=0)
        PrototypeInference("hard").fit(network, {"train": videos}, fitted, Team())
        trained.refresh(videos, 0, Team())
        assert fitted.bank.is_built
        for name, value in trained.bank.state_dict().items():
            assert torch.equal(fitted.bank.state_dict()[name], value)

    def test_videos_without_events_give_none(self, network: Lookup) -> None:
        without = some_videos(RAGGED, [[0.0, 0.0]] * 5)
        with pytest.raises(InputError, match="none of these videos has any event"):
            PrototypeInference("soft").fit(network, {"train": without}, unbuilt(network), Team())

    def test_a_network_that_has_diverged_is_an_error_of_the_checkpoint(self, videos: VideoSet, network: Lookup) -> None:
        network.probs[4] = torch.nan
        with pytest.raises(
            InputError, match=r"prototypes of the training videos: some .* NaN.*; give another checkpoint"
        ):
            PrototypeInference("soft").fit(network, {"train": videos}, unbuilt(network), Team())


class TestConfigured:
    @pytest.mark.parametrize("inference", ["prototype", "prototype_hard"])
    def test_it_is_labels_of_the_predicted_events(self, build: Build, inference: str) -> None:
        module, data = build("ppl_soft", f"inference={inference}")
        labeling = module.labeling
        assert isinstance(labeling, Prototype)
        labeling.refresh(data.splits["train"], 1, Team())
        module.eval()
        batch = data.splits["test"][torch.arange(12)]
        head: Any = module.network.event_head
        bank = labeling.bank
        with torch.no_grad():
            head.bias[::2] += 3  # so that half of the events are predicted
            head.bias[1::2] -= 3
            output = module.network(batch)
            predicted = (output.video_probs >= 0.5).float()
            assert 0 < predicted.mean() < 1
            features = torch.nn.functional.normalize(output.features, dim=-1)
            own = Prototypes(bank.positive[0], bank.positive_mask[0], bank.negative[0], bank.negative_mask[0])
            soft = soft_labels(features, own, predicted, labeling.tau)
            hard = hard_labels(features, own, predicted)
            assert ((soft >= 0.5) != (hard > 0)).any()  # tau decides some
            parsed = module.parse(batch)[inference]
            assert torch.equal(parsed.timelines, soft >= 0.5 if inference == "prototype" else hard > 0)
            tau = labeling.tau if inference == "prototype" else 1.0
            everywhere = soft_labels(features, own, torch.ones_like(predicted), tau)
            torch.testing.assert_close(parsed.probs, everywhere)
            torch.testing.assert_close(parsed.video_probs, output.video_probs[:, None].expand(-1, 2, -1))

    def test_prototypes_are_compared_with_features_of_a_network_that_attends_as_theirs(
        self, build: Build, tiny: ParsingSet
    ) -> None:
        module, data = build("ppl_soft", "inference=prototype", "labeling.attending=[audio]")
        labeling = module.labeling
        assert isinstance(labeling, Prototype)
        labeling.refresh(data.splits["train"], 1, Team())
        module.eval()
        batch, bank = data.splits["test"][torch.arange(12)], labeling.bank
        with torch.no_grad():
            parsed, video_probs = module.parse(batch)["prototype"], module.network(batch).video_probs
            assert module.network.attending is None  # again
            assert torch.equal(parsed.video_probs, video_probs[:, None].expand(-1, 2, -1))
            own = Prototypes(bank.positive[0], bank.positive_mask[0], bank.negative[0], bank.negative_mask[0])
            module.network.attending = ("audio",)
            features = torch.nn.functional.normalize(module.network(batch).features, dim=-1)
            expected = soft_labels(features, own, torch.ones_like(video_probs), labeling.tau)
        torch.testing.assert_close(parsed.probs, expected)
