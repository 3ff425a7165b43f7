"""Training that has diverged stops with the step, its videos and the last good checkpoint, and saves nothing of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from avvp_pl.data.module import ParsingData
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import TrainingError
from avvp_pl.inference.classifier import Classifier
from avvp_pl.inference.gates import Gates
from avvp_pl.labeling.none import NoLabels
from avvp_pl.losses import mil_loss
from avvp_pl.models import HAN
from avvp_pl.parts import Method, Step, Term
from avvp_pl.processes.signals import STOPPING
from avvp_pl.runs.checkpoints import CheckpointFiles
from avvp_pl.tasks.parsing import ParsingTask
from avvp_pl.training.callbacks.safe_stop import SafeStop
from avvp_pl.training.module import ParsingModule
from avvp_pl.training.optimization import Constant, Optimization
from avvp_pl.types import ParsingNetwork
from tests.training.trainers import trainer_of

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*in eval mode")


class Spoiled(Method):
    """Learns from weak labels; at step ``spoil_at`` something goes wrong."""

    def __init__(self, spoil_at: int, factor: float, weights: bool) -> None:
        super().__init__()
        self.spoil_at, self.factor, self.weights = spoil_at, factor, weights
        self.steps = 0

    def forward(self, step: Step) -> dict[str, Term]:
        loss = mil_loss(step.output.video_probs, step.batch.weak_labels)
        spoil = self.steps == self.spoil_at and not self.weights
        self.steps += 1
        return {"mil": Term(loss, self.factor if spoil else 1.0)}

    def after_step(self, network: ParsingNetwork, step: int) -> None:
        if self.weights and step == self.spoil_at:
            with torch.no_grad():
                next(network.parameters())[0, 0] = self.factor


def module_of(videos: ParsingSet, method: Method) -> ParsingModule:
    network = HAN(videos.modalities, videos.stream_dims, len(videos.events), dim=8, feedforward_dim=8)
    return ParsingModule(
        network=network,
        method=method,
        labeling=NoLabels(),
        inferences={"classifier": Classifier()},
        decision=Gates(0.5, 0.5, "hard"),
        optimization=Optimization("adam", 1e-3, 0.0, None, Constant()),
        task=ParsingTask(),
        modalities=list(videos.modalities),
        events=videos.events,
    )


def fit(tiny: ParsingSet, folder: Path, spoil_at: int, factor: float, weights: bool = False, **more: Any) -> None:
    """Three epochs of six steps."""
    torch.manual_seed(0)
    last = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    callbacks = [SafeStop(str(folder), max_loss=1e4), Contents(), last]
    settings = {"callbacks": callbacks, "plugins": [CheckpointFiles()], "enable_checkpointing": True, **more}
    trainer = trainer_of(3, **settings)
    trainer.fit(module_of(tiny, Spoiled(spoil_at, factor, weights)), ParsingData(tiny, 7, 16, seed=0))


class Contents(pl.Callback):
    """What else makes a checkpoint one."""

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint |= {"config": {}, "events": [], "streams": []}


def order_of(tiny: ParsingSet, epoch: int) -> list[list[str]]:
    """The names of each batch."""
    loader = ParsingData(tiny, 7, 16, seed=0).train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    assert tiny.train is not None
    return [[tiny.train.names[row] for row in rows.tolist()] for rows in loader.sampler]


@pytest.mark.parametrize(
    ("factor", "word"), [(float("nan"), "nan"), (float("inf"), "inf"), (float("-inf"), "-inf"), (1e6, r"\d.*")]
)
def test_a_loss_that_is_none_is_named_with_its_videos(
    tiny: ParsingSet, tmp_path: Path, factor: float, word: str
) -> None:
    names = ", ".join(order_of(tiny, 1)[2])
    with pytest.raises(TrainingError, match=f"the loss is {word} at step 8 \\(epoch 1, batch 2\\)") as error:
        fit(tiny, tmp_path, 8, factor)
    assert f"on the videos {names}; the last good checkpoint is {tmp_path / 'last.ckpt'} (epoch 0)" in str(error.value)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 6


def test_where_values_are_waited_for_the_first_of_many_bad_steps_is_named(
    tiny: ParsingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU, losses are checked every so many steps, and at the end of the epoch."""
    monkeypatch.setattr(SafeStop, "_looks_now", lambda *_: False)
    with pytest.raises(TrainingError, match=r"the loss is nan at step 8 \(epoch 1, batch 2\)") as error:
        fit(tiny, tmp_path, 8, float("nan"))  # so is every loss after it
    assert ", ".join(order_of(tiny, 1)[2]) in str(error.value)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 6


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_weights_that_the_last_step_of_an_epoch_spoiled_are_not_saved(
    tiny: ParsingSet, tmp_path: Path, factor: float
) -> None:
    with pytest.raises(TrainingError, match=r"weights are NaN or infinite after step 11 \(epoch 1\)"):
        fit(tiny, tmp_path, 11, factor, weights=True)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 6
    assert all(weight.isfinite().all() for weight in saved["state_dict"].values())


def test_before_the_first_checkpoint_there_is_none_to_name(tiny: ParsingSet, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"at step 0 .*; there is no checkpoint to resume from"):
        fit(tiny, tmp_path, 0, float("nan"))
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_merely_large_is_none_of_its_business(tiny: ParsingSet, tmp_path: Path) -> None:
    fit(tiny, tmp_path, 8, 100.0)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 18


class TestStop:
    """Six steps an epoch; the folder has the checkpoint of the last whole epoch."""

    @pytest.fixture(autouse=True)
    def handlers(self) -> Iterator[None]:
        """Leave the handlers of signals as they are."""
        before = {number: signal.getsignal(number) for number in STOPPING}
        yield
        for number, handler in before.items():
            signal.signal(number, handler)

    @staticmethod
    def stopped(tiny: ParsingSet, folder: Path, at: int, interrupt: Callable[[], None]) -> int | str | None:
        """The exit code of a training that is interrupted during this step (from 0)."""

        class Interrupt(pl.Callback):
            def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
                if trainer.global_step == at + 1:
                    interrupt()

        last = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
        with pytest.raises(SystemExit) as leave:
            fit(tiny, folder, -1, 1.0, callbacks=[SafeStop(str(folder), 1e4), Contents(), Interrupt(), last])
        return leave.value.code

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGINT, 130)])
    def test_a_signal_is_obeyed_after_the_step(
        self, tiny: ParsingSet, tmp_path: Path, caplog: pytest.LogCaptureFixture, number: signal.Signals, code: int
    ) -> None:
        folder = tmp_path / "run" / "checkpoints"
        assert self.stopped(tiny, folder, 8, lambda: os.kill(os.getpid(), number)) == code
        assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 9
        (said,) = (message for message in caplog.messages if message.startswith("stopped"))
        assert said.startswith(f"stopped by {number.name} in epoch 1, before batch 3; saved")
        assert f"hydra.run.dir={tmp_path / 'run'}" in said

    def test_between_epochs_a_signal_is_obeyed_before_the_next_one(
        self, tiny: ParsingSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The checkpoint of the last epoch is the newest then, and it is left as it is."""

        class Ask(pl.Callback):
            def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
                if trainer.current_epoch == 1:
                    os.kill(os.getpid(), signal.SIGTERM)

        last = ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True, enable_version_counter=False)
        with pytest.raises(SystemExit):
            fit(tiny, tmp_path, -1, 1.0, callbacks=[SafeStop(str(tmp_path), 1e4), Contents(), Ask(), last])
        (said,) = (message for message in caplog.messages if message.startswith("stopped"))
        assert said.startswith("stopped by SIGTERM before epoch 2; saved")
        assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 12

    def test_leaving_at_once_says_which_checkpoint_there_is(
        self, tiny: ParsingSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As at a second Ctrl-C."""

        def leave() -> None:
            raise SystemExit(130)

        assert self.stopped(tiny, tmp_path, 8, leave) == 130
        assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 6
        (said,) = (message for message in caplog.messages if message.startswith("stopped"))
        assert said.startswith("stopped at once; the last checkpoint is of step 6")

    def test_spoiled_weights_are_not_saved_at_a_stop_either(self, tiny: ParsingSet, tmp_path: Path) -> None:
        """They are found where the loss of the step that spoiled them is still in order."""
        stop = SafeStop(str(tmp_path), 1e4)

        class Ask(pl.Callback):
            def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
                if trainer.global_step == 9:
                    stop.request.note(signal.SIGTERM, None)

        with pytest.raises(TrainingError, match=r"weights are NaN or infinite after step 8 \(epoch 1\)"):
            fit(
                tiny,
                tmp_path,
                8,
                float("nan"),
                weights=True,
                callbacks=[stop, Contents(), Ask()],
                enable_checkpointing=False,
            )
        assert not list(tmp_path.iterdir())
