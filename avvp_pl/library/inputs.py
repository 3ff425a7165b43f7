"""What a parser parses, as videos: arrays of one video or of several, batches, and folders of feature files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avvp_pl.data.features import Shape, pooled, segments_of
from avvp_pl.data.known import TABLES
from avvp_pl.data.llp import load_llp
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError, brief, nearest
from avvp_pl.runs.checkpoints import check_extractors
from avvp_pl.types import Batch

Rows: TypeAlias = npt.NDArray[np.floating]
Array: TypeAlias = Rows | Tensor
Streams: TypeAlias = Mapping[str, Array] | Mapping[str, Sequence[Array]]
Features: TypeAlias = Streams | Sequence[Mapping[str, Array]] | Batch | VideoSet | str | Path


@dataclass(frozen=True)
class Reading:
    """How features become segments, as in the training of a checkpoint.

    ``known`` has its events, modalities, streams and extractors, and no videos. The other fields are those of
    :func:`~avvp_pl.data.llp.load_llp`.
    """

    path: Path
    known: ParsingSet
    segments: int
    rows_per_segment: Mapping[str, int]
    dtype: str

    def videos(self, features: Features, names: Sequence[str] | None, split: str) -> VideoSet:
        """Return the videos of any kind of features; :class:`InputError` says what is wrong with them."""
        if isinstance(features, str | Path):
            return self._checked(self._of_folder(Path(features), names, split))
        if isinstance(features, VideoSet):
            if names is not None:
                raise InputError("these videos have names already; give no others")
            return self._checked(features)
        if isinstance(features, Batch):
            return self._checked(self._of_batch(features, names))
        videos = _separate(features)
        if not videos:
            raise InputError("there is no video to parse")
        return self._of_arrays(videos, _names(names, len(videos)))

    def _of_arrays(self, videos: Sequence[Mapping[str, object]], names: Sequence[str]) -> VideoSet:
        dims = self.known.stream_dims
        parts: dict[str, list[Tensor]] = {stream: [] for stream in dims}
        lengths: list[int] = []
        for name, video in zip(names, videos, strict=True):
            _check_streams(name, video, list(dims))
            rows = {stream: self._rows(name, stream, video[stream]) for stream in dims}
            most = self._longest(name, rows)
            found = {stream: self._segments(name, stream, values, most) for stream, values in rows.items()}
            if len({len(part) for part in found.values()}) > 1:
                words = ", ".join(f"{stream} has {len(part)} segments" for stream, part in found.items())
                raise InputError(f"{name}: the streams of this video have different lengths: {words}")
            for stream, part in found.items():
                parts[stream].append(part)
            lengths.append(len(part))
        return self._unlabeled(names, lengths, {stream: torch.cat(part) for stream, part in parts.items()})

    def _rows(self, name: str, stream: str, values: object) -> Rows:
        rows, dim = _rows(f"{stream} of {name}", values), self.known.stream_dims[stream]
        if rows.shape[1] != dim:
            raise InputError(
                f"{stream} of {name}: has {rows.shape[1]} columns, but the checkpoint was trained with {dim}"
            )
        return rows

    def _longest(self, name: str, rows: Mapping[str, Rows]) -> int:
        """Return the number of segments that a video can have at most.

        Where all streams have the same number of rows, each row is a segment, even if the video is longer than those of
        the training. Raises :class:`InputError` where the rows could also be several for each segment.
        """
        counts = {len(values) for values in rows.values()}
        count = counts.pop()
        if counts or any(stream in self.rows_per_segment for stream in rows):
            return self.segments
        if count > self.segments and count % self.segments == 0:
            n = count // self.segments
            each = ", ".join(f"{stream!r}: {n}" for stream in rows)
            raise InputError(
                f"{name}: {count} rows are {count} segments, or {self.segments} segments (as in the training) of {n} "
                f"rows; load the checkpoint with segments={count} or with rows_per_segment={{{each}}}"
            )
        return max(self.segments, count)

    def _segments(self, name: str, stream: str, rows: Rows, most: int) -> Tensor:
        """Average the rows of one stream of one video over each segment."""
        where = f"{stream} of {name}"
        length = segments_of(where, stream, Shape(*rows.shape), most, self.rows_per_segment.get(stream))
        return pooled(where, rows, length, self.dtype)

    def _of_batch(self, batch: Batch, names: Sequence[str] | None) -> VideoSet:
        """Return the videos of a batch, without their padding."""
        streams = {stream: values[batch.mask].cpu() for stream, values in batch.features_in.items()}
        lengths: list[int] = batch.mask.sum(1).tolist()
        return self._unlabeled(_names(names, len(lengths)), lengths, streams)

    def _of_folder(self, root: Path, names: Sequence[str] | None, split: str) -> VideoSet:
        if names is not None:
            raise InputError(f"{root}: the videos of a folder have names already; give no others")
        if split not in TABLES:
            raise InputError(f"split={split!r}: it must be one of {', '.join(TABLES)}")
        known = self.known
        read = load_llp(
            root,
            known.modalities,
            self.segments,
            known.segment_seconds,
            splits=(split,),
            truth_required=False,
            packed=root / "packed",
            dtype=self.dtype,
            rows_per_segment=self.rows_per_segment,
            events=known.events,
        )
        if read.events != known.events:
            raise InputError(
                f"{root}: its events are not those of the checkpoint; give the same events in the same order "
                "(data/classes.txt)"
            )
        check_extractors(read.extractors, known.extractors, self.path)
        return read.splits[split]

    def _unlabeled(self, names: Sequence[str], lengths: Sequence[int], streams: dict[str, Tensor]) -> VideoSet:
        no_labels = torch.zeros(len(names), len(self.known.events))
        return VideoSet(tuple(names), torch.tensor(lengths), streams, no_labels)

    def _checked(self, videos: VideoSet) -> VideoSet:
        """Raise :class:`InputError` unless videos have the streams and events of the checkpoint, and are some."""
        if not len(videos):
            raise InputError("there is no video to parse")
        needed = self.known.stream_dims
        found = {stream: int(values.shape[-1]) for stream, values in videos.streams.items() if stream in needed}
        if found != needed:
            raise InputError(f"the checkpoint was trained on the streams {needed}, the videos have {found}")
        if videos.weak_labels.shape[1] != len(self.known.events):
            raise InputError(
                f"the checkpoint was trained on {len(self.known.events)} events, the videos have "
                f"{videos.weak_labels.shape[1]}"
            )
        return videos


def _separate(features: Streams | Sequence[Mapping[str, Array]]) -> list[Mapping[str, object]]:
    """Return the streams of each video, from any of the ways to give one video or several."""
    if not isinstance(features, Mapping):
        if not isinstance(features, Sequence) or not all(isinstance(video, Mapping) for video in features):
            raise InputError(
                f"features: {type(features).__name__} is not possible; give a mapping of streams to arrays, a list of "
                "such mappings, a batch, or a folder"
            )
        return list(features)
    counts = {stream: _count(values) for stream, values in features.items()}
    if set(counts.values()) <= {None}:
        return [features]
    if len(set(counts.values())) > 1:
        words = ", ".join(f"{stream} has {'one' if n is None else n}" for stream, n in counts.items())
        raise InputError(f"features: all streams must have the same number of videos, but {words}")
    number = next(iter(counts.values())) or 0
    return [{stream: values[row] for stream, values in features.items()} for row in range(number)]


def _count(values: object) -> int | None:
    """Return the number of videos of a stream; None if it is one video and not a list or batch of videos."""
    if isinstance(values, list | tuple):
        return len(values)
    return len(values) if isinstance(values, np.ndarray | Tensor) and values.ndim == 3 else None


def _names(names: Sequence[str] | None, count: int) -> Sequence[str]:
    if names is None:
        return [f"video_{number}" for number in range(count)]
    if isinstance(names, str) or len(names) != count:
        raise InputError(f"names: there must be one for each of the {count} videos, but they are {brief(names)}")
    if len(set(names)) < count:
        twice = next(name for row, name in enumerate(names) if name in names[:row])
        raise InputError(f"names: {twice!r} is given twice")
    return names


def _check_streams(name: str, video: Mapping[str, object], streams: Sequence[str]) -> None:
    for stream in streams:
        if stream not in video:
            raise InputError(
                f"{name}: the stream {stream!r} is missing; the checkpoint needs {', '.join(streams)}."
                f"{nearest(stream, set(map(str, video)) - set(streams))}"
            )
    for stream in video:
        if stream not in streams:
            raise InputError(f"{name}: the checkpoint has no stream {stream!r}; it needs {', '.join(streams)}")


def _rows(where: str, values: object) -> Rows:
    """Return an array or tensor as floating-point rows."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    try:
        rows = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"{where}: is not an array ({brief(error)})") from None
    if rows.dtype.kind != "f":
        raise InputError(f"{where}: contains {brief(rows.dtype)} values, but floating-point values are needed")
    if rows.ndim != 2 or not rows.size:
        raise InputError(
            f"{where}: has shape {list(rows.shape)}; it must have two axes, [T, D], with at least one row and column"
        )
    return rows
