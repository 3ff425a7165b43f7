"""When pseudo labels are made: at the start of every epoch from the method's ``start_epoch`` on."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import TrainingError
from avvp_pl.files import append_rows
from avvp_pl.methods.npl import NPL, Refresh
from avvp_pl.methods.ppl import PPL
from avvp_pl.pseudo_labels import kmeans_device
from avvp_pl.runs.checkpoints import last_good

log = logging.getLogger(__name__)


class RefreshPseudoLabels(pl.Callback):
    """Ask the method for new pseudo labels, and report what they cost and how good they are.

    Logged each epoch: ``labeling/*`` (seconds of each part, and their share of the epoch's training time),
    ``pseudo_labels/*`` (key segments, prototypes and, where the training truth is known, precision, recall and
    F1 per modality, in percent) and ``train/em/bound`` (Eq. 14, mean over videos and events). Counts per event
    go to ``pseudo_labels.csv`` in ``directory``.
    """

    def __init__(self, directory: str, monitor: str = "val/segment/type_av") -> None:
        self.path = Path(directory) / "pseudo_labels.csv"
        self.monitor = monitor
        self.best = float("-inf")
        self.warned: set[str] = set()
        self.report: dict[str, float] = {}  # of this epoch's labels
        self.training_seconds = 0.0  # of this epoch, on them
        self.clock = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say where k-means runs."""
        if isinstance(pl_module, PPL):
            log.info("k-means runs on the %s", kmeans_device(pl_module.kmeans, pl_module.device))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, also in the middle of an epoch."""
        self.clock = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refresh."""
        self.report, self.training_seconds = {}, 0.0
        if isinstance(pl_module, NPL) and trainer.current_epoch >= pl_module.start_epoch:
            self._refresh(trainer, pl_module)
        self.clock = time.perf_counter()

    def _refresh(self, trainer: pl.Trainer, method: NPL) -> None:
        videos: VideoSet = trainer.datamodule.train  # type: ignore[attr-defined]
        try:
            report = method.refresh(videos)
        except ValueError as error:
            last = last_good(self.path.parent / "checkpoints" / "last.ckpt")
            raise TrainingError(f"labeling for epoch {trainer.current_epoch}: {error}; {last}") from error
        assert method.pseudo_labels is not None
        seconds = {f"labeling/{part}_seconds": seconds for part, seconds in report.seconds.items()}
        self.report = {**seconds, "labeling/seconds": sum(seconds.values()), "train/em/bound": float(report.bound)}
        if videos.truth is not None:
            self.report |= label_quality(method.pseudo_labels, videos.truth, videos.mask, method.modalities)
        for sign, counts in report.segments.items():
            self.report[f"pseudo_labels/{sign}_segments"] = float(counts.sum())
            self.report[f"pseudo_labels/{sign}_prototypes"] = float(report.prototypes[sign].sum())
        if report.segments and trainer.is_global_zero:
            self._report_events(report, method.events, trainer.current_epoch)
            self._warn_of_lacking(report, method)

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

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the method when its validation score is the best so far."""
        score = trainer.callback_metrics.get(self.monitor)
        if isinstance(pl_module, NPL) and score is not None and not trainer.sanity_checking and score > self.best:
            self.best = float(score)
            pl_module.keep_best()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know, also in the middle of an epoch."""
        kept = {"best": self.best, "report": self.report, "training_seconds": self.training_seconds}
        return {**kept, "warned": sorted(self.warned)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue."""
        self.best, self.report = state_dict["best"], dict(state_dict["report"])
        self.training_seconds, self.warned = state_dict["training_seconds"], set(state_dict["warned"])

    def _report_events(self, report: Refresh, events: tuple[str, ...], epoch: int) -> None:
        columns = {
            f"{sign}_{kind}": counts[sign].tolist()
            for kind, counts in (("segments", report.segments), ("prototypes", report.prototypes))
            for sign in ("positive", "negative")
        }
        rows = [
            {"epoch": epoch, "event": event, **{name: column[c] for name, column in columns.items()}}
            for c, event in enumerate(events)
        ]
        append_rows(self.path, rows, replacing="epoch")

    def _warn_of_lacking(self, report: Refresh, method: NPL) -> None:
        """Once a run for each event, and where modalities have prototypes of their own, each modality."""
        assert report.lacking is not None
        everywhere = report.lacking.all(0).tolist()
        for group, event in report.lacking.nonzero().tolist():
            where = "" if everywhere[event] else f" in {method.modalities[group]}"
            if (what := f"{method.events[event]} has no positive segments{where}") not in self.warned:
                self.warned.add(what)
                log.warning("%s, so its pseudo labels%s are 0", what, where)


def label_quality(pseudo_labels: Tensor, truth: Tensor, mask: Tensor, modalities: tuple[str, ...]) -> dict[str, float]:
    """Precision, recall and F1 of [pseudo_labels >= 0.5] per modality, over all real segments, in percent."""
    real = mask[:, :, None, None]
    found, truth = (pseudo_labels >= 0.5) & real, truth & real
    quality = {}
    for m, modality in enumerate(modalities):
        hits, predicted, true = (x[:, :, m].sum().item() for x in (found & truth, found, truth))
        quality[f"pseudo_labels/{modality}/precision"] = 100 * hits / max(predicted, 1)
        quality[f"pseudo_labels/{modality}/recall"] = 100 * hits / max(true, 1)
        quality[f"pseudo_labels/{modality}/f1"] = 200 * hits / max(predicted + true, 1)
    return quality
