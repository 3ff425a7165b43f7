"""The one LightningModule: a network and the parts around it. It is never subclassed; what differs is in the parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from avvp_pl.data.proposals import digest as digest_of
from avvp_pl.data.videos import VideoSet
from avvp_pl.data.windows import WHOLE, Cutting, WindowBatches
from avvp_pl.errors import InputError
from avvp_pl.losses import mil_loss
from avvp_pl.parts import Decision, Evidence, Inference, Labeling, Method, Part, Step, Team, overrides, total
from avvp_pl.processes.collectives import add_up, gather, gather_batch, gather_objects, rank, world_size
from avvp_pl.runs.checkpoints import tested_weights
from avvp_pl.runs.loggers import CLOCK
from avvp_pl.runs.tested import NOTES, ROW, TAUGHT, VALIDATED, EpochTested, Videos, of_checkpoint, row_of
from avvp_pl.tasks.parsed import Parsed, flat, join
from avvp_pl.tasks.task import Scores, Task
from avvp_pl.tasks.windows import Joiner
from avvp_pl.training.optimization import Optimization
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput

TO_FIT = ("train", "val")  # the splits to which an inference may be fitted


class ParsingModule(pl.LightningModule):
    """A network, what trains it (``method``, ``labeling``), and how it is tested (``inferences``, ``decision``).

    The first of the ``inferences`` is the one that is validated, and so the one by which the best epoch is selected; a
    test has scores of all. ``protocol`` is the name under which scores are comparable.
    """

    inferences: Mapping[str, Inference]

    def __init__(
        self,
        network: ParsingNetwork,
        method: Method,
        labeling: Labeling,
        inferences: Mapping[str, Inference],
        decision: Decision,
        optimization: Optimization | None,
        task: Task,
        modalities: Sequence[str],
        events: Sequence[str],
        protocol: str = "common",
    ) -> None:
        super().__init__()
        self.network, self.method, self.labeling = network, method, labeling
        self.inferences = nn.ModuleDict(inferences)  # type: ignore[assignment]
        self.decision = decision
        for inference in inferences.values():
            inference.check(labeling)
        self.optimization, self.task, self.protocol = optimization, task, protocol
        self.modalities, self.events = tuple(modalities), tuple(events)
        # all parts, those inside other parts included, by their place in the module
        self.parts = {name: part for name, part in self.named_modules() if isinstance(part, Part)}
        self.val_metric = task.metric(self.modalities, len(self.events), validation=True)
        self.test_metrics = nn.ModuleDict({name: task.metric(self.modalities, len(self.events)) for name in inferences})
        self.test_scores: dict[str, Scores] = {}
        self.test_parsed: dict[str, Parsed] = {}  # what they are of, in the first process and in the order of the split
        self.losses: dict[str, tuple[Tensor, int]] = {}  # sum over the videos of this epoch so far, and their number
        self.all_losses: tuple[object, Tensor] | None = None  # those of all processes, and the moment they are of
        self.logged: set[str] = set()  # names, of this epoch
        self.row: dict[str, float] = {}  # what is known of this epoch so far, for its checkpoints
        self.row_is_taken = False
        self.taught = False  # whether pseudo labels have taught anything yet
        self.validated: Videos | None = None  # how many of the validation videos were scored last
        self.tested: EpochTested | None = None  # None before a test, and where the weights are of no training
        self.tested_row: dict[str, float] = {}  # what was logged in the tested epoch
        self.tested_step = 0  # steps of the optimizer by its end
        self.joiner: Joiner | None = None  # of the windows of a prediction

    # ---- the parts

    @property
    def team(self) -> Team:
        """The processes of this run."""
        return Team(rank(), world_size(), add_up, gather, gather_batch)

    @property
    def num_trained(self) -> int:
        """The number of parameters that are trained."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    @property
    def inference(self) -> str:
        """The name of the inference that is validated."""
        return next(iter(self.inferences))

    def needs_of(self, inference: str) -> tuple[str, ...]:
        """Return the splits to which an inference has still to be fitted: ``train``, ``val`` or none.

        Raises :class:`InputError` for any other split: what is fitted to the test videos cannot be tested on them.
        """
        needed = self.inferences[inference].needs(self.labeling)
        for split in needed:
            if split not in TO_FIT:
                raise InputError(
                    f"inference.{inference} asks for the split {split!r} to be fitted to; it must be one of "
                    f"{', '.join(TO_FIT)}"
                )
        return needed

    # ---- parsing

    def forward(self, batch: Batch) -> ParsingOutput:
        """Run the network."""
        output: ParsingOutput = self.network(batch)
        return output

    def parse(self, batch: Batch, inferences: Sequence[str] | None = None) -> dict[str, Parsed]:
        """Parse a batch by each of these inferences (None: the first one), in padded form.

        ``timelines`` and ``probs`` of what is returned are [B, T, M, C], with nothing at padding.
        """
        return self.decide(self(batch), batch, inferences)

    def decide(self, output: ParsingOutput, batch: Batch, inferences: Sequence[str] | None = None) -> dict[str, Parsed]:
        """Do the same with the output of the network for the batch."""
        parsed, real = {}, batch.mask[:, :, None, None]
        for name in (self.inference,) if inferences is None else inferences:
            evidence = self._evidence(output, batch, name)
            timelines = self.decision(evidence, batch)
            probs = evidence.segment_probs.masked_fill(~real, 0)
            parsed[name] = Parsed(
                batch.mask.sum(1),
                timelines,
                probs,
                self.decision.video_probs(evidence),
                self.decision.detections(evidence, batch),
            )
        return parsed

    def _evidence(self, output: ParsingOutput, batch: Batch, inference: str) -> Evidence:
        return self.inferences[inference](self.network, batch, output, self.labeling)

    @torch.inference_mode()
    def parse_all(
        self, videos: VideoSet, batch_size: int = 128, inference: str | None = None, cutting: Cutting = WHOLE
    ) -> Parsed:
        """Parse all videos by an inference (None: the first one), on this module's device, into main memory.

        Videos that are longer than a window of ``cutting`` are seen through windows.
        """
        self.eval()
        name = inference or self.inference
        if not cutting.cuts(videos.lengths):
            batches = (batch.to(self.device) for batch in videos.batches(batch_size))
            return join([flat(self.parse(batch, [name])[name], batch.mask) for batch in batches])
        windows = cutting.windows(videos.lengths)
        joiner, found = Joiner(videos, windows, self.decision), []
        for picks in WindowBatches(videos.lengths, windows, batch_size):
            batch = videos.batch(*picks).to(self.device)
            found += joiner(self._evidence(self(batch), batch, name), self.device)
        return join(found)

    # ---- training

    def setup(self, stage: str) -> None:
        """Let the parts prepare for the training videos before they train on them."""
        if stage == "fit":
            self.start(self.trainer.datamodule.train)  # type: ignore[attr-defined]

    def start(self, videos: VideoSet) -> None:
        """Let the parts take from the training videos what depends on all of them."""
        for part in self.parts.values():
            part.start(videos)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate of this step."""
        assert self.optimization is not None
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        epochs, of = self.current_epoch + self._done(batch_idx), self.trainer.max_epochs or 1
        self.optimization.set_rate(optimizer, epochs, of)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the sum of what weak labels and, once there are any, pseudo labels teach."""
        step = Step(
            self.network, batch, self(batch), self._epoch, self._done(batch_idx), self.team, batch_idx, self._epochs
        )
        terms = self.method(step)
        loss = total(terms)
        if self.labeling.ready:
            taught = self.labeling(step)
            loss, terms = loss + total(taught), terms | taught
            self.taught = True
        self.log_losses(batch, **{name: term.value for name, term in terms.items()}, loss=loss)
        return loss

    @property
    def _epoch(self) -> int:
        return 0 if self._trainer is None else self.current_epoch

    @property
    def _epochs(self) -> int:
        epochs = None if self._trainer is None else self.trainer.max_epochs
        return 1 if epochs is None else max(1, epochs)

    def _done(self, batch_idx: int) -> float:
        """Return the fraction of the epoch that is over before this batch."""
        if self._trainer is None:
            return 0.0
        batches = self.trainer.num_training_batches
        return batch_idx / batches if 0 < batches < float("inf") else 0.0

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Let the parts follow the network after every step of the optimizer, which may be one of several batches.

        Lightning counts the step only after this hook, and checkpoints of steps are written after that, before
        :meth:`on_train_batch_end`: what they need has to be there by then.
        """
        super().optimizer_step(*arguments, **options)
        for part in self.parts.values():
            part.after_step(self.network, self.global_step)
        self._gather_losses_if_saved(self.global_step + 1)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log the losses of an epoch after its last batch."""
        if self.trainer.is_last_batch:
            means = {f"train/{name}": total / videos for name, (total, videos) in self.losses.items()}
            assert self.optimization is not None
            epochs, of = self.current_epoch + self._done(batch_idx), self.trainer.max_epochs or 1
            rate = {"learning_rate": self.optimization.rate(epochs, of)}  # of the last step
            videos = len(batch.index)  # Lightning would look for it in the batch, and complain
            self.log_dict({**means, **rate}, on_step=False, on_epoch=True, sync_dist=True, batch_size=videos)
            self.losses = {}

    def keep_best(self) -> None:
        """Tell the parts that the epoch which has just been validated is the best so far."""
        for part in self.parts.values():
            part.keep_best()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer of all weights that are trained (those of a momentum network are not)."""
        assert self.optimization is not None, "a module without an optimization can be tested only"
        return self.optimization.build(self.named_parameters())

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the parts change the gradients, before they are clipped."""
        for part in self.parts.values():
            part.before_step(self.network, self.current_epoch)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the trainer's own setting where it is given, else by the optimization's."""
        if gradient_clip_val is None and self.optimization is not None:
            gradient_clip_val, gradient_clip_algorithm = self.optimization.clip_norm, "norm"
        if gradient_clip_val is None or gradient_clip_val <= 0:  # 0 is the trainer's word for none
            return
        precision = self.trainer.precision_plugin
        if getattr(precision, "scaler", None) is not None:  # of float16: the gradients are still scaled
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        # by itself, Lightning refuses any autocast where the optimizer is fused
        elif gradient_clip_algorithm == "value":
            precision.clip_grad_by_value(optimizer, gradient_clip_val)
        else:
            precision.clip_grad_by_norm(optimizer, gradient_clip_val)

    # ---- logging

    def log(
        self, name: str, value: Any, prog_bar: bool = False, logger: bool | None = None, *more: Any, **options: Any
    ) -> None:
        """Log a value of this epoch, in training or validation, or of the test: it will be in the row of the epoch.

        ``logger`` is ignored: EpochLog hands the row to the loggers.
        """
        testing = self._trainer is not None and self.trainer.testing
        if self.row_is_taken and not testing:
            raise RuntimeError(f"{name} is logged after the epoch's row was written; log it before on_train_epoch_end")
        self.logged.add(name)
        super().log(name, value, prog_bar, False, *more, **options)

    def log_losses(self, batch: Batch, **losses: Tensor) -> None:
        """Log means over the videos of the epoch as ``train/NAME``; nothing waits for a value before its end.

        Lightning's own ``log`` does the same, but takes half a millisecond for each value and step.
        """
        videos = len(batch.index)
        for name, loss in losses.items():
            total, seen = self.losses.get(name, (torch.zeros_like(loss), 0))
            self.losses[name] = torch.add(total, loss.detach(), alpha=videos), seen + videos

    # ---- validation and test

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch of validation videos, and log how well its weak labels are predicted (Eq. 4, unweighted)."""
        output, videos = self(batch), len(batch.index)
        loss = mil_loss(output.video_probs, batch.weak_labels)
        self.log("val/loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=videos)
        self.task.update(self.val_metric, self.decide(output, batch)[self.inference], batch, self._split("val"))

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the validation videos."""
        scores = self._log_scores("val", self.val_metric, "val")
        self.validated = Videos(scores.listed, len(self._split("val")))
        self.row |= {f"val/{name}": score for name, score in scores.flat().items()}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Parsed]:
        """Score a batch of test videos by every inference, and return what was found."""
        parsed = self.parse(batch, list(self.inferences))
        for name, found in parsed.items():
            self.task.update(self.test_metrics[name], found, batch, self._split("test"))
        return {name: flat(found, batch.mask) for name, found in parsed.items()}

    def on_test_epoch_end(self) -> None:
        """Log the scores of the test videos and keep them as ``test_scores``, by the name of the inference."""
        for number, name in enumerate(self.inferences):
            prefix = "test" if number == 0 else f"test/{name}"
            self.test_scores[name] = self._log_scores(prefix, self.test_metrics[name], "test")

    def on_predict_start(self) -> None:
        """Prepare to join windows where there are videos that are longer than one."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        videos = data.splits[data.predicted]
        windows = data.cutting.windows(videos.lengths) if data.cutting.cuts(videos.lengths) else None
        self.joiner = None if windows is None else Joiner(videos, windows, self.decision)

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Parsed]:
        """Parse a batch by the first inference; of windows, return the videos that have all of theirs now."""
        if self.joiner is None:
            return [flat(self.parse(batch)[self.inference], batch.mask)]
        return self.joiner(self._evidence(self(batch), batch, self.inference), self.device)

    def _split(self, name: str) -> VideoSet:
        videos: VideoSet = self.trainer.datamodule.splits[name]  # type: ignore[attr-defined]
        return videos

    def _log_scores(self, prefix: str, metric: nn.Module, split: str) -> Scores:
        """Log the scores of a split as ``PREFIX/NAME``."""
        scores = self.task.scores(metric, self._split(split), self.events)
        # the metric has already summed over processes: each of them logs the same numbers
        self.log_dict({f"{prefix}/{name}": score for name, score in scores.flat().items()})
        return scores

    def test_epoch_of(self, checkpoint: Mapping[str, Any]) -> None:
        """Remember which epoch is tested: that of a checkpoint."""
        self.tested, self.tested_row = of_checkpoint(checkpoint), row_of(checkpoint)
        self.tested_step = checkpoint["global_step"]

    def test_epoch_of_now(self) -> None:
        """Remember that this epoch is tested unless a checkpoint is loaded for the test."""
        now = {"epoch": self.current_epoch, "global_step": self.global_step}
        self.test_epoch_of({**now, ROW: self.row, TAUGHT: self._has_taught, NOTES: self.notes})

    @property
    def _has_taught(self) -> bool | None:
        """Whether pseudo labels have taught anything yet; None if the labeling never makes any."""
        return self.taught if any(overrides(self.labeling, method) for method in (Part.start, Part.refresh)) else None

    @property
    def notes(self) -> list[str]:
        """What is to be known about the files that the parts have read."""
        return sorted({part.note for part in self.parts.values() if part.note is not None})

    # ---- checkpoints: what a run that is resumed in the middle of an epoch needs

    def digests(self) -> dict[str, str]:
        """Return the checksums of what the parts have read from files of their own, by the place of each part."""
        digests = {setting_of(name): part.digest() for name, part in self.parts.items()}
        return {name: digest for name, digest in digests.items() if digest is not None}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the losses of the first part of the epoch, the progress of the parts, and which videos both are of.

        No process is waited for here: a save by one process alone must not hang. So the losses of the other processes
        are those that :meth:`gather_losses` has collected for this step, if it has.
        """
        fresh = self.all_losses is not None and self.all_losses[0] == self._moment()
        sums = self.all_losses[1] if fresh and self.all_losses is not None else self._loss_sums()[None]
        checkpoint["losses"] = {"names": list(self.losses), "sums": sums}
        progress = {name: part.progress() for name, part in self.parts.items()}
        checkpoint["progress"] = {name: saved for name, saved in progress.items() if saved}
        checkpoint["digests"] = self.digests()
        # identical runs have identical checkpoints, so durations are not kept
        checkpoint[ROW] = {name: value for name, value in self.row.items() if not name.startswith(CLOCK)}
        checkpoint[TAUGHT] = self._has_taught
        checkpoint[NOTES] = self.notes
        checkpoint[VALIDATED] = None if self.validated is None else list(self.validated)
        checkpoint["train_videos"] = digest(self.trainer.datamodule.train)  # type: ignore[attr-defined]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue with them; where there are other processes now, the first one takes the losses of all.

        A test also takes what the inferences were fitted to. Raises :class:`InputError` where training would be resumed
        from a checkpoint whose epoch lacks its validation.
        """
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            _check_epoch(checkpoint)
            self.taught, validated = checkpoint.get(TAUGHT) is True, checkpoint.get(VALIDATED)
            self.validated = Videos(*validated) if validated else None
        elif self._trainer is not None:
            checkpoint["state_dict"] = tested_weights(checkpoint)
            self.test_epoch_of(checkpoint)
        names, sums = checkpoint["losses"]["names"], checkpoint["losses"]["sums"]  # [processes, losses, 2]
        same = len(sums) == world_size()
        mine = sums[rank()] if same else sums.sum(0) * (rank() == 0)
        self.losses = {name: (total.float(), int(n)) for name, (total, n) in zip(names, mine, strict=True)}
        for name, part in self.parts.items():
            part.resume(checkpoint["progress"].get(name, {}))

    def on_fit_start(self) -> None:
        """Move to the device what a checkpoint had before there was one."""
        self.losses = {name: (total.to(self.device), videos) for name, (total, videos) in self.losses.items()}
        for part in self.parts.values():
            part.resume({name: saved.to(self.device) for name, saved in part.progress().items()})

    def gather_losses(self) -> None:
        """Collect the losses of all processes for a checkpoint of this very step; all processes have to call it."""
        self.all_losses = self._moment(), torch.stack(gather_objects(self._loss_sums()))

    def _moment(self) -> tuple[int, ...]:
        """Return what tells this moment of the training from all others: how much of which epoch has been learned."""
        return self.current_epoch, *(videos for _, videos in self.losses.values())

    def _loss_sums(self) -> Tensor:
        sums = [torch.tensor([float(total), n], dtype=torch.float64) for total, n in self.losses.values()]
        return torch.stack(sums) if sums else torch.zeros(0, 2, dtype=torch.float64)

    def _gather_losses_if_saved(self, steps: int) -> None:
        """Collect the losses where a checkpoint callback is about to save after so many steps."""
        every = (getattr(callback, "_every_n_train_steps", 0) for callback in self.trainer.checkpoint_callbacks)
        if any(number and steps % number == 0 for number in every):
            self.gather_losses()


def _check_epoch(checkpoint: Mapping[str, Any]) -> None:
    """Raise where a checkpoint of every so many steps fell on an epoch's last step: Lightning would skip its end."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    if progress["is_last_batch"] and progress["current"]["completed"] < progress["current"]["processed"]:
        raise InputError(
            f"the checkpoint of step {checkpoint['global_step']} was written between the last step of epoch "
            f"{checkpoint['epoch']} and its validation, so training cannot be resumed from it exactly; give another "
            "one, and an every_n_train_steps that no epoch ends with"
        )


def setting_of(part: str) -> str:
    """Return the key of the settings of a part, given its place in the module."""
    place, dot, rest = part.partition(".")
    group = {"inferences": "inference", "decision": "protocol.decision"}.get(place, place)
    return f"{group}{dot}{rest}"


def digest(videos: VideoSet) -> str:
    """Return a checksum of the names and lengths of some videos, in their order, and of their proposals."""
    content = hashlib.blake2b(digest_size=16)
    for name, length in zip(videos.names, _plain(videos.lengths), strict=True):
        content.update(f"{name}\0{length}\0".encode())
    if videos.proposals is not None:
        content.update(digest_of(videos.proposals))
    return content.hexdigest()


def _plain(lengths: Tensor) -> Iterator[int]:
    yield from lengths.tolist()
