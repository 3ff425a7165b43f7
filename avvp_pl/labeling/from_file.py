"""Pseudo labels from a file: made by another program, by hand, or by an earlier stage of a method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from avvp_pl.data.products import Missing, Product, checksum, columns_of, log_coverage, places_of, read_product
from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError, quote
from avvp_pl.labeling.stored import StoredLabels
from avvp_pl.parts import Report, Team


class FromFile(StoredLabels):
    """The labels of ``file`` (:mod:`avvp_pl.data.products`), from ``start_epoch`` (counted from 0) on.

    Videos, modalities and events are matched by name, so their order in the file is free. The file is read once, at the
    start of training; a checkpoint can be tested without it. A run is resumed with the same labels, which may be in
    another file. Videos that the file lacks are an error, or (``missing="weak"``) have their weak label in every
    segment and modality.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        events: Sequence[str],
        file: str,
        label_threshold: float,
        weight_pseudo_label: float,
        start_epoch: int,
        missing: Missing = "error",
        over_modalities: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__(weight_pseudo_label, label_threshold, over_modalities=over_modalities)
        self.modalities, self.events = tuple(modalities), tuple(events)
        self.file, self.start_epoch, self.missing = Path(file), start_epoch, missing
        self.stored: Tensor | None = None

    def start(self, videos: VideoSet) -> None:
        """Read the labels of these videos."""
        product = read_product(self.file, "labels")
        labels = labels_of(product, videos, self.modalities, self.events, self.file, self.missing)
        self.note = product.note
        self.stored = torch.from_numpy(labels)

    def refresh(self, videos: VideoSet, epoch: int, team: Team) -> Report | None:
        """Take the labels of the file."""
        if epoch < self.start_epoch:
            return None
        assert self.stored is not None
        self.pseudo_labels = self.stored.to(videos.device)
        return Report(videos.device)

    def digest(self) -> str | None:
        """Return a checksum of the labels of the training videos."""
        return None if self.stored is None else checksum(self.stored.numpy())


def labels_of(
    product: Product,
    videos: VideoSet,
    modalities: Sequence[str],
    events: Sequence[str],
    path: Path,
    missing: Missing = "error",
) -> Float32[np.ndarray, "S M C"]:
    """Return the labels of these videos, in their order, and log how many of them the product covers.

    Videos that it lacks have their weak label everywhere if ``missing`` is ``weak``. Raises :class:`InputError` if a
    video (with ``error``), modality or event is missing, if a video has another length, or if a label is above the weak
    label.
    """
    values, known = segments_of(product, videos, modalities, events, path, missing)
    return labels_from(values, known, videos, modalities, events, path)


def labels_from(
    values: Float32[np.ndarray, "S M C"],
    known: Bool[np.ndarray, " N"],
    videos: VideoSet,
    modalities: Sequence[str],
    events: Sequence[str],
    path: Path,
) -> Float32[np.ndarray, "S M C"]:
    """Return the labels of the ``known`` videos and the weak labels of the others, and log how many there are.

    Raises :class:`InputError` if a label is above the weak label.
    """
    weak_labels, of_file = videos.segment_weak_labels.cpu().numpy()[:, None], known[videos.rows.numpy()]
    labels = np.where(of_file[:, None, None], values, weak_labels).astype(np.float32)
    _check_weak_labels(path, labels, videos, events)
    log_coverage(path, known, (labels[of_file] > 0).sum((0, 2)), modalities)
    return labels


def segments_of(
    product: Product,
    videos: VideoSet,
    modalities: Sequence[str],
    events: Sequence[str],
    path: Path,
    missing: Missing = "error",
    split: str = "training",
) -> tuple[Float32[np.ndarray, "S M C"], Bool[np.ndarray, " N"]]:
    """Return the values of these videos, in their order, and which videos the product has; the values of others are 0.

    Raises :class:`InputError` if a video (with ``missing="error"``), modality or event is missing, or if a video has
    another length. Messages say of which ``split`` the videos are.
    """
    rows = places_of(videos.names, "videos", product, path, missing, split)
    columns = columns_of(product, modalities, events, path)
    lengths, known = videos.lengths.numpy(), rows >= 0
    if len(wrong := np.flatnonzero(known & (product.lengths[rows] != lengths))):
        row = int(wrong[0])
        raise InputError(
            f"{path}: {quote(videos.names[row])} has {product.lengths[rows][row]} segments, but {lengths[row]} in the "
            "data; write labels for the segments of the data"
        )
    # the number of every segment of these videos in the file
    segments = np.arange(lengths.sum()) + np.repeat(product.starts[rows] - (np.cumsum(lengths) - lengths), lengths)
    of_file = known[videos.rows.numpy()]
    values = np.zeros((len(segments), len(modalities), len(events)), dtype=np.float32)
    values[of_file] = product.values[np.ix_(segments[of_file], *columns)]
    return values, known


def _check_weak_labels(
    path: Path, labels: Float32[np.ndarray, "S M C"], videos: VideoSet, events: Sequence[str]
) -> None:
    """Raise for the first video with a label of an event that it does not have."""
    above = (labels > 0).any(axis=1) & (videos.segment_weak_labels.cpu().numpy() == 0)  # [S, C]
    if not above.any():
        return
    segment, event = (int(axis) for axis in np.argwhere(above)[0])
    name = quote(videos.names[int(videos.rows[segment])])
    raise InputError(
        f"{path}: has a label above 0 for {events[event]} in {name}, whose weak label does not have this event; set "
        "such labels to 0, or correct the weak label"
    )
