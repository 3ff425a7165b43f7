"""CoLeaF's references and losses against loops, by hand, and who learns from whom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from avvp_pl.errors import InputError
from avvp_pl.losses.nce import nce_loss
from avvp_pl.methods.cmpae import MutualLearning
from avvp_pl.methods.coleaf import CoLeaF, Reference, asymmetric_loss, correlation_loss, of_each, unshared
from avvp_pl.methods.contrast import Contrast
from avvp_pl.methods.targets import Smoothed
from avvp_pl.models.han import StreamFusion
from avvp_pl.parts import Team, Term, total
from avvp_pl.types import Batch, ParsingNetwork
from tests.models.networks import EVENTS, THREE, assert_close, make_batch, modalities_of, randomized, reference_layer
from tests.models.networks import rows as rows_of
from tests.models.test_cmpae import make_net
from tests.stand_ins import lookup, some_videos, step_of, together

EVENT_NAMES = [str(event) for event in range(EVENTS)]
WEAK = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
MARGIN = 0.05
FIRST, TEACHING, LATE = 0, 1, 3  # epochs


def probs_of(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# The losses


def slow_asymmetric(q: float, y: float, factor_of: float | None = None) -> float:
    """One probability; the second factor may be that of another one, because it has no gradient."""
    other = q if factor_of is None else factor_of
    n, n_of_other = min(1 - q + MARGIN, 1), min(1 - other + MARGIN, 1)
    return -(y * math.log(q) + (1 - y) * math.log(n)) * (1 - y * other - (1 - y) * n_of_other)


@settings(deadline=None)
@given(st.floats(0.001, 0.999), st.sampled_from([0.0, 0.05, 0.4, 0.95, 1.0]))
def test_the_asymmetric_loss_and_its_slope(q: float, y: float) -> None:
    if abs(q - MARGIN) < 1e-4:  # where the slope jumps
        return
    probs = torch.tensor([q], dtype=torch.float64, requires_grad=True)
    loss = asymmetric_loss(probs, torch.tensor([y], dtype=torch.float64), MARGIN)
    assert loss.item() == pytest.approx(slow_asymmetric(q, y), rel=1e-9, abs=1e-12)
    (slope,) = torch.autograd.grad(loss.sum(), probs)
    h = 1e-6
    by_steps = (slow_asymmetric(q + h, y, q) - slow_asymmetric(q - h, y, q)) / (2 * h)
    assert slope.item() == pytest.approx(by_steps, rel=1e-4, abs=1e-6)


def test_the_asymmetric_loss_by_hand() -> None:
    """Present at .8: -.2 ln .8. Absent at .3, so n = .75: -.25 ln .75. Nothing at the margin, or if certain."""
    probs, labels = torch.tensor([0.8, 0.3, 0.05, 1.0]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    expected = torch.tensor([-0.2 * math.log(0.8), -0.25 * math.log(0.75), 0.0, 0.0])
    assert_close(asymmetric_loss(probs, labels, MARGIN), expected)
    impossible = asymmetric_loss(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), margin=0.0)
    assert_close(impossible, torch.full((2,), -math.log(1e-8)))


def slow_correlation(probs: Tensor, taught_by: Tensor) -> float:
    """One pair of events at a time."""
    videos, modalities, events = probs.shape
    found = 0.0
    for p, t in zip(probs.reshape(-1, events).tolist(), taught_by.reshape(-1, events).tolist(), strict=True):
        found += sum((t[i] * t[j] - p[i] * p[j]) ** 2 for i in range(events) for j in range(events))
    assert modalities
    return found / events / videos


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_the_correlation_by_pairs_of_events(modalities: int) -> None:
    probs, taught_by = probs_of(1, 4, modalities, 5), probs_of(2, 4, modalities, 5)
    found = correlation_loss(probs, taught_by)
    assert found.item() == pytest.approx(slow_correlation(probs, taught_by), rel=1e-12)


def test_the_correlation_is_0_only_where_both_agree() -> None:
    probs = probs_of(1, 4, 2, 5).requires_grad_()
    agreeing = correlation_loss(probs, probs.detach())
    (slope,) = torch.autograd.grad(agreeing, probs)
    assert agreeing == 0
    assert not slope.any()
    assert correlation_loss(probs, probs.detach() + 0.01) > 1e-6


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_which_events_are_in_one_modality_only(modalities: int) -> None:
    found = probs_of(3, 6, modalities, 4) > 0.5
    found[0] = False
    for b, video in enumerate(found.tolist()):
        for m in range(modalities):
            own = [c for c in range(4) if video[m][c]]
            alone = [c for c in own if not any(video[n][c] for n in range(modalities) if n != m)]
            assert unshared(found)[b, m].item() == pytest.approx(len(alone) / len(own) if own else 0.0)


# The references


def reference_of(modality: str, num_layers: int = 1, head_dropout: float = 0.0) -> Reference:
    return randomized(Reference(make_net(THREE, num_layers), modality, head_dropout))


def by_loops(reference: Reference, batch: Batch, video: int) -> tuple[Tensor, Tensor, Tensor]:
    """The probabilities, those of tokens and the features of one video without padding."""
    real = batch.mask[video]
    fusion = reference.fusion
    assert isinstance(fusion, StreamFusion)
    parts = [
        layer(batch.features_in[stream][video, real])
        for layer, stream in zip(fusion.projections, reference.streams, strict=True)
    ]
    x = fusion.fuse(torch.cat(parts, 1)) if len(parts) > 1 else parts[0]
    joined = [torch.cat([reference.tokens, x])]
    for layer in reference.layers:
        joined = reference_layer(layer, joined)
    tokens, segments = joined[0][:EVENTS], joined[0][EVENTS:]
    pooled = torch.zeros(EVENTS)
    for c in range(EVENTS):
        weights = [math.exp(a) for a in reference.temporal_head(segments)[:, c].tolist()]
        probs = [1 / (1 + math.exp(-z)) for z in reference.event_head(segments)[:, c].tolist()]
        pooled[c] = sum(a * p for a, p in zip(weights, probs, strict=True)) / sum(weights)
    of_tokens = [1 / (1 + math.exp(-sum(token) / len(token))) for token in tokens.tolist()]
    return pooled, torch.tensor(of_tokens), segments


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("modality", list(THREE))
@torch.no_grad()
def test_a_reference_equals_loops(modality: str, num_layers: int) -> None:
    reference, batch = reference_of(modality, num_layers), make_batch((4, 1, 3), longest=6)
    found = reference(batch)
    for b, real in enumerate(batch.mask):
        probs, token_probs, features = by_loops(reference, batch, b)
        assert_close(found.probs[b], probs)
        assert_close(found.token_probs[b], token_probs)
        assert_close(found.features[b, real], features)


def test_a_reference_starts_without_knowing_any_event_apart() -> None:
    reference = Reference(make_net(), "visual", 0.0)
    assert not reference.tokens.any()
    assert {name.split(".")[0] for name, _ in reference.named_parameters()} == {
        *("tokens", "fusion", "layers", "event_head", "temporal_head")
    }
    assert not any("cross_attention" in name for name, _ in reference.named_parameters())


@torch.no_grad()
def test_a_reference_ignores_other_modalities_and_padding() -> None:
    batch = make_batch((4, 2, 1), longest=6)
    reference = reference_of("visual")
    expected = reference(batch)
    hidden = {name: x.masked_fill(~batch.mask[:, :, None], 50.0) for name, x in batch.features_in.items()}
    found = reference(replace(batch, features_in={**hidden, "vggish": hidden["vggish"] + 7}))
    assert_close(found.probs, expected.probs)
    assert_close(found.token_probs, expected.token_probs)
    assert_close(found.features[batch.mask], expected.features[batch.mask])
    assert torch.equal(reference(make_batch((0, 2), longest=2)).probs[0], torch.zeros(EVENTS))


def test_a_reference_drops_features_of_its_heads_only() -> None:
    torch.manual_seed(0)
    reference, batch = reference_of("audio", head_dropout=0.5), make_batch()
    expected, found = reference(batch), reference.train()(batch)
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.token_probs, expected.token_probs)
    assert not torch.allclose(found.probs, expected.probs)


def test_full_precision_inside_autocast() -> None:
    reference = reference_of("visual")
    with torch.autocast("cpu", torch.bfloat16):
        found = reference(make_batch())
    assert {part.dtype for part in found} == {torch.float32}


# The method


def method(
    network: ParsingNetwork,
    modalities: Sequence[str] = ("audio", "visual"),
    batch_factor: bool = False,
    weight_correlation: float = 3.0,
    reference_weights: dict[str, float] | None = None,
    seed: int = 0,
) -> CoLeaF:
    """With references of random weights, and numbers that are all different."""
    part = CoLeaF(
        network,
        modalities,
        EVENT_NAMES,
        "none",
        {"video": 2.0, "audio": 1.5, "visual": 0.7},
        Smoothed(modalities, {"visual": 0.9}),
        Contrast(modalities, "encoded", "log_mix", 0.3, 0.15, 1.0),
        weight_mutual=0.8,
        least_uncertainty=0.9,
        head_dropout=0.0,
        margin=MARGIN,
        token_weights={"audio": 1.2, "visual": 0.9, "others": 0.5},
        confirmed_epoch=LATE,
        confirmed_share=0.3,
        confirmed_from={"audio": 0.5, "visual": 0.6, "others": 0.4},
        late_token_weights={"audio": 0.01, "others": 0.0},
        start_epoch=TEACHING,
        weight_correlation=weight_correlation,
        batch_factor=batch_factor,
        sure_from={"audio": 0.7, "others": 0.6},
        sure_to={"audio": 0.4, "others": 0.3},
        reference_weights={"audio": 0.2, "others": 0.6} if reference_weights is None else reference_weights,
        found_from=0.5,
    )
    randomized(part.references, seed)
    return part


def a_batch() -> Batch:
    return replace(make_batch((4, 2, 3, 1)), weak_labels=WEAK)


def value(terms: dict[str, Term], name: str) -> float:
    return terms[name].value.item()


def slow_references(part: CoLeaF, net: ParsingNetwork, batch: Batch, late: bool) -> float:
    """What the references of audio and visual learn, one video and event at a time."""
    output, loss = net(batch), 0.0
    for m, (name, reference) in enumerate(part.references.items()):
        said = reference(batch)
        for b in range(len(batch.index)):
            for c in range(EVENTS):
                w = batch.weak_labels[b, c].item()
                y = w if name == "audio" else 0.9 * w + 0.05
                confirms = output.modality_probs[b, m, c] >= (0.5 if name == "audio" else 0.6)
                own, of_token = said.probs[b, c].item(), said.token_probs[b, c].item()
                if late:
                    loss += 0.7 * slow_asymmetric(own, y) + 0.3 * slow_asymmetric(own, y if confirms else 0.0)
                    loss += (0.01 if name == "audio" else 0.0) * slow_asymmetric(of_token, y)
                else:
                    loss += slow_asymmetric(own, y) + (1.2 if name == "audio" else 0.9) * slow_asymmetric(of_token, y)
    return loss


@pytest.mark.parametrize("epoch", [FIRST, TEACHING, LATE])
def test_what_the_references_learn(epoch: int) -> None:
    net, batch = make_net(modalities_of(2)), a_batch()
    part = method(net)
    found = value(part(step_of(net, batch, epoch)), "references")
    assert found == pytest.approx(slow_references(part, net, batch, epoch == LATE), rel=1e-5)
    confirmed = net(batch).modality_probs >= torch.tensor([[0.5], [0.6]])
    assert 0 < (confirmed & (WEAK[:, None] > 0)).sum() < 2 * WEAK.sum()  # the test can tell the labels apart


@torch.no_grad()
def test_what_the_references_teach() -> None:
    net, batch = make_net(modalities_of(2)), a_batch()
    part = method(net, seed=1)
    step = step_of(net, batch, TEACHING)
    terms, output = part(step), step.output
    said = [reference(batch) for reference in part.references.values()]
    taught, contrast, kinds = output.modality_probs.clone(), 0.0, set()
    for m, name in enumerate(part.references):
        high, low, keep = (0.7, 0.4, 1.0) if name == "audio" else (0.6, 0.3, 0.9)
        shares = []
        for b in range(4):
            alone = 0
            for c in range(EVENTS):
                own, other = said[m].probs[b, c].item(), said[1 - m].probs[b, c].item()
                trust = (keep * WEAK[b, c].item() + (1 - keep) / 2) if own >= high or own <= low else 0.0
                taught[b, m, c] = trust * own + (1 - trust) * output.modality_probs[b, m, c]
                alone += own >= 0.5 > other
                kinds.add((own >= high, own <= low, trust > 0.5))
            shares.append(alone / max(1, int((said[m].probs[b] >= 0.5).sum())))
        for b, share in enumerate(shares):  # the mean over segments of what each video loses, times its share
            real = batch.mask[b : b + 1]
            own_loss = nce_loss(
                said[m].features[b : b + 1], output.features[b : b + 1, :, m], real, 0.3, 0.15, "log_mix"
            )
            weight = (0.2 if name == "audio" else 0.6) * share
            contrast += weight * own_loss.item() * real.sum().item() / batch.mask.sum().item()
    assert len(kinds) == 5  # sure or not of what is there or not, and not sure: the test can tell all apart
    assert terms["correlation"].weight == 3.0
    assert value(terms, "correlation") == pytest.approx(slow_correlation(output.modality_probs, taught), rel=1e-5)
    assert value(terms, "reference_contrast") == pytest.approx(contrast, rel=1e-5)
    assert contrast > 0


def test_the_other_terms_are_those_of_mutual_learning_and_taught_ones_start_later() -> None:
    net, batch = make_net(modalities_of(2)), a_batch()
    part = method(net)
    for epoch in (FIRST, TEACHING, LATE):
        step = step_of(net, batch, epoch)
        terms, plain = part(step), MutualLearning.forward(part, step)
        more = {"references"} | ({"correlation", "reference_contrast"} if epoch >= TEACHING else set())
        assert set(terms) == {*plain, *more}
        assert all(terms[name] == plain[name] for name in plain)


def test_targets_are_asked_once() -> None:
    """They may draw, and they wait for all processes."""
    net, batch = make_net(modalities_of(2)), a_batch()
    part, asked = method(net), []
    part.targets.register_forward_hook(lambda *_: asked.append(1))
    part(step_of(net, batch, TEACHING))
    assert asked == [1]


def gradients(loss: Tensor, of: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(of.parameters()), allow_unused=True, materialize_grads=True))


@pytest.mark.parametrize("epoch", [TEACHING, LATE])
def test_anchor_and_references_get_no_gradient_from_each_others_losses(epoch: int) -> None:
    net, batch = make_net(modalities_of(2)), a_batch()
    part = method(net)
    for name in part(step_of(net, batch, epoch)):
        loss = part(step_of(net, batch, epoch))[name].value
        of_anchor, of_references = (
            any(bool(slope.any()) for slope in gradients(part(step_of(net, batch, epoch))[name].value, module))
            for module in (net, part.references)
        )
        assert loss.requires_grad
        assert (of_anchor, of_references) == ((False, True) if name == "references" else (True, False)), name


@pytest.mark.parametrize("epoch", [FIRST, TEACHING, LATE])
@pytest.mark.parametrize("number", [0, 1])
def test_every_weight_has_a_gradient_in_every_step(epoch: int, number: int) -> None:
    """As several processes need it."""
    net, batch = make_net(modalities_of(2)).train(), a_batch()
    part = method(net).train()
    total(part(step_of(net, batch, epoch)._replace(number=number))).backward()  # type: ignore[no-untyped-call]
    for name, parameter in (*net.named_parameters(), *part.named_parameters()):
        assert parameter.grad is not None, name


def test_weights_of_0_leave_losses_out() -> None:
    net, batch = make_net(modalities_of(2)), a_batch()
    terms = method(net, weight_correlation=0.0, reference_weights={"others": 0.0})(step_of(net, batch, TEACHING))
    assert not {"correlation", "reference_contrast"} & set(terms)


def test_the_factor_of_the_public_code() -> None:
    net, batch = make_net(modalities_of(2)), a_batch()
    ours, theirs = (method(net, batch_factor=factor)(step_of(net, batch, TEACHING)) for factor in (False, True))
    assert value(theirs, "correlation") == pytest.approx(4**2 * value(ours, "correlation"), rel=1e-6)


@pytest.mark.parametrize("batch_factor", [False, True])
@torch.no_grad()
def test_the_mean_over_processes_is_the_loss_of_one(batch_factor: bool) -> None:
    """Also where it is a sum over videos: the gradients of processes are averaged."""
    net = make_net(modalities_of(2))
    batch = replace(make_batch((4, 4, 4, 4)), weak_labels=WEAK)
    part = method(net, batch_factor=batch_factor)
    whole = part(step_of(net, batch, LATE))

    def half(team: Team) -> dict[str, Term]:
        own = [2 * team.rank, 2 * team.rank + 1]
        return part(step_of(net, replace(rows_of(batch, own), weak_labels=WEAK[own]), LATE, team=team))

    one, other = together(2, half)
    for name, term in whole.items():
        assert (value(one, name) + value(other, name)) / 2 == pytest.approx(term.value.item(), rel=1e-5), name


def test_three_modalities() -> None:
    net, batch = make_net(THREE), a_batch()
    part = method(net, list(THREE))
    terms = part(step_of(net, batch, LATE))
    assert list(part.references) == list(THREE)
    assert all(term.value.isfinite() for term in terms.values())


def test_another_network_is_refused() -> None:
    with pytest.raises(InputError, match="method=coleaf needs network=cmpae: Lookup does not say"):
        method(lookup(some_videos([1], [[1.0]])))


def test_a_modality_without_a_number_is_refused() -> None:
    assert of_each("sure_to", {"audio": 0.1, "others": 0.4}, ["audio", "depth"]) == [0.1, 0.4]
    with pytest.raises(InputError, match=r"method.sure_to has no number for depth; give \+method.sure_to.depth"):
        of_each("sure_to", {"audio": 0.1}, ["audio", "depth"])
