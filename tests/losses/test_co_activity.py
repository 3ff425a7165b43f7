"""The loss of two videos with the same event, against loops over pairs, events and segments, and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from avvp_pl.losses.co_activity import co_activity_loss


def randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distance(x: list[float], y: list[float]) -> float:
    dot, norms = sum(a * b for a, b in zip(x, y, strict=True)), math.hypot(*x) * math.hypot(*y)
    return 1 - dot / norms


def parts(features: Tensor, scores: Tensor) -> tuple[list[float], list[float]]:
    """What a video shows of one event [D], and what else it shows; features [L, D], scores [L]."""
    powers = [math.exp(score) for score in scores.tolist()]
    weights = [power / sum(powers) for power in powers]
    length, dims = features.shape
    rows = features.tolist()
    inside = [sum(w * row[d] for w, row in zip(weights, rows, strict=True)) for d in range(dims)]
    outside = [
        sum((1 - w) / max(1, length - 1) * row[d] for w, row in zip(weights, rows, strict=True)) for d in range(dims)
    ]
    return inside, outside


def slow(features: list[Tensor], scores: list[Tensor], weak: Tensor, pairs: int) -> float:
    loss, count = 0.0, 0
    for i in range(0, 2 * pairs, 2):
        for c in range(weak.shape[1]):
            if weak[i, c] and weak[i + 1, c]:
                (h_i, n_i), (h_j, n_j) = (parts(features[v], scores[v][:, c]) for v in (i, i + 1))
                same = distance(h_i, h_j)
                loss += max(0.0, same - distance(h_i, n_j) + 0.5) / 2 + max(0.0, same - distance(h_j, n_i) + 0.5) / 2
                count += 1
    return loss / count


WEAK = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 0, 1], [1, 0, 1], [1, 1, 1], [1, 1, 1]]).double()


@pytest.mark.parametrize("pairs", [1, 2])
@pytest.mark.parametrize("lengths", [(5, 5, 5, 5, 5, 5), (5, 2, 3, 5, 1, 4)])
def test_equals_loops_and_padding_changes_nothing(pairs: int, lengths: tuple[int, ...]) -> None:
    features, scores = randn(0, 6, 5, 4), 2 * randn(1, 6, 5, 4)  # three events and the background
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    short = [[x[:length] for x, length in zip(values, lengths, strict=True)] for values in (features, scores)]
    expected = slow(short[0], short[1], WEAK, pairs)
    for hidden in (0.0, 50.0):
        x, z = (values.masked_fill(~mask[:, :, None], hidden) for values in (features, scores))
        assert co_activity_loss(x, z, WEAK, mask, pairs).item() == pytest.approx(expected, rel=1e-9)


def test_by_hand() -> None:
    """Both videos peak at the same segment: nothing to learn. At different ones: 1 - 0 + 0.5."""
    features, everything = torch.eye(2).expand(2, -1, -1), torch.ones(2, 2, dtype=torch.bool)
    first, second = torch.tensor([[100.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [100.0, 0.0]])
    for scores, expected in (([first, first], 0.0), ([second, second], 0.0), ([first, second], 1.5)):
        found = co_activity_loss(features, torch.stack(scores), torch.ones(2, 1), everything, pairs=1)
        assert found.item() == pytest.approx(expected)


def test_videos_after_the_pairs_do_not_matter() -> None:
    features, scores, mask = randn(2, 6, 3, 4), randn(3, 6, 3, 4), torch.ones(6, 3, dtype=torch.bool)
    assert co_activity_loss(features, scores, WEAK, mask, 2) == co_activity_loss(
        features[:4], scores[:4], WEAK[:4], mask[:4], 2
    )


def test_without_a_shared_event_or_features_the_loss_has_a_gradient_of_0() -> None:
    features, scores = randn(4, 2, 3, 4).requires_grad_(), randn(5, 2, 3, 3).requires_grad_()
    mask, other = torch.ones(2, 3, dtype=torch.bool), torch.eye(2).double()
    loss = co_activity_loss(features, scores, other, mask, 1)
    assert loss == 0
    assert not any(slope.any() for slope in torch.autograd.grad(loss, (features, scores)))
    nothing = co_activity_loss(0 * features, scores, torch.ones(2, 2).double(), mask, 1)
    for slope in torch.autograd.grad(nothing, (features, scores)):
        assert slope.isfinite().all()
