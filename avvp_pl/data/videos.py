"""Videos in memory, or mapped into it, and the order in which they are visited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from avvp_pl.types import Batch


@dataclass(frozen=True)
class VideoSet(Dataset[Batch]):
    """N videos of one split. Indexing with N' row numbers gathers a batch of them in one go.

    Features may be held as float16 or bfloat16; those of a batch are float32. ``truth`` is None where the
    second-by-second annotation is not known.
    """

    names: tuple[str, ...]
    features_in: dict[str, Float[Tensor, "N T _"]]
    mask: Bool[Tensor, "N T"]
    weak_labels: Float[Tensor, "N C"]
    truth: Bool[Tensor, "N T M C"] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: Int[Tensor, " B"]) -> Batch:
        rows = rows.to(self.mask.device)
        return Batch(
            features_in={name: stream[rows].float() for name, stream in self.features_in.items()},
            mask=self.mask[rows],
            weak_labels=self.weak_labels[rows],
            index=rows,
            truth=None if self.truth is None else self.truth[rows],
        )

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """All videos in order."""
        for rows in torch.split(torch.arange(len(self)), batch_size):
            yield self[rows]

    def to(self, device: torch.device) -> VideoSet:
        """The same videos on ``device``, where they then stay."""
        return replace(
            self,
            features_in={name: stream.to(device) for name, stream in self.features_in.items()},
            mask=self.mask.to(device),
            weak_labels=self.weak_labels.to(device),
            truth=None if self.truth is None else self.truth.to(device),
        )


@dataclass(frozen=True)
class ParsingSet:
    """A data set: its events, which streams feed which modality, and its splits.

    ``segment_seconds`` is how long a segment lasts. A split is None where it was not asked for.
    """

    events: tuple[str, ...]
    modalities: Mapping[str, tuple[str, ...]]
    train: VideoSet | None
    val: VideoSet | None
    test: VideoSet | None
    segment_seconds: float = 1.0

    @property
    def splits(self) -> dict[str, VideoSet]:
        """The splits that are there, by name."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: videos for name, videos in splits.items() if videos is not None}

    @property
    def stream_dims(self) -> dict[str, int]:
        """Dimension of each stream."""
        videos = next(iter(self.splits.values()))
        return {name: stream.shape[-1] for name, stream in videos.features_in.items()}

    @property
    def streams(self) -> list[list[Any]]:
        """Each modality's streams with their dimensions, in order: what a network's first layers are made for."""
        dims = self.stream_dims
        return [[name, *([stream, dims[stream]] for stream in streams)] for name, streams in self.modalities.items()]


class VideoBatches(Sampler[Tensor]):
    """Row numbers of one batch after the other; the order depends on (seed, epoch) alone.

    With several processes each gets its share: while training (``shuffle``) equally many rows, the first few
    being visited twice where the videos do not divide, else every row exactly once. The row numbers go to ``device``
    once an epoch, so that no step has to send its own.
    """

    def __init__(
        self,
        num_videos: int,
        batch_size: int,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.num_videos, self.batch_size, self.seed, self.shuffle = num_videos, batch_size, seed, shuffle
        self.rank, self.world_size, self.device = rank, world_size, device
        self.epoch = 0
        self.done = (-1, 0)

    def skip(self, epoch: int, batches: int) -> None:
        """Leave out the first ``batches`` of ``epoch``: an interrupted run has been through them."""
        self.done = (epoch, batches)

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self._share()) // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.arange(self.num_videos)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(self.num_videos, generator=generator)
        epoch, batches = self.done
        share = order[self._share()][batches * self.batch_size if epoch == self.epoch else 0 :]
        if len(share):
            yield from torch.split(share.to(self.device), self.batch_size)

    def _share(self) -> Tensor:
        """Positions in the order that this process visits."""
        positions = torch.arange(self.num_videos)[self.rank :: self.world_size]
        equal = -(-self.num_videos // self.world_size)
        if self.shuffle and len(positions) < equal:
            positions = torch.cat([positions, torch.tensor([self.rank % self.num_videos])])
        return positions
