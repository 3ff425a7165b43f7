"""Pseudo labels of all training segments, kept until the next refresh."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.losses import pseudo_label_loss
from avvp_pl.models.momentum import Teacher
from avvp_pl.parts import Labeling, Step, Team, Term
from avvp_pl.pseudo_labels import EncodedBlock
from avvp_pl.pseudo_labels.disjunction import disjunction_bound
from avvp_pl.pseudo_labels.em import bound
from avvp_pl.types import ParsingNetwork


class StoredLabels(Labeling, ABC):
    """What labelings with a label for every training segment share: L_PL (Eq. 11) on them, and their resume.

    A source fills ``pseudo_labels``, [S, M, C] for the S segments of the training videos one after another.
    """

    def __init__(
        self,
        weight_pseudo_label: float,
        label_threshold: float,
        over_events: Literal["mean", "sum"] = "mean",
        over_modalities: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__(label_threshold)
        self.weight_pseudo_label = weight_pseudo_label
        self.over_events, self.over_modalities = over_events, over_modalities

    def of_batch(self, step: Step) -> Float[Tensor, "B T M C"]:
        """Return the stored labels of the segments of a batch; those of padding have no meaning."""
        labels, segment = self.pseudo_labels, step.batch.segment
        assert labels is not None
        if not len(labels):  # no video has any segment, and padding has no last one to repeat
            return labels.new_zeros(*segment.shape, *labels.shape[1:])
        return labels[segment]

    def forward(self, step: Step) -> dict[str, Term]:
        """Return L_PL."""
        labeled = pseudo_label_loss(
            step.output.segment_probs, self.of_batch(step), step.batch.mask, self.over_events, self.over_modalities
        )
        return {"pseudo_label": Term(labeled, self.weight_pseudo_label)}

    def progress(self) -> dict[str, Tensor]:
        """Return the labels of this epoch: a run that is resumed in its middle needs them."""
        return {} if self.pseudo_labels is None else {"pseudo_labels": self.pseudo_labels}

    def resume(self, progress: Mapping[str, Tensor]) -> None:
        """Continue with the labels of the interrupted epoch."""
        self.pseudo_labels = progress.get("pseudo_labels")


class TaughtLabels(StoredLabels, ABC):
    """Stored labels that the network of ``teacher`` makes."""

    teacher: Teacher

    def after_step(self, network: ParsingNetwork, step: int) -> None:
        """Let the momentum network follow."""
        self.teacher.follow(network, step)

    def keep_best(self) -> None:
        """Remember the momentum network for ``source: best``."""
        self.teacher.keep_best()

    @property
    def needs_best(self) -> bool:
        """Whether the network of the best epoch labels."""
        return self.teacher.best is not None


class LabelsInProgress:
    """The labels of all training segments while they are made, each process filling in those of its own videos.

    ``bounds`` sum two bounds over the videos and events that have been labeled: that of Eq. (14), and its extension to
    weak labels that are disjunctions.
    """

    def __init__(self, videos: VideoSet, modalities: int, device: torch.device) -> None:
        self.videos = videos
        events = videos.weak_labels.shape[1]
        self.labels = torch.zeros(videos.num_segments, modalities, events, device=device)
        self.bounds = torch.zeros(2, dtype=torch.float64, device=device)

    def add(self, block: EncodedBlock, labels: Float[Tensor, "B T M C"]) -> None:
        """Store the labels of some videos."""
        self.videos.put(self.labels, block.index, block.segment, block.mask, labels)
        probs, flat = block.segment_probs.flatten(1, 2), labels.flatten(1, 2)
        real = block.mask.repeat_interleave(labels.shape[2], dim=1)
        self.bounds[0] += bound(probs, block.video_probs, flat, block.weak_labels, real).double().sum()
        self.bounds[1] += disjunction_bound(probs, flat, block.weak_labels, real).double().sum()

    def result(self, team: Team) -> tuple[Float[Tensor, "S M C"], dict[str, float]]:
        """Return the labels of all processes, and the bounds to be logged, as means over videos and events."""
        labels, events = team.add_up(self.labels), self.videos.weak_labels.shape[1]
        means = (team.add_up(self.bounds) / (len(self.videos) * events)).tolist()
        return labels, dict(zip(("train/em/bound", "train/em/disjunction_bound"), means, strict=True))
