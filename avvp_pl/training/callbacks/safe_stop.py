"""When training stops before its end: because of a signal, or because it has diverged."""

from __future__ import annotations

import logging
import math
import signal
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from avvp_pl.errors import InputError, TrainingError
from avvp_pl.processes.collectives import gather_objects, largest
from avvp_pl.processes.signals import Handler, StopRequest, exit_code, handle, handlers, is_foreign, stop_at_once
from avvp_pl.runs.checkpoints import last_good, read_checkpoint
from avvp_pl.runs.names import LAST
from avvp_pl.training.callbacks import FIRST
from avvp_pl.training.module import ParsingModule
from avvp_pl.types import Batch

log = logging.getLogger(__name__)

CHECK_EVERY = 50  # steps, on a device whose values have to be waited for
NAMED_VIDEOS = 32
NEVER = 2**62


class Step(NamedTuple):
    """A training step: its number and place, its loss, and the rows of its videos."""

    number: int
    batch: int
    loss: Tensor
    rows: Tensor


class SafeStop(pl.Callback):
    """Stop between two steps, all processes together.

    On SIGINT, SIGTERM or SIGUSR1 write ``last.ckpt`` into ``directory``, from which the run is resumed with the very
    next step. Where a loss is not finite or above ``max_loss``, or a weight is not finite, raise :class:`TrainingError`
    before anything of it is saved: it names the step, its videos and the last good checkpoint.
    """

    place = FIRST

    def __init__(self, directory: str, max_loss: float) -> None:
        self.path = Path(directory) / LAST
        self.max_loss = max_loss
        self.request = StopRequest()
        self.before: dict[int, Handler] = {}
        self.steps: list[Step] = []  # those whose loss has not been checked yet
        self.latest = -1
        self.said = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remember the handlers of signals, before Lightning adds its own."""
        self.before = handlers()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note signals from now on; Lightning's own handler would make several processes wait for each other."""
        self._handle(self.request.note)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop immediately from now on: while testing there is nothing to save."""
        self._handle(stop_at_once)
        self._stop_if_asked(trainer, "before testing")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop if asked to since the last step, where the end of the epoch has been saved."""
        # all processes must decide alike, or they would wait for each other: machines may not share a disk
        if largest(self.request.number) and largest(int(self._saved_at() == trainer.global_step)):
            self._stop_if_asked(trainer, f"before epoch {trainer.current_epoch}")

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Check the losses so far; save and stop if asked to."""
        asked = largest(self.request.number)
        if asked or self._looks_now(trainer, pl_module):
            self._check_losses(trainer)
        if asked and batch_idx % trainer.accumulate_grad_batches == 0:  # else gradients would be lost
            self._check_weights(trainer, pl_module)
            loop = trainer.fit_loop.epoch_loop
            if not loop._should_accumulate():  # Lightning then adds one when it resumes in the middle of an epoch
                loop._batches_that_stepped -= 1
            if isinstance(pl_module, ParsingModule):
                pl_module.gather_losses()
            trainer.save_checkpoint(self.path)
            self._stop_if_asked(trainer, f"in epoch {trainer.current_epoch}, before batch {batch_idx}")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Keep the loss, without waiting for its value."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):  # else the method took no step
            self.latest = trainer.current_epoch * int(trainer.num_training_batches) + batch_idx
            self.steps.append(Step(self.latest, batch_idx, loss.detach().reshape(()), batch.index))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let nothing that has diverged be saved: this comes before the best checkpoint is."""
        self._check(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the same if nothing is validated."""
        self._check(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop if asked to in the last epoch."""
        self._stop_if_asked(trainer, "before testing")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Say how to resume the run if it was not said yet: while testing, or at a second Ctrl-C."""
        if isinstance(exception, KeyboardInterrupt | SystemExit) and not self.said:
            self._say(trainer, "at once")

    def _handle(self, handler: Handler) -> None:
        handle({number: before if is_foreign(before) else handler for number, before in self.before.items()})

    def _stop_if_asked(self, trainer: pl.Trainer, where: str) -> None:
        number = largest(self.request.number)
        if not number:
            return
        self._say(trainer, f"by {signal.Signals(number).name} {where}")
        # only the first process exits with this code: Lightning kills all processes if one of the others fails
        raise SystemExit(exit_code(number) if trainer.is_global_zero else 0)

    def _say(self, trainer: pl.Trainer, how: str) -> None:
        self.said = True
        saved_at = self._saved_at()
        if saved_at is None:
            log.warning("stopped %s; there is no checkpoint to resume from yet", how)
            return
        saved = "saved" if saved_at == trainer.global_step else f"the last checkpoint is of step {saved_at}"
        folder = self.path.parent.parent
        log.warning("stopped %s; %s. To resume: the same command with resume=auto hydra.run.dir=%s", how, saved, folder)

    def _saved_at(self) -> int | None:
        """Return the step of the last checkpoint; None if there is none."""
        try:
            return int(read_checkpoint(self.path)["global_step"])
        except InputError:
            return None

    def _looks_now(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
        return pl_module.device.type == "cpu" or trainer.global_step % CHECK_EVERY == 0

    def _check(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._check_losses(trainer)
            self._check_weights(trainer, pl_module)

    def _check_losses(self, trainer: pl.Trainer) -> None:
        """Raise for the first step whose loss, in any process, is not that of a training that converges."""
        steps, self.steps = self.steps, []
        losses: list[float] = torch.stack([step.loss for step in steps]).tolist() if steps else []
        bad = {
            step.number: (step, loss)
            for step, loss in zip(steps, losses, strict=True)
            if not (math.isfinite(loss) and abs(loss) <= self.max_loss)
        }
        first = -largest(-min(bad, default=NEVER))
        if first == NEVER:
            return
        where, names = "", []
        if first in bad:
            step, loss = bad[first]
            names = [trainer.datamodule.train.names[row] for row in step.rows.tolist()]  # type: ignore[attr-defined]
            where = f"the loss is {loss:g} at step {first} (epoch {trainer.current_epoch}, batch {step.batch})"
            where += f", above callbacks.safe_stop.max_loss={self.max_loss:g}" if math.isfinite(loss) else ""
        found = [pair for pair in gather_objects((where, names)) if pair[0]]
        videos = [name for _, part in found for name in part]
        more = f" and {len(videos) - NAMED_VIDEOS} more" if len(videos) > NAMED_VIDEOS else ""
        self._give_up(trainer, f"{found[0][0]}, on the videos {', '.join(videos[:NAMED_VIDEOS])}{more}")

    def _check_weights(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise if the last step made weights NaN or infinite, although its loss was normal."""
        norms = torch._foreach_norm(list(pl_module.parameters()))
        if largest(int(not torch.stack(norms).isfinite().all())):
            where = f"after step {self.latest} (epoch {trainer.current_epoch})"
            self._give_up(trainer, f"weights are NaN or infinite {where}")

    def _give_up(self, trainer: pl.Trainer, problem: str) -> NoReturn:
        if not trainer.is_global_zero:
            raise SystemExit(0)
        raise TrainingError(f"training has diverged: {problem}; {last_good(self.path)}")
