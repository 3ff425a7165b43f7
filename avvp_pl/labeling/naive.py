"""NPL: naive pseudo labels, the momentum network's own probabilities (the paper's baseline for labeling)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.labeling.stored import LabelsInProgress, TaughtLabels
from avvp_pl.models.momentum import Teacher
from avvp_pl.parts import Report, Team
from avvp_pl.pseudo_labels import EncodedVideos, blocks_of, naive_hard_labels, naive_soft_labels
from avvp_pl.types import Batch, ParsingNetwork


class Naive(TaughtLabels):
    """y = w p (soft) or w [p >= label_threshold] (hard), with p from the momentum network.

    New labels are made at the start of every epoch from ``start_epoch`` (counted from 0) on. For ``source``,
    ``momentum``, ``momentum_warmup`` and ``attending`` see :class:`~avvp_pl.models.momentum.Teacher`.
    """

    def __init__(
        self,
        network: ParsingNetwork,
        modalities: Sequence[str],
        labels: Literal["soft", "hard"],
        label_threshold: float,
        weight_pseudo_label: float,
        over_events: Literal["mean", "sum"],
        start_epoch: int,
        source: Literal["momentum", "best"],
        momentum: float,
        momentum_warmup: bool,
        attending: Sequence[str] | None,
    ) -> None:
        super().__init__(weight_pseudo_label, label_threshold, over_events)
        self.hard, self.start_epoch, self.modalities = labels == "hard", start_epoch, tuple(modalities)
        self.teacher = Teacher(network, source, momentum, momentum_warmup, attending)

    @torch.no_grad()
    def refresh(self, videos: VideoSet, epoch: int, team: Team) -> Report | None:
        """Label all training videos; each process labels its share."""
        if epoch < self.start_epoch:
            return None
        device = videos.device
        report, made = Report(device), LabelsInProgress(videos, len(self.modalities), device)
        for block in EncodedVideos(self.teacher.network, videos, team.share(blocks_of(videos)), memory=0):
            report.lap("encode")
            made.add(block, self._label(block.segment_probs, block.weak_labels))
            report.lap("label")
        self.pseudo_labels, bounds = made.result(team)
        report.values |= bounds
        report.lap("label")
        return report

    def labels(self, batch: Batch) -> Float[Tensor, "B T M C"]:
        """Label any videos whose weak labels are known."""
        return self._label(self.teacher.network(batch).segment_probs, batch.weak_labels)

    def _label(self, segment_probs: Tensor, weak_labels: Tensor) -> Tensor:
        if self.hard:
            return naive_hard_labels(segment_probs, weak_labels, self.label_threshold)
        return naive_soft_labels(segment_probs, weak_labels)
