"""The labels that a method asks each modality for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avvp_pl.data.products import Missing, Product, checksum, columns_of, log_coverage, places_of, read_product
from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError, quote
from avvp_pl.parts import Step, Targets


class Smoothed(Targets):
    """The weak label of the video for every modality, w -> s w + (1 - s) / 2.

    ``smoothing`` has s for each modality; one that it does not name has s = 1. HAN (Tian et al. 2020) takes 1 for audio
    and 0.9 for the visual side, which allows for events that are only heard.
    """

    keep: Tensor  # [M, 1]

    def __init__(self, modalities: Sequence[str], smoothing: Mapping[str, float]) -> None:
        super().__init__()
        kept = torch.tensor([float(smoothing.get(name, 1.0)) for name in modalities], dtype=torch.float64)[:, None]
        self.register_buffer("keep", kept, persistent=False)

    def forward(self, step: Step) -> Float[Tensor, "B M C"]:
        """Smooth the weak labels."""
        return self.smooth(step.batch.weak_labels[:, None])

    def smooth(self, labels: Float[Tensor, "B _ C"]) -> Float[Tensor, "B M C"]:
        """Smooth labels of each modality, or those of the video for each."""
        return self.keep.to(labels.dtype) * labels + ((1 - self.keep) / 2).to(labels.dtype)


class FromFile(Smoothed):
    """The modality labels of ``file`` (:mod:`avvp_pl.data.products`), such as MA's, smoothed as weak labels are.

    A label that is 0 in the file, though the video has the event, has been removed: its target is 0, without smoothing.
    Videos, modalities and events are matched by name. The file is read once, at the start of training; a checkpoint can
    be tested without it, and a run is resumed with the same labels, which may be in another file. Videos that the file
    lacks are an error, or (``missing="weak"``) keep their weak label in every modality.
    """

    labels: Tensor  # [N, M, C], of the training videos

    def __init__(
        self,
        modalities: Sequence[str],
        events: Sequence[str],
        smoothing: Mapping[str, float],
        file: str,
        missing: Missing = "error",
    ) -> None:
        super().__init__(modalities, smoothing)
        self.modalities, self.events, self.file, self.missing = tuple(modalities), tuple(events), Path(file), missing
        self.checksum: str | None = None

    def start(self, videos: VideoSet) -> None:
        """Read the labels of these videos."""
        product = read_product(self.file, "modality_labels")
        labels = modality_labels_of(product, videos, self.modalities, self.events, self.file, self.missing)
        self.register_buffer("labels", labels, persistent=False)
        self.checksum, self.note = checksum(labels.numpy()), product.note

    def forward(self, step: Step) -> Float[Tensor, "B M C"]:
        """Smooth the labels of the file, but not those that were removed."""
        labels, weak_labels = self.labels[step.batch.index], step.batch.weak_labels[:, None]
        removed = (labels == 0) & (weak_labels > 0)
        return self.smooth(labels).masked_fill(removed, 0)

    def digest(self) -> str | None:
        """Return a checksum of the labels of the training videos."""
        return self.checksum


def modality_labels_of(
    product: Product,
    videos: VideoSet,
    modalities: Sequence[str],
    events: Sequence[str],
    path: Path,
    missing: Missing = "error",
) -> Float[Tensor, "N M C"]:
    """Return the modality labels of these videos, in their order, and log how many of them the product covers.

    Raises :class:`InputError` if a video (with ``missing="error"``), modality or event is missing, or if a label is
    above the weak label.
    """
    rows = places_of(videos.names, "videos", product, path, missing)
    known, weak_labels = rows >= 0, videos.weak_labels.cpu().numpy()[:, None]
    of_file = product.values[np.ix_(rows, *columns_of(product, modalities, events, path))]
    labels = np.where(known[:, None, None], of_file, weak_labels)
    above = labels > weak_labels
    if above.any():
        video, modality, event = (int(axis) for axis in np.argwhere(above)[0])
        raise InputError(
            f"{path}: has a label above 0 for {events[event]} ({modalities[modality]}) in "
            f"{quote(videos.names[video])}, whose weak label does not have this event; set such labels to 0, or "
            "correct the weak label"
        )
    log_coverage(path, known, (labels[known] > 0).sum((0, 2)), modalities)
    return torch.from_numpy(labels).float()
