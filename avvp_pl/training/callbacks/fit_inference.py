"""When an inference that needs more than the trained weights is fitted: once, before its test (PPL_Test is one)."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning.pytorch as pl

from avvp_pl.data.module import ParsingData
from avvp_pl.errors import InputError
from avvp_pl.runs.checkpoints import add_fitted
from avvp_pl.training.module import ParsingModule

log = logging.getLogger(__name__)


class FitInference(pl.Callback):
    """Fit every inference that needs it to the training or validation videos, and log what was built.

    After a training, what was fitted is added to the checkpoint that is tested, so that ``evaluate`` and ``predict``
    use the same numbers. A run that is resumed from this checkpoint does not: it is fitted again at its end.
    """

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fit them before a test."""
        fitted = self._fit(trainer, pl_module)
        if fitted and trainer.ckpt_path is not None and trainer.is_global_zero:
            add_fitted(Path(trainer.ckpt_path), pl_module.state_dict())

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fit them before a prediction."""
        self._fit(trainer, pl_module)

    def _fit(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
        """Return whether anything was fitted."""
        data: ParsingData = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(pl_module, ParsingModule)
        fitted = False
        for name, inference in pl_module.inferences.items():
            needed = pl_module.needs_of(name)
            if not needed:
                continue
            for split in needed:
                if split not in data.splits:
                    raise InputError(f"inference.{name} is fitted to the {split} videos, which the data does not have")
                if split == "val" and data.splits[split].truth is None:
                    raise InputError(
                        f"inference.{name} is fitted to the annotation of the val videos, which is missing"
                    )
            splits = {split: data.splits[split] for split in needed}
            report = inference.fit(pl_module.network, splits, pl_module.labeling, pl_module.team)
            fitted = True
            if report is not None:
                first, *others = report.summary or [""]
                log.info("%s", first)
                for problem in others:
                    log.warning("%s", problem)
        return fitted
