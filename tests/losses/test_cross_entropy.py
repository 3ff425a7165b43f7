"""Cross-entropy of probabilities is never taken in half precision."""

import pytest
import torch
import torch.nn.functional as F

from avvp_pl.losses.cross_entropy import binary_cross_entropy


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
