"""EM-MIL's losses and targets against loops and by hand, what is trained when, and that the rest rests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from avvp_pl.errors import InputError
from avvp_pl.methods.em_mil import ExpectationMaximization, event_targets, key_targets, phase_of, video_loss
from avvp_pl.models.em_mil import EMMIL, EMMILOutput
from avvp_pl.parts import Step, total
from avvp_pl.training.optimization import Constant, Optimization
from tests.models.networks import EVENTS, make_batch, rows
from tests.models.test_em_mil import make_net, parsed
from tests.stand_ins import Lookup

PHASES = (2, 3, 1)
STEPS = "MMEEEMEMEM"  # of the epochs from 0 on
VIDEO_EPOCHS = 4
MARGIN = 0.15
LABELS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def method(net: EMMIL | None = None) -> ExpectationMaximization:
    return ExpectationMaximization(net or make_net(), PHASES, MARGIN, VIDEO_EPOCHS)


def step_of(epoch: int, longest: int | None = None) -> Step:
    net, batch = make_net(), replace(make_batch((4, 1, 3), longest), weak_labels=LABELS)
    return Step(net, batch, parsed(net, batch), epoch, 0.0)


def entropy(p: float, y: float) -> float:
    return -math.log(p) if y else -math.log(1 - p)


def slow_losses(step: Step, all_key: bool) -> dict[str, float]:
    """One video, one segment and one event at a time."""
    output, sums = step.output, {"keys": 0.0, "events": 0.0, "video": 0.0}
    assert isinstance(output, EMMILOutput)
    videos = len(step.batch.weak_labels)
    for b, length in enumerate(step.batch.mask.sum(1).tolist()):
        events = [c for c in range(EVENTS) if step.batch.weak_labels[b, c]]
        q, p = output.key_probs[b, :length].tolist(), output.event_probs[b, :length].tolist()
        key = [sum(row) / len(row) for row in q]
        least = sum(key) / length + MARGIN * (max(key) - min(key))
        of_event = [[sum(p[t][n][c] for n in range(2)) / 2 for t in range(length)] for c in range(EVENTS)]
        is_key = [any(of_event[c][t] > sum(of_event[c]) / length + 1e-7 for c in events) for t in range(length)]
        for n in range(2):
            sums["keys"] += sum(entropy(q[t][n], is_key[t]) for t in range(length)) / length
            for c in range(EVENTS):
                shown = [c in events and (all_key or key[t] > least + 1e-7) for t in range(length)]
                sums["events"] += sum(entropy(p[t][n][c], shown[t]) for t in range(length)) / length
        sums["video"] -= sum(math.log(output.video_probs[b, c].item()) for c in events) / len(events)
    return {name: value / videos for name, value in sums.items()}


@pytest.mark.parametrize("epoch", [0, 2, 5, 6])
def test_the_losses_equal_the_loops(epoch: int) -> None:
    step = step_of(epoch, longest=5)
    terms = method()(step)
    expected = slow_losses(step, all_key=epoch < PHASES[0])
    assert {name: term.value.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)
    assert {name: term.weight for name, term in terms.items()} == {
        "keys": float(STEPS[epoch] == "E"),
        "events": float(STEPS[epoch] == "M"),
        "video": float(epoch < VIDEO_EPOCHS),
    }


def test_the_phases() -> None:
    assert "".join(phase_of(epoch, PHASES).step for epoch in range(len(STEPS))) == STEPS
    assert [phase_of(epoch, PHASES).all_key for epoch in range(len(STEPS))] == [True] * 2 + [False] * 8


def test_the_phases_of_the_public_code() -> None:
    """65 epochs, of which the last one, which is tested, is an E step."""
    steps = "".join(phase_of(epoch, (10, 10, 10)).step for epoch in range(65))
    assert steps == "M" * 10 + "E" * 10 + "M" * 10 + "EM" * 17 + "E"


def test_targets_by_hand() -> None:
    """p of event 0 is above its mean of 0.5 in the second segment, and of event 2 above 0.3 in the third."""
    mask = torch.ones(1, 3, dtype=torch.bool)
    probs = torch.tensor([[[0.1, 0.9, 0.2], [0.9, 0.1, 0.2], [0.5, 0.1, 0.5]]])
    assert key_targets(probs, torch.tensor([[1.0, 0.0, 1.0]]), mask).tolist() == [[False, True, True]]
    assert key_targets(probs, torch.tensor([[0.0, 1.0, 0.0]]), mask).tolist() == [[True, False, False]]
    assert not key_targets(probs, torch.zeros(1, 3), mask).any()
    # q has the mean 0.5 and the range 0.6, so that 0.59 is the limit
    q = torch.tensor([[0.2, 0.58, 0.6, 0.8, 0.32]])
    assert event_targets(q, torch.ones(1, 5).bool(), MARGIN).tolist() == [[False, False, True, True, False]]
    padded = event_targets(q, torch.tensor([[True, True, True, False, False]]), MARGIN)  # above 0.46 + 0.15 * 0.4
    assert padded.tolist() == [[False, True, True, False, False]]
    assert not event_targets(torch.full((1, 5), 0.4), torch.ones(1, 5).bool(), MARGIN).any()


def test_the_loss_of_videos_by_hand() -> None:
    """Two events share the label: -(log 0.5 + log 0.125) / 2 = log 4."""
    probs = torch.tensor([[0.5, 0.125, 0.375], [0.0, 0.0, 0.0]])
    assert video_loss(probs, torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])).tolist() == pytest.approx(
        [math.log(4), 0.0]
    )


@pytest.mark.parametrize("epoch", [0, 2, 5])
def test_neither_padding_nor_its_content_matters(epoch: int) -> None:
    short, long = step_of(epoch), step_of(epoch, longest=7)
    output = long.output
    assert isinstance(output, EMMILOutput)
    padding = ~long.batch.mask
    spoiled = replace(
        output,
        key_probs=output.key_probs.masked_fill(padding[:, :, None], 0.99),
        event_probs=output.event_probs.masked_fill(padding[:, :, None, None], 0.99),
        segment_probs=output.segment_probs.masked_fill(padding[:, :, None, None], 0.99),
    )
    for name, term in method()(short).items():
        assert method()(long._replace(output=spoiled))[name].value.item() == pytest.approx(term.value.item(), rel=1e-5)


@pytest.mark.parametrize("epoch", [0, 2, 5])
@pytest.mark.parametrize("lacking", ["events", "segments"])
def test_a_video_without_events_or_without_segments_teaches_nothing(epoch: int, lacking: str) -> None:
    """It counts in the mean over the videos, though."""
    step = step_of(epoch)
    net, batch = step.network, step.batch
    two = rows(batch, [0, 1])
    if lacking == "events":
        batch = replace(batch, weak_labels=LABELS * torch.tensor([[1.0], [1.0], [0.0]]))
    else:
        batch = replace(batch, mask=batch.mask & torch.tensor([[True], [True], [False]]))
    expected = method()(step._replace(batch=two, output=net(two)))
    found = method()(step._replace(batch=batch, output=net(batch)))
    for name, term in expected.items():
        assert found[name].value.item() == pytest.approx(2 / 3 * term.value.item(), rel=1e-5)


@pytest.mark.parametrize("epoch", range(8))
def test_only_what_is_trained_moves(epoch: int) -> None:
    """All weights get a gradient, but what rests has no step counted."""
    step = step_of(epoch)
    net, part = step.network, method(step.network)  # type: ignore[arg-type]
    assert isinstance(net, EMMIL)
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    optimizer = Optimization("adam", 0.1, 0.0, None, Constant()).build(net.named_parameters())
    total(part(step)).backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())
    part.before_step(net, epoch)
    optimizer.step()
    trained = {
        "key_branches": STEPS[epoch] == "E",
        "event_branches": STEPS[epoch] == "M",
        "video_classifier": epoch < VIDEO_EPOCHS,
    }
    for name, weight in net.named_parameters():
        moves = trained[name.partition(".")[0]]
        assert torch.equal(weight, before[name]) != moves, name
        assert (weight in optimizer.state) == moves, name


def test_targets_have_no_gradient() -> None:
    """The loss of keys has none in the branches of events, and the other way round."""
    step, part = step_of(2), method()
    net = step.network
    assert isinstance(net, EMMIL)
    for name, others in (("keys", net.event_branches), ("events", net.key_branches)):
        slopes = torch.autograd.grad(
            part(step)[name].value, list(others.parameters()), allow_unused=True, retain_graph=True
        )
        assert all(slope is None or not slope.any() for slope in slopes)


def test_another_network_is_an_error() -> None:
    with pytest.raises(InputError, match="method=em_mil needs network=em_mil: Lookup has no branch of keys"):
        ExpectationMaximization(Lookup(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)), PHASES, MARGIN, 1)


@pytest.mark.parametrize(("phases", "steps"), [((0, 0, 0), "EMEMEM"), ((0, 2, 0), "EEEMEM"), ((1, 0, 2), "MMMEME")])
def test_a_phase_may_be_missing(phases: Sequence[int], steps: str) -> None:
    assert "".join(phase_of(epoch, phases).step for epoch in range(6)) == steps
