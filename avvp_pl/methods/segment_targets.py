"""The labels of segments that a method learns from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from avvp_pl.data.products import checksum, read_product
from avvp_pl.data.videos import VideoSet
from avvp_pl.labeling.from_file import labels_of
from avvp_pl.parts import Part, Step


class SegmentTargets(Part, ABC):
    """The label of each segment of a batch in each modality."""

    @abstractmethod
    def forward(self, step: Step) -> Float[Tensor, "B T M C"]:
        """Return the labels in [0, 1]; those of padding have no meaning."""

    if TYPE_CHECKING:  # nn.Module's own call is untyped

        def __call__(self, step: Step) -> Float[Tensor, "B T M C"]:
            """Run :meth:`forward`."""
            ...


class FromFile(SegmentTargets):
    """The labels of ``file`` (:mod:`avvp_pl.data.products`), matched by the names of videos, modalities and events.

    The file is read once, at the start of training; a checkpoint can be tested without it, and a run is resumed with
    the same labels, which may be in another file.
    """

    labels: Tensor  # [S, M, C], of the training videos

    def __init__(self, modalities: Sequence[str], events: Sequence[str], file: str) -> None:
        super().__init__()
        self.modalities, self.events, self.file = tuple(modalities), tuple(events), Path(file)
        self.checksum: str | None = None

    def start(self, videos: VideoSet) -> None:
        """Read the labels of these videos."""
        labels = labels_of(read_product(self.file, "labels"), videos, self.modalities, self.events, self.file)
        self.register_buffer("labels", torch.from_numpy(labels).to(videos.device), persistent=False)
        self.checksum = checksum(labels)

    def forward(self, step: Step) -> Float[Tensor, "B T M C"]:
        """Look up the labels of the segments of the batch."""
        labels, segment = self.labels, step.batch.segment
        if not len(labels):  # no video has any segment, and padding has no last one to repeat
            return labels.new_zeros(*segment.shape, *labels.shape[1:])
        return labels[segment]

    def digest(self) -> str | None:
        """Return a checksum of the labels of the training videos."""
        return self.checksum
