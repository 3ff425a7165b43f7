"""JoMoLD (Cheng et al., ECCV 2022): a label that one modality fits and another does not is noise in the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.data.products import checksum, columns_of, read_product
from avvp_pl.data.videos import VideoSet
from avvp_pl.losses.cross_entropy import binary_cross_entropy
from avvp_pl.losses.mil import within_margin
from avvp_pl.methods.targets import Smoothed
from avvp_pl.models.alone import run_alone
from avvp_pl.parts import Refinement, Step
from avvp_pl.types import ParsingNetwork


class NoiseRates(Refinement):
    """How often a video's event is not in a modality: r_m(c), by a network without cross-attention (the estimator).

    It is the share, among the videos with event c, of those with P_m y_m < thresholds[m] * (mean of P_m(c) over all
    videos). P_m are the probabilities of modality m, and y_m is the smoothed label. An event that no video has gets 0.
    """

    kind = "rates"

    def __init__(
        self, modalities: Sequence[str], thresholds: Mapping[str, float], smoothing: Mapping[str, float]
    ) -> None:
        self.thresholds = torch.tensor([float(thresholds.get(name, 1.0)) for name in modalities])[:, None]
        kept = torch.tensor([float(smoothing.get(name, 1.0)) for name in modalities])[:, None]
        self.positive_label = (1 + kept) / 2  # [M, 1]

    def __call__(self, network: ParsingNetwork, videos: VideoSet, batch_size: int) -> Float[Tensor, "M C"]:
        """Return the rates."""
        probs = torch.cat([run_alone(network, batch).modality_probs for batch in videos.batches(batch_size)]).cpu()
        has_event = videos.weak_labels.cpu() > 0  # [N, C]
        unfitted = probs * self.positive_label < self.thresholds * probs.mean(0)  # [N, M, C]
        return (unfitted & has_event[:, None]).sum(0).double() / has_event.sum(0).clamp(min=1)


class Denoised(Smoothed):
    """Smoothed weak labels without those that look like noise in their modality, found anew in every batch.

    Of the n videos of a batch with event c, k_m = floor(r_m(c) n) is how many labels of modality m may be noise, with
    the rates r of ``file``. The label of m is removed where its loss is among the k_m largest in m, while the loss of
    another modality is among the k_m smallest there. The losses are those of the network without cross-attention, and
    without dropout unless ``ranking_dropout`` (as in the public code). A removed label is 0.

    ``ramp`` is about the first ``ramp_epochs``: ``linear`` lets the rates rise from 0 (as the paper says); ``code``
    removes nothing in any epoch that begins before their end (as the public code does, which sets the rates to 0).
    """

    rates: Tensor

    def __init__(
        self,
        modalities: Sequence[str],
        events: Sequence[str],
        smoothing: Mapping[str, float],
        file: str,
        ramp: Literal["code", "linear"],
        ramp_epochs: float,
        ranking_dropout: bool,
    ) -> None:
        super().__init__(modalities, smoothing)
        self.modalities, self.events, self.file = tuple(modalities), tuple(events), Path(file)
        self.linear, self.ramp_epochs, self.ranking_dropout = ramp == "linear", ramp_epochs, ranking_dropout
        rates = torch.zeros(len(modalities), len(events), dtype=torch.float64)
        self.register_buffer("rates", rates, persistent=False)
        self.checksum: str | None = None

    def start(self, videos: VideoSet) -> None:
        """Read the rates."""
        product = read_product(self.file, "rates")
        self.note = product.note
        rates = product.values[np.ix_(*columns_of(product, self.modalities, self.events, self.file))]
        self.rates.copy_(torch.from_numpy(rates))
        self.checksum = checksum(rates)

    def digest(self) -> str | None:
        """Return a checksum of the rates."""
        return self.checksum

    def forward(self, step: Step) -> Float[Tensor, "B M C"]:
        """Smooth the weak labels and remove those that look like noise."""
        labels = super().forward(step)
        share = self._share(step.epoch, step.done)
        if not share:
            return labels
        probs = run_alone(step.network, step.batch, self.ranking_dropout).modality_probs
        losses = binary_cross_entropy(within_margin(probs), labels, reduction="none")
        # the batches of all processes are one batch
        everywhere, has_event = step.team.gather_batch(losses), step.team.gather_batch(step.batch.weak_labels) > 0
        removed = noisy(everywhere, has_event, share * self.rates)
        own = slice(step.team.rank * len(labels), (step.team.rank + 1) * len(labels))
        return labels.masked_fill(removed[own], 0)

    def _share(self, epoch: int, done: float) -> float:
        """Return the fraction of the rates that counts in a step."""
        if self.linear:
            return min(1.0, (epoch + done) / self.ramp_epochs) if self.ramp_epochs else 1.0
        return float(epoch >= self.ramp_epochs)


def noisy(
    losses: Float[Tensor, "B M C"], has_event: Bool[Tensor, "B C"], rates: Float[Tensor, "M C"]
) -> Bool[Tensor, "B M C"]:
    """Return which labels of a batch are noise: those that their modality fits worst, and another one best.

    Among the videos that have the event, the label of modality m is noise where its loss is one of the k largest in m
    and that of another modality is one of the k smallest there, with k = floor(rate of m * number of these videos).
    """
    among = has_event[:, None]  # [B, 1, C]
    order = losses.masked_fill(~among, torch.inf).argsort(dim=0, stable=True)
    rank = order.argsort(dim=0)  # [B, M, C], 0: the smallest
    count = among.sum(0)  # [1, C]
    removable = (rates * count).long()  # [M, C]
    worst = among & (rank >= count - removable)
    best = rank[:, None] < removable[:, None]  # [B, M, M, C]: for the label of a modality, of every modality
    others = ~torch.eye(rank.shape[1], dtype=torch.bool, device=rank.device)[:, :, None]
    return worst & (best & others).any(2)
