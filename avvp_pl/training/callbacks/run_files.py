"""The files of a run folder that the trainer does not write: scores and predictions of the test videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from avvp_pl.data.module import ParsingData
from avvp_pl.processes.collectives import gather_objects
from avvp_pl.tasks.scores import print_scores, write_scores
from avvp_pl.tasks.timelines import write_predictions
from avvp_pl.training.module import Parsed, ParsingModule
from avvp_pl.types import Batch


class RunFiles(pl.Callback):
    """Write what a test says of its videos into ``directory``, and print the scores.

    These are ``scores.json`` and, in ``predictions``, ``MODALITY.csv`` and ``probabilities.npz``.
    """

    def __init__(self, directory: str, title: str) -> None:
        self.directory, self.title = Path(directory), title
        self.parsed: list[tuple[Tensor, Parsed]] = []

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Collect them; probabilities are kept as precisely as they are written."""
        timelines, *probs = outputs
        self.parsed.append((batch.index.cpu(), Parsed(timelines.cpu(), *(part.half().cpu() for part in probs))))

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put them in the order of the split, from all processes, and write."""
        parsed, self.parsed = [pair for part in gather_objects(self.parsed) for pair in part], []
        if not trainer.is_global_zero:
            return
        data: ParsingData = trainer.datamodule  # type: ignore[attr-defined]
        order = torch.cat([index for index, _ in parsed]).argsort()
        columns = zip(*(part for _, part in parsed), strict=True)
        ordered = Parsed(*(torch.cat(column)[order] for column in columns))
        write_predictions(self.directory / "predictions", data.splits["test"].names, ordered, data.videos)
        assert isinstance(pl_module, ParsingModule)
        assert pl_module.test_scores is not None
        write_scores(self.directory / "scores.json", pl_module.test_scores, data.videos.events)
        print_scores(pl_module.test_scores, self.title)
