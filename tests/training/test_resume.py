"""A training that stops anywhere, in one process or two, is resumed from its checkpoint and ends with the same bits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from avvp_pl.training.callbacks.refresh_pseudo_labels import RefreshPseudoLabels
from avvp_pl.training.callbacks.safe_stop import SafeStop
from avvp_pl.training.callbacks.seed_steps import SeedSteps
from tests.conftest import Build
from tests.training.trainers import trainer_of

LONG = 60  # seconds after which a process that waits for another one counts as hanging
Say = Callable[[int], bool]  # of the number of batches that were learned from: whether it is time


class Outcome(NamedTuple):
    """What became of a training: how it ended, the rows of each batch, the weights and the metrics."""

    code: int
    seen: list[list[int]]
    weights: dict[str, Tensor]
    metrics: dict[str, Tensor]


class Watch(pl.Callback):
    """Take down the rows of each batch; ask for a stop, or fail, after so many of them."""

    def __init__(self, stop: SafeStop, ask_after: int | None, fail_after: int | None) -> None:
        self.stop, self.ask_after, self.fail_after = stop, ask_after, fail_after
        self.seen: list[list[int]] = []

    def on_train_epoch_start(self, *_: Any) -> None:  # while labeling
        self.ask()

    def on_train_batch_start(self, *_: Any) -> None:
        if len(self.seen) == self.fail_after:
            raise KeyError("no such luck")

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        self.seen.append(batch.index.tolist())
        self.ask()

    def ask(self) -> None:
        if len(self.seen) == self.ask_after:
            self.stop.request.note(signal.SIGTERM, None)


def train(
    build: Build,
    folder: Path,
    *settings: str,
    videos: ParsingSet | None = None,
    epochs: int = 2,
    ask_after: int | None = None,
    fail_after: int | None = None,
    resume: bool = False,
    every: int | None = None,
    **trainer_settings: Any,
) -> Outcome:
    """Train with the callbacks that a stop and a resume need, in this process or as one of two.

    ``every``: so many steps ``last.ckpt`` is written, instead of at the end of an epoch.
    """
    module, data = build("ppl_soft", "data.batch_size=7", "labeling.start_epoch=0", *settings, videos=videos)
    stop = SafeStop(str(folder), max_loss=1e4)
    watch = Watch(stop, ask_after, fail_after)
    when: dict[str, Any] = {"save_on_train_epoch_end": True} if every is None else {"every_n_train_steps": every}
    last = ModelCheckpoint(folder, "last", enable_version_counter=False, **when)
    refresh = RefreshPseudoLabels(str(folder))
    trainer = trainer_of(
        epochs, callbacks=[SeedSteps(3), stop, refresh, watch, last], enable_checkpointing=True, **trainer_settings
    )
    code = 0
    try:
        trainer.fit(module, data, ckpt_path=str(folder / "last.ckpt") if resume else None, weights_only=True)
    except SystemExit as leave:
        code = int(leave.code or 0)
    except KeyError:
        code = 1
    metrics = {name: value for name, value in trainer.callback_metrics.items() if not name.startswith("labeling/")}
    return Outcome(code, watch.seen, module.state_dict(), metrics)


def assert_same(one: Outcome, other: Outcome) -> None:
    """The same weights, momentum network, prototypes and metrics."""
    for mine, its in ((one.weights, other.weights), (one.metrics, other.metrics)):
        assert mine.keys() == its.keys()
        assert [name for name in mine if not torch.equal(mine[name], its[name])] == []


@pytest.mark.parametrize("steps", [0, 1, 5, 6, 7, 8, 11])
@pytest.mark.parametrize("videos", ["tiny", "ragged"])
def test_a_run_that_is_asked_to_stop_continues_with_the_next_step(
    build: Build, tmp_path: Path, request: pytest.FixtureRequest, videos: str, steps: int
) -> None:
    """Six steps an epoch: also before the first of an epoch, and between two epochs."""
    made: ParsingSet = request.getfixturevalue(videos)
    whole = train(build, tmp_path / "whole", videos=made)
    stopped = train(build, tmp_path, videos=made, ask_after=steps)
    assert stopped.code == 143
    assert len(stopped.seen) == steps
    again = train(build, tmp_path, videos=made, resume=True)
    assert stopped.seen + again.seen == whole.seen
    assert_same(again, whole)


@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_a_schedule_continues_exactly(build: Build, tmp_path: Path, schedule: str, batches: int) -> None:
    """It has no state: four epochs in one go, or stopped in the middle of the second."""
    decay = ("optimizer.schedule.every=2",) if schedule == "step" else ("optimizer.schedule.warmup=1.5",)
    common = ("optimizer=adamw", "optimizer.clip_norm=0.5")
    settings = (f"optimizer/schedule={schedule}", *common, *decay)
    several: dict[str, Any] = {"accumulate_grad_batches": batches}
    whole = train(build, tmp_path / "whole", *settings, epochs=4, **several)
    assert train(build, tmp_path, *settings, epochs=4, ask_after=8, **several).code == 143
    again = train(build, tmp_path, *settings, epochs=4, resume=True, **several)
    assert len(again.seen) == 24 - 8
    assert_same(again, whole)
    constant = train(build, tmp_path / "constant", *common, epochs=4, **several)
    name = "network.event_head.weight"
    assert not torch.equal(whole.weights[name], constant.weights[name])  # the schedule has an effect


@pytest.mark.parametrize(("batches", "fail_after"), [(1, 3), (1, 5), (1, 9), (2, 4), (2, 5), (2, 10)])
def test_a_run_is_resumed_from_a_checkpoint_that_is_written_every_so_many_steps(
    build: Build, tmp_path: Path, batches: int, fail_after: int
) -> None:
    """In the middle of an epoch: the momentum network has followed the step already, and the losses are all there."""
    several: dict[str, Any] = {"accumulate_grad_batches": batches}
    whole = train(build, tmp_path / "whole", every=2, **several)
    failed = train(build, tmp_path, every=2, fail_after=fail_after, **several)
    assert failed.code == 1
    again = train(build, tmp_path, every=2, resume=True, **several)
    assert len(again.seen) >= 12 - fail_after
    assert again.seen == whole.seen[-len(again.seen) :]
    assert_same(again, whole)


def test_a_checkpoint_between_the_last_step_of_an_epoch_and_its_validation_is_refused(
    build: Build, tmp_path: Path
) -> None:
    """Lightning would start the next epoch without the end of this one, and without new labels. A test may use it."""
    train(build, tmp_path, every=3, fail_after=7)
    with pytest.raises(
        InputError, match=r"of step 6 was written between the last step of epoch 0 and its validation.*no"
    ):
        train(build, tmp_path, every=3, resume=True)
    module, data = build("ppl_soft", "data.batch_size=7", "labeling.start_epoch=0")
    trainer_of().test(module, data, ckpt_path=str(tmp_path / "last.ckpt"), verbose=False)
    assert module.test_scores


def in_two(work: Callable[[int], Any], folder: Path) -> list[Any]:
    """Let two processes do some work, together; return what each of them returns."""
    folder.mkdir(exist_ok=True)
    (folder / "meeting").unlink(missing_ok=True)
    context = mp.start_processes(_process, (work, folder), nprocs=2, join=False, start_method="fork")  # type: ignore[attr-defined,no-untyped-call]
    latest = time.monotonic() + LONG
    while not context.join(max(0.0, latest - time.monotonic())):  # until the next of them has ended
        if time.monotonic() > latest:
            for process in context.processes:
                process.kill()
            pytest.fail(f"the processes still wait for each other after {LONG} s")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def _process(rank: int, work: Callable[[int], Any], folder: Path) -> None:
    # Lightning takes part in what there is, instead of starting processes of its own
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    result = work(rank)
    torch.save(result, folder / f"{rank}.pt")
    os._exit(0)  # some process may have left the others on purpose


TWO: dict[str, Any] = {"strategy": "ddp", "devices": 2}


class TestTwoProcesses:
    """20 videos each in batches of 7: three steps an epoch."""

    @pytest.mark.parametrize("asked", [0, 1])
    def test_they_stop_together_and_are_resumed_exactly(self, build: Build, tmp_path: Path, asked: int) -> None:
        whole = in_two(lambda rank: train(build, tmp_path / "whole", **TWO), tmp_path / "whole")
        stopped = in_two(lambda rank: train(build, tmp_path, ask_after=5 if rank == asked else None, **TWO), tmp_path)
        assert [outcome.code for outcome in stopped] == [143, 0]
        assert [len(outcome.seen) for outcome in stopped] == [5, 5]
        again = in_two(lambda rank: train(build, tmp_path, resume=True, **TWO), tmp_path)
        for rank in range(2):
            assert stopped[rank].seen + again[rank].seen == whole[rank].seen
            assert_same(again[rank], whole[rank])

    @pytest.mark.parametrize(("every", "fail_after"), [(2, 3), (4, 5)])
    def test_they_are_resumed_from_a_checkpoint_that_is_written_every_so_many_steps(
        self, build: Build, tmp_path: Path, every: int, fail_after: int
    ) -> None:
        whole = in_two(lambda rank: train(build, tmp_path / "whole", every=every, **TWO), tmp_path / "whole")
        in_two(lambda rank: train(build, tmp_path, every=every, fail_after=fail_after, **TWO), tmp_path)
        again = in_two(lambda rank: train(build, tmp_path, every=every, resume=True, **TWO), tmp_path)
        for rank in range(2):
            assert again[rank].seen == whole[rank].seen[fail_after - 1 :]
            assert_same(again[rank], whole[rank])

    def test_one_process_that_saves_alone_waits_for_nobody(self, build: Build, tmp_path: Path) -> None:
        """As somebody's callback does that wants to keep what was there at an exception."""

        class SaveAlone(pl.Callback):
            def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
                if trainer.is_global_zero and batch_idx == 1:
                    torch.save(trainer._checkpoint_connector.dump_checkpoint(), tmp_path / "alone.ckpt")

        def work(rank: int) -> Any:
            module, data = build("npl_soft", "data.batch_size=7", "labeling.start_epoch=0")
            refresh = RefreshPseudoLabels(str(tmp_path))
            trainer = trainer_of(1, callbacks=[SeedSteps(3), refresh, SaveAlone()], **TWO)
            trainer.fit(module, data)
            return trainer.global_step

        assert in_two(work, tmp_path) == [3, 3]
        saved = torch.load(tmp_path / "alone.ckpt", weights_only=False)
        assert saved["losses"]["names"] == ["mil", "guided", "pseudo_label", "loss"]
        assert saved["losses"]["sums"].shape == (1, 4, 2)
        assert saved["losses"]["sums"][0, :, 1].tolist() == [14] * 4  # only its own
        assert saved["progress"]["labeling"]["pseudo_labels"].shape[0] == data_segments(build)


def data_segments(build: Build) -> int:
    """The number of all training segments."""
    return build("mil")[1].splits["train"].num_segments
