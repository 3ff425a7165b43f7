"""Feature files: each read, checked, averaged over the rows of its segments and cast; many at once, in threads."""

from __future__ import annotations

import io
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avvp_pl.errors import InputError, brief

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

# numpy parses a header by `ast`, which in several threads at once fails at times (SystemError, CPython 3.11)
_PARSING = threading.Lock()

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_bytes(path: Path, name: str) -> tuple[os.stat_result, bytes]:
    """The file of video ``name``: its state from before it was read, so that no later change is missed; its bytes."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()), file.read()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, but {name!r} is listed; extract it or drop the row") from None
    except OSError as error:
        raise _damaged(path, error.strerror or error) from None


def decode(path: Path, content: bytes, segments: int, dtype: str, dim: int | None = None) -> Tensor:
    """The features in the bytes of a .npy file, [T, D]: checked, averaged over the rows of each segment, cast.

    The average comes before the network's first layer, which is linear, so the two commute, and it is that many
    times cheaper. Raises :class:`InputError` on anything but whole, finite floating-point rows of ``dim`` columns.
    """
    rows = _rows(path, content, segments)
    if dim is not None and rows.shape[1] != dim:
        raise InputError(f"{path}: {rows.shape[1]} columns; other files of this stream have {dim}")
    with np.errstate(over="ignore", invalid="ignore"):
        pooled: npt.NDArray[np.float32] = rows.reshape(segments, -1, rows.shape[1]).mean(axis=1, dtype=np.float32)
    if not np.isfinite(pooled).all():
        wrong = np.argwhere(~np.isfinite(rows))
        if not len(wrong):
            raise InputError(f"{path}: {np.abs(rows).max():g} is too large; scale the features")
        row, column = wrong[0]
        raise InputError(
            f"{path}: holds NaN or infinite values ({len(wrong)}, the first in row {row}, column {column}); "
            "extract it again"
        )
    features = torch.from_numpy(pooled).to(DTYPES[dtype])
    if not torch.isfinite(features).all():
        wider = "float32" if dtype == "bfloat16" else "bfloat16 or float32"
        raise InputError(f"{path}: {np.abs(pooled).max():g} is too large for {dtype}; take data.dtype={wider}")
    return features


def in_parallel(task: Callable[[Item], Result], items: Sequence[Item], label: str) -> list[Result]:
    """``task`` of every item, in threads, with a progress bar where someone can see it.

    As many items are in work as there are threads, so that is what a task may hold in memory. The first error
    (in the order of the items) is raised, and then nothing more is begun.
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


def _rows(path: Path, content: bytes, segments: int) -> npt.NDArray[Any]:
    """The array of a .npy file, a view of its bytes: no pickle is opened, nothing is allocated on a header's word."""
    file = io.BytesIO(content)
    try:
        with _PARSING:
            version = np.lib.format.read_magic(file)
            if version not in {(1, 0), (2, 0)}:  # 3.0 is for tables with named columns
                raise ValueError(f"version {version[0]}.{version[1]}")
            read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
            shape, fortran_order, dtype = read_header(file)
    except Exception as error:  # numpy raises a dozen kinds on a damaged header
        raise _damaged(path, error) from None
    if dtype.kind != "f":
        raise InputError(f"{path}: holds {brief(dtype)}; floating-point rows are needed")
    whole = all(type(axis) is int and axis > 0 for axis in shape)  # True is a whole number to numpy, but no axis
    if not whole or len(shape) != 2 or shape[0] % segments:
        raise InputError(f"{path}: has shape {brief(list(shape))}; needed is [n x {segments} rows, dimension], n >= 1")
    count, start = math.prod(shape), file.tell()
    if len(content) - start < count * dtype.itemsize:
        missing = count * dtype.itemsize - (len(content) - start)
        raise _damaged(path, f"{missing} bytes are missing at its end")
    flat = np.frombuffer(content, dtype, count, start)
    return flat.reshape(shape[::-1]).T if fortran_order else flat.reshape(shape)


def _damaged(path: Path, reason: object) -> InputError:
    return InputError(f"{path}: not a whole .npy file of numbers ({brief(reason)}); extract it again")
