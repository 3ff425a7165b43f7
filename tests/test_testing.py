"""What avvp_pl.testing offers: it finds what it promises to find."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from avvp_pl.losses import mil_loss
from avvp_pl.parts import Method, Step, Term
from avvp_pl.testing import losses, resume_differences

SMALL = ("network.dim=8", "network.feedforward_dim=8", "optimizer.learning_rate=0.003")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Base(Method):
    """L_MIL times a factor of its own, with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.own = nn.Parameter(torch.ones(()))

    def factor(self, step: Step) -> float:
        return 1.0

    def forward(self, step: Step) -> dict[str, Term]:
        self.calls += 1
        return {"mil": Term(mil_loss(step.output.video_probs, step.batch.weak_labels) * self.own, self.factor(step))}


class Ramp(Base):
    def factor(self, step: Step) -> float:
        return 1 + step.epoch + step.done


class Counter(Base):
    """Its ramp counts calls, and the count is in no checkpoint."""

    def factor(self, step: Step) -> float:
        return 1.0 + self.calls


class Draws(Base):
    def factor(self, step: Step) -> float:
        return 1 + float(torch.rand(()))


class OwnGenerator(Base):
    """Its generator is in no checkpoint, and starts again after a resume."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def factor(self, step: Step) -> float:
        return 1 + float(torch.rand((), generator=self.generator))


class Negative(Base):
    def factor(self, step: Step) -> float:
        return -1.0


def of(kind: type[Base]) -> list[str]:
    without = [f"~method.{name}" for name in ("class_weighting", "weights", "targets", "contrast")]
    return [*SMALL, *without, f"method._target_={__name__}.{kind.__name__}"]


@pytest.mark.parametrize("overrides", [["+experiment=mil"], ["+experiment=ppl_soft"], ["data.shortest=2"]])
def test_shipped_methods_pass(tmp_path: Path, overrides: list[str]) -> None:
    found = losses([*overrides, *SMALL])
    assert len(found) == 20
    assert found[-1] < 0.9 * found[0]
    assert resume_differences([*overrides, *SMALL], tmp_path) == []


def test_a_loss_that_does_not_fall() -> None:
    found = losses(of(Negative), steps=10)
    assert len(found) == 10
    assert abs(found[-1]) > abs(found[0])


def test_losses_are_those_of_the_epoch() -> None:
    at_0, at_3 = (losses(of(Ramp), epoch=epoch, steps=1)[0] for epoch in (0, 3))
    assert at_3 == pytest.approx(4 * at_0)


@pytest.mark.parametrize("kind", [Ramp, Draws])
def test_what_depends_on_the_step_alone_is_resumed(tmp_path: Path, kind: type[Base]) -> None:
    assert resume_differences(of(kind), tmp_path, stop_after=4) == []


@pytest.mark.parametrize("kind", [Counter, OwnGenerator])
def test_what_is_in_no_checkpoint_is_found(tmp_path: Path, kind: type[Base]) -> None:
    assert {"method.own", "network.event_head.weight", "train/mil", "optimizer"} <= set(
        resume_differences(of(kind), tmp_path, stop_after=4)
    )


def test_a_run_that_ends_before_it_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the run ended before 99 steps"):
        resume_differences([*SMALL, "trainer.max_epochs=1"], tmp_path, stop_after=99)
