"""Learning from weak labels: L_MIL and the guided losses against sums of logarithms, and their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from avvp_pl.data.videos import ParsingSet
from avvp_pl.methods.guided import Guided
from avvp_pl.methods.targets import Smoothed
from avvp_pl.parts import Step, Targets, total
from tests.conftest import Build
from tests.stand_ins import lookup, some_videos

MODALITIES = ("audio", "visual", "odour")
WEAK = [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]
SMOOTHING = {"audio": 1.0, "visual": 0.9, "odour": 0.8}


def guided(weights: Mapping[str, float], targets: Targets | None = None) -> Guided:
    smoothed = Smoothed(MODALITIES, SMOOTHING) if targets is None else targets
    return Guided(MODALITIES, ("bell", "dog"), "inverse_frequency", weights, smoothed)


def a_step(epoch: int = 0, done: float = 0.0) -> Step:
    """Random probabilities of four videos, three modalities and two events."""
    videos = some_videos([2, 1, 3, 2], WEAK)
    network, batch = lookup(videos, len(MODALITIES)), videos[torch.arange(4)]
    generator = torch.Generator().manual_seed(1)
    output = replace(
        network(batch),
        video_probs=torch.rand(4, 2, generator=generator).requires_grad_(),
        modality_probs=torch.rand(4, 3, 2, generator=generator).requires_grad_(),
    )
    return Step(network, batch, output, epoch, done)


def entropy(probs: Tensor, labels: Tensor, event_weights: tuple[float, float] = (1.0, 1.0)) -> float:
    """The mean cross-entropy of [4, 2], one number at a time."""
    terms = [
        event_weights[c] * -math.log(p if label == 1 else 1 - p)
        for of_video, labels_of_video in zip(probs.tolist(), labels.tolist(), strict=True)
        for c, (p, label) in enumerate(zip(of_video, labels_of_video, strict=True))
    ]
    return math.fsum(terms) / len(terms)


def soft_entropy(probs: Tensor, weak: Tensor, smoothing: float) -> float:
    """The same for smoothed labels: a mean of the entropies for both labels."""
    return (1 + smoothing) / 2 * entropy(probs, weak) + (1 - smoothing) / 2 * entropy(probs, 1 - weak)


@pytest.mark.parametrize(
    ("weights", "factors"),
    [
        ({"video": 0.5, "audio": 2.0, "visual": 0.0, "odour": 0.25}, (0.5, 2.0, 0.0, 0.25)),
        ({"video": 1.0, "audio": 0.7}, (1.0, 0.7, 1.0, 1.0)),  # a modality that is not named has weight 1
        ({}, (1.0, 1.0, 1.0, 1.0)),
        ({"audio": 0.5, "others": 0.0}, (1.0, 0.5, 0.0, 0.0)),
        ({"video": 1.0, "audio": 0.0, "visual": 0.0, "odour": 0.0}, (1.0, 0.0, 0.0, 0.0)),
    ],
)
def test_the_loss_by_a_slow_sum(weights: dict[str, float], factors: tuple[float, ...]) -> None:
    """Bell has three videos and dog two: weights 1/3 and 1/2, divided by their mean of 5/12."""
    part, step = guided(weights), a_step()
    part.start(some_videos([1] * 4, WEAK))
    terms, weak = part(step), step.batch.weak_labels
    mil = entropy(step.output.video_probs, weak, (4 / 5, 6 / 5))
    of_modalities = [soft_entropy(step.output.modality_probs[:, m], weak, SMOOTHING[MODALITIES[m]]) for m in range(3)]
    expected = sum(factor * loss for factor, loss in zip(factors[1:], of_modalities, strict=True))
    assert list(terms) == ["mil", "guided"]
    assert terms["mil"].value.item() == pytest.approx(mil, rel=1e-5)  # the logged value has no weight
    assert terms["guided"].value.item() == pytest.approx(expected, rel=1e-5)
    assert total(terms).item() == pytest.approx(factors[0] * mil + expected, rel=1e-5)


def test_a_modality_of_weight_zero_is_not_asked_for_anything() -> None:
    step = a_step()
    torch.autograd.backward(total(guided({"visual": 0.0})(step)))
    gradient = step.output.modality_probs.grad
    assert gradient is not None
    assert gradient.abs().amin(dim=(0, 2)).gt(0).tolist() == [True, False, True]
    assert (gradient[:, 1] == 0).all()


def test_targets_know_the_whole_step() -> None:
    """A ramp depends on the epoch and on how much of it is over, for a guided loss of any method."""

    class Ramp(Targets):
        def forward(self, step: Step) -> Tensor:
            return torch.full((4, 3, 2), (step.epoch + step.done) / 4)

    step = a_step(epoch=1, done=0.5)
    found = guided({"audio": 1.0, "visual": 0.0, "odour": 0.0}, Ramp())(step)["guided"].value
    p = step.output.modality_probs[:, 0].detach()
    expected = -(1.5 / 4 * p.log() + 2.5 / 4 * (1 - p).log()).mean()
    torch.testing.assert_close(found.detach(), expected)


class TestConfigured:
    def test_class_weights_come_from_the_training_videos(self, build: Build, tiny: ParsingSet) -> None:
        (module, _), (plain, _) = build("mil"), build("han")
        assert tiny.train is not None
        for of_experiment in (module, plain):
            of_experiment.start(tiny.train)
        counts = tiny.train.weak_labels.sum(0).clamp(min=1)
        weights = module.method.event_weights
        assert isinstance(weights, Tensor)
        assert weights.mean().item() == pytest.approx(1)
        ratio = weights * counts
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
        assert (plain.method.event_weights == 1).all()  # type: ignore[union-attr]

    def test_class_weights_are_in_checkpoints(self, build: Build, tiny: ParsingSet) -> None:
        (module, _), (other, _) = build("mil"), build("mil")
        assert tiny.train is not None
        module.start(tiny.train)
        other.load_state_dict(module.state_dict())
        assert torch.equal(other.method.event_weights, module.method.event_weights)  # type: ignore[arg-type]

    def test_as_printed_there_is_no_guided_loss(self, build: Build, tiny: ParsingSet) -> None:
        module, _ = build("mil_literal")
        assert tiny.train is not None
        module.training_step(tiny.train[torch.arange(8)], 0)
        assert module.losses["guided"][0] == 0
        assert module.losses["loss"] == module.losses["mil"]

    @pytest.mark.parametrize("visual", [1.0, 0.0])
    def test_the_configured_losses_are_those_of_the_paper(self, build: Build, tiny: ParsingSet, visual: float) -> None:
        """Binary cross-entropy of torch, with HAN's 0.9 w + 0.05 on the visual side where it is guided."""
        module, _ = build("mil", f"method.weights.visual={visual}")
        assert tiny.train is not None
        batch = tiny.train[torch.arange(8)]
        output = module.eval()(batch)
        terms = module.method(Step(module.network, batch, output, 0, 0.0))
        entropy, (heard, seen) = torch.nn.functional.binary_cross_entropy, output.modality_probs.unbind(1)
        expected = entropy(heard, batch.weak_labels) + visual * entropy(seen, 0.9 * batch.weak_labels + 0.05)
        torch.testing.assert_close(terms["guided"].value, expected)
        torch.testing.assert_close(terms["mil"].value, entropy(output.video_probs.clamp(0, 1), batch.weak_labels))

    @pytest.mark.parametrize("experiment", ["ave", "avsdn"])
    def test_ave_and_avsdn_ask_every_modality_for_the_weak_labels(
        self, build: Build, tiny: ParsingSet, experiment: str
    ) -> None:
        """As they are, and with the same weight for all events: BCE(P, w) + BCE(P_a, w) + BCE(P_v, w)."""
        module, _ = build(experiment)
        assert tiny.train is not None
        module.start(tiny.train)
        batch = tiny.train[torch.arange(8)]
        output = module.eval()(batch)
        loss = total(module.method(Step(module.network, batch, output, 0, 0.0)))
        probs = [output.video_probs, *output.modality_probs.unbind(1)]
        expected = sum(torch.nn.functional.binary_cross_entropy(p, batch.weak_labels) for p in probs)
        torch.testing.assert_close(loss, expected)
