"""NPL: naive pseudo labels, the momentum network's own probabilities (the paper's baseline for labeling)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.losses import pseudo_label_loss
from avvp_pl.methods.mil import MIL
from avvp_pl.models import momentum_at, momentum_copy, momentum_update
from avvp_pl.processes.collectives import add_up, share
from avvp_pl.pseudo_labels import EncodedBlock, EncodedVideos, naive_hard_labels, naive_soft_labels
from avvp_pl.pseudo_labels.em import bound
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput

LABELING_BATCH = 128  # videos a forward pass: large enough for full speed, 30 MB


class Refresh:
    """What one labeling of all training videos found, and what each part of it took, in seconds."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self.bound = torch.zeros((), dtype=torch.float64, device=device)  # Eq. (14), mean over videos and events
        self.segments: dict[str, Tensor] = {}  # "positive", "negative": [C] counts
        self.prototypes: dict[str, Tensor] = {}  # the same, over all groups
        self.lacking: Tensor | None = None  # [G, C]: groups of modalities without positive segments of an event
        self.started = time.perf_counter()

    def lap(self, part: str) -> None:
        """Add the time since the last lap to that of ``part``."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self.started
        self.started = now


class NPL(MIL):
    """L = L_MIL + guided losses + weight_pseudo_label * L_PL, with y = w * p (soft) or w * [p >= 0.5] (hard).

    p comes from ``source``: the momentum network, or (``best``) that network as it was at the best validation
    epoch so far. Pseudo labels are made from epoch ``start_epoch`` (counted from 0) on. While it labels, only the
    modalities ``label_attending`` attend to the others (None: all): one that does not cannot take for its own what
    another shows.
    """

    def __init__(
        self,
        labels: Literal["soft", "hard"],
        weight_pseudo_label: float,
        start_epoch: int,
        momentum: float,
        momentum_warmup: bool,
        source: Literal["momentum", "best"],
        label_attending: Sequence[str] | None = None,  # as in checkpoints that do not know of it
        **weak: Any,
    ) -> None:
        super().__init__(**weak)
        self.labels, self.weight_pseudo_label, self.start_epoch = labels, weight_pseudo_label, start_epoch
        self.naive_labels = naive_soft_labels if labels == "soft" else naive_hard_labels
        self.momentum, self.momentum_warmup = momentum, momentum_warmup
        self.momentum_net = momentum_copy(self.network)
        self.best_net = momentum_copy(self.network) if source == "best" else None
        for frozen in self._frozen:
            frozen.attending = None if label_attending is None else tuple(label_attending)
        self.pseudo_labels: Tensor | None = None  # [N, T, M, C]

    @property
    def _frozen(self) -> list[ParsingNetwork]:
        """The networks that only label."""
        return [net for net in (self.momentum_net, self.best_net) if net is not None]

    def train(self, mode: bool = True) -> NPL:
        """Train, all but the frozen networks, whose dropout stays off."""
        super().train(mode)
        for frozen in self._frozen:
            frozen.eval()
        return self

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """L_MIL + guided losses, and once there are labels what these teach."""
        output = self(batch)
        loss = self.weak_loss(output, batch)
        if self.pseudo_labels is not None:
            loss = loss + self.strong_loss(output, self.pseudo_labels[batch.index], batch)
        self.log_losses(batch, loss=loss)
        return loss

    def strong_loss(self, output: ParsingOutput, pseudo_labels: Tensor, batch: Batch) -> Tensor:
        """What pseudo labels teach: Eq. (11)."""
        labeled = pseudo_label_loss(output.segment_probs, pseudo_labels, batch.mask)
        self.log_losses(batch, pseudo_label=labeled)
        return self.weight_pseudo_label * labeled

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Let the momentum network follow."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        step = self.global_step - 1  # the optimizer has just made this one
        momentum_update(self.momentum_net, self.network, momentum_at(step, self.momentum, self.momentum_warmup))

    @property
    def labeling_net(self) -> ParsingNetwork:
        """The network whose probabilities and features make pseudo labels."""
        return self.best_net if self.best_net is not None else self.momentum_net

    def keep_best(self) -> None:
        """The validation score has just been the best: remember the momentum network for ``source: best``."""
        if self.best_net is not None:
            self.best_net.load_state_dict(self.momentum_net.state_dict())

    @torch.no_grad()
    def refresh(self, videos: VideoSet) -> Refresh:
        """Label all training videos; each process labels its share."""
        report = Refresh(self.device)
        labels = self._no_labels(videos)
        for block in EncodedVideos(self.labeling_net, videos, share(blocks_of(videos)), memory=0):
            report.lap("encode")
            labels[block.index] = self.naive_labels(block.segment_probs, block.weak_labels)
            report.bound += total_bound(block, labels[block.index])
            report.lap("label")
        self._keep_labels(labels, report)
        return report

    def _no_labels(self, videos: VideoSet) -> Tensor:
        """Room for the labels of all videos, of which each process fills in its own."""
        return torch.zeros(*videos.mask.shape, len(self.modalities), len(self.events), device=self.device)

    def _keep_labels(self, labels: Tensor, report: Refresh) -> None:
        self.pseudo_labels = add_up(labels)
        report.bound = add_up(report.bound) / (len(labels) * len(self.events))
        report.lap("label")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A run that goes on in the middle of an epoch needs the labels of its start."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["pseudo_labels"] = self.pseudo_labels

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue with the labels of the interrupted epoch."""
        super().on_load_checkpoint(checkpoint)
        self.pseudo_labels = checkpoint["pseudo_labels"]

    def on_fit_start(self) -> None:
        """Labels of a checkpoint were loaded before there was a device."""
        super().on_fit_start()
        if self.pseudo_labels is not None:
            self.pseudo_labels = self.pseudo_labels.to(self.device)

    def label(self, batch: Batch) -> Tensor:
        """Pseudo labels of any videos whose weak labels are known, [B, T, M, C]."""
        return self.naive_labels(self.labeling_net(batch).segment_probs, batch.weak_labels)


def blocks_of(videos: VideoSet) -> list[Tensor]:
    """The rows of all videos in blocks; the same for any number of processes, so that the bits are, too."""
    return list(torch.split(torch.arange(len(videos)), LABELING_BATCH))


def total_bound(block: EncodedBlock, pseudo_labels: Tensor) -> Tensor:
    """Eq. (14), summed over videos and events."""
    probs, labels = block.segment_probs.flatten(1, 2), pseudo_labels.flatten(1, 2)
    real = block.mask.repeat_interleave(pseudo_labels.shape[2], dim=1)
    return bound(probs, labels, block.weak_labels, real).double().sum()
