"""Which callbacks the parts of a run rely on: without one of them, its results would be wrong without any error."""

from __future__ import annotations

import logging

import lightning.pytorch as pl

from avvp_pl.errors import InputError
from avvp_pl.parts import Inference, Part, overrides
from avvp_pl.training.callbacks.best_epoch import BestEpoch
from avvp_pl.training.callbacks.fit_inference import FitInference
from avvp_pl.training.callbacks.refresh_pseudo_labels import RefreshPseudoLabels
from avvp_pl.training.callbacks.seed_steps import SeedSteps
from avvp_pl.training.module import ParsingModule, setting_of

log = logging.getLogger(__name__)


def check_training(trainer: pl.Trainer, module: ParsingModule, monitor: str | None) -> None:
    """Raise :class:`InputError` if a training would not call its parts as they need it.

    ``monitor`` is the score by which the protocol selects the epoch that is tested; None: the last epoch.
    """
    if trainer.overfit_batches:  # type: ignore[attr-defined]
        raise InputError(
            "trainer.overfit_batches: every epoch has other batches here; to see whether a training can overfit, give "
            "less data, such as data.sizes.train=16"
        )
    if not trainer.limit_train_batches:
        raise InputError(f"trainer.limit_train_batches={trainer.limit_train_batches}: nothing would be trained")
    for name, part in module.parts.items():
        if overrides(part, Part.refresh) and not _of_kind(trainer, RefreshPseudoLabels):
            raise InputError(
                f"callbacks.refresh is missing, but {_named(name, part)} relies on it: nothing else makes its labels "
                "before an epoch; restore it (callbacks=default)"
            )
    _check_best(trainer, module, monitor)
    check_test(trainer, module)
    start, epochs = getattr(module.labeling, "start_epoch", None), trainer.max_epochs
    if start is not None and epochs is not None and 0 <= epochs <= start:
        is_trial: bool = trainer.fast_dev_run  # type: ignore[attr-defined]
        log.warning(
            "labeling.start_epoch=%s, but %s: the training ends before %s makes its first pseudo labels, so the "
            "network learns from weak labels alone; give more epochs or an earlier start_epoch",
            start,
            "trainer.fast_dev_run ends after one epoch" if is_trial else f"trainer.max_epochs={epochs}",
            _named("labeling", module.labeling),
        )
    if not _of_kind(trainer, SeedSteps):
        log.warning("callbacks.seed_steps is missing: if this run is interrupted and resumed, its results will differ")


def check_test(trainer: pl.Trainer, module: ParsingModule) -> None:
    """Raise :class:`InputError` if a test would test nothing, or would use an inference without fitting it first."""
    if not trainer.limit_test_batches:
        raise InputError(f"trainer.limit_test_batches={trainer.limit_test_batches}: nothing would be tested")
    for name, inference in module.inferences.items():
        if overrides(inference, Inference.fit) and not _of_kind(trainer, FitInference):
            raise InputError(
                f"callbacks.fit is missing, but {_named(f'inferences.{name}', inference)} relies on it: nothing else "
                "fits it before a test; restore it"
            )


def check_prediction(trainer: pl.Trainer, module: ParsingModule) -> None:
    """Raise :class:`InputError` if not all videos would be parsed, in this process, by an inference that is fitted."""
    check_test(trainer, module)
    if trainer.world_size > 1:
        raise InputError("predict runs in one process; give trainer.devices=1")
    is_trial: bool = trainer.fast_dev_run  # type: ignore[attr-defined]
    if is_trial or trainer.limit_predict_batches != 1.0 or isinstance(trainer.limit_predict_batches, int):
        raise InputError(
            "predict parses all videos of a split; leave out trainer.fast_dev_run and trainer.limit_predict_batches"
        )


def _check_best(trainer: pl.Trainer, module: ParsingModule, monitor: str | None) -> None:
    """Check that one best epoch is selected, if anything uses it, and before it is used."""
    selecting = _of_kind(trainer, BestEpoch)
    if len(selecting) > 1:
        raise InputError(
            "callbacks: there are several callbacks of the class BestEpoch, but a run has one best epoch; to save "
            "further checkpoints, use lightning.pytorch.callbacks.ModelCheckpoint"
        )
    if not selecting:
        users = [_named(name, part) for name, part in module.parts.items() if part.needs_best]
        if users:
            raise InputError(
                f"callbacks.best is missing, but {' and '.join(users)} relies on it: nothing else selects the best "
                "epoch; restore it (callbacks=default), or label without it (labeling.source=momentum)"
            )
        if monitor is not None:
            raise InputError(
                f"callbacks.best is missing, so no epoch is selected by protocol.selection.monitor={monitor}; give "
                "protocol.selection.monitor=null as well, so that the last epoch is tested"
            )
        return
    first = _first_selected(trainer, monitor)
    if first is None:
        raise InputError(
            f"protocol.selection.monitor={monitor} selects no epoch, because the trainer never validates "
            "(trainer.limit_val_batches, trainer.check_val_every_n_epoch); give protocol.selection.monitor=null, so "
            "that the last epoch is tested"
        )
    start = getattr(module.labeling, "start_epoch", None)
    if module.labeling.needs_best and start is not None and start <= first:
        raise InputError(
            f"labeling.start_epoch={start}: {_named('labeling', module.labeling)} labels by the best epoch so far, but "
            f"epoch {first} is the first that can be the best; give labeling.start_epoch={first + 1} or more"
        )


def _first_selected(trainer: pl.Trainer, monitor: str | None) -> int | None:
    """Return the first epoch (from 0) after which there is a best epoch; None if there never is one."""
    every, epochs = trainer.check_val_every_n_epoch or 1, trainer.max_epochs
    if monitor is None:
        return 0
    if trainer.limit_val_batches == 0:  # Lightning then compares the score at the end of every training epoch
        return 0 if every == 1 and not monitor.startswith("val/") else None
    return every - 1 if epochs is None or epochs < 0 or every <= epochs else None


def _of_kind(trainer: pl.Trainer, kind: type[pl.Callback]) -> list[pl.Callback]:
    """Return the callbacks of a class."""
    return [callback for callback in trainer.callbacks if isinstance(callback, kind)]  # type: ignore[attr-defined]


def _named(name: str, part: Part) -> str:
    """Return ``labeling (Prototype)``: the part by its place among the settings, and its class."""
    return f"{setting_of(name)} ({type(part).__name__})"
