"""When the results of a test are written and printed: once all processes have tested their videos."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from avvp_pl.data.module import ParsingData
from avvp_pl.processes.collectives import gather_objects
from avvp_pl.tasks.parsed import Parsed, in_order, join
from avvp_pl.training.module import ParsingModule
from avvp_pl.types import Batch

log = logging.getLogger(__name__)


class RunFiles(pl.Callback):
    """Write ``scores.json`` and ``predictions/`` of the test videos, and print the scores and the tested epoch.

    The first inference uses ``directory`` itself and every other one a folder of its name in it, unless ``folders``
    returns the folder of each; it is called once there are results. A trial (``fast_dev_run``) and a test of only some
    of the videos have no results: their scores are printed only.
    """

    def __init__(self, directory: str, title: str, folders: Callable[[], Mapping[str, Path]] | None = None) -> None:
        self.directory, self.title, self.folders = Path(directory), title, folders
        self.parsed: list[tuple[Tensor, dict[str, Parsed]]] = []

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Collect the results of a batch, with probabilities as precise as in the file."""
        kept = {
            name: found._replace(probs=found.probs.half(), video_probs=found.video_probs.half())
            for name, found in outputs.items()
        }
        self.parsed.append((batch.index.cpu(), kept))

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the results of all processes in the order of the split, and write them."""
        parsed, self.parsed = [pair for part in gather_objects(self.parsed) for pair in part], []
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, ParsingModule)
        data: ParsingData = trainer.datamodule  # type: ignore[attr-defined]
        order = torch.cat([index for index, _ in parsed]).argsort()
        names, tested = data.splits["test"].names, pl_module.tested
        is_trial: bool = trainer.fast_dev_run  # type: ignore[attr-defined]
        complete = not is_trial and len(order) == len(names)
        folders = self._folders(pl_module) if complete else {}
        for name, scores in pl_module.test_scores.items():
            if complete:
                found = pl_module.test_parsed[name] = in_order(join([of_batch[name] for _, of_batch in parsed]), order)
                pl_module.task.write(folders[name], names, found, scores, data.videos, pl_module.protocol, tested)
            by = f", by {name}" if len(pl_module.test_scores) > 1 else ""
            pl_module.task.show(scores, f"{self.title}{by}")
        if tested is not None:
            print(f"tested: {tested}")
            if tested.taught is False:
                log.warning(
                    "no pseudo labels had taught anything by the end of the tested epoch %d: these are the scores of a "
                    "network that was trained on weak labels alone",
                    tested.epoch,
                )
            if tested.part is not None:
                log.warning(
                    "the tested epoch %d was selected by %s (trainer.limit_val_batches): its score is not that of a "
                    "run that validates all of them",
                    tested.epoch,
                    tested.part,
                )
        if not complete:
            some = f"{len(order)} of {len(names)} test videos (trainer.limit_test_batches)"
            what = "a few steps (trainer.fast_dev_run)" if is_trial else some
            log.warning("this was a trial with %s: its scores are not saved, and no report has them", what)

    def _folders(self, module: ParsingModule) -> Mapping[str, Path]:
        """Return the folder of each inference."""
        if self.folders is not None:
            return self.folders()
        first, *others = module.test_scores
        return {first: self.directory, **{name: self.directory / name for name in others}}
