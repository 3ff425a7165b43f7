"""Small runs: what an epoch takes besides steps, labeling and validation; and all that ``make train`` runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as pl

from avvp_pl.commands.build import build_data, build_model, build_trainer, build_videos, prepare_process
from avvp_pl.training.callbacks import FIRST
from avvp_pl.training.callbacks.refresh_pseudo_labels import RefreshPseudoLabels
from benchmarks.measure import THREADS, Row, Scale, run_module, seconds, threads
from benchmarks.workload import configured, folder, labelings

WARM_UP = 1  # epochs that do not count: the first one has no labeling, and imports what draws


class BetweenEpochs(pl.Callback):
    """Take the time from the end of each validation to the first step of the next epoch, without the labeling.

    Pictures, logs, files, and checkpoints are in it.
    """

    place = FIRST  # the end of a validation comes before what other callbacks do then

    def __init__(self) -> None:
        self.times: list[float] = []
        self.validated: float | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Scores are known now."""
        self.validated = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, number: int
    ) -> None:
        """Before the first step, everything is done."""
        if number == 0 and self.validated is not None:
            callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
            refresh = next(callback for callback in callbacks if isinstance(callback, RefreshPseudoLabels))
            self.times.append(time.perf_counter() - self.validated - refresh.report.get("labeling/seconds", 0.0))


def measure(scale: Scale) -> Iterator[Row]:
    """Train with and without W&B, then as ``make train`` does."""
    for logger in ("csv", "wandb"):
        with folder() as run, threads(THREADS):
            settings = [f"trainer.max_epochs={scale.small_epochs + WARM_UP}", f"logger={logger}"]
            cfg = configured("ppl_soft", run, scale.small_videos, *settings, f"paths.output_root={run}")
            prepare_process(cfg)
            videos, between = build_videos(cfg), BetweenEpochs()
            build_trainer(cfg, between).fit(build_model(cfg, videos), build_data(cfg, videos))
        times = between.times[WARM_UP:]
        shown = f"{statistics.median(times):.2f} s"
        shown += f", and {max(times):.2f} s with pictures" if logger == "wandb" else ""
        what = f"between two epochs of `ppl_soft`, {scale.small_videos} videos, besides labeling; `logger={logger}`"
        yield Row(what, shown, required="at most 0.15 s")
    with folder() as made:
        size = [f"data.sizes.train={scale.embedded_videos}", f"hydra.run.dir={made / 'run'}"]
        whole = seconds(lambda: run_module("avvp_pl.train", "+experiment=ppl_soft", *size, f"paths.output_root={made}"))
        labeling, training = _parts(made / "run")
    parts = f"{training:.0f} s training, {labeling:.0f} s labeling, {whole - training - labeling:.0f} s all else"
    yield Row("what `make train` runs, from its start to the table", f"{whole:.0f} s: {parts}")


def _parts(run: Path) -> tuple[float, float]:
    """Return the seconds of labeling, and of the steps of all epochs, of which the first one has no labeling."""
    rows = labelings(run)
    training = [labeling / share for labeling, share in rows]
    return sum(labeling for labeling, _ in rows), sum(training) + statistics.median(training)
