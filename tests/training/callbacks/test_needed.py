"""Callbacks that the parts rely on: a run that lacks one is refused, whichever way it came to lack it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest

from avvp_pl.errors import InputError
from avvp_pl.methods.guided import Guided
from avvp_pl.parts import Part
from avvp_pl.training.callbacks.best_epoch import BestEpoch
from avvp_pl.training.callbacks.fit_inference import FitInference
from avvp_pl.training.callbacks.needed import _first_selected, check_test, check_training
from avvp_pl.training.callbacks.refresh_pseudo_labels import RefreshPseudoLabels
from avvp_pl.training.callbacks.seed_steps import SeedSteps
from avvp_pl.training.module import ParsingModule
from tests.conftest import Build
from tests.training.trainers import trainer_of

SCORE = "val/segment/type_av"


class Own(Guided):
    """A method that remembers the best epoch."""

    def keep_best(self) -> None:
        """Remember it."""


def callbacks(folder: Path, *without: str, monitor: str | None = SCORE) -> list[pl.Callback]:
    made: dict[str, pl.Callback] = {
        "seed_steps": SeedSteps(0),
        "refresh": RefreshPseudoLabels(str(folder)),
        "best": BestEpoch(str(folder), "best", monitor, "max"),
        "fit": FitInference(),
    }
    return [callback for name, callback in made.items() if name not in without]


def check(
    module: ParsingModule, folder: Path, *without: str, monitor: str | None = SCORE, epochs: int = 5, **more: Any
) -> None:
    found = callbacks(folder, *without, monitor=monitor)
    checkpoints = any(isinstance(callback, BestEpoch) for callback in found)
    check_training(trainer_of(epochs, callbacks=found, enable_checkpointing=checkpoints, **more), module, monitor)


BY_MOMENTUM = "labeling.source=momentum"  # and not by the best epoch so far


@pytest.mark.parametrize("experiment", ["mil", "npl_soft", "ppl_soft"])
def test_a_run_with_all_of_them_passes(build: Build, tmp_path: Path, experiment: str) -> None:
    check(build(experiment)[0], tmp_path)


def test_a_run_that_cannot_be_resumed_exactly_is_told_of(
    build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = "callbacks.seed_steps is missing: if this run is interrupted and resumed, its results will differ"
    check(build("mil")[0], tmp_path)
    assert said not in caplog.messages
    check(build("mil")[0], tmp_path, "seed_steps")
    assert said in caplog.messages


@pytest.mark.parametrize(("epochs", "start", "warned"), [(1, 1, True), (3, 5, True), (2, 1, False), (5, 0, False)])
@pytest.mark.parametrize("experiment", ["npl_soft", "ppl_soft"])
def test_labels_that_begin_after_the_last_epoch_are_warned_of(
    build: Build,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    experiment: str,
    epochs: int,
    start: int,
    warned: bool,
) -> None:
    module, _ = build(experiment, BY_MOMENTUM, f"labeling.start_epoch={start}")
    check(module, tmp_path, epochs=epochs)
    said = f"labeling.start_epoch={start}, but trainer.max_epochs={epochs}: the training ends before labeling ("
    assert any(message.startswith(said) for message in caplog.messages) == warned


def test_a_trial_ends_after_one_epoch_whatever_the_number_of_epochs_is(
    build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check(build("npl_soft", BY_MOMENTUM)[0], tmp_path, epochs=3, fast_dev_run=3)
    said = "labeling.start_epoch=1, but trainer.fast_dev_run ends after one epoch: the training ends before labeling ("
    assert any(message.startswith(said) for message in caplog.messages)


def test_what_nothing_relies_on_may_be_removed(build: Build, tmp_path: Path) -> None:
    check(build("mil")[0], tmp_path, "refresh", "fit")
    check(build("mil")[0], tmp_path, "refresh", "fit", "best", monitor=None)
    check(build("npl_soft", BY_MOMENTUM)[0], tmp_path, "fit", "best", monitor=None)


@pytest.mark.parametrize("experiment", ["npl_soft", "ppl_soft"])
def test_labels_that_nothing_would_make_are_refused(build: Build, tmp_path: Path, experiment: str) -> None:
    name = {"npl_soft": "Naive", "ppl_soft": "Prototype"}[experiment]
    with pytest.raises(InputError, match=rf"^callbacks\.refresh is missing, but labeling \({name}\) relies on it"):
        check(build(experiment)[0], tmp_path, "refresh")


@pytest.mark.parametrize("experiment", ["npl_soft", "ppl_soft"])
@pytest.mark.parametrize("monitor", [SCORE, None])
def test_labels_by_a_best_epoch_that_nothing_selects_are_refused(
    build: Build, tmp_path: Path, experiment: str, monitor: str | None
) -> None:
    with pytest.raises(InputError, match=r"^callbacks\.best is missing, but labeling \(\w+\) relies on it"):
        check(build(experiment)[0], tmp_path, "best", monitor=monitor)


def test_a_part_of_the_users_own_that_remembers_the_best_epoch_relies_on_it(build: Build, tmp_path: Path) -> None:
    module, _ = build("mil", f"method._target_={__name__}.Own")
    check(module, tmp_path)
    with pytest.raises(InputError, match=r"^callbacks\.best is missing, but method \(Own\) relies on it"):
        check(module, tmp_path, "best", monitor=None)
    assert not Part().needs_best


def test_a_score_that_selects_nothing_is_refused(build: Build, tmp_path: Path) -> None:
    """Reports would say that the epoch was selected by it."""
    with pytest.raises(InputError, match=rf"so no epoch is selected by protocol.selection.monitor={SCORE}; give "):
        check(build("mil")[0], tmp_path, "best")
    for more in ({"limit_val_batches": 0}, {"limit_val_batches": 0.0}, {"check_val_every_n_epoch": 6}):
        with pytest.raises(InputError, match=rf"^protocol.selection.monitor={SCORE} selects no epoch"):
            check(build("mil")[0], tmp_path, **more)
        check(build("mil")[0], tmp_path, monitor=None, **more)
    check(build("mil")[0], tmp_path, check_val_every_n_epoch=5)


def test_two_best_epochs_are_refused(build: Build, tmp_path: Path) -> None:
    other = BestEpoch(str(tmp_path), "other", "val/event/type_av", "max")
    trainer = trainer_of(callbacks=[*callbacks(tmp_path), other], enable_checkpointing=True)
    with pytest.raises(InputError, match="several callbacks of the class BestEpoch"):
        check_training(trainer, build("mil")[0], SCORE)


@pytest.mark.parametrize(
    ("start", "every", "accepted"), [(0, 1, False), (1, 1, True), (1, 2, False), (2, 2, True), (3, 5, False)]
)
def test_labels_by_the_best_epoch_need_one(
    build: Build, tmp_path: Path, start: int, every: int, accepted: bool
) -> None:
    module, _ = build("npl_soft", f"labeling.start_epoch={start}")
    if accepted:
        check(module, tmp_path, check_val_every_n_epoch=every)
        return
    with pytest.raises(
        InputError, match=rf"^labeling.start_epoch={start}: .* give labeling.start_epoch={every} or more"
    ):
        check(module, tmp_path, check_val_every_n_epoch=every)


@pytest.mark.parametrize("monitor", [None, SCORE])
def test_before_the_first_epoch_there_is_no_best_one(build: Build, tmp_path: Path, monitor: str | None) -> None:
    module, _ = build("npl_soft", "labeling.start_epoch=0")
    with pytest.raises(InputError, match=r"but epoch 0 is the first that can be the best"):
        check(module, tmp_path, monitor=monitor)
    check(build("npl_soft", "labeling.start_epoch=0", BY_MOMENTUM)[0], tmp_path, monitor=monitor)


@pytest.mark.parametrize("monitor", [None, SCORE, "train/loss"])
@pytest.mark.parametrize("every", [1, 2, 3, 4])
@pytest.mark.parametrize("limit", [0, 1.0])
def test_the_first_epoch_that_can_be_the_best_is_the_one_in_a_training(
    build: Build, tmp_path: Path, monitor: str | None, every: int, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, data = build("mil", "optimizer.learning_rate=1e-3")
    epochs: list[int] = []
    monkeypatch.setattr(module, "keep_best", lambda: epochs.append(module.current_epoch))
    best = BestEpoch(str(tmp_path), "best", monitor, "max")
    trainer = trainer_of(
        3, callbacks=[best], enable_checkpointing=True, check_val_every_n_epoch=every, limit_val_batches=limit
    )
    expected = _first_selected(trainer, monitor)
    trainer.fit(module, data)
    assert (epochs[0] if epochs else None) == expected


def test_an_inference_that_nothing_would_fit_is_refused(build: Build, tmp_path: Path) -> None:
    module, _ = build("ppl_soft")
    message = r"^callbacks\.fit is missing, but inference\.prototype \(PrototypeInference\) relies on it"
    with pytest.raises(InputError, match=message):
        check(module, tmp_path, "fit")
    with pytest.raises(InputError, match=message):
        check_test(trainer_of(), module)
    check_test(trainer_of(callbacks=[FitInference()]), module)
    check_test(trainer_of(), build("ppl_soft", "inference=classifier")[0])
