"""Pseudo labels of all training segments, kept until the next refresh."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.losses import pseudo_label_loss
from avvp_pl.parts import Labeling, Step, Team, Term
from avvp_pl.pseudo_labels import EncodedBlock
from avvp_pl.pseudo_labels.em import bound


class StoredLabels(Labeling, ABC):
    """What labelings with a label for every training segment share: L_PL (Eq. 11) on them, and their resume.

    A source fills ``pseudo_labels``, [S, M, C] for the S segments of the training videos one after another.
    """

    def __init__(self, weight_pseudo_label: float, label_threshold: float) -> None:
        super().__init__(label_threshold)
        self.weight_pseudo_label = weight_pseudo_label

    def of_batch(self, step: Step) -> Float[Tensor, "B T M C"]:
        """Return the stored labels of the segments of a batch; those of padding have no meaning."""
        labels, segment = self.pseudo_labels, step.batch.segment
        assert labels is not None
        if not len(labels):  # no video has any segment, and padding has no last one to repeat
            return labels.new_zeros(*segment.shape, *labels.shape[1:])
        return labels[segment]

    def forward(self, step: Step) -> dict[str, Term]:
        """Return L_PL."""
        labeled = pseudo_label_loss(step.output.segment_probs, self.of_batch(step), step.batch.mask)
        return {"pseudo_label": Term(labeled, self.weight_pseudo_label)}

    def progress(self) -> dict[str, Tensor]:
        """Return the labels of this epoch: a run that is resumed in its middle needs them."""
        return {} if self.pseudo_labels is None else {"pseudo_labels": self.pseudo_labels}

    def resume(self, progress: Mapping[str, Tensor]) -> None:
        """Continue with the labels of the interrupted epoch."""
        self.pseudo_labels = progress.get("pseudo_labels")


class LabelsInProgress:
    """The labels of all training segments while they are made, each process filling in those of its own videos.

    ``bound`` sums the bound of Eq. (14) over the videos and events that have been labeled.
    """

    def __init__(self, videos: VideoSet, modalities: int, device: torch.device) -> None:
        self.videos = videos
        events = videos.weak_labels.shape[1]
        self.labels = torch.zeros(videos.num_segments, modalities, events, device=device)
        self.bound = torch.zeros((), dtype=torch.float64, device=device)

    def add(self, block: EncodedBlock, labels: Float[Tensor, "B T M C"]) -> None:
        """Store the labels of some videos."""
        self.videos.put(self.labels, block.index, block.segment, block.mask, labels)
        self.bound += total_bound(block, labels)

    def result(self, team: Team) -> tuple[Float[Tensor, "S M C"], float]:
        """Return the labels of all processes, and the bound as a mean over videos and events."""
        labels, events = team.add_up(self.labels), self.videos.weak_labels.shape[1]
        return labels, float(team.add_up(self.bound) / (len(self.videos) * events))


def total_bound(block: EncodedBlock, pseudo_labels: Float[Tensor, "B T M C"]) -> Float[Tensor, ""]:
    """Eq. (14), summed over videos and events."""
    probs, labels = block.segment_probs.flatten(1, 2), pseudo_labels.flatten(1, 2)
    real = block.mask.repeat_interleave(pseudo_labels.shape[2], dim=1)
    return bound(probs, labels, block.weak_labels, real).double().sum()
