"""Properties of the loss of any method."""

from __future__ import annotations

import pytest
import torch

from avvp_pl.parts import Method, Step, total


def assert_padding_does_not_matter(method: Method, step: Step, padded: Step) -> None:
    """The second step is the first one with more padding."""
    expected, found = method(step), method(padded)
    for name, term in expected.items():
        assert found[name].value.item() == pytest.approx(term.value.item(), rel=1e-5)


def assert_every_weight_has_a_gradient(method: Method, step: Step) -> None:
    names, parameters = zip(*step.network.named_parameters(), strict=True)
    for name, slope in zip(names, torch.autograd.grad(total(method(step)), parameters), strict=True):
        assert slope.isfinite().all(), name
        assert slope.any(), name
