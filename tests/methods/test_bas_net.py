"""BaS-Net's loss against a loop and by hand, and what does not matter to it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from avvp_pl.errors import InputError
from avvp_pl.losses.segments import shares
from avvp_pl.methods.bas_net import BackgroundSuppression
from avvp_pl.models.bas_net import BaSNetOutput
from avvp_pl.parts import Step
from tests.methods.properties import assert_every_weight_has_a_gradient, assert_padding_does_not_matter
from tests.models.networks import EVENTS, make_batch
from tests.models.test_bas_net import make_net, parsed
from tests.stand_ins import Lookup

LABELS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])


def step_of(longest: int | None = None) -> Step:
    net, batch = make_net(dropout=0.0), replace(make_batch((4, 1, 3), longest), weak_labels=LABELS)
    return Step(net, batch, parsed(net, batch), 0, 0.0)


def method() -> BackgroundSuppression:
    return BackgroundSuppression(make_net(), 0.01)


def entropy(p: float, y: float) -> float:
    return -y * math.log(p) - (1 - y) * math.log(1 - p)


def test_the_losses_equal_the_loops() -> None:
    step = step_of()
    output = step.output
    assert isinstance(output, BaSNetOutput)
    sums = {"base": 0.0, "suppressed": 0.0}
    for name, probs, background in (("base", output.base_probs, 1.0), ("suppressed", output.suppressed_probs, 0.0)):
        for p, w in zip(probs.tolist(), LABELS.tolist(), strict=True):
            labels = [*w, background]
            whole = sum(labels) or 1.0
            sums[name] += sum(entropy(q, y / whole) for q, y in zip(p, labels, strict=True))
    terms = method()(step)
    cells = 3 * (EVENTS + 1)
    attention = sum(sum(row) for row in output.attention.tolist()) / 3
    expected = {name: value / cells for name, value in sums.items()} | {"attention": attention}
    assert {name: term.value.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)
    assert {name: term.weight for name, term in terms.items()} == {"base": 1.0, "suppressed": 1.0, "attention": 0.01}


def test_the_attention_is_summed_over_segments() -> None:
    """So it is 2 of four segments with 0.5 each, and not 0.5."""
    step = step_of()
    output = step.output
    assert isinstance(output, BaSNetOutput)
    half = replace(output, attention=torch.full((3, 4), 0.5))
    assert method()(step._replace(output=half))["attention"].value.item() == 2.0


def test_labels_by_hand() -> None:
    assert shares(LABELS, background=1.0).tolist() == [
        pytest.approx([1 / 3, 0, 1 / 3, 1 / 3]),
        [0.0, 0.5, 0.0, 0.5],
        [0.0, 0.0, 0.0, 1.0],
    ]
    assert shares(LABELS, background=0.0)[2].tolist() == [0.0, 0.0, 0.0, 0.0]


def test_padding_does_not_matter() -> None:
    assert_padding_does_not_matter(method(), step_of(), step_of(longest=7))


def test_every_weight_has_a_gradient() -> None:
    assert_every_weight_has_a_gradient(method(), step_of())


def test_another_network_is_an_error() -> None:
    with pytest.raises(InputError, match="method=bas_net needs network=bas_net: Lookup suppresses no background"):
        BackgroundSuppression(Lookup(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)), 1e-4)
