"""Base: multiple-instance learning from weak labels alone (Eq. 4), with HAN's guided losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError
from avvp_pl.losses import guided_loss, inverse_frequency_weights, mil_loss
from avvp_pl.training.module import ParsingModule
from avvp_pl.types import Batch, ParsingOutput


class MIL(ParsingModule):
    """L = L_MIL + guided losses.

    ``class_weighting`` weighs events in L_MIL by inverse frequency or not at all. ``guided_weights`` and
    ``guided_smoothing`` have one entry a modality; a weight of 0 leaves that modality unguided.
    """

    event_weights: Tensor

    def __init__(
        self,
        class_weighting: Literal["inverse_frequency", "none"],
        guided_weights: Mapping[str, float],
        guided_smoothing: Mapping[str, float],
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.class_weighting = class_weighting
        for key, given in (("guided_weights", guided_weights), ("guided_smoothing", guided_smoothing)):
            if not set(self.modalities) <= set(given):
                raise InputError(f"method.{key} is for {', '.join(given)}; the data has {', '.join(self.modalities)}")
        self.guided_weights = [guided_weights[name] for name in self.modalities]
        self.guided_smoothing = [guided_smoothing[name] for name in self.modalities]
        self.register_buffer("event_weights", torch.ones(len(self.events)))

    def setup(self, stage: str) -> None:
        """Meet the training videos before training on them."""
        if stage == "fit":
            self.meet(self.trainer.datamodule.train)  # type: ignore[attr-defined]

    def meet(self, videos: VideoSet) -> None:
        """Take from the training videos what depends on all of them: here, how frequent each event is."""
        if self.class_weighting == "inverse_frequency":
            self.event_weights.copy_(inverse_frequency_weights(videos.weak_labels))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """L_MIL + guided losses."""
        loss = self.weak_loss(self(batch), batch)
        self.log_losses(batch, loss=loss)
        return loss

    def weak_loss(self, output: ParsingOutput, batch: Batch) -> Tensor:
        """What weak labels teach: Eq. (4) and the guided losses."""
        supervised = mil_loss(output.video_probs, batch.weak_labels, self.event_weights)
        guided = guided_loss(output.modality_probs, batch.weak_labels, self.guided_weights, self.guided_smoothing)
        self.log_losses(batch, mil=supervised, guided=guided)
        return supervised + guided
