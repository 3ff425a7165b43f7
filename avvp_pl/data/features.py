"""Feature files: their lengths are surveyed first, then each file is read, checked, averaged and cast, in threads."""

from __future__ import annotations

import io
import logging
import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avvp_pl.errors import InputError, brief, quote

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
LONGEST_HEADER = 10_000  # bytes; numpy's own limit
HEADERS_A_TASK = 64  # reading one header is not worth a task of its own
MOST = 0.9  # of the files of a stream; the others are then odd

# numpy parses a header with `ast`, which sometimes fails in several threads at once (SystemError, CPython 3.11)
_PARSING = threading.Lock()

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Shape(NamedTuple):
    """The shape of the array in a feature file."""

    rows: int
    columns: int


class Header(NamedTuple):
    """What the header of a feature file says."""

    shape: Shape
    dtype: str


class MissingFileError(InputError):
    """A listed video has no feature file in a stream."""


@dataclass(frozen=True)
class Survey:
    """What the headers of the feature files say about N videos.

    ``lengths`` are the numbers of segments of the videos, and ``dims`` the dimensions of the streams. ``shapes`` are
    those of the usable files, by position of the stream and row of the video, and ``problems`` the messages about the
    other files. Problems between the files of one video have a position after all streams.
    """

    lengths: list[int]
    dims: dict[str, int] = field(default_factory=dict)
    shapes: dict[tuple[int, int], Shape] = field(default_factory=dict)
    problems: dict[tuple[int, int], str] = field(default_factory=dict)

    @property
    def starts(self) -> list[int]:
        """The number of each video's first segment."""
        return [0, *np.cumsum(self.lengths).tolist()][:-1]


@dataclass(frozen=True)
class FeatureFiles:
    """The .npy files of streams and videos, with the rule that says how many segments a file has.

    ``path`` maps a stream and a video to its file. ``segments`` is the number of segments of the longest video. A file
    with ``rows_per_segment[stream]`` = n rows for each segment has rows / n segments. Where that is not given, a file
    with n x ``segments`` rows has ``segments`` segments of n rows each, and a file with fewer rows than ``segments``
    has one segment for each row. Features are held as ``dtype``.

    A stream in ``parts`` has only some columns of its files: (k, n) are those of part k, from 0, of n equal parts. The
    streams of a video may differ by ``spare_rows`` segments and are then cut to the shortest.
    """

    path: Callable[[str, str], Path]
    segments: int
    rows_per_segment: Mapping[str, int]
    dtype: str
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    spare_rows: int = 0

    def length(self, stream: str, name: str, shape: Shape) -> int:
        """Return the number of segments of a file; raises :class:`InputError` if there is none for its shape."""
        rows_per_segment = self.rows_per_segment.get(stream)
        return segments_of(self.path(stream, name), stream, shape, self.segments, rows_per_segment)

    def decode(self, stream: str, name: str, content: bytes, shape: Shape) -> Tensor:
        """Return the features in the bytes of a file, [segments of the file, D]; see :func:`decode`."""
        path, length = self.path(stream, name), self.length(stream, name, shape)
        return decode(path, content, shape, length, self.dtype, self.parts.get(stream, (0, 1)))

    def read(self, number: int, stream: str, names: Sequence[str], survey: Survey) -> Tensor:
        """Read a stream of all videos, [S, D]; ``number`` is its position in the survey."""
        features = torch.empty(sum(survey.lengths), survey.dims[stream], dtype=DTYPES[self.dtype])
        starts = survey.starts

        def read(row: int) -> None:
            name, length = names[row], survey.lengths[row]
            _, content = read_bytes(self.path(stream, name), name)
            decoded = self.decode(stream, name, content, survey.shapes[number, row])
            features[starts[row] : starts[row] + length] = decoded[:length]

        in_parallel(read, range(len(names)), stream)
        return features

    def read_splits(
        self, streams: Sequence[str], wanted: Mapping[str, Sequence[str]], survey: Survey
    ) -> dict[str, dict[str, Tensor]]:
        """Read the streams of the wanted videos of each split; the survey is of all of them, split by split."""
        names = [name for split in wanted.values() for name in split]
        lengths = dict(zip(names, survey.lengths, strict=True))
        sizes = [sum(lengths[name] for name in split) for split in wanted.values()]
        read = {
            stream: torch.split(self.read(number, stream, names, survey), sizes)
            for number, stream in enumerate(streams)
        }
        return {split: {stream: parts[i] for stream, parts in read.items()} for i, split in enumerate(wanted)}

    def survey(
        self,
        streams: Sequence[str],
        names: Sequence[str],
        kept: Mapping[str, Mapping[str, int]] | None = None,
        kept_dims: Mapping[str, int] | None = None,
    ) -> Survey:
        """Read the headers of the files and compare them.

        ``kept`` are the lengths of files that need not be read, by stream and video, and ``kept_dims`` are the
        dimensions of streams with such files.
        """
        kept, kept_dims = kept or {}, kept_dims or {}
        survey = Survey([0] * len(names))
        lengths: list[dict[str, int]] = [{} for _ in names]  # of each video, by stream
        usual_rows: dict[str, int] = {}
        absent: dict[str, int] = {}  # streams without a single file, with their number
        for number, stream in enumerate(streams):
            known = kept.get(stream, {})
            found = self._headers(stream, names, [row for row, name in enumerate(names) if name not in known])
            headers = {row: header for row, header in found.items() if isinstance(header, Header)}
            if not known and found and all(isinstance(error, MissingFileError) for error in found.values()):
                absent[stream] = number
                continue
            survey.problems.update({(number, row): str(e) for row, e in found.items() if isinstance(e, InputError)})
            columns = Counter({kept_dims[stream]: len(known)} if known else {})
            columns.update(header.shape.columns for header in headers.values())
            if not columns:
                continue
            survey.dims[stream], most = columns.most_common(1)[0]
            for row, name in enumerate(names):
                if name not in known and row not in headers:
                    continue
                dim = kept_dims[stream] if name in known else headers[row].shape.columns
                if dim != survey.dims[stream]:
                    n = self.parts.get(stream, (0, 1))[1]
                    survey.problems[number, row] = (
                        f"{self.path(stream, name)}: has {n * dim} columns, but other files of this stream have "
                        f"{n * survey.dims[stream]} ({most} of {columns.total()})"
                    )
                elif name in known:
                    lengths[row][stream] = known[name]
                else:
                    try:
                        lengths[row][stream] = self.length(stream, name, headers[row].shape)
                        survey.shapes[number, row] = headers[row].shape
                    except InputError as error:
                        survey.problems[number, row] = str(error)
            if headers:
                self._report_odd(stream, {names[row]: header for row, header in headers.items()})
                rows, count = Counter(header.shape.rows for header in headers.values()).most_common(1)[0]
                usual_rows[stream] = rows if count > len(headers) / 2 else 0
        if absent:
            survey.problems[min(absent.values()), 0] = self._absence(list(absent), names)
        for row, name in enumerate(names):
            own = lengths[row]
            shortest, longest = min(own.values(), default=0), max(own.values(), default=0)
            survey.lengths[row] = shortest
            if longest - shortest > self.spare_rows:
                survey.problems[len(streams), row] = self._disagreement(name, own, usual_rows)
        return survey

    def _headers(self, stream: str, names: Sequence[str], rows: Sequence[int]) -> dict[int, Header | InputError]:
        """Read the headers of some videos' files, in threads."""

        def read(part: Sequence[int]) -> list[Header | InputError]:
            found: list[Header | InputError] = []
            for row in part:
                try:
                    found.append(self._header(stream, names[row]))
                except InputError as error:
                    found.append(error)
            return found

        parts = [rows[start : start + HEADERS_A_TASK] for start in range(0, len(rows), HEADERS_A_TASK)]
        headers = in_parallel(read, parts, f"{stream}: lengths")
        return dict(zip(rows, (header for part in headers for header in part), strict=True))

    def _header(self, stream: str, name: str) -> Header:
        """Read the header of a file, with the shape of the stream's part of it."""
        path, (_, n) = self.path(stream, name), self.parts.get(stream, (0, 1))
        header = read_header(path, name)
        rows, columns = header.shape
        if columns % n:
            raise InputError(f"{path}: has {columns} columns, which are not {n} streams of the same dimension")
        return Header(Shape(rows, columns // n), header.dtype)

    def _report_odd(self, stream: str, headers: Mapping[str, Header]) -> None:
        """Log which files differ from nearly all others of a stream in their type or their number of rows."""
        of_files: dict[str, dict[str, str]] = {
            "values": {name: header.dtype for name, header in headers.items()},
            "rows": {name: str(header.shape.rows) for name, header in headers.items()},
        }
        for what, found in of_files.items():
            usual, count = Counter(found.values()).most_common(1)[0]
            odd = [name for name in found if found[name] != usual]
            if odd and count >= MOST * len(found):
                log.warning(
                    "%s: has %s %s, but %d of the %d files of this stream have %s (%d such files, which are used)",
                    self.path(stream, odd[0]), found[odd[0]], what, count, len(found), usual, len(odd),
                )  # fmt: skip

    def _absence(self, absent: Sequence[str], names: Sequence[str]) -> str:
        """Say that some streams have no file of any video, and which streams and files there are."""
        wanted = self.path(absent[0], names[0])
        own, feats = wanted.parent, wanted.parent.parent
        files = _npy_files(own)
        if files:
            return (
                f"{own}: has {len(files)} files, such as {files[0]}, but none of the {len(names)} listed videos, such "
                f"as {wanted.name} for {quote(names[0])}; rename the files or the videos"
            )
        there = sorted(folder.name for folder in _entries(feats) if folder.is_dir() and _npy_files(folder))
        if not there:
            return f"{feats}: has no features; those of the first video are expected in {wanted}"
        return (
            f"{feats}: has {', '.join(there)}, but not {', '.join(absent)}; set data.modalities to the streams of each "
            f"modality, as in 'data.modalities={{audio: [STREAM], visual: [STREAM]}}'"
        )

    def _disagreement(self, name: str, lengths: Mapping[str, int], usual_rows: Mapping[str, int]) -> str:
        """Say which lengths the streams of a video have, and which file is unlike the others of its stream."""
        if self.spare_rows:
            files = " and ".join(f"{self.path(stream, name)} ({length} rows)" for stream, length in lengths.items())
            return (
                f"{quote(name)}: {files} differ by more than {self.spare_rows} row; extract the features of this video "
                "again"
            )
        words, odd = [], []
        for stream, length in lengths.items():
            path = self.path(stream, name)
            try:
                count = read_header(path, name).shape.rows
            except InputError:  # the file of a packed stream is gone
                rows = "packed"
            else:
                rows = f"{count} rows"
                if usual_rows.get(stream) not in {None, 0, count}:
                    odd.append(f"{path} differs from most files of its stream, which have {usual_rows[stream]} rows")
            words.append(f"{stream} has {length} segments ({rows})")
        unlike = f". {'; '.join(odd)}" if odd else ""
        return (
            f"{quote(name)}: the streams of this video have different lengths: {', '.join(words)}; extract it again, "
            "drop its row from the table, or set data.rows_per_segment for streams with several rows a segment"
            f"{unlike}"
        )


def segments_of(where: object, stream: str, shape: Shape, most: int, rows_per_segment: int | None) -> int:
    """Return the number of segments of features of this shape, by the rule of :class:`FeatureFiles`.

    Raises :class:`InputError`, which begins with ``where``, if there is none.
    """
    rows, n = shape.rows, rows_per_segment
    if n is not None and rows % n == 0 and rows <= n * most:
        return rows // n
    if n is None and (rows < most or rows % most == 0):
        return min(rows, most)
    possible = (
        f"it must have n x {most} rows (which are averaged over each n) or fewer than {most} rows (for a shorter "
        f"video), for data.segments={most}"
        if n is None
        else f"it must have a multiple of {n} rows and at most {n * most}, for data.segments={most} and "
        f"data.rows_per_segment.{stream}={n}"
    )
    raise InputError(f"{where}: has shape {list(shape)}; {possible}")


def read_bytes(path: Path, name: str) -> tuple[os.stat_result, bytes]:
    """Read the file of video ``name``; also return its state before it was read, so that no later change is missed."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()), file.read()
    except OSError as error:
        raise _unreadable(path, name, error) from None


def read_header(path: Path, name: str) -> Header:
    """Read the shape and the type of the array in the file of video ``name``, and nothing else of it."""
    try:
        with path.open("rb") as file:
            shape, _, dtype = _header(path, file, os.fstat(file.fileno()).st_size)
            return Header(shape, dtype.name)
    except OSError as error:
        raise _unreadable(path, name, error) from None


def is_pickled(path: Path) -> bool:
    """Return whether a file has pickled objects instead of numbers; nothing is unpickled."""
    try:
        with path.open("rb") as file:
            header = _header_bytes(file)
        return header.startswith(b"\x80") or bool(_parse(header)[2].hasobject)
    except Exception:  # numpy raises a dozen kinds on a damaged header
        return False


def decode(path: Path, content: bytes, shape: Shape, length: int, dtype: str, part: tuple[int, int] = (0, 1)) -> Tensor:
    """Return the features in the bytes of a .npy file as [length, D]: checked, averaged over each segment, and cast.

    Of n equal parts of the columns, only those of part k are taken: ``part`` is (k, n).

    Averaging before the network's first layer, which is linear, gives the same as averaging after it, and is cheaper.
    Raises :class:`InputError` on anything but complete, finite floating-point rows of the surveyed ``shape``.
    """
    rows, (k, n) = _rows(path, content), part
    dim = rows.shape[1] // n
    rows = rows[:, k * dim : (k + 1) * dim]
    if rows.shape != shape:
        raise InputError(
            f"{path}: has shape {list(rows.shape)}, but had {list(shape)} when the lengths were read; "
            "start again when the file is no longer being written"
        )
    where = path if n == 1 else f"{path}, columns {k * dim} to {(k + 1) * dim - 1}"
    return pooled(where, rows, length, dtype)


def pooled(where: object, rows: npt.NDArray[Any], length: int, dtype: str) -> Tensor:
    """Average rows [n x length, D] over each segment and cast them; raises :class:`InputError` if one is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        means: npt.NDArray[np.float32] = rows.reshape(length, -1, rows.shape[1]).mean(axis=1, dtype=np.float32)
    if not np.isfinite(means).all():
        wrong = np.argwhere(~np.isfinite(rows))
        if not len(wrong):
            raise InputError(f"{where}: {np.abs(rows).max():g} is too large; scale the features")
        row, column = wrong[0]
        raise InputError(
            f"{where}: contains NaN or infinite values ({len(wrong)}, the first in row {row}, column {column}); "
            "extract it again"
        )
    features = torch.from_numpy(means).to(DTYPES[dtype])
    if not torch.isfinite(features).all():
        wider = "float32" if dtype == "bfloat16" else "bfloat16 or float32"
        raise InputError(f"{where}: {np.abs(means).max():g} is too large for {dtype}; set data.dtype={wider}")
    return features


def spelled(lengths: Collection[int]) -> str:
    """Return the numbers of segments of some videos in words.

    >>> spelled([10, 10]), spelled([40, 5, 12])
    ('10', '5 to 40')
    """
    shortest, longest = min(lengths), max(lengths)
    return f"{longest}" if shortest == longest else f"{shortest} to {longest}"


def in_parallel(task: Callable[[Item], Result], items: Sequence[Item], label: str) -> list[Result]:
    """Run ``task`` on every item in threads, with a progress bar if the output is a terminal.

    As many items are processed at once as there are threads, which bounds the memory of the tasks. The first error (in
    the order of the items) is raised, and no further task is started then.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import track

    console = Console()
    threads = ThreadPoolExecutor()
    try:
        done = threads.map(task, items)
        words, hidden = escape(label), not console.is_terminal
        return list(track(done, words, len(items), console=console, transient=True, disable=hidden))
    finally:
        threads.shutdown(cancel_futures=True)


def _rows(path: Path, content: bytes) -> npt.NDArray[Any]:
    """Return the array of a .npy file as a view of its bytes; nothing is unpickled."""
    file = io.BytesIO(content)
    shape, fortran_order, dtype = _header(path, file, len(content))
    flat = np.frombuffer(content, dtype, math.prod(shape), file.tell())
    return flat.reshape(shape[::-1]).T if fortran_order else flat.reshape(shape)


def _header(path: Path, file: IO[bytes], size: int) -> tuple[Shape, bool, np.dtype[Any]]:
    """Read the header of a .npy file of ``size`` bytes: the shape, whether columns are contiguous, and the type.

    A file that is too short for its header is refused, so that no header alone decides how much is allocated.
    """
    try:
        shape, fortran_order, dtype = _parse(_header_bytes(file))
    except Exception as error:  # numpy raises a dozen kinds on a damaged header
        raise _damaged(path, error) from None
    if dtype.kind != "f":
        raise InputError(f"{path}: contains {brief(dtype)} values, but floating-point values are needed")
    whole = all(type(axis) is int and axis > 0 for axis in shape)  # True is a whole number to numpy, but no axis
    if not whole or len(shape) != 2:
        raise InputError(
            f"{path}: has shape {brief(list(shape))}; it must have two axes, at least one row and at least one column"
        )
    missing = file.tell() + math.prod(shape) * dtype.itemsize - size
    if missing > 0:
        raise _damaged(path, f"{missing} bytes are missing at its end")
    return Shape(*shape), fortran_order, dtype


def _header_bytes(file: IO[bytes]) -> bytes:
    start = file.read(10)  # magic string, version, and the number of bytes that follow
    if start[6:7] == b"\x02":
        start += file.read(2)
    return start + file.read(min(int.from_bytes(start[8:], "little"), LONGEST_HEADER))


@lru_cache(maxsize=256)
def _parse(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Parse the header of a .npy file; most files of a stream have the same one."""
    file = io.BytesIO(header)
    with _PARSING:
        version = np.lib.format.read_magic(file)
        if version not in {(1, 0), (2, 0)}:  # 3.0 is for tables with named columns
            raise ValueError(f"version {version[0]}.{version[1]}")
        read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        parsed: tuple[tuple[int, ...], bool, np.dtype[Any]] = read_header(file)
    return parsed


def _unreadable(path: Path, name: str, error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError):
        return MissingFileError(f"{path}: no such file, but {name!r} is listed; extract it or drop the row")
    return _damaged(path, error.strerror or error)


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing if it cannot be read."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _npy_files(folder: Path) -> list[str]:
    return sorted(path.name for path in _entries(folder) if path.suffix == ".npy")


def _damaged(path: Path, reason: object) -> InputError:
    return InputError(f"{path}: not a complete .npy file of numbers ({brief(reason)}); extract it again")
