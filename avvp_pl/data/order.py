"""Which videos the training batches of an epoch have: pure functions of the seed, the epoch and the process."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from avvp_pl.data.sampling import generator_of
from avvp_pl.errors import InputError


class BatchOrder(ABC):
    """Chooses the videos of every training batch, in the place of all videos in a random order.

    An epoch has ``batches`` batches in each process.
    """

    batches: int

    @abstractmethod
    def check(self, weak_labels: Float[Tensor, "N C"], batch_size: int) -> None:
        """Raise :class:`InputError` where there are no such batches of these videos."""

    @abstractmethod
    def __call__(
        self, weak_labels: Float[Tensor, "N C"], batch_size: int, seed: int, epoch: int, process: int
    ) -> Int[Tensor, "batches batch_size"]:
        """Return the rows of the videos of each batch of an epoch; processes have different ones."""


class PairedBatches(BatchOrder):
    """Batches that begin with ``pairs`` pairs of videos with the same event, as in W-TALC, CO2-Net and DELU.

    For each pair an event is drawn, and then two different videos that have it. The other videos of the batch are drawn
    from all videos. Everything is drawn uniformly and independently, so that a batch can have a video twice. An epoch
    is no pass over the data, but ``batches`` batches. Events that fewer than two videos have are never drawn (the
    public code fails there).
    """

    def __init__(self, pairs: int, batches: int) -> None:
        self.pairs, self.batches = pairs, batches

    def check(self, weak_labels: Float[Tensor, "N C"], batch_size: int) -> None:
        """Raise where a batch is too small, or where no event is in two videos."""
        if batch_size < 2 * self.pairs:
            raise InputError(
                f"data.batch_size={batch_size}: a batch with data.order.pairs={self.pairs} needs at least "
                f"{2 * self.pairs} videos"
            )
        if self.pairs and not bool(((weak_labels > 0).sum(0) >= 2).any()):
            raise InputError(
                f"data.order.pairs={self.pairs}: no event is in two training videos, so there are no pairs; add videos "
                "or give data.order.pairs=0"
            )

    def __call__(
        self, weak_labels: Float[Tensor, "N C"], batch_size: int, seed: int, epoch: int, process: int
    ) -> Int[Tensor, "batches batch_size"]:
        """Draw."""
        generator = generator_of(seed, epoch, process)
        videos = [(weak > 0).nonzero()[:, 0] for weak in weak_labels.T]  # of each event
        paired = [rows for rows in videos if len(rows) >= 2]
        batches = []
        for _ in range(self.batches):
            events = torch.randint(max(1, len(paired)), (self.pairs,), generator=generator).tolist()
            drawn = [paired[event][torch.randperm(len(paired[event]), generator=generator)[:2]] for event in events]
            others = torch.randint(len(weak_labels), (batch_size - 2 * self.pairs,), generator=generator)
            batches.append(torch.cat([*drawn, others]))
        return torch.stack(batches)
