"""When an inference that needs more than the checkpoint is fitted: once, before its test (PPL_Test is one)."""

from __future__ import annotations

import logging

import lightning.pytorch as pl

from avvp_pl.data.module import ParsingData
from avvp_pl.training.module import ParsingModule

log = logging.getLogger(__name__)


class FitInference(pl.Callback):
    """Fit every inference that needs it to the splits that were read for it, and log what was built."""

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fit them before a test."""
        self._fit(trainer, pl_module)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fit them before a prediction."""
        self._fit(trainer, pl_module)

    def _fit(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data: ParsingData = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(pl_module, ParsingModule)
        for inference in pl_module.inferences.values():
            needed = inference.needs(pl_module.labeling)
            if not needed or not set(needed) <= set(data.splits):
                continue
            report = inference.fit({split: data.splits[split] for split in needed}, pl_module.labeling, pl_module.team)
            if report is not None:
                first, *others = report.summary or [""]
                log.info("%s", first)
                for problem in others:
                    log.warning("%s", problem)
