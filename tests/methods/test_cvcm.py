"""CVCM's losses: L_CM against plain loops over pairs of videos, by hand, and what it depends on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from avvp_pl.losses import guided_loss, mil_loss
from avvp_pl.methods.cvcm import CVCM, cross_modal_loss, partners
from avvp_pl.methods.targets import Smoothed
from avvp_pl.models import HAN
from avvp_pl.parts import Step, Targets, Team, Term, total
from avvp_pl.types import Batch, ParsingNetwork
from tests.conftest import Build, composed
from tests.models import test_cvcm, test_han
from tests.models.networks import (
    EVENTS,
    make_batch,
    modalities_of,
    reference_layer,
    reference_streams,
    rows,
    with_streams,
)
from tests.stand_ins import lookup, some_videos, together

MODALITIES = ("audio", "visual")
START = 2
LABELS = torch.tensor(  # [B, M, C]
    [
        [[1, 0, 0], [1, 1, 0]],
        [[0, 1, 0], [0, 0, 1]],
        [[0, 0, 0], [1, 0, 0]],  # nothing is heard
        [[0, 1, 1], [0, 1, 1]],
    ]
).float()


class Given(Targets):
    """Labels by the row of a video in its data set."""

    def forward(self, step: Step) -> Tensor:
        return LABELS[step.batch.index - 10]


def four_videos(lengths: Sequence[int] = (4, 2, 3, 1), longest: int | None = None) -> Batch:
    """Weak labels have an event that neither modality has according to ``LABELS``, so that both can be told apart."""
    batch = make_batch(lengths, longest)
    return replace(batch, index=torch.tensor([12, 10, 13, 11]), weak_labels=torch.ones(4, EVENTS))


def a_method(network: ParsingNetwork, seed: int = 0, weight: float = 0.85, temperature: float = 1.0) -> CVCM:
    return CVCM(network, MODALITIES, {}, weight, temperature, START, {"visual": 0.9}, seed, Given())


def terms_of(
    part: CVCM, network: ParsingNetwork, batch: Batch, epoch: int, team: Team | None = None
) -> dict[str, Term]:
    return part(Step(network, batch, network(batch), epoch, 0.5, team or Team()))


# L_CM


def slow_contrast(net: HAN, batch: Batch, pairs: Sequence[tuple[int, int]], temperature: float) -> float:
    """L_CM of some pairs (video that is heard, video that is seen), with loops."""
    labels = LABELS[batch.index - 10]
    pooled = []
    for heard, seen in pairs:
        length = min(int(batch.mask[heard].sum()), int(batch.mask[seen].sum()))
        x = [reference_streams(net, batch, heard)[0][:length], reference_streams(net, batch, seen)[1][:length]]
        modalities = []
        for own, events in zip(reference_layer(net.layers[0], x), (labels[heard, 0], labels[seen, 1]), strict=True):
            logits = net.temporal_head(own)  # [T, C]
            sums = [math.exp(sum(float(logits[t, c] * events[c]) for c in range(EVENTS))) for t in range(length)]
            z = sum((weight / sum(sums) * own[t] for t, weight in enumerate(sums)), torch.zeros(len(own[0])))
            modalities.append(z / z.norm())
        pooled.append(modalities)
    losses = []
    for (heard, _), (z, _) in zip(pairs, pooled, strict=True):
        similar = [math.exp(float(z @ other) / temperature) for _, other in pooled]
        match = [bool((labels[heard, 0] * labels[seen, 1]).any()) for _, seen in pairs]
        terms = [-math.log(s / sum(similar)) for s, matches in zip(similar, match, strict=True) if matches]
        losses.append(sum(terms) / len(terms) if terms else 0.0)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [1.0, 0.2])
@pytest.mark.parametrize("make_net", [test_cvcm.make_net, test_han.make_net])
@torch.no_grad()
def test_the_contrast_equals_plain_loops_over_pairs_of_videos(make_net: Callable[[], HAN], temperature: float) -> None:
    net, batch = make_net(), four_videos()
    partner = partners(batch.index, START, seed=3).tolist()
    pairs = [*((i, i) for i in range(4)), *((i, partner[i]) for i in range(4))]
    found = terms_of(a_method(net, seed=3, temperature=temperature), net, batch, START)["cross_modal"]
    assert found.value.item() == pytest.approx(slow_contrast(net, batch, pairs, temperature), rel=1e-4)
    assert found.weight == 0.85


def test_the_contrast_by_hand() -> None:
    """The first video shares an event with the first two that are seen, the second with the last two, the third with
    none. Cosine similarities are (1, 0, 0) and (0, 1, 1).
    """
    first, second = [[1, 0], [0, 4], [1, 0]], [[2, 0], [0, 3], [0, 1]]
    events = [[[1, 0], [1, 0]], [[0, 1], [1, 1]], [[0, 0], [0, 1]]]
    pooled = torch.tensor([list(pair) for pair in zip(first, second, strict=True)]).float()
    found = cross_modal_loss(pooled, torch.tensor(events).bool(), temperature=1.0)
    expected = (math.log(math.e + 2) - 1 / 2 + math.log(1 + 2 * math.e) - 1 + 0) / 3
    assert found.item() == pytest.approx(expected, rel=1e-6)
    halved = cross_modal_loss(pooled, torch.tensor(events).bool(), temperature=0.5)
    expected = (math.log(math.e**2 + 2) - 1 + math.log(1 + 2 * math.e**2) - 2 + 0) / 3
    assert halved.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("matches", [0, 1, 3, 4])
def test_the_targets_of_a_video_sum_to_one_or_to_zero(matches: int) -> None:
    """Where all videos look alike, each that has a match costs ln 4, however many matches it has."""
    events = torch.zeros(4, 2, 2, dtype=torch.bool)
    events[:, 0, 0] = True
    events[:matches, 1] = True
    found = cross_modal_loss(torch.ones(4, 2, 5), events, temperature=1.0)
    assert found.item() == pytest.approx(math.log(4) if matches else 0.0)


def test_no_events_at_all_cost_nothing_and_have_a_gradient() -> None:
    pooled = torch.zeros(3, 2, 4, requires_grad=True)
    loss = cross_modal_loss(pooled, torch.zeros(3, 2, 5, dtype=torch.bool), temperature=1.0)
    torch.autograd.backward(loss)
    assert loss == 0
    assert pooled.grad is not None
    assert (pooled.grad == 0).all()


@pytest.mark.parametrize("shortest", [1, 0])
def test_the_contrast_does_not_depend_on_padding(shortest: int) -> None:
    """Nor on that of a video without any segment."""
    net = test_cvcm.make_net()
    part = a_method(net)
    lengths = (4, 2, 3, shortest)
    longer = four_videos(lengths, longest=6)
    hidden = {name: x.masked_fill(~longer.mask[:, :, None], 50.0) for name, x in longer.features_in.items()}
    found, *others = (
        terms_of(part, net, batch, START)["cross_modal"].value
        for batch in (four_videos(lengths), longer, with_streams(longer, hidden))
    )
    for other in others:
        torch.testing.assert_close(other, found)


def test_the_contrast_teaches_what_encodes_and_not_what_scores() -> None:
    """The gradient comes through both videos of a mixed one."""
    net, batch = test_cvcm.make_net(), four_videos()
    streams = {name: x.clone().requires_grad_() for name, x in batch.features_in.items()}
    loss = terms_of(a_method(net), net, with_streams(batch, streams), START)["cross_modal"].value
    torch.autograd.backward(loss)
    taught = {name.split(".")[0] for name, weight in net.named_parameters() if weight.grad is not None}
    assert taught == {"fusions", "layers", "temporal_head"}
    for name in ("vggish", "res152"):
        slopes = streams[name].grad
        assert slopes is not None
        assert (slopes.abs().sum(-1) > 0)[batch.mask].all()
        assert (slopes[~batch.mask] == 0).all()


def test_processes_compute_the_contrast_of_one() -> None:
    """Of all their videos, each with the partner that one process would draw."""
    net, batch = test_cvcm.make_net(), four_videos((3, 3, 3, 3))
    part = a_method(net)
    alone = terms_of(part, net, batch, START)["cross_modal"].value

    def work(team: Team) -> Tensor:
        mine = rows(batch, list(range(team.rank, 4, team.size)))
        return terms_of(part, net, mine, START, team)["cross_modal"].value

    for found in together(2, work):
        torch.testing.assert_close(found, alone)


# Partners


def test_every_other_video_is_drawn_equally_often() -> None:
    """600 draws for each of six videos: 120 of every other one are expected, with a standard deviation of 10."""
    index = torch.tensor([5, 90, 3, 41, 77, 12])
    drawn = Counter((i, j) for epoch in range(600) for i, j in enumerate(partners(index, epoch, seed=0).tolist()))
    assert {(i, j) for i in range(6) for j in range(6) if i != j} == set(drawn)
    assert 70 < min(drawn.values()) <= max(drawn.values()) < 170


def test_videos_draw_independently_of_one_another() -> None:
    """Two of three videos draw the third in a quarter of the epochs."""
    drawn = [partners(torch.tensor([4, 8, 9]), epoch, seed=0).tolist() for epoch in range(400)]
    assert 60 < sum(i == 2 and j == 2 for i, j, _ in drawn) < 140


def test_the_draw_depends_on_the_videos_and_not_on_their_order() -> None:
    index, order = torch.tensor([12, 10, 13, 11, 30]), torch.tensor([3, 0, 4, 1, 2])
    drawn = index[partners(index, 7, seed=1)]
    assert torch.equal(index[order][partners(index[order], 7, seed=1)], drawn[order])
    others = [index[partners(index, epoch, seed)] for epoch, seed in ((8, 1), (7, 2))]
    assert not any(torch.equal(other, drawn) for other in others)


def test_a_video_that_is_alone_is_its_own_partner() -> None:
    assert partners(torch.tensor([3]), 0, seed=0).tolist() == [0]


# The other terms


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
@torch.no_grad()
def test_labels_are_smoothed_at_first_and_contrasted_then(epoch: int) -> None:
    net, batch = test_cvcm.make_net(), four_videos()
    terms, output, labels = terms_of(a_method(net), net, batch, epoch), net(batch), LABELS[batch.index - 10]
    entropy, (heard, seen) = F.binary_cross_entropy, output.modality_probs.unbind(1)
    asked = 0.9 * labels[:, 1] + 0.05 if epoch < START else labels[:, 1]
    expected = entropy(heard, labels[:, 0]) + entropy(seen, asked)
    torch.testing.assert_close(terms["guided"].value, expected)
    some = (labels.sum(1) > 0).float()  # not the weak labels
    torch.testing.assert_close(terms["mil"].value, entropy(output.video_probs.clamp(1e-7, 1 - 1e-7), some))
    assert list(terms) == (["mil", "guided"] if epoch < START else ["mil", "guided", "cross_modal"])
    assert [term.weight for term in terms.values()] == [1.0, 1.0, 0.85][: len(terms)]


def test_only_the_contrast_depends_on_the_draw() -> None:
    net, batch = test_cvcm.make_net(), four_videos()
    one, other = (terms_of(a_method(net, seed), net, batch, START) for seed in (0, 4))
    assert torch.equal(one["mil"].value, other["mil"].value)
    assert torch.equal(one["guided"].value, other["guided"].value)
    assert not torch.allclose(one["cross_modal"].value, other["cross_modal"].value, rtol=1e-4)


@pytest.mark.parametrize("name", ["visual", "others"])
def test_weights(name: str) -> None:
    net, batch = test_cvcm.make_net(), four_videos()
    part = CVCM(net, MODALITIES, {"video": 0.5, "audio": 2.0, name: 0.0}, 0.0, 1.0, 0, {}, 0, Given())
    output, labels = net(batch), LABELS[batch.index - 10]
    terms = part(Step(net, batch, output, 0, 0.0))
    assert list(terms) == ["mil", "guided"]  # a weight of 0 leaves the contrast out
    expected = 0.5 * mil_loss(output.video_probs, labels.amax(1)) + guided_loss(output.modality_probs, labels, [2, 0])
    torch.testing.assert_close(total(terms), expected)


# Settings


@pytest.mark.parametrize("modalities", [("audio",), ("audio", "visual", "text")])
def test_only_two_modalities_can_be_compared(modalities: tuple[str, ...]) -> None:
    net = test_cvcm.make_net(modalities_of(len(modalities)))
    with pytest.raises(InputError, match=rf"method=cvcm compares two modalities.*{len(modalities)} \(audio"):
        CVCM(net, modalities, {}, 0.85, 1.0, START, {}, 0, Smoothed(modalities, {}))


def test_another_network_cannot_encode_mixed_videos() -> None:
    network = lookup(some_videos([2], [[1.0]]))
    with pytest.raises(InputError, match=r"method=cvcm needs network=cvcm \(or network=han\).*Lookup"):
        a_method(network)


class TestConfigured:
    def test_the_recipe_is_that_of_the_public_code(self) -> None:
        cfg = composed("cvcm", "protocol=cvcm")
        assert (cfg.network.dropout, cfg.network.event_dropout, cfg.network.event_dim) == (0.4, 0.25, 128)
        assert (cfg.optimizer.algorithm, cfg.optimizer.learning_rate, cfg.optimizer.weight_decay) == ("adam", 7e-5, 0)
        assert (cfg.optimizer.schedule.every, cfg.optimizer.schedule.factor) == (7, 0.5)
        assert (cfg.data.batch_size, cfg.trainer.max_epochs) == (64, 40)
        assert (cfg.method.weight_contrastive, cfg.method.temperature, cfg.method.start_epoch) == (0.85, 1.0, 2)
        assert (cfg.protocol.name, cfg.protocol.selection.monitor) == ("cvcm", "val/event/type_av")
        assert cfg.protocol.decision == composed("cvcm").protocol.decision

    @torch.no_grad()
    def test_the_configured_losses(self, build: Build, tiny: ParsingSet) -> None:
        """Labels are the weak ones, with HAN's smoothing of the visual side in the first two epochs."""
        module, _ = build("cvcm")
        assert tiny.train is not None
        batch = tiny.train[torch.arange(8)]
        output, entropy = module.eval()(batch), F.binary_cross_entropy
        for epoch, seen in ((1, 0.9 * batch.weak_labels + 0.05), (2, batch.weak_labels)):
            terms = module.method(Step(module.network, batch, output, epoch, 0.0))
            heard_probs, seen_probs = output.modality_probs.unbind(1)
            expected = entropy(heard_probs, batch.weak_labels) + entropy(seen_probs, seen)
            torch.testing.assert_close(terms["guided"].value, expected)
            torch.testing.assert_close(terms["mil"].value, mil_loss(output.video_probs, batch.weak_labels))
            assert ("cross_modal" in terms) is (epoch == 2)
