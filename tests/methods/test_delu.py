"""DELU as the sum of its terms, and CO2-Net as what is left without two of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.losses.co_activity import co_activity_loss
from avvp_pl.losses.evidential import curriculum_weights
from avvp_pl.methods.delu import Delu
from avvp_pl.models.cross_modal import CrossModal, CrossModalOutput
from avvp_pl.parts import Term, total
from avvp_pl.settings.conf import config_dir
from avvp_pl.types import Batch
from tests.models.networks import make_batch
from tests.models.test_cross_modal import make_net
from tests.stand_ins import lookup, some_videos, step_of

WEAK = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
SETTINGS: dict[str, Any] = {
    "pairs": 2,
    "top_k_share": 3,
    "weight_mil": 1.0,
    "weight_mil_attended": 2.0,
    "weight_mutual": 3.0,
    "weight_sparsity": 4.0,
    "weight_guide": 5.0,
    "weight_co_activity": 6.0,
    "weight_evidence": 7.0,
    "evidence_top_k_share": 2,
    "curriculum": "rank",
    "weight_curriculum": 8.0,
    "curriculum_amplitude": 0.7,
}
WEIGHTS = {
    "mil": 1.0,
    "mil_attended": 2.0,
    "mutual": 3.0,
    "sparsity": 4.0,
    "guide": 5.0,
    "co_activity": 6.0,
    "evidence": 7.0,
    "curriculum": 8.0,
}


def method(net: CrossModal, **changed: Any) -> Delu:
    return Delu(net, **{**SETTINGS, **changed})


def a_batch(longest: int = 7) -> Batch:
    return replace(make_batch((7, 4, 6, 2, 5), longest=longest), weak_labels=WEAK)


def terms_of(part: Delu, net: CrossModal, batch: Batch, epoch: int = 0, done: float = 0.0) -> dict[str, Term]:
    return part(step_of(net, batch, epoch, done)._replace(epochs=4))


# The reference: one video and one segment at a time


def cross_entropy(pooled: list[float], weak: list[float], background: float) -> float:
    labels = [*weak, background]
    whole = math.log(sum(math.exp(z) for z in pooled))
    return -sum(y / (sum(labels) + 1e-4) * (z - whole) for y, z in zip(labels, pooled, strict=True))


def top_mean(values: list[float], share: int) -> float:
    highest = sorted(values, reverse=True)[: max(1, len(values) // share)]
    return sum(highest) / len(highest)


def columns(table: list[list[float]]) -> list[list[float]]:
    return [list(column) for column in zip(*table, strict=True)]


def slow_terms(output: CrossModalOutput, batch: Batch, progress: float) -> dict[str, float]:
    found = dict.fromkeys(WEIGHTS, 0.0)
    segments, videos = int(batch.mask.sum()), len(batch.index)
    all_scores = torch.zeros_like(output.logits)
    for b, real in enumerate(batch.mask):
        weak = WEAK[b].tolist()
        logits, attention = output.logits[b, real].tolist(), output.attention[b, real].tolist()
        scores = [[a * (z - min(of)) + min(of) for z in of] for a, of in zip(attention, logits, strict=True)]
        all_scores[b, real] = torch.tensor(scores)
        found["mil"] += cross_entropy([top_mean(own, 3) for own in columns(logits)], weak, 1.0) / videos
        found["mil_attended"] += cross_entropy([top_mean(own, 3) for own in columns(scores)], weak, 0.0) / videos
        gaps = []
        for of, a, pair in zip(logits, attention, output.stream_attentions[b, real].tolist(), strict=True):
            powers = [math.exp(z) for z in of]
            background = powers[-1] / sum(powers)
            gaps.append(sum(abs(1 - one - background) for one in (a, *pair)) / 3)
            found["mutual"] += (pair[0] - pair[1]) ** 2 / segments
            found["sparsity"] += a / segments
        found["guide"] += sum(gaps) / segments
        order = sorted(range(len(logits)), key=lambda t: -attention[t])[: max(1, len(logits) // 2)]
        strengths = [math.exp(sum(scores[t][c] for t in order) / len(order)) + 1 for c in range(3)]
        shares = sum(w / a for w, a in zip(weak, strengths, strict=True))
        for w, a in zip(weak, strengths, strict=True):
            certainty = 1 - 3 / sum(strengths)
            found["evidence"] += certainty * sum(weak) * w / a / shares * math.log(sum(strengths) / a) / videos
        unsure = torch.tensor([[3 / sum(math.exp(s) + 1 for s in of) for of in scores]])
        lambdas = curriculum_weights(unsure, torch.ones_like(unsure, dtype=torch.bool), progress, 0.7, "rank")[0]
        found["curriculum"] += sum(w * gap for w, gap in zip(lambdas.tolist(), gaps, strict=True)) / segments
    found["co_activity"] = co_activity_loss(output.features[:, :, 0], all_scores, WEAK, batch.mask, 2).item()
    return found


@pytest.mark.parametrize(("epoch", "done"), [(0, 0.0), (1, 0.5), (3, 0.75)])
@torch.no_grad()
def test_terms_and_weights(epoch: int, done: float) -> None:
    net, batch = make_net(), a_batch()
    output, terms = net(batch), terms_of(method(net), net, batch, epoch, done)
    expected = slow_terms(output, batch, (epoch + done) / 4)
    assert {name: term.weight for name, term in terms.items()} == WEIGHTS
    for name, term in terms.items():
        assert term.value.item() == pytest.approx(expected[name], rel=1e-4), name


def test_padding_changes_nothing() -> None:
    net = make_net()
    one, other = (terms_of(method(net), net, a_batch(longest)) for longest in (7, 12))
    for name, term in one.items():
        assert other[name].value.item() == pytest.approx(term.value.item(), rel=1e-5), name


def test_the_curriculum_follows_the_progress_of_the_training() -> None:
    net, batch = make_net(), a_batch()
    plain = terms_of(method(net, curriculum="none"), net, batch)
    assert "curriculum" not in plain
    guide = plain["guide"].value.item()
    for kind in ("rank", "code"):
        first, middle, late = (
            terms_of(method(net, curriculum=kind), net, batch, epoch)["curriculum"].value.item() for epoch in (0, 2, 3)
        )
        assert middle == pytest.approx(guide, rel=1e-5)
        assert abs(first - guide) > 1e-3
        assert (first - guide) * (late - guide) < 0


def test_without_evidence_curriculum_and_pairs_there_are_fewer_terms() -> None:
    net, batch = make_net(), a_batch()
    terms = terms_of(method(net, weight_evidence=0.0, curriculum="none"), net, batch)
    assert list(terms) == ["mil", "mil_attended", "mutual", "sparsity", "guide", "co_activity"]
    assert "co_activity" not in terms_of(method(net, pairs=0), net, batch)


@pytest.mark.parametrize("changed", [{}, {"weight_evidence": 0.0, "curriculum": "none"}, {"pairs": 0}])
def test_every_weight_has_a_gradient_in_every_step(changed: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = make_net(dropout=0.5, gate_dropout=0.5, attention_dropout=0.5, attention_logit_dropout=0.5).train()
    total(terms_of(method(net, **changed), net, a_batch())).backward()  # type: ignore[no-untyped-call]
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_what_each_term_teaches(name: str) -> None:
    """The sparsity and the mutual loss reach the attentions only, and all others the classifier, too."""
    net = make_net()
    loss = terms_of(method(net), net, a_batch())[name].value
    named = dict(net.named_parameters())
    slopes = torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
    taught = {name.partition(".")[0] for name, slope in zip(named, slopes, strict=True) if slope.any()}
    assert taught == ({"filters"} if name in {"mutual", "sparsity"} else {"filters", "fuse", "classify"})


# Pairs


def test_a_batch_without_pairs_is_refused() -> None:
    net, order = make_net(), [0, 3, 1, 4, 2]  # the first and the second pair share events
    other = replace(a_batch(), weak_labels=torch.eye(5)[:, :3])
    with pytest.raises(InputError, match="the first 4 videos of a batch must be pairs that share an event"):
        terms_of(method(net), net, other)
    paired = replace(a_batch(), weak_labels=WEAK[order])
    terms_of(method(net), net, paired)
    with pytest.raises(InputError, match=r"method.pairs=3: a batch of 5 videos cannot have so many pairs"):
        terms_of(method(net, pairs=3), net, paired)


def test_only_the_first_batch_is_asked_for_its_pairs() -> None:
    net = make_net()
    part, other = method(net), replace(a_batch(), weak_labels=torch.eye(5)[:, :3])
    terms_of(part, net, a_batch())
    assert terms_of(part, net, other)["co_activity"].value == 0


def test_another_network_is_refused() -> None:
    network: Any = lookup(some_videos([1], [[1.0]]))
    with pytest.raises(InputError, match="method=delu needs network=cross_modal: Lookup has no attention"):
        method(network)


# The published settings


def of_file(name: str) -> dict[str, Any]:
    files = [OmegaConf.load(config_dir() / "method" / f"{each}.yaml") for each in ("delu", name)]
    merged: Any = OmegaConf.to_container(OmegaConf.merge(*files))
    return {key: value for key, value in merged.items() if key not in {"_target_", "defaults"}}


def test_published_settings() -> None:
    delu, co2_net = of_file("delu"), of_file("co2_net")
    assert set(delu) == set(SETTINGS)
    assert {name: delu[name] for name in delu if delu[name] != co2_net[name]} == {
        "weight_guide": 0.4,
        "weight_evidence": 1.3,
        "curriculum": "rank",
    }
    assert co2_net["weight_guide"] == 0.8


def test_the_loss_of_a_known_output_falls_with_what_it_asks_for() -> None:
    """Attention where the event is, and background elsewhere, is better than the opposite."""
    net, mask = make_net(), torch.ones(4, 8, dtype=torch.bool)
    weak = torch.tensor([[1.0, 0.0, 0.0]]).expand(4, -1)
    batch = replace(make_batch((8,) * 4), mask=mask, weak_labels=weak)
    inside = (torch.arange(8) < 3).float().expand(4, -1)  # [B, T]

    def loss(attention: Tensor) -> float:
        logits = torch.stack([8 * inside, 0 * inside, 0 * inside, 8 * (1 - inside)], dim=2)
        output = replace(
            net(batch),
            logits=logits,
            attention=attention,
            stream_attentions=attention[:, :, None].expand(-1, -1, 2),
        )
        step = step_of(net, batch)._replace(output=output, epochs=4)
        return total(method(net)(step)).item()

    assert loss(inside) < loss(torch.full_like(inside, 0.5)) < loss(1 - inside)
