"""UM's loss against a loop and by hand, and what does not matter to it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from avvp_pl.errors import InputError
from avvp_pl.methods.um import UncertaintyModeling, magnitude_loss
from avvp_pl.models.um import UMOutput
from avvp_pl.parts import Step, total
from tests.methods.properties import assert_every_weight_has_a_gradient, assert_padding_does_not_matter
from tests.models.networks import EVENTS, make_batch
from tests.models.test_um import make_net, parsed
from tests.stand_ins import Lookup

LABELS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
MARGIN = 3.0


def step_of(longest: int | None = None) -> Step:
    net, batch = make_net(dropout=0.0), replace(make_batch((8, 1, 3), longest), weak_labels=LABELS)
    return Step(net, batch, parsed(net, batch), 0, 0.0)


def method() -> UncertaintyModeling:
    return UncertaintyModeling(make_net(), 0.5, 0.25, MARGIN)


def entropy(p: float, y: float) -> float:
    return -y * math.log(p) - (1 - y) * math.log(1 - p)


def length_of(rows: list[list[float]]) -> float:
    """The length of the mean of some rows, which is not the mean of their lengths."""
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return math.sqrt(sum(value**2 for value in mean))


def test_the_losses_equal_the_loops() -> None:
    step = step_of()
    output = step.output
    assert isinstance(output, UMOutput)
    event = even = magnitude = 0.0
    for b, w in enumerate(LABELS.tolist()):
        whole = sum(w) or 1.0
        event += sum(entropy(p, y / whole) for p, y in zip(output.video_probs[b].tolist(), w, strict=True))
        even += sum(entropy(p, 1 / EVENTS) for p in output.background_probs[b].tolist())
        features = output.features[b, :, 0].tolist()
        action, background = (
            length_of([features[t] for t in chosen[b].nonzero()[:, 0].tolist()])
            for chosen in (output.action, output.background)
        )
        magnitude += (max(0.0, MARGIN - action) + background) ** 2
    terms = method()(step)
    expected = {"event": event / (3 * EVENTS), "entropy": even / (3 * EVENTS), "magnitude": magnitude / 3}
    assert {name: term.value.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)
    assert {name: term.weight for name, term in terms.items()} == {"event": 1.0, "entropy": 0.5, "magnitude": 0.25}


def test_magnitudes_by_hand() -> None:
    """Lengths of 5 and 1 with a margin of 7 miss (2 + 1)^2, and what is longer than the margin only the background."""
    action, background = torch.tensor([[3.0, 4.0], [6.0, 8.0]]), torch.tensor([[0.0, 1.0], [0.6, 0.8]])
    assert magnitude_loss(action, background, 7.0).item() == pytest.approx((9 + 1) / 2)


def test_padding_does_not_matter() -> None:
    assert_padding_does_not_matter(method(), step_of(), step_of(longest=11))


def test_every_weight_has_a_gradient() -> None:
    assert_every_weight_has_a_gradient(method(), step_of())


def test_gradients_are_finite_without_features() -> None:
    """The length of a vector of zeros has no slope."""
    net, batch = make_net(dropout=0.0), replace(make_batch((4, 0)), weak_labels=LABELS[:2])
    with torch.no_grad():
        net.layer.weight.zero_()
        assert net.layer.bias is not None
        net.layer.bias.fill_(-1.0)
    loss = total(method()(Step(net, batch, parsed(net, batch), 0, 0.0)))
    for slope in torch.autograd.grad(loss, list(net.parameters())):
        assert slope.isfinite().all()


def test_another_network_is_an_error() -> None:
    with pytest.raises(InputError, match="method=um needs network=um: Lookup has no features that tell background"):
        UncertaintyModeling(Lookup(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)), 1.0, 1.0, 1.0)
