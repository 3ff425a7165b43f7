"""Prototypes as a part of the model, and what similarity to them says, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from avvp_pl.labeling.bank import PrototypeBank
from avvp_pl.pseudo_labels import Lacking, soft_labels
from avvp_pl.pseudo_labels.labels import AS_DECIDED
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput, Prototypes
from tests.stand_ins import Lookup, some_videos

FEATURES = [[[3.0, 4.0], [1.0, 0.0]]]  # of length 5 and 1


def bank(
    shared: bool = True,
    normalize: bool = True,
    attending: list[str] | None = None,
    tau: float = 0.1,
    lacking: Lacking = AS_DECIDED,
) -> PrototypeBank:
    """Two modalities, one event, at most two prototypes of two numbers."""
    return PrototypeBank(2, 1, 2, 2, shared, tau, normalize, attending, lacking)


def filled(made: PrototypeBank) -> PrototypeBank:
    """The event looks like (1, 0) and (0, -1), and anything else like (0, 1); in a second group it is reversed."""
    positive, negative = [[1.0, 0.0], [0.0, -1.0]], [[0.0, 1.0], [0.0, 0.0]]
    two, one = [True, True], [True, False]
    groups = [([positive, negative], [two, one]), ([negative, positive], [one, two])][: len(made.groups)]
    centers = torch.tensor([group for group, _ in groups])[:, :, None]  # [G, 2, C, K, D]
    made.replace(centers, torch.tensor([used for _, used in groups])[:, :, None])
    return made


def network(features: list[list[list[float]]]) -> tuple[Lookup, Batch, ParsingOutput]:
    """One video whose features are [T, M, D]."""
    videos = some_videos([len(features)], [[1.0]])
    made = Lookup(torch.tensor(features), torch.full((len(features), 2, 1), 0.5))
    batch = videos[torch.tensor([0])]
    return made, batch, made(batch)


def evidence(made: PrototypeBank, features: list[list[list[float]]], hard: bool = False) -> list[list[float]]:
    """For each segment and modality."""
    found: list[list[float]] = made.evidence(*network(features), hard)[0, :, :, 0].tolist()
    return found


def mean_exp(*similarities: float) -> float:
    """The logarithm of the mean of exp."""
    return math.log(math.fsum(math.exp(x) for x in similarities) / len(similarities))


class TestEvidence:
    def test_of_soft_labels_by_hand(self) -> None:
        """(0.6, 0.8) has similarities 0.6, -0.8 and 0.8, divided by tau = 0.1."""
        found = evidence(filled(bank()), FEATURES)
        expected = [[mean_exp(6, -8) - 8, mean_exp(10, 0) - 0]]
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-4, rtol=1e-4)

    def test_of_hard_labels_has_no_temperature(self) -> None:
        found = evidence(filled(bank()), FEATURES, hard=True)
        expected = [[mean_exp(0.6, -0.8) - 0.8, mean_exp(1, 0) - 0]]
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-5, rtol=1e-5)

    def test_features_may_keep_their_length(self) -> None:
        found = evidence(filled(bank(normalize=False)), FEATURES, hard=True)
        assert found[0][0] == pytest.approx(mean_exp(3, -4) - 4, rel=1e-5)

    def test_each_modality_may_have_prototypes_of_its_own(self) -> None:
        """Those of the visual modality are the same with the signs exchanged."""
        same = [[[3.0, 4.0], [3.0, 4.0]]]
        ((heard, seen),) = evidence(filled(bank(shared=False)), same)
        assert heard == pytest.approx(-seen, rel=1e-5)
        assert heard == pytest.approx(evidence(filled(bank()), same)[0][0], rel=1e-5)
        assert heard != 0

    def test_its_sigmoid_is_the_soft_label_of_an_event_that_occurs(self) -> None:
        made, (_, batch, output) = filled(bank()), network(FEATURES)
        own = Prototypes(made.positive[0], made.positive_mask[0], made.negative[0], made.negative_mask[0])
        labels = soft_labels(made.comparable(output.features), own, torch.ones(1, 1), 0.1)
        torch.testing.assert_close(made.evidence(*network(FEATURES), hard=False).sigmoid(), labels)
        assert batch.weak_labels.all()


class TestLacking:
    """Evidence for an event without prototypes of one sign is what the labeling decides."""

    @pytest.mark.parametrize(
        ("lacking", "expected"),
        [(AS_DECIDED, (-math.inf, math.inf)), (Lacking(math.inf, -math.inf), (math.inf, -math.inf))],
    )
    def test_of_either_sign(self, lacking: Lacking, expected: tuple[float, float]) -> None:
        for sign, value in zip(("positive", "negative"), expected, strict=True):
            made = filled(bank(lacking=lacking))
            getattr(made, f"{sign}_mask").fill_(False)
            assert evidence(made, FEATURES) == [[value, value]]


class TestAttending:
    def test_the_network_is_asked_again_where_not_all_modalities_attend(self) -> None:
        made, (net, batch, output) = filled(bank(attending=["audio"])), network(FEATURES)
        output = ParsingOutput(-output.features, output.segment_probs, output.video_probs, output.modality_probs)
        found = made.evidence(net, batch, output, hard=False)
        assert [attending for _, attending in net.asked] == [None, ("audio",)]
        assert net.attending is None  # again
        assert torch.equal(found, filled(bank()).evidence(*network(FEATURES), hard=False))

    def test_the_given_output_is_taken_where_all_do(self) -> None:
        net, batch, output = network(FEATURES)
        filled(bank()).evidence(net, batch, output, hard=False)
        assert len(net.asked) == 1

    def test_the_network_is_left_as_it_was_where_it_fails(self) -> None:
        class Failing(ParsingNetwork):
            def forward(self, batch: Batch) -> ParsingOutput:
                raise ZeroDivisionError

        _, batch, output = network(FEATURES)
        failing = Failing()
        with pytest.raises(ZeroDivisionError):
            filled(bank(attending=[])).evidence(failing, batch, output, hard=False)
        assert failing.attending is None


class TestState:
    def test_it_is_built_once_some_event_has_a_prototype(self) -> None:
        made = bank(shared=False)
        assert not made.is_built
        centers, used = torch.zeros(2, 2, 1, 2, 2), torch.zeros(2, 2, 1, 2, dtype=torch.bool)
        used[:, 1] = True  # negative ones say nothing of an event
        made.replace(centers, used)
        assert not made.is_built
        used[1, 0, 0, 0] = True
        made.replace(centers, used)
        assert made.is_built

    def test_prototypes_travel_in_the_checkpoint(self) -> None:
        made, other = filled(bank(shared=False)), bank(shared=False)
        other.load_state_dict(made.state_dict())
        assert evidence(other, FEATURES) == evidence(made, FEATURES)
        assert set(made.state_dict()) == {"positive", "positive_mask", "negative", "negative_mask"}
