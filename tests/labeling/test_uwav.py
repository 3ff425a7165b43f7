"""UWAV's losses: against sums over single segments, and the same in several processes as in one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from avvp_pl.data.products import Product, write_product
from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError
from avvp_pl.labeling.uwav import BalancedAndMixed, balanced_loss, partners
from avvp_pl.models import HAN
from avvp_pl.parts import Step, Team, Term
from tests.stand_ins import Padded, lookup, some_videos, together

MODALITIES, EVENTS = ("audio", "visual"), ("bell", "dog", "cat", "car")
LENGTHS = [3, 1, 4, 2]
WEAK = [[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]


def videos_of(lengths: Sequence[int] = LENGTHS) -> VideoSet:
    videos = some_videos(lengths, WEAK)
    truth = torch.zeros(sum(lengths), 2, 4, dtype=torch.bool)
    return VideoSet(videos.names, videos.lengths, videos.streams, videos.weak_labels, truth)


def soft_labels(videos: VideoSet) -> npt.NDArray[np.float32]:
    drawn = np.random.default_rng(0).random((videos.num_segments, 2, 4), dtype=np.float32)
    labels: npt.NDArray[np.float32] = (
        drawn * np.repeat(videos.weak_labels.numpy(), videos.lengths.numpy(), axis=0)[:, None]
    )
    return labels


def network() -> HAN:
    torch.manual_seed(0)
    return HAN({"audio": ["stream"], "visual": ["stream"]}, {"stream": 1}, 4, dim=8, feedforward_dim=8, dropout=0.0)


def labeling(tmp_path: Path, videos: VideoSet, net: HAN, **others: Any) -> BalancedAndMixed:
    path = tmp_path / "labels.npz"
    write_product(
        path, Product("labels", videos.names, videos.lengths.numpy(), MODALITIES, EVENTS, soft_labels(videos))
    )
    settings: dict[str, Any] = {
        "label_threshold": 0.5, "weight_pseudo_label": 1.0, "start_epoch": 0, "positive_weight": 0.5,
        "weight_mixup": 1.0, "mixup_alpha": 1.7, "seed": 3,
    }  # fmt: skip
    part = BalancedAndMixed(net, MODALITIES, EVENTS, str(path), **(settings | others))
    part.start(videos)
    part.refresh(videos, 0, Team())
    return part


def step_on(net: HAN, videos: VideoSet, rows: Sequence[int], epoch: int = 2, number: int = 5, team: Any = None) -> Step:
    batch = videos[torch.tensor(rows)]
    return Step(net, batch, net(batch), epoch, 0.0, team or Team(), number)


def entropy(p: float, z: float) -> float:
    return -z * math.log(p) - (1 - z) * math.log(1 - p)


def test_the_balanced_loss_is_a_sum_over_single_segments(tmp_path: Path) -> None:
    videos, net = videos_of(), network()
    part, rows = labeling(tmp_path, videos, net, weight_mixup=0.0), [2, 0, 1]
    labels, step = soft_labels(videos), step_on(net, videos, rows)
    found = part(step)
    assert found.keys() == {"pseudo_label"}
    expected = 0.0
    for m in range(2):
        share = sum(float(z > 0.5) for z in labels[:, m].flat) / 10  # events of a segment, on average
        losses = []
        for b, row in enumerate(rows):
            for t in range(LENGTHS[row]):
                for c in range(4):
                    weight = 0.5 * (4 - share) if WEAK[row][c] else share
                    z = float(labels[sum(LENGTHS[:row]) + t, m, c])
                    losses.append(weight * entropy(step.output.segment_probs[b, t, m, c].item(), z))
        expected += sum(losses) / len(losses)
    assert found["pseudo_label"].value.item() == pytest.approx(expected, rel=1e-5)


def test_weights_by_hand() -> None:
    """s = 2 of 8 events: 0.5 (8 - 2) = 3 for the event of the video, 2 for the other seven, all of ln 2."""
    probs, weak, real = torch.full((1, 1, 1, 8), 0.5), torch.eye(8)[:1], torch.ones(1, 1, dtype=torch.bool)
    found = balanced_loss(probs, torch.rand(1, 1, 1, 8), weak, real, torch.tensor([2.0]), 0.5)
    assert found.item() == pytest.approx(math.log(2) * (3 + 7 * 2) / 8)


def mixup(part: BalancedAndMixed, step: Step) -> Term:
    return part(step)["mixup"]


def test_mixed_segments_against_single_ones(tmp_path: Path) -> None:
    videos, net = videos_of(), network()
    part, rows = labeling(tmp_path, videos, net), [2, 0, 3]
    step = step_on(net, videos, rows)
    labels = torch.from_numpy(soft_labels(videos))
    kept = np.random.default_rng([3, 2, 5]).beta(1.7, 1.7, size=2)  # by seed, epoch and number of the batch
    mask, segment = step.batch.mask.flatten(), step.batch.segment.flatten()
    expected = 0.0
    for m in range(2):
        partner = partners(segment, mask, 2 * 2 + m, seed=3)
        features = step.output.features[:, :, m].flatten(0, 1)
        losses = []
        for i in mask.nonzero().flatten().tolist():
            j = int(partner[i])
            assert mask[j]
            x = kept[m] * features[i] + (1 - kept[m]) * features[j]
            for p, z, other in zip(
                net.event_head(x).sigmoid().tolist(), labels[segment[i], m], labels[segment[j], m], strict=True
            ):
                losses.append(kept[m] * entropy(float(p), float(z)) + (1 - kept[m]) * entropy(float(p), float(other)))
        assert len(losses) == 9 * 4
        expected += sum(losses) / len(losses)
    found = mixup(part, step)
    assert found.weight == 1.0
    assert found.value.item() == pytest.approx(expected, rel=1e-5)
    torch.autograd.backward(found.value)
    assert net.event_head.weight.grad is not None
    assert all(weight.grad is not None for weight in net.layers.parameters())


@pytest.mark.parametrize("kept", [0.0, 1.0])
def test_without_mixing_it_is_plain_cross_entropy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: float) -> None:
    """A fraction of 1 keeps each segment; of 0 it becomes another one, of which each has its turn."""

    class Drawn:
        def beta(self, a: float, b: float, size: int) -> Any:
            return np.full(size, kept)

    videos, net = videos_of(), network()
    part, step = labeling(tmp_path, videos, net), step_on(net, videos, [2, 0, 1])
    labels = torch.from_numpy(soft_labels(videos))[step.batch.segment]
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Drawn())
    plain = sum(
        torch.nn.functional.binary_cross_entropy(
            step.output.segment_probs[step.batch.mask][:, m], labels[step.batch.mask][:, m]
        )
        for m in range(2)
    )
    torch.testing.assert_close(mixup(part, step).value, plain)


def test_padding_changes_nothing(tmp_path: Path) -> None:
    """Neither how much of it there is, nor what is in it."""
    videos, net = videos_of(), network()
    part = labeling(tmp_path, videos, net)
    expected = part(step_on(net, videos, [3, 2, 1]))
    found = part(step_on(net, Padded.of(videos, more=3, garbage=50.0), [3, 2, 1]))
    for name, term in expected.items():
        torch.testing.assert_close(found[name].value, term.value)


def test_several_processes_mix_as_one_does(tmp_path: Path) -> None:
    """Each with the same segments, whoever has them."""
    videos, net = videos_of([2, 2, 2, 2]), network()
    part = labeling(tmp_path, videos, net)
    whole = part(step_on(net, videos, [1, 3, 0, 2]))

    def work(team: Team) -> dict[str, Tensor]:
        step = step_on(net, videos, [[0, 1], [2, 3]][team.rank], team=team)
        return {name: term.value for name, term in part(step).items()}

    found = together(2, work)
    for name, term in whole.items():
        torch.testing.assert_close((found[0][name] + found[1][name]) / 2, term.value)


def test_mixing_depends_on_seed_epoch_and_batch(tmp_path: Path) -> None:
    videos, net = videos_of(), network()
    part, other = labeling(tmp_path, videos, net), labeling(tmp_path, videos, net, seed=4)
    losses = [
        mixup(part, step_on(net, videos, [2, 0])).value.item(),
        mixup(part, step_on(net, videos, [2, 0], epoch=3)).value.item(),
        mixup(part, step_on(net, videos, [2, 0], number=6)).value.item(),
        mixup(other, step_on(net, videos, [2, 0])).value.item(),
    ]
    assert len(set(losses)) == 4
    torch.rand(7)  # not on the global generator
    assert mixup(part, step_on(net, videos, [2, 0])).value.item() == losses[0]


def test_partners_are_a_uniform_permutation_of_the_real_segments() -> None:
    segment, real = torch.tensor([4, 9, 9, 2, 7]), torch.tensor([True, True, False, True, True])
    counts = torch.zeros(5, 5)
    for draw in range(4000):
        partner = partners(segment, real, draw, seed=0)
        assert sorted(partner.tolist()) == [0, 1, 2, 3, 4]
        assert partner[2] == 2
        counts[torch.arange(5), partner] += 1
    chosen = counts[real][:, real]
    assert (chosen - 1000).abs().max() < 120  # four standard deviations of 27
    order = torch.tensor([3, 0, 4, 2, 1])
    again, before = partners(segment[order], real[order], 7, seed=0), partners(segment, real, 7, seed=0)
    assert torch.equal(segment[order][again], segment[before][order])  # the same pairs in any order


def test_networks_without_the_event_head_are_refused(tmp_path: Path) -> None:
    videos = videos_of()
    with pytest.raises(InputError, match="labeling=uwav needs a network with HAN's linear event head"):
        labeling(tmp_path, videos, lookup(videos))  # type: ignore[arg-type]


def test_without_mixing_any_network_can_learn(tmp_path: Path) -> None:
    videos = videos_of()
    part = labeling(tmp_path, videos, lookup(videos), weight_mixup=0.0)  # type: ignore[arg-type]
    assert part.weight_mixup == 0
