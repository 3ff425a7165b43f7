from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from avvp_pl.losses.cross_entropy import binary_cross_entropy


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_to_the_bit_torchs_own(reduction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    probs, targets, weight = (torch.rand(8, 5, generator=generator) for _ in range(3))
    probs[0, :2] = torch.tensor([0.0, 1.0])
    results = []
    for function in (binary_cross_entropy, F.binary_cross_entropy):
        own = probs.clone().requires_grad_()
        loss = function(own, targets, weight=weight, reduction=reduction)
        (gradient,) = torch.autograd.grad(loss.sum(), own)
        results.append((loss.detach(), gradient))
    for mine, theirs in zip(*results, strict=True):
        assert torch.equal(mine, theirs)


def test_a_nan_is_answered_by_nan_where_torch_would_raise() -> None:
    probs = torch.tensor([0.5, float("nan"), 1.0])
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        F.binary_cross_entropy(probs, torch.ones(3))
    assert binary_cross_entropy(probs, torch.ones(3)).isnan()
    assert binary_cross_entropy(probs, torch.ones(3), reduction="none").isnan().tolist() == [False, True, False]


def test_autocast_is_off_inside_and_on_again_after(monkeypatch: pytest.MonkeyPatch) -> None:
    enabled: list[bool] = []

    def remember(probs: torch.Tensor, targets: torch.Tensor, **_: object) -> torch.Tensor:
        enabled.append(torch.is_autocast_enabled("cpu"))
        return probs

    monkeypatch.setattr(F, "binary_cross_entropy", remember)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        binary_cross_entropy(torch.rand(2, 3), torch.ones(2, 3))
        enabled.append(torch.is_autocast_enabled("cpu"))
    assert enabled == [False, True]
