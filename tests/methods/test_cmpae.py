"""CMPAE's mutual loss against loops, by hand, and who learns from whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.methods.cmpae import MutualLearning, mutual_loss
from avvp_pl.methods.contrast import Contrast
from avvp_pl.methods.guided import Guided
from avvp_pl.methods.targets import Smoothed
from avvp_pl.models.cmpae import CMPAEOutput
from avvp_pl.parts import total
from avvp_pl.types import ParsingNetwork
from tests.models.networks import EVENTS, make_batch, modalities_of
from tests.models.test_cmpae import make_net
from tests.stand_ins import lookup, some_videos, step_of

LEAST = 0.9
WEAK = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])


def an_output(seed: int = 0, modalities: int = 2) -> CMPAEOutput:
    """Random probabilities and uncertainties of four videos and three events."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int, low: float = 0.0) -> Tensor:
        return (low + (1 - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)).requires_grad_()

    return CMPAEOutput(
        drawn(4, 2, modalities, 5),
        drawn(4, 2, modalities, 3),
        drawn(4, 3),
        drawn(4, modalities, 3),
        modality_uncertainty=drawn(4, modalities, 3),
        video_uncertainty=drawn(4, low=0.8),
    )


def slow_loss(output: CMPAEOutput, weak: Any, odd: bool) -> float:
    """One video and event at a time."""
    terms = []
    for b, (video, modalities, unsure, of_video) in enumerate(
        zip(
            output.video_probs.tolist(),
            output.modality_probs.tolist(),
            output.modality_uncertainty.tolist(),
            output.video_uncertainty.tolist(),
            strict=True,
        )
    ):
        factor = max(of_video, LEAST) if odd else 1 - max(of_video, LEAST)
        for c in range(len(video)):
            pairs = [(modalities[m][c], unsure[m][c]) for m in range(len(modalities))]
            q, u = max(pairs) if weak[b][c] else (sum(part) / len(pairs) for part in zip(*pairs, strict=True))
            terms.append(factor * (1 - u) * (video[c] - q) ** 2)
    return float(sum(terms) / len(terms))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.booleans())
def test_the_loss_by_loops(seed: int, modalities: int, odd: bool) -> None:
    output = an_output(seed, modalities)
    found = mutual_loss(output, WEAK.double(), odd, LEAST)
    assert found.item() == pytest.approx(slow_loss(output, WEAK.tolist(), odd), rel=1e-9)


def by_hand(weak: float, teach_video: bool) -> float:
    """One video and event: P = .5 and u_g = .95; audio .7 with u = .2, visual .1 with u = .4."""
    output = CMPAEOutput(
        torch.zeros(1, 1, 2, 1),
        torch.zeros(1, 1, 2, 1),
        torch.tensor([[0.5]]),
        torch.tensor([[[0.7], [0.1]]]),
        modality_uncertainty=torch.tensor([[[0.2], [0.4]]]),
        video_uncertainty=torch.tensor([0.95]),
    )
    return mutual_loss(output, torch.tensor([[weak]]), teach_video, LEAST).item()


def test_numbers_by_hand() -> None:
    """With the event, .8 (.5 - .7)^2 = .032 of audio; without it the means .4 and .3, .7 (.5 - .4)^2 = .007."""
    assert by_hand(1.0, teach_video=True) == pytest.approx(0.95 * 0.032)
    assert by_hand(1.0, teach_video=False) == pytest.approx(0.05 * 0.032)
    assert by_hand(0.0, teach_video=True) == pytest.approx(0.95 * 0.007)
    assert by_hand(0.0, teach_video=False) == pytest.approx(0.05 * 0.007)


def slopes(odd: bool) -> dict[str, Tensor]:
    output = an_output()
    learning = ("video_probs", "modality_probs", "modality_uncertainty", "video_uncertainty")
    loss = mutual_loss(output, WEAK.double(), odd, LEAST)
    found = torch.autograd.grad(
        loss, [getattr(output, name) for name in learning], allow_unused=True, materialize_grads=True
    )
    return dict(zip(learning, found, strict=True))


def test_in_odd_batches_only_the_global_branch_learns() -> None:
    found = slopes(odd=True)
    assert (found["video_probs"] != 0).all()
    assert (found["modality_probs"] == 0).all()


def test_in_even_batches_only_the_modalities_learn() -> None:
    found = slopes(odd=False)
    assert (found["video_probs"] == 0).all()
    best = an_output().modality_probs.argmax(1, keepdim=True)
    is_best = torch.zeros_like(found["modality_probs"]).scatter(1, best, 1.0)
    taught = torch.where(WEAK[:, None] > 0, is_best, 1.0)  # the most probable one where the event is, else all
    assert torch.equal(found["modality_probs"] != 0, taught != 0)


@pytest.mark.parametrize("odd", [False, True])
def test_uncertainties_have_gradients_except_below_the_least_one(odd: bool) -> None:
    found, output = slopes(odd), an_output()
    assert (found["modality_uncertainty"] != 0).any()
    above = output.video_uncertainty > LEAST
    assert 0 < above.sum() < 4
    assert torch.equal(found["video_uncertainty"] != 0, above)


# The method

EVENT_NAMES = [str(event) for event in range(EVENTS)]
MODALITIES = list(modalities_of(2))


def method(network: ParsingNetwork, weight: float = 1.0) -> MutualLearning:
    weights = {"video": 0.6, "audio": 2.0, "visual": 0.6}
    targets, contrast = Smoothed(MODALITIES, {}), Contrast(MODALITIES, "encoded", "log_mix", 0.2, 0.1, 1.0)
    return MutualLearning(network, MODALITIES, EVENT_NAMES, "none", weights, targets, contrast, weight, LEAST)


def test_batches_take_turns_and_the_other_terms_stay() -> None:
    net = make_net(modalities_of(2))
    batch = replace(make_batch((4, 2, 3, 1)), weak_labels=WEAK)
    step, part = step_of(net, batch), method(net, weight=0.5)
    guided = Guided.forward(part, step)
    for number in range(4):
        terms = part(step._replace(number=number))
        assert isinstance(step.output, CMPAEOutput)
        expected = mutual_loss(step.output, WEAK, number % 2 == 1, LEAST)
        assert list(terms) == ["mil", "guided", "modality_contrast", "mutual"]
        assert terms["mutual"] == (expected, 0.5)
        assert total(terms).item() == pytest.approx((total(guided) + 0.5 * expected).item(), rel=1e-6)


def test_every_weight_has_a_gradient_in_every_step() -> None:
    """As several processes need it, also where a weight of the loss is 0."""
    net = make_net(modalities_of(2)).train()
    batch = replace(make_batch((4, 2, 3, 1)), weak_labels=WEAK)
    for number, weight in ((0, 1.0), (1, 1.0), (1, 0.0)):
        net.zero_grad()
        total(method(net, weight)(step_of(net, batch)._replace(number=number))).backward()  # type: ignore[no-untyped-call]
        assert all(parameter.grad is not None for parameter in net.parameters())


def test_another_network_is_refused() -> None:
    with pytest.raises(InputError, match="method=cmpae needs network=cmpae: Lookup does not say"):
        method(lookup(some_videos([1], [[1.0]])))
