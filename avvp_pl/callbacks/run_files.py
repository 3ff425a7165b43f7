"""The files of a run folder that the trainer does not write: scores and predictions of the test videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from avvp_pl.data.module import ParsingData
from avvp_pl.methods.base import ParsingModule
from avvp_pl.processes import gather_objects
from avvp_pl.scores import print_scores, write_scores
from avvp_pl.timelines import write_tables
from avvp_pl.types import Batch


class RunFiles(pl.Callback):
    """Write ``scores.json`` and ``predictions/MODALITY.csv`` of the test videos into ``directory``; print scores."""

    def __init__(self, directory: str, title: str) -> None:
        self.directory, self.title = Path(directory), title
        self.parsed: list[tuple[Tensor, Tensor]] = []

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Collect the timelines."""
        self.parsed.append((batch.index.cpu(), outputs.cpu()))

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put them in the order of the split, from all processes, and write."""
        parsed, self.parsed = [pair for part in gather_objects(self.parsed) for pair in part], []
        if not trainer.is_global_zero:
            return
        data: ParsingData = trainer.datamodule  # type: ignore[attr-defined]
        index, timelines = (torch.cat(column) for column in zip(*parsed, strict=True))
        ordered = timelines[index.argsort()].numpy()
        write_tables(self.directory / "predictions", data.splits["test"].names, ordered, data.videos)
        assert isinstance(pl_module, ParsingModule)
        assert pl_module.test_scores is not None
        write_scores(self.directory / "scores.json", pl_module.test_scores, data.videos.events)
        print_scores(pl_module.test_scores, self.title)
