"""Feature files: their lengths are surveyed first, then each file is read, checked, averaged and cast, in threads."""

from __future__ import annotations

import io
import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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

# numpy parses a header with `ast`, which sometimes fails in several threads at once (SystemError, CPython 3.11)
_PARSING = threading.Lock()

Item = TypeVar("Item")
Result = TypeVar("Result")


class Shape(NamedTuple):
    """The shape of the array in a feature file."""

    rows: int
    columns: int


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
    """

    path: Callable[[str, str], Path]
    segments: int
    rows_per_segment: Mapping[str, int]
    dtype: str

    def length(self, stream: str, name: str, shape: Shape) -> int:
        """Return the number of segments of a file; raises :class:`InputError` if there is none for its shape."""
        rows_per_segment = self.rows_per_segment.get(stream)
        return segments_of(self.path(stream, name), stream, shape, self.segments, rows_per_segment)

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
        for number, stream in enumerate(streams):
            known = kept.get(stream, {})
            missing = [row for row, name in enumerate(names) if name not in known]
            headers = self._headers(stream, names, missing)
            shapes = {row: header for row, header in headers.items() if isinstance(header, Shape)}
            survey.problems.update({(number, row): str(e) for row, e in headers.items() if isinstance(e, InputError)})
            columns = Counter(shape.columns for shape in shapes.values()).most_common(1)
            if known or columns:
                survey.dims[stream] = kept_dims[stream] if known else columns[0][0]
            for row, name in enumerate(names):
                if name in known:
                    lengths[row][stream] = known[name]
                elif row in shapes:
                    try:
                        lengths[row][stream] = self._checked(stream, name, shapes[row], survey.dims[stream])
                        survey.shapes[number, row] = shapes[row]
                    except InputError as error:
                        survey.problems[number, row] = str(error)
        for row, name in enumerate(names):
            found = lengths[row]
            survey.lengths[row] = max(found.values(), default=0)
            if len(set(found.values())) > 1:
                survey.problems[len(streams), row] = self._disagreement(name, found)
        return survey

    def _headers(self, stream: str, names: Sequence[str], rows: Sequence[int]) -> dict[int, Shape | InputError]:
        """Read the headers of some videos' files, in threads."""

        def read(part: Sequence[int]) -> list[Shape | InputError]:
            found: list[Shape | InputError] = []
            for row in part:
                try:
                    found.append(read_shape(self.path(stream, names[row]), names[row]))
                except InputError as error:
                    found.append(error)
            return found

        parts = [rows[start : start + HEADERS_A_TASK] for start in range(0, len(rows), HEADERS_A_TASK)]
        headers = in_parallel(read, parts, f"{stream}: lengths")
        return dict(zip(rows, (header for part in headers for header in part), strict=True))

    def _checked(self, stream: str, name: str, shape: Shape, dim: int) -> int:
        """Return the number of segments of a file, after comparing its columns with the others'."""
        if shape.columns != dim:
            raise InputError(
                f"{self.path(stream, name)}: has {shape.columns} columns, but other files of this stream have {dim}"
            )
        return self.length(stream, name, shape)

    def _disagreement(self, name: str, lengths: Mapping[str, int]) -> str:
        """Say which lengths the streams of a video have."""
        words = []
        for stream, length in lengths.items():
            try:
                rows = f"{read_shape(self.path(stream, name), name).rows} rows"
            except InputError:  # the file of a packed stream is gone
                rows = "packed"
            words.append(f"{stream} has {length} segments ({rows})")
        return (
            f"{quote(name)}: the streams of this video have different lengths: {', '.join(words)}; extract it again, "
            "drop its row from the table, or set data.rows_per_segment for streams with several rows a segment"
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


def read_shape(path: Path, name: str) -> Shape:
    """Read the shape of the array in the file of video ``name``, and nothing else of it."""
    try:
        with path.open("rb") as file:
            return _header(path, file, os.fstat(file.fileno()).st_size)[0]
    except OSError as error:
        raise _unreadable(path, name, error) from None


def decode(path: Path, content: bytes, shape: Shape, length: int, dtype: str) -> Tensor:
    """Return the features in the bytes of a .npy file as [length, D]: checked, averaged over each segment, and cast.

    Averaging before the network's first layer, which is linear, gives the same as averaging after it, and is cheaper.
    Raises :class:`InputError` on anything but complete, finite floating-point rows of the surveyed ``shape``.
    """
    rows = _rows(path, content)
    if rows.shape != shape:
        raise InputError(
            f"{path}: has shape {list(rows.shape)}, but had {list(shape)} when the lengths were read; "
            "start again when the file is no longer being written"
        )
    return pooled(path, rows, length, dtype)


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
    start = file.read(10)  # magic string, version, and the number of bytes that follow
    if start[6:7] == b"\x02":
        start += file.read(2)
    header = start + file.read(min(int.from_bytes(start[8:], "little"), LONGEST_HEADER))
    try:
        shape, fortran_order, dtype = _parse(header)
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
        return InputError(f"{path}: no such file, but {name!r} is listed; extract it or drop the row")
    return _damaged(path, error.strerror or error)


def _damaged(path: Path, reason: object) -> InputError:
    return InputError(f"{path}: not a complete .npy file of numbers ({brief(reason)}); extract it again")
