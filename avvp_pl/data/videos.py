"""Videos of any length as one long list of segments, batches of them, and the order in which they are visited."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from avvp_pl.data.names import composed
from avvp_pl.data.order import BatchOrder
from avvp_pl.data.sampling import Picks, SegmentSampling
from avvp_pl.types import Batch, Instances, Proposals

Asked: TypeAlias = Int[Tensor, " B"] | tuple[Int[Tensor, " B"], int] | Picks
"""What one batch is asked for by: rows of videos, these and a number of segments to pad them to, or picked segments."""


@dataclass(frozen=True)
class VideoSet(Dataset[Batch]):
    """N videos of one split, with S segments in all.

    The segments of all videos stand one after another, video by video, so that one number names a segment in every
    stream, in ``truth``, and in whatever is computed for segments. Indexing with B row numbers returns these videos as
    one :class:`Batch`. ``lengths`` are the numbers of segments of the videos and always stay on the CPU; the labels
    may be on a GPU, and the streams there or on the CPU (possibly mapped from a file, and possibly as float16 or
    bfloat16). A batch is on the device of the labels, and its features are float32.

    ``truth`` is None where the annotation of the segments is unknown. ``instances`` are the annotated intervals in
    seconds, by the row of the video, by which localization is scored (None: only segments are annotated). ``keys`` are
    the file stems under which a data set's layout stores the videos; where there are none, the names are used.
    ``proposals`` are intervals of all N videos for networks that use them (:mod:`avvp_pl.data.proposals`).
    ``missing`` are modalities that the file of a video does not have, by its name: their features are 0, and what
    occurs in them is not known.

    >>> sound = torch.tensor([[5.0], [6.0], [7.0]])
    >>> videos = VideoSet(("a", "b"), torch.tensor([2, 1]), {"sound": sound}, weak_labels=torch.eye(2))
    >>> batch = videos[torch.tensor([1, 0])]
    >>> batch.features_in["sound"].squeeze(2).tolist(), batch.segment.tolist(), batch.mask.tolist()
    ([[7.0, 0.0], [5.0, 6.0]], [[2, 2], [0, 1]], [[True, False], [True, True]])
    """

    names: tuple[str, ...]
    lengths: Int[Tensor, " N"]
    streams: dict[str, Float[Tensor, "S _"]]
    weak_labels: Float[Tensor, "N C"]
    truth: Bool[Tensor, "S M C"] | None = None
    keys: tuple[str, ...] = ()
    instances: Instances | None = None
    proposals: Proposals | None = None
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(map(composed, self.names)))  # as every file has them
        if self.lengths.device.type != "cpu":
            raise ValueError("the lengths of videos must be on the CPU, where they are read in every batch")
        videos, segments = len(self.names), self.num_segments
        counts = {
            "lengths": (len(self.lengths), videos),
            "weak_labels": (len(self.weak_labels), videos),
            "keys": (len(self.keys or self.names), videos),
            "proposals": (videos if self.proposals is None else len(self.proposals.mask), videos),
            "truth": (segments if self.truth is None else len(self.truth), segments),
            **{name: (len(stream), segments) for name, stream in self.streams.items()},
        }
        for name, (rows, needed) in counts.items():
            if rows != needed:
                raise ValueError(f"{name} has {rows} rows; the videos need {needed}")

    @cached_property
    def num_segments(self) -> int:
        """S, the number of segments of all videos."""
        return int(self.lengths.sum())

    @cached_property
    def starts(self) -> Int[Tensor, " N"]:
        """The number of each video's first segment."""
        return self.lengths.cumsum(0) - self.lengths

    @cached_property
    def longest(self) -> int:
        """The number of segments of the longest video."""
        return max(self.lengths.tolist(), default=0)

    @cached_property
    def equal_length(self) -> int | None:
        """The number of segments of every video where it is the same for all, and at least 1; else None."""
        return self.longest if self.longest and bool((self.lengths == self.longest).all()) else None

    def lacks(self, modalities: Collection[str]) -> Bool[Tensor, "N M"]:
        """Return which of these modalities each video does not have."""
        rows = [[name in self.missing.get(video, ()) for name in modalities] for video in self.names]
        return torch.tensor(rows, dtype=torch.bool).view(len(self), len(modalities))

    @cached_property
    def file_stems(self) -> tuple[str, ...]:
        """Names for files of the videos: the keys, or names without what could lead out of a folder."""
        return self.keys or tuple(re.sub(r"[^\w.=-]|^\.", "_", name) for name in self.names)

    @cached_property
    def rows(self) -> Int[Tensor, " S"]:
        """The row of the video of each segment."""
        return torch.arange(len(self)).repeat_interleave(self.lengths)

    @cached_property
    def segment_weak_labels(self) -> Float[Tensor, "S C"]:
        """The weak labels of the video of each segment."""
        return self.weak_labels[self.rows.to(self.device)]

    @property
    def device(self) -> torch.device:
        """The device of the labels, and of every batch."""
        return self.weak_labels.device

    @property
    def resident(self) -> bool:
        """Whether all streams are on :attr:`device`, so that no batch has to be sent there."""
        return all(stream.device == self.device for stream in self.streams.values())

    @cached_property
    def mask(self) -> Bool[Tensor, "N longest"]:
        """Which segments exist if every video is padded to the longest, as :meth:`padded` does."""
        return (torch.arange(self.longest) < self.lengths[:, None]).to(self.device)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: Asked) -> Batch:
        """Gather a batch, padded to its longest video (and to at least one segment), or to a number of segments.

        Of :class:`~avvp_pl.data.sampling.Picks`, the batch has the segments that were picked.

        With videos of equal length nothing has to be known about ``rows``, so that a GPU is never waited for.
        """
        if isinstance(rows, Picks):
            return self.batch(*rows)
        rows, longest = rows if isinstance(rows, tuple) else (rows, 0)
        if self.equal_length is not None:
            own, whole = _send(rows, self.device), self._whole
            mask = torch.ones(len(rows), self.equal_length, dtype=torch.bool, device=self.device)
            return self._gather(whole.streams, whole.truth, rows, own, whole.numbers[own], mask)
        rows = rows.cpu()
        lengths, starts = self.lengths[rows][:, None], self.starts[rows][:, None]
        steps = torch.arange(max([1, longest, *lengths.flatten().tolist()]))
        segment = starts + torch.minimum(steps, (lengths - 1).clamp(min=0))  # [B, T]
        return self.batch(rows, segment.clamp(max=max(0, self.num_segments - 1)), steps < lengths)

    def batch(self, rows: Int[Tensor, " B"], segment: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Batch:
        """Gather the segments ``segment`` of the videos ``rows``; what is false in ``mask`` becomes padding."""
        streams, truth, real = self.streams, self.truth, _send(mask, self.device)
        if not self.num_segments:  # all videos are empty, so there is no segment to repeat as padding
            streams = {name: stream.new_zeros(1, *stream.shape[1:]) for name, stream in streams.items()}
            truth = None if truth is None else truth.new_zeros(1, *truth.shape[1:])
        own = _send(segment, self.device)
        repeated = self._gather(streams, truth, segment, _send(rows, self.device), own, real)
        return replace(
            repeated,
            features_in={name: x.masked_fill_(~real[:, :, None], 0) for name, x in repeated.features_in.items()},
            truth=None if repeated.truth is None else repeated.truth & real[:, :, None, None],
        )

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield all videos in order."""
        for rows in torch.split(torch.arange(len(self)), batch_size):
            yield self[rows]

    def to(self, device: torch.device, resident: bool = True) -> VideoSet:
        """Return these videos with labels and truth on ``device``, and the streams too if ``resident``.

        Streams that stay behind are gathered where they are, and every batch is then sent to ``device``.
        """
        return replace(
            self,
            streams={name: stream.to(device) for name, stream in self.streams.items()} if resident else self.streams,
            weak_labels=self.weak_labels.to(device),
            truth=None if self.truth is None else self.truth.to(device),
            proposals=None if self.proposals is None else self.proposals.to(device=device),
        )

    def padded(self, flat: Tensor) -> Tensor:
        """Return values of all segments, [S, ...], as [N, longest, ...], with zeros where :attr:`mask` is false.

        It is a view of ``flat`` where all videos have the same length. ``rectangle[videos.mask]`` is ``flat`` again.
        """
        if self.equal_length is not None:
            return flat.view(len(self), self.equal_length, *flat.shape[1:])
        rectangle = flat.new_zeros(len(self), self.longest, *flat.shape[1:])
        rectangle[self.mask.to(flat.device)] = flat
        return rectangle

    def put(
        self,
        flat: Tensor,
        rows: Int[Tensor, " B"],
        segment: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
        values: Tensor,
    ) -> None:
        """Write the ``values`` [B, T, ...] of a batch into those of all segments, [S, ...]; padding is left out."""
        if self.equal_length is not None:
            flat.view(len(self), self.equal_length, *flat.shape[1:])[rows] = values
        else:
            flat[segment[mask]] = values[mask]

    def _gather(
        self,
        streams: Mapping[str, Tensor],
        truth: Tensor | None,
        picked: Int[Tensor, "B ..."],
        rows: Int[Tensor, " B"],
        segment: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
    ) -> Batch:
        """Index ``streams`` and ``truth`` with ``picked`` (rows of videos, or segments) and send all to the device."""
        index = segment if picked.ndim == 2 else rows  # the same as ``picked``, but on the device

        def pick(values: Tensor) -> Tensor:
            where = index if values.device == index.device else _send(picked, values.device)
            return _send(values[where], self.device)

        return Batch(
            features_in={name: pick(stream).float() for name, stream in streams.items()},
            mask=mask,
            weak_labels=self.weak_labels[rows],
            index=rows,
            segment=segment,
            truth=None if truth is None else pick(truth),
            proposals=None if self.proposals is None else self.proposals.of(rows),
        )

    @cached_property
    def _whole(self) -> _Whole:
        """Views of all videos; only for videos of equal length."""
        numbers = torch.arange(self.num_segments, device=self.device)
        return _Whole(
            streams={name: self.padded(stream) for name, stream in self.streams.items()},
            truth=None if self.truth is None else self.padded(self.truth),
            numbers=self.padded(numbers),
        )


class _Whole(NamedTuple):
    """All videos of a set of equal length, [N, T, ...], and the numbers of their segments."""

    streams: dict[str, Tensor]
    truth: Tensor | None
    numbers: Tensor


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return ``tensor`` on ``device``; a copy from the CPU to a GPU is not waited for."""
    if tensor.device == device:
        return tensor
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True)
class ParsingSet:
    """A data set: its events, the streams of each modality, and its splits.

    ``segment_seconds`` is the duration of a segment. A split is None if it was not requested. ``extractors`` say how
    the features of streams were made, as a manifest of features does (:mod:`avvp_pl.video.manifest`); a stream of which
    nothing is known is not among them.
    """

    events: tuple[str, ...]
    modalities: Mapping[str, tuple[str, ...]]
    train: VideoSet | None
    val: VideoSet | None
    test: VideoSet | None
    segment_seconds: float = 1.0
    extractors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "events", tuple(map(composed, self.events)))

    @property
    def splits(self) -> dict[str, VideoSet]:
        """The loaded splits by name."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: videos for name, videos in splits.items() if videos is not None}

    @property
    def stream_dims(self) -> dict[str, int]:
        """The dimension of each stream."""
        videos = next(iter(self.splits.values()))
        return {name: stream.shape[-1] for name, stream in videos.streams.items()}

    @property
    def streams(self) -> list[list[str | list[str | int]]]:
        """Each modality with its streams and their dimensions, in order: the arguments of a network's first layers."""
        dims, layers = self.stream_dims, []
        for name, streams in self.modalities.items():
            layer: list[str | list[str | int]] = [name]
            layer += [[stream, dims[stream]] for stream in streams]
            layers.append(layer)
        return layers


class VideoBatches(Sampler[Any]):
    """Row numbers of one batch after another. Their order depends on nothing but ``seed`` and the epoch.

    Every process visits a share of the videos. In training (``shuffle``) all shares have the same size, so the first
    videos are visited twice if the number of videos is not divisible by ``world_size``; otherwise every video is
    visited exactly once. The row numbers are sent to ``device`` once an epoch, so that no step has to send its own.

    With ``lengths``, the number of segments of each video, each batch of training comes with the number of segments to
    which it is padded: that of the longest video of all processes' batches, which can then be joined. With ``sampling``
    as well, it has only the segments that are picked of each video.

    An ``order``, for training only, chooses the videos of each batch by their ``weak_labels`` instead of a permutation.
    A video that comes several times in an epoch is then sampled anew each time.
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
        lengths: Int[Tensor, " N"] | None = None,
        sampling: SegmentSampling | None = None,
        order: BatchOrder | None = None,
        weak_labels: Float[Tensor, "N C"] | None = None,
    ) -> None:
        self.num_videos, self.batch_size, self.seed, self.shuffle = num_videos, batch_size, seed, shuffle
        self.rank, self.world_size, self.device, self.lengths = rank, world_size, device, lengths
        self.sampling, self.order, self.weak_labels = sampling, order, weak_labels
        self.epoch = 0
        self.done = (-1, 0)

    def skip(self, epoch: int, batches: int) -> None:
        """Skip the first ``batches`` batches of ``epoch``, which an interrupted run has already learned from."""
        self.done = (epoch, batches)

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch; the trainer calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self._share(self.rank)) // self.batch_size) if self.order is None else self.order.batches

    def __iter__(self) -> Iterator[Any]:
        visited = self._visited()
        epoch, learned = self.done
        first = learned if epoch == self.epoch else 0
        share = visited[self.rank].to(self.device)
        if not len(share):  # torch.split would return one empty batch
            return
        rows = torch.split(share, self.batch_size)[first:]
        if self.lengths is None or not self.shuffle:
            yield from rows
        else:
            lengths = torch.stack([self.lengths[of_process] for of_process in visited])
            longest = [int(of.max()) for of in torch.split(lengths, self.batch_size, dim=1)]
            batches = zip(rows, longest[first:], strict=True)
            if self.sampling is None:
                yield from batches
            else:
                yield from (self._pick(*batch, number) for number, batch in enumerate(batches, first))

    def _visited(self) -> list[Int[Tensor, " _"]]:
        """Return the rows of the videos that each process visits in this epoch, in their order."""
        if self.order is not None:
            assert self.weak_labels is not None
            given = self.weak_labels, self.batch_size, self.seed, self.epoch
            return [self.order(*given, rank).flatten() for rank in range(self.world_size)]
        order = torch.arange(self.num_videos)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(self.num_videos, generator=generator)
        return [order[self._share(rank)] for rank in range(self.world_size)]

    def _pick(self, rows: Int[Tensor, " B"], longest: int, batch: int) -> Picks:
        """Pick the segments of a batch."""
        assert self.lengths is not None
        assert self.sampling is not None
        rows, starts = rows.cpu(), self.lengths.cumsum(0) - self.lengths
        if self.order is None:
            position, mask = self.sampling(self.lengths[rows], rows, self.seed, self.epoch, longest)
        else:  # each place in the epoch has a seed of its own
            first = (batch * self.world_size + self.rank) * self.batch_size + 1
            picks = [
                self.sampling(self.lengths[row], row, self.seed + 1_000_003 * (first + place), self.epoch, longest)
                for place, row in enumerate(torch.split(rows, 1))
            ]
            position, mask = (torch.cat(column) for column in zip(*picks, strict=True))
        return Picks(rows, starts[rows][:, None] + position, mask)

    def _share(self, rank: int) -> Tensor:
        """The positions in the order that a process visits."""
        positions = torch.arange(self.num_videos)[rank :: self.world_size]
        equal = -(-self.num_videos // self.world_size)
        if self.shuffle and len(positions) < equal:
            positions = torch.cat([positions, torch.tensor([rank % self.num_videos])])
        return positions
