"""Panels for W&B and TensorBoard: timelines of a few validation videos, and tables of the events after the test."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch import Tensor

from avvp_pl.data.annotations import intervals
from avvp_pl.data.module import ParsingData
from avvp_pl.data.videos import ParsingSet
from avvp_pl.figures import draw_timelines, pixels
from avvp_pl.runs.loggers import guarding
from avvp_pl.tasks.parsed import Parsed
from avvp_pl.training.module import ParsingModule

MOST_ROWS = 10_000  # of a table that W&B shows
TIMELINE_COLUMNS = ("video", "modality", "event", "truth (s)", "prediction (s)", "F1 of segments")


class Panels(pl.Callback):
    """Draw ``num_videos`` validation videos every ``every_n_epochs`` and in the last epoch.

    A picture shows the truth, the prediction and, if the labeling can label any video, the pseudo labels that the video
    would get. The videos are spread evenly over the split, so they are the same in every run. They are logged by
    number, such as ``timelines/1``, because a dashboard must name what it shows before the data is known; the picture
    shows the name of the video. Without a logger that accepts pictures, nothing is drawn.
    """

    def __init__(self, num_videos: int, every_n_epochs: int) -> None:
        self.num_videos, self.every_n_epochs = num_videos, every_n_epochs

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw and log the videos."""
        last = trainer.current_epoch + 1 == trainer.max_epochs
        due = last or trainer.current_epoch % self.every_n_epochs == 0
        if trainer.sanity_checking or not due or not _pictured(trainer):
            return
        assert isinstance(pl_module, ParsingModule)
        for number, figure in enumerate(self._draw(trainer, pl_module), start=1):
            _log_figure(trainer, f"timelines/{number}", figure)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log a table with the scores of each event, and one with the timelines of the test videos."""
        assert isinstance(pl_module, ParsingModule)
        scores = pl_module.test_scores.get(pl_module.inference)
        wandbs = [logger for logger in _pictured(trainer) if isinstance(logger, WandbLogger)]
        if scores is None or not wandbs or not trainer.is_global_zero:
            return
        columns, values = list(scores.by_event()), list(scores.by_event().values())
        rows = [[event, *of_event] for event, *of_event in zip(pl_module.events, *values, strict=True)]
        data: ParsingData = trainer.datamodule  # type: ignore[attr-defined]
        parsed = pl_module.test_parsed.get(pl_module.inference)  # None without the callback run_files
        timelines = [] if parsed is None else list(islice(_timelines(data.videos, parsed), MOST_ROWS))
        for logger in wandbs:
            logger.log_table(f"test/per_event_{pl_module.task.score}", columns=["event", *columns], data=rows)
            if timelines:
                logger.log_table("test/timelines", columns=list(TIMELINE_COLUMNS), data=timelines)

    @torch.no_grad()
    def _draw(self, trainer: pl.Trainer, module: ParsingModule) -> list[Figure]:
        data: ParsingData = trainer.datamodule  # type: ignore[attr-defined]
        videos = data.splits["val"]
        rows = torch.from_numpy(np.linspace(0, len(videos) - 1, min(self.num_videos, len(videos))).astype(int))
        batch = videos[rows]
        training = module.training
        module.eval()
        sources = {"prediction": module.parse(batch)[module.inference].timelines}
        if batch.truth is not None:
            sources = {"truth": batch.truth, **sources}
        pseudo_labels = module.labeling.labels(batch) if module.labeling.ready else None
        if pseudo_labels is not None:
            sources["pseudo labels"] = pseudo_labels
        module.train(training)
        lengths = batch.mask.sum(1).tolist()
        arrays = {name: source.cpu().numpy() for name, source in sources.items()}
        return [
            draw_timelines(
                videos.names[row],
                {name: array[i, : lengths[i]] for name, array in arrays.items()},
                module.modalities,
                module.events,
                data.videos.segment_seconds,
            )
            for i, row in enumerate(rows.tolist())
        ]


def _pictured(trainer: pl.Trainer) -> list[Any]:
    """Return the loggers that accept pictures."""
    return [logger for logger in trainer.loggers if isinstance(logger, WandbLogger | TensorBoardLogger)]


def _timelines(videos: ParsingSet, parsed: Parsed) -> Iterator[list[Any]]:
    """Yield a row for every event that a test video has, or is said to have, in a modality."""
    test = videos.test
    assert test is not None
    assert test.truth is not None
    truths, founds = (parsed.videos(flat.cpu()) for flat in (test.truth, parsed.timelines))
    for name, truth, found in zip(test.names, truths, founds, strict=True):
        for m, modality in enumerate(videos.modalities):
            for c in (truth[:, m] | found[:, m]).any(0).nonzero()[:, 0].tolist():
                true, said = truth[:, m, c], found[:, m, c]
                f1 = 200 * (true & said).sum().item() / (true.sum() + said.sum()).item()
                spans = (_spans(track, videos.segment_seconds) for track in (true, said))
                yield [name, modality, videos.events[c], *spans, round(f1, 1)]


def _spans(track: Tensor, seconds: float) -> str:
    """Return the intervals of a track [T] in seconds, such as ``0-3, 5-10``."""
    return ", ".join(
        f"{onset * seconds:g}-{offset * seconds:g}" for _, onset, offset in intervals(track[:, None].numpy())
    )


@rank_zero_only
def _log_figure(trainer: pl.Trainer, name: str, figure: Figure) -> None:
    picture = pixels(figure, dpi=120)
    for logger in _pictured(trainer):
        with guarding(logger):
            if isinstance(logger, WandbLogger):
                logger.log_image(name, [picture], step=trainer.global_step)
            else:
                logger.experiment.add_image(name, picture, trainer.global_step, dataformats="HWC")
