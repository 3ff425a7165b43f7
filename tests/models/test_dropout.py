"""Dropout by shared random draws: the right share, the right scale, no pattern."""

from __future__ import annotations

import pytest
import torch

from avvp_pl.models.dropout import Dropout


class Elsewhere(torch.Tensor):
    """Numbers on the CPU that say they are on a GPU, to take the way of one."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda")


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("where", [torch.Tensor, Elsewhere])
def test_share_and_scale(p: float, where: type[torch.Tensor]) -> None:
    """Of a million numbers, within five standard deviations; the mean is kept."""
    x = torch.ones(1000, 1001).as_subclass(where)
    dropped = Dropout(p)(x)
    kept = dropped != 0
    deviation = (p * (1 - p) / x.numel()) ** 0.5
    assert abs(kept.float().mean().item() - (1 - p)) < 5 * deviation + 1 / 65536
    assert len(dropped[kept].unique()) == 1
    assert 1 / dropped[kept][0].item() == pytest.approx(1 - p, rel=0, abs=0.501 / 65536)


def test_numbers_that_share_a_draw_are_independent() -> None:
    """Each of the four places of a draw has its share, and each two of them together have the square."""
    kept = (Dropout(0.3)(torch.ones(200_000, 4)) != 0).float()
    torch.testing.assert_close(kept.mean(0), torch.full((4,), 0.7), atol=0.006, rtol=0)
    together = kept.T @ kept / len(kept)
    torch.testing.assert_close(together[~torch.eye(4, dtype=torch.bool)], torch.full((12,), 0.49), atol=0.006, rtol=0)


@pytest.mark.parametrize(("numbers", "draws"), [(1, 1), (4, 1), (5, 2), (12, 3)])
def test_four_numbers_take_one_draw(numbers: int, draws: int) -> None:
    torch.manual_seed(1)
    Dropout(0.5)(torch.ones(numbers))
    after = torch.rand(3)
    torch.manual_seed(1)
    torch.empty(draws, dtype=torch.int64).random_(-(2**63), None)
    assert torch.equal(torch.rand(3), after)


def test_the_generator_of_torch_decides() -> None:
    dropout, x = Dropout(0.5), torch.ones(3, 7)
    torch.manual_seed(1)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(1)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("where", [torch.Tensor, Elsewhere])
def test_a_residual_is_the_sum(where: type[torch.Tensor]) -> None:
    dropout = Dropout(0.5)
    x, branch = (torch.randn(5, 6).as_subclass(where).requires_grad_() for _ in range(2))
    torch.manual_seed(2)
    apart = x + dropout(branch)
    torch.manual_seed(2)
    together = dropout.residual(x, branch)
    torch.testing.assert_close(together, apart)
    gradients = [torch.autograd.grad(y.square().sum(), branch, retain_graph=True)[0] for y in (apart, together)]
    torch.testing.assert_close(*gradients)
    assert (gradients[0] == 0).any()
    assert (gradients[0] != 0).any()


@pytest.mark.parametrize("where", [torch.Tensor, Elsewhere])
def test_a_p_of_one_drops_nearly_everything_and_stays_finite(where: type[torch.Tensor]) -> None:
    x, dropout = torch.ones(1000).as_subclass(where), Dropout(1.0)
    dropped = dropout(x)
    assert dropped.isfinite().all()
    assert dropout.factors(x).isfinite().all()
    assert (dropped == 0).float().mean() > 0.99


def test_nothing_is_dropped_while_evaluating_or_without_p() -> None:
    x = torch.randn(4, 5)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(0.9).eval()(x), x)
    assert torch.equal(Dropout(0.9).eval().residual(x, x), x + x)
