"""When a method that is to be tested by prototypes, and has none, gets them: once, before its test (PPL_Test)."""

from __future__ import annotations

import logging

import lightning.pytorch as pl
from jaxtyping import Bool
from torch import Tensor

from avvp_pl.data.module import ParsingData
from avvp_pl.errors import InputError
from avvp_pl.methods.npl import Refresh
from avvp_pl.methods.ppl import PPL
from avvp_pl.pseudo_labels import kmeans_device

log = logging.getLogger(__name__)


class BuildPrototypes(pl.Callback):
    """Build the prototypes of the training videos as training would, and say how many there are.

    Does nothing where the training videos were not asked for. Raises :class:`InputError` where nothing can be built.
    """

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Build them."""
        data: ParsingData = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(pl_module, PPL) or pl_module.inference == "classifier" or "train" not in data.splits:
            return
        if pl_module.positive_mask.any():
            return
        try:
            report = pl_module.refresh(data.train)
        except ValueError as error:
            raise InputError(f"prototypes of the training videos: {error}; give another checkpoint") from error
        if not pl_module.positive_mask.any():
            raise InputError("prototypes of the training videos: no video of these has any event")
        _tell(report, pl_module, len(data.train))


def _tell(report: Refresh, method: PPL, videos: int) -> None:
    """How many there are, and which events lack them."""
    counts = {sign: int(found.sum()) for sign, found in report.segments.items()}
    built = {sign: int(found.sum()) for sign, found in report.prototypes.items()}
    log.info(
        "%d training videos: %d positive and %d negative key segments, %d and %d prototypes (k-means on the %s)",
        videos,
        *counts.values(),
        *built.values(),
        kmeans_device(method.kmeans, method.device),
    )
    positive, negative = method.positive_mask.any(-1), method.negative_mask.any(-1)
    if lacking := _named(~positive, method):
        log.warning("without positive prototypes, so never found: %s", lacking)
    if lacking := _named(positive & ~negative, method):
        log.warning("without negative prototypes, so found in all of a video that has them: %s", lacking)


def _named(events: Bool[Tensor, "G C"], method: PPL) -> str:
    """The names of some events; where modalities have prototypes of their own and only some are meant, with these."""
    everywhere = events.all(0).tolist()
    names = [
        method.events[event] + ("" if everywhere[event] else f" ({method.modalities[group]})")
        for group, event in events.nonzero().tolist()
    ]
    return ", ".join(dict.fromkeys(names))
