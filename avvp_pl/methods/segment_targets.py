"""The labels that a method asks each segment for, beside the pseudo labels of a labeling or in their place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avvp_pl.data.products import Missing, checksum, read_product
from avvp_pl.data.videos import VideoSet
from avvp_pl.labeling.from_file import labels_of
from avvp_pl.losses import pseudo_label_loss
from avvp_pl.parts import Part, Step, Term


class SegmentTargets(Part, ABC):
    """A label of every segment, for each modality and event."""

    @abstractmethod
    def forward(self, step: Step) -> Float[Tensor, "B T M C"]:
        """Return the labels of a batch in [0, 1]; those of padding have no meaning."""

    if TYPE_CHECKING:  # nn.Module's own call is untyped

        def __call__(self, step: Step) -> Float[Tensor, "B T M C"]:
            """Run :meth:`forward`."""
            ...


class FromFile(SegmentTargets):
    """The labels of ``file``, which is read and checked as that of ``labeling=from_file``.

    Videos, modalities and events are matched by name. Videos that the file lacks are an error, or (``missing="weak"``)
    have their weak label everywhere. The file is read once, at the start of training; a checkpoint can be tested
    without it, and a run is resumed with the same labels, which may be in another file.
    """

    labels: Tensor  # [S, M, C], of the training videos

    def __init__(self, modalities: Sequence[str], events: Sequence[str], file: str, missing: Missing = "error") -> None:
        super().__init__()
        self.modalities, self.events, self.file, self.missing = tuple(modalities), tuple(events), Path(file), missing
        self.checksum: str | None = None

    def start(self, videos: VideoSet) -> None:
        """Read the labels of these videos."""
        product = read_product(self.file, "labels")
        labels = labels_of(product, videos, self.modalities, self.events, self.file, self.missing)
        self.checksum, self.note = checksum(labels), product.note
        if not len(labels):  # no video has any segment, and padding has no last one to repeat
            labels = np.zeros((1, *labels.shape[1:]), dtype=labels.dtype)
        self.register_buffer("labels", torch.from_numpy(labels), persistent=False)

    def forward(self, step: Step) -> Float[Tensor, "B T M C"]:
        """Look up the labels of the segments of a batch."""
        return self.labels[step.batch.segment]

    def digest(self) -> str | None:
        """Return a checksum of the labels of the training videos."""
        return self.checksum


class SegmentLoss(FromFile):
    """``weight`` times the sum over modalities of the cross-entropy of real segments against the labels of ``file``.

    This is what VALOR learns from its labels. As a loss of the method, it leaves the labeling free, for prototypes.
    """

    def __init__(
        self, modalities: Sequence[str], events: Sequence[str], file: str, weight: float, missing: Missing = "error"
    ) -> None:
        super().__init__(modalities, events, file, missing)
        self.weight = weight

    def loss(self, step: Step) -> Term:
        """Return the loss of a batch."""
        probs, mask = step.output.segment_probs, step.batch.mask
        return Term(pseudo_label_loss(probs, self(step), mask, over_modalities="sum"), self.weight)
