"""LEAP's losses against loops, by hand, and what does not matter to them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avvp_pl.methods.leap import LEAP, similarity_loss
from avvp_pl.methods.segment_targets import SegmentTargets
from avvp_pl.parts import Step, total
from avvp_pl.types import ParsingOutput
from tests.models.networks import EVENTS, THREE, make_batch, modalities_of
from tests.models.test_leap import make_net
from tests.stand_ins import step_of

MARGIN = 0.01


class Given(SegmentTargets):
    """Labels [S, M, C] of all segments, and all events at padding."""

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        self.labels = labels

    def forward(self, step: Step) -> Tensor:
        return self.labels[step.batch.segment].masked_fill(~step.batch.mask[:, :, None, None], 1)


def method(
    labels: Tensor, weights: dict[str, float] | None = None, segment: float = 1.0, similarity: float = 1.0
) -> LEAP:
    names = list(THREE)[: labels.shape[1]]
    return LEAP(names, weights or {}, segment, similarity, MARGIN, Given(labels))


def drawn(*shape: int, seed: int = 0, hard: bool = True) -> Tensor:
    values = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (values < 0.4).double() if hard else values


def step_with(lengths: tuple[int, ...], modalities: int, longest: int | None = None, seed: int = 0) -> Step:
    """A step in which all that the network returns is random, at padding, too."""
    batch = make_batch(lengths, longest)
    generator = torch.Generator().manual_seed(seed)
    shape = (*batch.mask.shape, modalities)
    features = torch.randn(*shape, 5, generator=generator, dtype=torch.float64)
    probs = [
        torch.rand(*s, EVENTS, generator=generator, dtype=torch.float64) for s in (shape, (len(lengths), modalities))
    ]
    output = ParsingOutput(features, probs[0], probs[1].amax(1), probs[1])
    return Step(make_net(), batch, output, 0, 0.0)


def entropy(p: float, y: float) -> float:
    return -(y * math.log(p) + (1 - y) * math.log(1 - p))


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def slow_similarity(x: list[list[list[Tensor]]], z: list[list[list[Tensor]]]) -> float:
    """One pair of segments at a time; x and z have two modalities of each video, without padding."""
    errors = []
    for (first, second), (events, others) in zip(x, z, strict=True):
        most = max((float(one.sum()) for one in (*events, *others)), default=0.0)
        for a, its in zip(first, events, strict=True):
            for b, theirs in zip(second, others, strict=True):
                s = float(its @ theirs) / most if most else 0.0
                errors.append((max(0.0, cosine(a, b)) - s / (1 + s) - MARGIN) ** 2)
    return sum(errors) / len(errors)


def slow_losses(step: Step, labels: Tensor) -> dict[str, float]:
    output, mask = step.output, step.batch.mask
    videos = range(len(mask))
    modalities = range(labels.shape[1])
    z = [labels[step.batch.segment[b]][mask[b]] for b in videos]  # [T, M, C] each
    of_modalities, of_segments, similar = 0.0, 0.0, []
    for m in modalities:
        whole, single = [], []
        for b in videos:
            for c in range(EVENTS):
                asked = max(z[b][:, m, c].tolist())
                whole.append(entropy(float(output.modality_probs[b, m, c]), asked))
                single += [
                    entropy(float(p), float(y))
                    for p, y in zip(output.segment_probs[b, mask[b], m, c], z[b][:, m, c], strict=True)
                ]
        of_modalities += sum(whole) / len(whole)
        of_segments += sum(single) / len(single)
        for n in modalities:
            if n > m:
                x = [[list(output.features[b, mask[b], k]) for k in (m, n)] for b in videos]
                similar.append(slow_similarity(x, [[list(z[b][:, k]) for k in (m, n)] for b in videos]))
    found = {"guided": of_modalities, "segment": of_segments}
    return {**found, "similarity": sum(similar) / len(similar)} if similar else found


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 3), st.booleans())
def test_the_losses_by_loops(seed: int, modalities: int, hard: bool) -> None:
    """With padding, which has outputs and labels, too."""
    lengths = (4, 1, 3)
    labels = drawn(sum(lengths), modalities, EVENTS, seed=seed, hard=hard)
    labels[4] = 0  # a video without any label
    step = step_with(lengths, modalities, longest=6, seed=seed)
    terms = method(labels)(step)
    assert {name: term.value.item() for name, term in terms.items()} == pytest.approx(
        slow_losses(step, labels), rel=1e-9
    )


def test_one_event_everywhere_asks_for_a_similarity_of_051() -> None:
    """s = 1, and 1 / 2 + .01; two events everywhere ask for the same, because the most in a segment are two."""
    real = torch.ones(1, 4, dtype=torch.bool)
    angle = [[1.0, 0.0], [0.51, math.sqrt(1 - 0.51**2)]]
    features = torch.tensor(angle, dtype=torch.float64).expand(1, 4, 2, 2)
    for events in (1, 2):
        labels = torch.zeros(1, 4, 2, 3).double()
        labels[..., :events] = 1
        assert similarity_loss(features, labels, real, MARGIN).item() == pytest.approx(0, abs=1e-20)
        assert similarity_loss(features, 0 * labels, real, MARGIN).item() == pytest.approx(0.5**2)


def test_similarity_by_hand() -> None:
    """Audio: two events, then one of them; visual: the other one, then both. Most are 2: s = 1/2, 1; 0, 1/2."""
    audio, visual = torch.tensor([[1.0, 1.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    labels = torch.stack([audio, visual], dim=1)[None]  # [1, 2, 2, 2]
    away = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).expand(1, 2, 2, 2)  # opposite: the similarity counts as 0
    real = torch.tensor([[True, True, False]])
    found = similarity_loss(away, labels, real[:, :2], 0.0)
    assert found.item() == pytest.approx(((1 / 3) ** 2 + (1 / 2) ** 2 + 0 + (1 / 3) ** 2) / 4)
    padded = similarity_loss(F.pad(away, (0, 0) * 2 + (0, 1)), F.pad(labels, (0, 0) * 2 + (0, 1), value=9.0), real, 0.0)
    assert padded.item() == pytest.approx(found.item())


def test_dissimilar_features_are_not_pushed_further_apart() -> None:
    """Below a similarity of 0 there is no gradient, whatever is asked for."""
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.1]]).expand(1, 3, 2, 2).clone().requires_grad_()
    loss = similarity_loss(features, torch.zeros(1, 3, 2, 1), torch.ones(1, 3, dtype=torch.bool))
    (slope,) = torch.autograd.grad(loss, features)
    assert (slope == 0).all()


def test_a_batch_that_is_all_padding_teaches_nothing() -> None:
    labels = torch.ones(1, 2, EVENTS, dtype=torch.float64)
    step = step_with((1, 1), 2, longest=3)
    batch = replace(step.batch, mask=torch.zeros_like(step.batch.mask), segment=torch.zeros_like(step.batch.segment))
    terms = method(labels)(step._replace(batch=batch))
    assert terms["segment"].value == terms["similarity"].value == 0
    assert terms["guided"].value.isfinite()


def test_weights() -> None:
    labels, step = drawn(8, 3, EVENTS), step_with((4, 1, 3), 3)
    plain = method(labels)(step)
    terms = method(labels, {"audio": 2.0, "others": 0.5}, segment=0.3, similarity=0.7)(step)
    assert (terms["segment"].weight, terms["similarity"].weight) == (0.3, 0.7)
    assert terms["segment"].value == plain["segment"].value
    alone = [method(labels, {name: 1.0, "others": 0.0})(step)["guided"].value for name in THREE]
    assert sum(alone).item() == pytest.approx(plain["guided"].value.item())  # type: ignore[union-attr]
    assert terms["guided"].value.item() == pytest.approx((2 * alone[0] + 0.5 * (alone[1] + alone[2])).item())
    assert "similarity" not in method(labels, similarity=0.0)(step)
    assert "similarity" not in method(labels[:, :1])(step_with((4, 1, 3), 1))


def test_probabilities_of_exactly_0_and_1_have_finite_losses_and_gradients() -> None:
    step = step_with((2, 2), 2)
    probs = drawn(2, 2, 2, EVENTS).requires_grad_()
    output = replace(step.output, segment_probs=probs, modality_probs=drawn(2, 2, EVENTS))
    loss = total(method(1 - drawn(4, 2, EVENTS))(step._replace(output=output)))
    (slope,) = torch.autograd.grad(loss, probs)
    assert loss.isfinite()
    assert slope.isfinite().all()


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_every_weight_has_a_gradient_in_every_step(modalities: int) -> None:
    """As several processes need it, also where weights of the loss are 0."""
    net, batch = make_net(modalities_of(modalities)).train(), make_batch((4, 2))
    for weight in (1.0, 0.0):
        net.zero_grad()
        labels = drawn(6, modalities, EVENTS).float()
        part = method(labels, {"others": weight}, weight, weight)
        total(part(step_of(net, batch))).backward()  # type: ignore[no-untyped-call]
        assert all(parameter.grad is not None for parameter in net.parameters())
