"""MGN's loss: the guided losses, and a cross-entropy of its tokens against sums of logarithms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from avvp_pl.losses.nce import nce_loss
from avvp_pl.methods.contrast import Contrast
from avvp_pl.methods.guided import Guided
from avvp_pl.methods.mgn import EventTokens
from avvp_pl.methods.targets import FromFile, Smoothed
from avvp_pl.models.mgn import MGN
from avvp_pl.parts import total
from tests.conftest import Build
from tests.models.networks import STREAM_DIMS, make_batch, modalities_of
from tests.stand_ins import lookup, some_videos, step_of

EVENTS = ("bell", "dog", "rain")
SIZES = {"dim": 8, "feedforward_dim": 8, "mixing_dim": 4, "num_heads": 2, "num_layers": 1, "num_fusion_layers": 1}


def a_network(modalities: int = 2) -> MGN:
    torch.manual_seed(0)
    net = MGN(modalities_of(modalities), STREAM_DIMS, len(EVENTS), segments=4, **SIZES)  # type: ignore[arg-type]
    nn.init.normal_(net.event_tokens)
    return net.eval()


def a_method(network: MGN, weight: float = 1.0) -> EventTokens:
    modalities = list(network.modalities)
    return EventTokens(network, modalities, EVENTS, "none", {}, Smoothed(modalities, {"visual": 0.9}), weight)


@pytest.mark.parametrize("modalities", [2, 3])
def test_the_classification_by_a_slow_sum(modalities: int) -> None:
    network = a_network(modalities)
    method = a_method(network, weight=0.25)
    nn.init.normal_(method.classifier.weight)
    nn.init.normal_(method.classifier.bias)
    expected = 0.0
    for of_modality in network.event_tokens.tolist():
        for event, token in enumerate(of_modality):
            scores = [
                math.exp(math.fsum(a * b for a, b in zip(row, token, strict=True)) + bias)
                for row, bias in zip(method.classifier.weight.tolist(), method.classifier.bias.tolist(), strict=True)
            ]
            expected -= math.log(scores[event] / math.fsum(scores)) / len(EVENTS)
    terms = method(step_of(network, make_batch()))
    assert list(terms) == ["mil", "guided", "classification"]
    assert terms["classification"].value.item() == pytest.approx(expected, rel=1e-5)
    assert terms["classification"].weight == 0.25


def test_tokens_that_are_all_alike_cannot_be_told_apart() -> None:
    """As at the start: each of two modalities has the entropy of three events."""
    network = a_network()
    nn.init.zeros_(network.event_tokens)
    value = a_method(network)(step_of(network, make_batch()))["classification"].value
    assert value.item() == pytest.approx(2 * math.log(3))


def test_the_other_losses_are_the_guided_ones() -> None:
    network = a_network()
    step, method = step_of(network, make_batch((4, 2))), a_method(network)
    guided = Guided(["audio", "visual"], EVENTS, "none", {}, Smoothed(["audio", "visual"], {"visual": 0.9}))
    terms, expected = method(step), guided(step)
    for name in ("mil", "guided"):
        assert torch.equal(terms[name].value, expected[name].value)
        assert terms[name].weight == expected[name].weight


def test_the_contrast_of_the_modalities_is_added() -> None:
    network = a_network()
    contrast = Contrast(["audio", "visual"], "encoded", "cross_entropy", 0.2, 0.1, weight=0.5)
    smoothed = Smoothed(["audio", "visual"], {})
    method = EventTokens(network, ["audio", "visual"], EVENTS, "none", {}, smoothed, 1.0, contrast)
    step = step_of(network, make_batch((4, 2)))
    audio, visual = step.output.features.unbind(2)
    terms = method(step)
    assert terms["modality_contrast"].value == nce_loss(audio, visual, step.batch.mask)
    assert terms["modality_contrast"].weight == 0.5


def test_every_weight_has_a_gradient() -> None:
    network = a_network(3).train()
    method = a_method(network)
    torch.autograd.backward(total(method(step_of(network, make_batch()))))
    assert all(parameter.grad is not None for part in (network, method) for parameter in part.parameters())


def test_another_network_has_no_tokens() -> None:
    videos = some_videos([2, 1], [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    with pytest.raises(InputError, match=r"^method=mgn needs network=mgn"):
        EventTokens(lookup(videos), ["audio"], EVENTS, "none", {}, Smoothed(["audio"], {}), 1.0)


class TestConfigured:
    def test_it_has_no_class_weights(self, build: Build, tiny: ParsingSet) -> None:
        module, _ = build("mgn")
        assert tiny.train is not None
        module.start(tiny.train)
        assert (module.method.event_weights == 1).all()  # type: ignore[union-attr]
        assert isinstance(module.network, MGN)
        assert module.network.segments == 10

    def test_it_needs_its_network(self, build: Build) -> None:
        with pytest.raises(InputError, match=r"^method=mgn needs network=mgn"):
            build("mil", "method=mgn")

    def test_with_the_labels_of_ma_segments_after_the_layers_are_compared(self, build: Build) -> None:
        module, _ = build("mgn_ma", "method.targets.file=none.npz")
        method = module.method
        assert isinstance(method, EventTokens)
        assert isinstance(method.targets, FromFile)
        assert method.contrast is not None
        assert (method.contrast.weight, method.contrast.projected, method.contrast.form) == (1, False, "cross_entropy")

    @pytest.mark.parametrize("labeling", ["naive", "prototype"])
    def test_pseudo_labels_can_teach_it(self, build: Build, ragged: ParsingSet, labeling: str) -> None:
        """Also where videos are shorter than its slots."""
        module, _ = build("mgn", f"labeling={labeling}", videos=ragged)
        assert ragged.train is not None
        for _ in range(2):
            module.labeling.refresh(ragged.train, 1, module.team)
        assert module.labeling.ready
        loss = module.training_step(ragged.train[torch.arange(8)], 0)
        torch.autograd.backward([loss])
        assert loss.isfinite()
        assert all(p.grad is not None for p in module.network.parameters())
