"""Optimizers, learning-rate schedules and gradient clipping, by hand and in real trainings."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from avvp_pl.errors import InputError
from avvp_pl.training.optimization import Constant, Jump, Optimization, Schedule, StepDecay, WarmupCosine
from tests.conftest import Build
from tests.training.trainers import fit

SCHEDULES: dict[str, tuple[Schedule, int, dict[float, float]]] = {
    "constant": (Constant(), 10, {0: 1, 0.5: 1, 9.9: 1}),
    "step decay": (StepDecay(every=3, factor=0.5), 10, {0: 1, 2.99: 1, 3: 0.5, 5.5: 0.5, 6: 0.25, 9.9: 0.125}),
    "a jump": (Jump(after=3, times=4.0), 10, {0: 1, 2.99: 1, 3: 4, 9.9: 4}),
    "a jump before the first epoch": (Jump(after=0, times=0.5), 2, {0: 0.5, 1.5: 0.5}),
    "a warm-up and half a cosine": (
        WarmupCosine(warmup=2, floor=0.0),
        10,
        {0: 0, 0.5: 0.25, 1.5: 0.75, 2: 1, 4: (1 + math.sqrt(0.5)) / 2, 6: 0.5, 8: (1 - math.sqrt(0.5)) / 2, 10: 0},
    ),
    "a cosine that ends at its floor": (WarmupCosine(warmup=0, floor=0.2), 4, {0: 1, 2: 0.6, 4: 0.2, 5: 0.2}),
    "a warm-up of half an epoch": (WarmupCosine(warmup=0.5, floor=0.0), 1, {0.25: 0.5, 0.5: 1, 0.75: 0.5, 1: 0}),
    "once an epoch, counted from 1, as in VALOR": (
        WarmupCosine(warmup=10, floor=0.01, changes="epoch"),
        60,
        {0: 0.1, 0.99: 0.1, 1: 0.2, 8.5: 0.9, 9: 1, 9.9: 1, 34.5: 0.01 + 0.99 * 0.5, 59: 0.01, 59.9: 0.01, 60: 0.01},
    ),
    "a warm-up as long as the training": (WarmupCosine(warmup=3, floor=0.1), 3, {1.5: 0.5, 2.9: 2.9 / 3}),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_by_hand(name: str) -> None:
    schedule, of, expected = SCHEDULES[name]
    optimization = Optimization("adam", 0.01, 0.0, None, schedule)
    for epochs, factor in expected.items():
        assert schedule(epochs, of) == pytest.approx(factor, abs=1e-12)
        assert optimization.rate(epochs, of) == pytest.approx(0.01 * factor, abs=1e-12)


@pytest.mark.parametrize(("algorithm", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_one_step_by_hand(algorithm: Any, kind: type) -> None:
    """Adam's first step is the learning rate towards the gradient's sign; decay is in the gradient, or of the weight.

    A gradient of 1 and a decay of 0.1 of a weight of 20 leave a gradient of 3 for Adam; AdamW takes lr * 0.1 * 20 off.
    """
    weight = nn.Parameter(torch.tensor([20.0]))
    optimizer = Optimization(algorithm, 0.5, 0.1, None, Constant()).build([("weight", weight)])
    assert type(optimizer) is kind
    weight.grad = torch.tensor([1.0])
    optimizer.step()
    assert weight.item() == pytest.approx(20 - 0.5 - (0.5 * 0.1 * 20 if algorithm == "adamw" else 0), abs=1e-5)
    moment = optimizer.state[weight]["exp_avg"].item()
    assert moment == pytest.approx(0.1 * (1 if algorithm == "adamw" else 3))


def test_betas_are_those_of_the_moving_averages() -> None:
    """After one step from zero they hold 1 - beta of the gradient, and of its square."""
    weight = nn.Parameter(torch.tensor([20.0]))
    optimizer = Optimization("adamw", 0.5, 0.0, None, Constant(), betas=[0.5, 0.9]).build([("weight", weight)])
    weight.grad = torch.tensor([3.0])
    optimizer.step()
    assert optimizer.state[weight]["exp_avg"].item() == pytest.approx(0.5 * 3)
    assert optimizer.state[weight]["exp_avg_sq"].item() == pytest.approx(0.1 * 9)


def test_weights_of_some_modules_do_not_follow_the_schedule() -> None:
    """By every part of their names, and only by whole ones."""
    weights = {name: nn.Parameter(torch.zeros(1)) for name in ("net.head.weight", "net.ahead.weight", "head.0.bias")}
    optimization = Optimization("adam", 0.5, 0.0, None, Jump(after=1, times=4.0), unscheduled=["head"])
    optimizer = optimization.build(weights.items())
    for epochs, rates in ((0.5, (0.5, 0.5, 0.5)), (1.0, (0.5, 2.0, 0.5))):
        optimization.set_rate(optimizer, epochs, 2)
        found = {weight: group["lr"] for group in optimizer.param_groups for weight in group["params"]}
        assert tuple(found[weight] for weight in weights.values()) == rates


def test_an_unscheduled_module_that_does_not_exist_is_an_error(build: Build) -> None:
    module, _ = build("mil", "optimizer.unscheduled=[haed]")
    with pytest.raises(InputError, match=r"optimizer\.unscheduled: no module of this run is called 'haed'"):
        module.configure_optimizers()


def test_only_weights_that_are_trained_are_optimized(build: Build) -> None:
    module, _ = build("ppl_soft")
    optimizer = module.configure_optimizers()
    optimized = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert optimized == {id(parameter) for parameter in module.network.parameters()}
    assert len(optimized) < len(list(module.parameters()))


class Rates(pl.Callback):
    """Take down the learning rate that every optimizer step is made with."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        self.seen += [group["lr"] for group in optimizer.param_groups]


class TestTraining:
    """40 videos in batches of 16: three steps an epoch."""

    @pytest.mark.parametrize(
        ("schedule", "settings", "factors"),
        [
            ("constant", (), [1] * 12),
            ("step", ("optimizer.schedule.every=2", "optimizer.schedule.factor=0.5"), [1] * 6 + [0.5] * 6),
            (
                "cosine",
                ("optimizer.schedule.warmup=2", "optimizer.schedule.floor=0.5"),
                [k / 6 for k in range(6)] + [0.5 + 0.25 * (1 + math.cos(math.pi * k / 6)) for k in range(6)],
            ),
        ],
    )
    def test_the_rate_is_set_before_every_step(
        self, build: Build, schedule: str, settings: tuple[str, ...], factors: list[float]
    ) -> None:
        """By the fraction of the epoch that is over, for the first step of a training, too."""
        rates = Rates()
        module, data = build("mil", f"optimizer/schedule={schedule}", "optimizer.learning_rate=0.01", *settings)
        fit(module, data, epochs=4, callbacks=[rates])
        assert rates.seen == pytest.approx([0.01 * factor for factor in factors], abs=1e-12)

    def test_the_rate_of_a_step_of_several_batches_is_that_of_its_last(self, build: Build) -> None:
        """Of two and of one batch, since Lightning makes a step at the end of an epoch."""
        rates = Rates()
        settings = ("optimizer/schedule=cosine", "optimizer.learning_rate=0.6", "optimizer.schedule.warmup=2")
        fit(*build("mil", *settings), epochs=2, callbacks=[rates], accumulate_grad_batches=2)
        assert rates.seen == pytest.approx([0.1, 0.2, 0.4, 0.5])

    @staticmethod
    def clipped(build: Build, *settings: str, **trainer: Any) -> list[torch.Tensor]:
        """The gradients that the first step is made with, of equal weights and an equal batch."""

        class Gradients(pl.Callback):
            def on_before_zero_grad(self, trainer: Any, module: Any, optimizer: Any) -> None:
                for parameter in module.network.parameters():
                    if parameter.grad is not None and len(found) < len(list(module.network.parameters())):
                        found.append(parameter.grad.clone())

        found: list[torch.Tensor] = []
        module, data = build("mil", "network.dropout=0", *settings)
        fit(module, data, callbacks=[Gradients()], **trainer)
        return found

    @staticmethod
    def norm(gradients: list[torch.Tensor]) -> float:
        return math.sqrt(math.fsum(float(gradient.double().square().sum()) for gradient in gradients))

    def test_gradients_are_scaled_to_the_norm(self, build: Build) -> None:
        free = self.clipped(build)
        size = self.norm(free)
        assert size > 0.1
        for given in (0.1, 0.01):
            found = self.clipped(build, f"optimizer.clip_norm={given}")
            assert self.norm(found) == pytest.approx(given, rel=1e-3)
            for gradient, whole in zip(found, free, strict=True):
                torch.testing.assert_close(gradient, whole * given / size, rtol=1e-3, atol=1e-7)

    def test_gradients_of_a_smaller_norm_are_unchanged(self, build: Build) -> None:
        for gradient, whole in zip(self.clipped(build, "optimizer.clip_norm=1e6"), self.clipped(build), strict=True):
            torch.testing.assert_close(gradient, whole, rtol=1e-5, atol=0)

    @pytest.mark.parametrize("trainer", [{}, {"gradient_clip_val": 0.01}])
    def test_gradients_are_clipped_inside_autocast_too(self, build: Build, trainer: Any) -> None:
        found = self.clipped(build, "optimizer.clip_norm=0.01", precision="bf16-mixed", **trainer)
        assert self.norm(found) == pytest.approx(0.01, rel=1e-3)

    def test_the_trainers_own_setting_takes_precedence(self, build: Build) -> None:
        found = self.clipped(build, "optimizer.clip_norm=1e6", gradient_clip_val=0.01)
        assert self.norm(found) == pytest.approx(0.01, rel=1e-3)
        by_value = self.clipped(
            build, "optimizer.clip_norm=0.1", gradient_clip_val=1e-4, gradient_clip_algorithm="value"
        )
        assert max(float(gradient.abs().max()) for gradient in by_value) == pytest.approx(1e-4)
        assert self.norm(by_value) != pytest.approx(0.1, rel=1e-2)
