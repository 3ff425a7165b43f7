"""Tests for a method, network, labeling or data reader of your own: the loss falls, and a resumed run is the same.

Both functions take the overrides of ``python -m avvp_pl.train``, such as
``["hydra.searchpath=[pkg://mymethods.conf]", "+experiment=mine"]``. Of the embedded data they use a few videos with few
features. See docs/extending.md.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from avvp_pl.commands.build import build_data, build_model, build_trainer, build_videos, prepare_process
from avvp_pl.parts import Step, Team, total
from avvp_pl.runs import names
from avvp_pl.settings.conf import config_dir
from avvp_pl.training.callbacks.checkpoint_contents import CheckpointContents
from avvp_pl.training.callbacks.needed import check_training
from avvp_pl.training.callbacks.safe_stop import SafeStop
from avvp_pl.training.module import ParsingModule

FEW = ("data.sizes={train: 40, val: 8, test: 8}", "data.streams={vggish: 8, res152: 8, r2plus1d_18: 8}")
ALWAYS = ("name=trial", "trainer.accelerator=cpu", "trainer.max_epochs=3")


def losses(overrides: Sequence[str], epoch: int = 2, steps: int = 20) -> list[float]:
    """Return the losses of ``steps`` training steps on the same batch, as in this epoch (counted from 0).

    >>> found = losses(["network.dim=16", "network.feedforward_dim=16", "optimizer.learning_rate=0.003"])
    >>> len(found), found[-1] < found[0]
    (20, True)
    """
    cfg = _composed(overrides, Path("unused"))
    prepare_process(cfg)
    videos = build_videos(cfg)
    model, train = build_model(cfg, videos).train(), videos.splits["train"]
    optimizer = model.configure_optimizers()
    model.start(train)
    for part in model.parts.values():
        part.refresh(train, epoch, Team())
    batch = train[torch.arange(min(len(train), cfg.data.batch_size))]
    found = []
    for number in range(steps):
        step = Step(model.network, batch, model(batch), epoch, done=0.0, number=number)
        loss = total(model.method(step) | (model.labeling(step) if model.labeling.ready else {}))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for part in model.parts.values():
            part.before_step(model.network, epoch)
        optimizer.step()
        for part in model.parts.values():
            part.after_step(model.network, number)
        found.append(loss.item())
    return found


def resume_differences(overrides: Sequence[str], folder: Path, stop_after: int | None = None) -> list[str]:
    """Train once undisturbed and once stopped and resumed, and return the names of what is not the same to the bit.

    The second run is stopped after so many training steps (None: in the middle of the second epoch), and resumed by
    new objects from its checkpoint in ``folder``. Compared are weights and buffers, the state of the optimizer, the
    progress of the parts, and what is logged.
    """
    whole = _train(overrides, folder / "whole")
    steps = whole.batches + whole.batches // 2 if stop_after is None else stop_after
    stopped = _train(overrides, folder / "stopped", stop_after=steps)
    if stopped.finished:
        raise ValueError(f"the run ended before {steps} steps")
    resumed = _train(overrides, folder / "stopped", resume=names.last_checkpoint(folder / "stopped"))
    compared = dict.fromkeys((*whole.state, *resumed.state))
    return [name for name in compared if not _same(whole.state.get(name), resumed.state.get(name))]


class _Trained(NamedTuple):
    state: dict[str, Any]
    batches: int
    finished: bool


class _StopAfter(pl.Callback):
    """Asks a run to stop after so many steps, as a signal would."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.steps:
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, SafeStop):
                    callback.request.note(signal.SIGTERM, None)


def _train(
    overrides: Sequence[str], folder: Path, stop_after: int | None = None, resume: Path | None = None
) -> _Trained:
    cfg = _composed(overrides, folder)
    prepare_process(cfg)
    videos = build_videos(cfg)
    model = build_model(cfg, videos)
    more = [] if stop_after is None else [_StopAfter(stop_after)]
    trainer = build_trainer(cfg, CheckpointContents(cfg, videos), *more)
    check_training(trainer, model, cfg.protocol.selection.monitor)
    try:
        trainer.fit(model, build_data(cfg, videos), ckpt_path=resume)
    except SystemExit:
        return _Trained({}, 0, finished=False)
    return _Trained(_state(model, trainer), int(trainer.num_training_batches), finished=True)


def _state(model: ParsingModule, trainer: pl.Trainer) -> dict[str, Any]:
    progress = {f"{name}.progress": part.progress() for name, part in model.parts.items()}
    logged = {name: value for name, value in trainer.callback_metrics.items() if not name.startswith("labeling/")}
    return {
        **model.state_dict(),
        **{f"{name}.{key}": value for name, values in progress.items() for key, value in values.items()},
        **logged,
        "optimizer": [optimizer.state_dict() for optimizer in trainer.optimizers],
    }


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _composed(overrides: Sequence[str], folder: Path) -> DictConfig:
    always = (f"paths.run_dir={folder}", *ALWAYS)
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        cfg = compose("train", [*always, *overrides])
        if cfg.data.name == "synthetic":
            cfg = compose("train", [*always, *FEW, *overrides])
    OmegaConf.set_struct(cfg, False)
    cfg.logger = {}
    return cfg
