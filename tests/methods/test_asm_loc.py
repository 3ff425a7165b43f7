"""ASM-Loc's losses against loops and numbers worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from avvp_pl.errors import InputError
from avvp_pl.methods.asm_loc import LEAST, ASMLoc, shares_loss, uncertain_loss
from avvp_pl.models import HAN
from avvp_pl.parts import Step, total
from avvp_pl.pseudo_labels.proposals import segment_labels
from tests.models.networks import EVENTS, ONE_STREAM_EACH, STREAM_DIMS, make_batch, randomized
from tests.models.test_asm_loc import LENGTHS, make, whole

WEAK = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0]])


def method(**options: object) -> ASMLoc:
    given = {"weight_background": 0.5, "weight_actions": 0.25, "weight_pseudo_label": 2.0, "weight_uncertainty": 0.2}
    return ASMLoc(["a", "b", "c"], **given, **{"segment_labels": "exact", **options})  # type: ignore[arg-type]


def log(prob: float) -> float:
    return math.log(max(prob, LEAST))


def step(proposals: str) -> Step:
    batch = replace(whole(), weak_labels=WEAK)
    net = randomized(make(proposals))
    return Step(net, batch, net(batch), 0, 0.0)


def test_the_best_uncertainty_is_the_logarithm_of_the_cross_entropy() -> None:
    """At u = ln(ce / weight), where the loss is weight (1 + u)."""
    logits, labels = torch.randn(1, 1, 4).double(), torch.tensor([[[0.5, 0.0, 0.5, 0.0]]]).double()
    ce = -(labels * logits.log_softmax(2)).sum().item()
    u = torch.tensor([[math.log(ce / 0.2)]], dtype=torch.float64, requires_grad=True)
    loss = uncertain_loss(logits, labels, u, torch.ones(1, 1, dtype=torch.bool))
    assert loss.item() == pytest.approx(0.2 * (1 + u.item()))
    (slope,) = torch.autograd.grad(loss, u)
    assert slope.item() == pytest.approx(0, abs=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("proposals", ["none", "data"])
@pytest.mark.parametrize("labels", ["exact", "code"])
def test_the_terms_equal_the_loops(proposals: str, labels: str) -> None:
    given = step(proposals)
    terms, output = method(segment_labels=labels)(given), given.output
    expected = {"mil": 0.0, "background": 0.0, "actions": 0.0}
    for number in range(3):
        events = [event for event in range(EVENTS) if WEAK[number, event]]
        foreground, background = output.foreground[number].tolist(), output.background[number].tolist()  # type: ignore[attr-defined]
        expected["mil"] -= sum(log(foreground[event]) for event in events) / max(1, len(events)) / 3
        expected["actions"] -= sum(log(background[event]) for event in events) / max(1, len(events)) / 3
        expected["background"] -= log(background[-1]) / 3
    weights = {"mil": 1.0, "background": 0.5, "actions": 0.25}
    if proposals == "data":
        samples, losses = output.samples, []  # type: ignore[attr-defined]
        assert given.batch.proposals is not None
        y = segment_labels(given.batch.proposals, samples, EVENTS, labels == "code")
        for number in range(3):
            for j in samples.mask[number].nonzero()[:, 0].tolist():
                u = output.uncertainty[number, j].item()  # type: ignore[attr-defined]
                probs = output.logits[number, j].softmax(0).tolist()  # type: ignore[attr-defined]
                ce = -sum(share * log(prob) for share, prob in zip(y[number, j].tolist(), probs, strict=True))
                losses.append(math.exp(-u) * ce + 0.2 * u)
        expected["pseudo_label"], weights["pseudo_label"] = sum(losses) / len(losses), 2.0
    assert list(terms) == list(expected)
    for name, term in terms.items():
        assert term.value.item() == pytest.approx(expected[name], rel=1e-4), name
        assert term.weight == weights[name]


@torch.no_grad()
def test_labels_of_the_public_code_are_other_ones() -> None:
    given = step("data")
    exact, code = (method(segment_labels=labels)(given)["pseudo_label"].value for labels in ("exact", "code"))
    assert not torch.isclose(exact, code)


@torch.no_grad()
def test_padding_teaches_nothing() -> None:
    batch, padded = (replace(whole(longest), weak_labels=WEAK) for longest in (None, 15))
    net = randomized(make())
    short, long = (method()(Step(net, each, net(each), 0, 0.0)) for each in (batch, padded))
    for name, term in short.items():
        torch.testing.assert_close(long[name].value, term.value)
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    assert uncertain_loss(torch.randn(1, 2, 4), torch.ones(1, 2, 4) / 4, torch.ones(1, 2), nothing) == 0


def test_a_probability_of_zero_has_a_finite_loss() -> None:
    assert shares_loss(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])).item() == pytest.approx(-math.log(LEAST))


@pytest.mark.parametrize("proposals", ["none", "data"])
def test_every_weight_gets_a_gradient_and_the_loss_falls(proposals: str) -> None:
    torch.manual_seed(0)
    net, batch = make(proposals, dropout=0.0).train(), replace(whole(), weak_labels=WEAK)
    optimizer, losses = torch.optim.Adam(net.parameters(), 0.01), []
    for _ in range(20):
        optimizer.zero_grad()
        loss = total(method()(Step(net, batch, net(batch), 0, 0.0)))
        torch.autograd.backward(loss)
        assert all(parameter.grad is not None for parameter in net.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_another_network_is_named() -> None:
    net, batch = HAN(ONE_STREAM_EACH, STREAM_DIMS, EVENTS, dim=8, feedforward_dim=8), make_batch(LENGTHS)
    with pytest.raises(InputError, match="network=asm_loc"):
        method()(Step(net, batch, net(batch), 0, 0.0))
