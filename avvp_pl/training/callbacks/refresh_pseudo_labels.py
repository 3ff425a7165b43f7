"""When pseudo labels are made: at the start of every epoch, by those parts that make some."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import TrainingError
from avvp_pl.files import append_rows
from avvp_pl.parts import Report
from avvp_pl.runs import names
from avvp_pl.runs.checkpoints import last_good
from avvp_pl.training.callbacks import FIRST
from avvp_pl.training.module import ParsingModule

log = logging.getLogger(__name__)


class RefreshPseudoLabels(pl.Callback):
    """Refresh the parts, and report what that cost and how good the pseudo labels are.

    Logged each epoch: ``labeling/*`` (seconds of each stage, and their share of the epoch's training time),
    ``pseudo_labels/*`` (what the part reports, and where the training truth is known the precision, recall and F1 of
    its labels for each modality, in percent) and ``train/em/bound`` (Eq. 14, mean over videos and events). Counts by
    event go to ``pseudo_labels.csv`` in ``directory``.
    """

    place = FIRST

    def __init__(self, directory: str) -> None:
        self.path = Path(directory) / names.PSEUDO_LABELS
        self.warned: set[str] = set()
        self.report: dict[str, float] = {}  # of this epoch's labels
        self.training_seconds = 0.0  # of this epoch, on them
        self.clock = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what the parts have to say, such as where k-means runs."""
        for part in _module(pl_module).parts.values():
            for note in part.notes(pl_module.device):
                log.info("%s", note)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, also in the middle of an epoch."""
        self.clock = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refresh the parts."""
        self.report, self.training_seconds = {}, 0.0
        module, videos = _module(pl_module), trainer.datamodule.train  # type: ignore[attr-defined]
        for name, part in module.parts.items():
            try:
                report = part.refresh(videos, trainer.current_epoch, module.team)
            except ValueError as error:
                last = last_good(names.last_checkpoint(self.path.parent))
                raise TrainingError(f"{name} for epoch {trainer.current_epoch}: {error}; {last}") from error
            if report is not None:
                self._take(report, trainer, module, videos)
        self.clock = time.perf_counter()

    def _take(self, report: Report, trainer: pl.Trainer, module: ParsingModule, videos: VideoSet) -> None:
        stages = {f"{stage}_seconds": seconds for stage, seconds in report.seconds.items()}
        for name, seconds in (stages | {"seconds": sum(stages.values())}).items():  # several parts may encode
            self.report[f"labeling/{name}"] = self.report.get(f"labeling/{name}", 0.0) + seconds
        self.report |= report.values
        labels = module.labeling.pseudo_labels
        if labels is not None and videos.truth is not None:
            self.report |= label_quality(labels, videos.truth, module.labeling.label_threshold, module.modalities)
        if trainer.is_global_zero:
            if report.per_event:
                self._write_events(report.per_event, module.events, trainer.current_epoch)
            for warning in report.warnings:
                if warning not in self.warned:
                    self.warned.add(warning)
                    log.warning("%s", warning)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Keep the time."""
        now = time.perf_counter()
        self.training_seconds += now - self.clock
        self.clock = now

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log all of it, and compare the time of labeling with that of training on the labels."""
        seconds = self.report.get("labeling/seconds")
        if seconds and self.training_seconds:
            share = self.report["labeling/share_of_training"] = seconds / self.training_seconds
            log.info(
                "epoch %d: labeling took %.2f s, %.2f of training (%.2f s)",
                trainer.current_epoch,
                seconds,
                share,
                self.training_seconds,
            )
        pl_module.log_dict(self.report, rank_zero_only=True)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know, also in the middle of an epoch."""
        return {"report": self.report, "training_seconds": self.training_seconds, "warned": sorted(self.warned)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue."""
        self.report, self.training_seconds = dict(state_dict["report"]), state_dict["training_seconds"]
        self.warned = set(state_dict["warned"])

    def _write_events(self, per_event: dict[str, list[int]], events: tuple[str, ...], epoch: int) -> None:
        rows = [
            {"epoch": epoch, "event": event, **{name: column[c] for name, column in per_event.items()}}
            for c, event in enumerate(events)
        ]
        append_rows(self.path, rows, replacing="epoch")


def label_quality(
    pseudo_labels: Float[Tensor, "S M C"],
    truth: Bool[Tensor, "S M C"],
    threshold: float,
    modalities: tuple[str, ...],
) -> dict[str, float]:
    """Compute precision, recall and F1 of [pseudo_labels >= threshold] for each modality, in percent."""
    found = pseudo_labels >= threshold
    quality = {}
    for m, modality in enumerate(modalities):
        hits, predicted, true = (x[:, m].sum().item() for x in (found & truth, found, truth))
        quality[f"pseudo_labels/{modality}/precision"] = 100 * hits / max(predicted, 1)
        quality[f"pseudo_labels/{modality}/recall"] = 100 * hits / max(true, 1)
        quality[f"pseudo_labels/{modality}/f1"] = 200 * hits / max(predicted + true, 1)
    return quality


def _module(module: pl.LightningModule) -> ParsingModule:
    assert isinstance(module, ParsingModule)
    return module
