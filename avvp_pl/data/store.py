"""The packed store: the features of all videos, one memory-mapped array a stream, with an index of checksums.

``index.json`` is what makes a store. It is replaced as a whole, last of all, and names every array by the checksum
of its bytes; so a build that is killed leaves the store as it was, and an array that no index names is removed by
the next. The arrays are bare numbers, [N, T, D] in the order of the videos: there is nothing in them to parse.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from avvp_pl.data.features import DTYPES, decode, in_parallel, read_bytes
from avvp_pl.errors import InputError
from avvp_pl.files import atomic_write

VERSION = 1
OURS = re.compile(
    r"[\w-]+-[0-9a-f]{32}\.bin|\.[\w-]+\.\d+\.bin|\.index\.json\.[0-9a-f]+\.tmp"
)  # but for index and lock
SHOWN = 10  # problems; a missing stream alone would print thousands

log = logging.getLogger(__name__)

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Source:
    """What tells one state of a file from another: its size in bytes, when it was changed, what is in it."""

    size: int
    mtime_ns: int
    checksum: str


@dataclass(frozen=True)
class PackedStream:
    """One array of the store: its last axis, the checksum of its bytes, and where each row came from."""

    dim: int
    checksum: str
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Index:
    """What is in a store. ``names`` are the videos in the order of the rows."""

    segments: int
    dtype: str
    names: tuple[str, ...]
    streams: Mapping[str, PackedStream]

    def rows(self, names: Sequence[str]) -> slice:
        """Where ``names`` stand, in their order and without a gap; ValueError if they do not."""
        start = self.names.index(names[0])
        rows = slice(start, start + len(names))
        if self.names[rows] != tuple(names):
            raise ValueError("other videos")
        return rows

    def num_bytes(self, stream: str) -> int:
        """The size of a stream's array."""
        return len(self.names) * self.segments * self.streams[stream].dim * DTYPES[self.dtype].itemsize

    def to_json(self) -> str:
        """As it is stored; of a source only the values, for there are tens of thousands."""
        streams = {
            name: {**asdict(replace(stream, sources=())), "sources": [list(vars(s).values()) for s in stream.sources]}
            for name, stream in self.streams.items()
        }
        content = {"version": VERSION, "segments": self.segments, "dtype": self.dtype}
        return json.dumps({**content, "names": self.names, "streams": streams})

    @classmethod
    def from_json(cls, text: str) -> Index:
        """The reverse, trusting nothing: ValueError, TypeError, KeyError or RecursionError on any other content."""
        content = json.loads(text)
        if content["version"] != VERSION or content["dtype"] not in DTYPES:
            raise ValueError("another version")
        names = tuple(_typed(name, str) for name in _typed(content["names"], list))
        if not names or len(set(names)) != len(names):
            raise ValueError("names must be there, each once")
        streams = {}
        for name, stream in _typed(content["streams"], dict).items():
            sources = tuple(
                Source(_typed(size, int), _typed(mtime, int), _checksum(checksum))
                for size, mtime, checksum in stream["sources"]
            )
            if len(sources) != len(names):
                raise ValueError("a source a video is needed")
            streams[name] = PackedStream(_positive(stream["dim"]), _checksum(stream["checksum"]), sources)
        return cls(_positive(content["segments"]), content["dtype"], names, streams)


class PackedStore:
    """The store in ``folder``; ``source`` says in which .npy file a stream (first) of a video (second) is."""

    def __init__(self, folder: Path, source: Callable[[str, str], Path], segments: int, dtype: str) -> None:
        self.folder, self.source, self.segments, self.dtype = folder, source, segments, dtype

    def open(
        self, wanted: Mapping[str, Sequence[str]], streams: Sequence[str], all_names: Callable[[], Sequence[str]]
    ) -> dict[str, dict[str, Tensor]] | None:
        """The streams of the videos of every wanted split, [N, T, D], mapped and not read.

        A store that is not current is packed anew first, with ``all_names`` as rows. None, after a line in the
        log that says why, where there is no store or it can be neither used nor renewed.
        """
        if not (self.folder / "index.json").exists():
            log.info("%s: no packed features, so the files are read; avvp_pl.prepare packs them", self.folder)
            return None
        index = self._index()
        try:
            if index is None or (reason := self._outdated(index, wanted, streams)):
                why = "it is damaged or of another version" if index is None else reason
                log.info("%s: the packed features are not current (%s); packing them anew", self.folder, why)
                index = self.pack(all_names(), streams)
            whole = {stream: self._map(index, stream) for stream in streams}
            rows = {split: index.rows(names) for split, names in wanted.items()}
        except InputError as error:
            log.warning("the packed features cannot be used or renewed, so the files are read: %s", error)
            return None
        log.info("%s: the packed features are used (%s, %s)", self.folder, ", ".join(streams), self.dtype)
        return {split: {stream: array[rows[split]] for stream, array in whole.items()} for split in wanted}

    def pack(self, names: Sequence[str], streams: Sequence[str], problems: Iterable[str] = ()) -> Index:
        """Make the store current and whole, reading only the files that are not in it as they are now.

        All that is wrong with the files, after what is in ``problems`` already, is raised as one
        :class:`InputError`; then the store stays what it was, as it does where it cannot be written.
        """
        problems = [*problems]
        index = self._index()
        if index is not None and not problems and self._is_current_and_whole(index, names, streams):
            log.info("%s: already packed and whole", self.folder)
            return index
        with self._locked():
            index = self._index()  # another process may have packed while this one waited
            old = index if index is not None and (index.segments, index.dtype) == (self.segments, self.dtype) else None
            found = {stream: self._pack(stream, tuple(names), old, problems) for stream in streams}
            packed = {stream: array for stream, array in found.items() if array is not None}
            if problems:
                more = f"\n... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
                count = f"{len(problems)} problem" + "s" * (len(problems) > 1)
                raise InputError(f"{count}:\n" + "\n".join(problems[:SHOWN]) + more)
            others = old.streams if old is not None and old.names == tuple(names) else {}
            made = Index(self.segments, self.dtype, tuple(names), {**others, **packed})
            if made != index:
                with atomic_write(self.folder / "index.json") as file:
                    file.write(made.to_json())
        return made

    def _index(self) -> Index | None:
        """The index; None where it is missing, damaged or of another version."""
        try:
            index = Index.from_json((self.folder / "index.json").read_text(encoding="utf-8"))
            for name in index.names:
                self.source("", name)  # InputError, a ValueError, for one that leads elsewhere
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        return index

    def _outdated(self, index: Index, wanted: Mapping[str, Sequence[str]], streams: Sequence[str]) -> str | None:
        """Why the store cannot serve the wanted videos as it is; None if it can. Only sizes and times are looked at."""
        if (index.segments, index.dtype) != (self.segments, self.dtype):
            return f"segments={index.segments}, dtype={index.dtype}; wanted are {self.segments}, {self.dtype}"
        try:
            rows = [index.rows(names) for names in wanted.values()]
        except ValueError:
            return "the tables list other videos"
        for stream in streams:
            if stream not in index.streams or not self._has_array(index, stream):
                return f"{stream} is not in it, or not whole"
            states, sources = self._states(stream, index.names), index.streams[stream].sources
            if states is None:
                continue
            changed = sum(
                states.get(name) != (source.size, source.mtime_ns)
                for part in rows
                for name, source in zip(index.names[part], sources[part], strict=True)
            )
            if changed:
                return f"{changed} files of {stream} have another size or time"
        return None

    def _is_current_and_whole(self, index: Index, names: Sequence[str], streams: Sequence[str]) -> bool:
        """Whether the store has these videos and no others, and every byte of these streams."""
        outdated = self._outdated(index, {"all": names}, streams) or len(index.names) != len(names)
        return not outdated and all(self._is_whole(index, stream) for stream in streams)

    def _states(self, stream: str, names: Iterable[str]) -> dict[str, tuple[int, int]] | None:
        """Size and time of change of the files of ``names``; None if none of them is there any more."""
        entries: dict[str, os.DirEntry[str]] = {}
        folder = self.source(stream, next(iter(names))).parent
        try:
            with os.scandir(folder) as listing:
                entries = {entry.name: entry for entry in listing}
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise InputError(f"{folder}: cannot be read ({error.strerror})") from None
        states = {}
        for name in names:
            with suppress(KeyError, OSError):
                state = entries[self.source(stream, name).name].stat()
                states[name] = (state.st_size, state.st_mtime_ns)
        if not states:
            log.info("%s: its files are gone, so the packed features cannot be compared with them", folder)
        return states or None

    def _pack(self, stream: str, names: tuple[str, ...], old: Index | None, problems: list[str]) -> PackedStream | None:
        """Renew a stream: its old rows where their files are what they were, all others read.

        None if something is wrong, all of which is then in ``problems``.
        """
        kept: dict[str, tuple[int, Source]] = {}
        if old is not None and stream in old.streams:
            if self._is_whole(old, stream):
                kept = self._unchanged(stream, names, old)
            else:
                log.warning("%s: the packed array is damaged; packing it anew from the files", stream)
            if len(kept) == len(names) and old.names == names:
                return replace(old.streams[stream], sources=tuple(source for _, source in kept.values()))
        missing = [row for row, name in enumerate(names) if name not in kept]
        log.info("%s: %d files to read, %d rows kept", stream, len(missing), len(kept))
        dim = old.streams[stream].dim if old is not None and kept else self._dim(stream, names)
        sources = [kept[name][1] if name in kept else None for name in names]
        temporary = self.folder / f".{_file_stem(stream)}.{os.getpid()}.bin"
        with temporary.open("w+b") as file:

            def write(row: int, features: Tensor) -> None:
                content = features.contiguous().view(torch.uint8).numpy().data
                if os.pwrite(file.fileno(), content, row * content.nbytes) != content.nbytes:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            def read(row: int) -> str | None:
                try:
                    features, sources[row] = self._read(stream, names[row], dim)
                except InputError as error:
                    return str(error)
                write(row, features)
                return None

            problems += [problem for problem in in_parallel(read, missing, stream) if problem is not None]
            if problems or dim is None:
                return None
            if old is not None and kept:
                array = self._map(old, stream)
                for row, name in enumerate(names):
                    if name in kept:
                        write(row, array[kept[name][0]])
            os.fsync(file.fileno())
            file.seek(0)
            checksum = hashlib.file_digest(file, _hash).hexdigest()
        temporary.replace(self._array(stream, checksum))
        return PackedStream(dim, checksum, tuple(source for source in sources if source is not None))

    def _dim(self, stream: str, names: Sequence[str]) -> int | None:
        """The number of columns of the first file that is in order."""
        for name in names:
            with suppress(InputError):
                return self._read(stream, name, None)[0].shape[1]
        return None

    def _unchanged(self, stream: str, names: Sequence[str], old: Index) -> dict[str, tuple[int, Source]]:
        """The videos whose row can be kept: where it stands, and the present state of its file.

        A file with another time but the same bytes (it was copied, say) is one of them.
        """
        states, sources = self._states(stream, names), old.streams[stream].sources
        rows = {name: row for row, name in enumerate(old.names)}

        def same(name: str) -> Source | None:
            source = sources[rows[name]]
            if states is None or states.get(name) == (source.size, source.mtime_ns):
                return source
            if name not in states or states[name][0] != source.size:
                return None
            with suppress(InputError):
                state, content = read_bytes(self.source(stream, name), name)
                if _hash(content).hexdigest() == source.checksum:
                    return replace(source, mtime_ns=state.st_mtime_ns)
            return None

        known = [name for name in names if name in rows]
        found = zip(known, in_parallel(same, known, f"{stream}: comparing"), strict=True)
        return {name: (rows[name], source) for name, source in found if source is not None}

    def _read(self, stream: str, name: str, dim: int | None) -> tuple[Tensor, Source]:
        path = self.source(stream, name)
        state, content = read_bytes(path, name)
        features = decode(path, content, self.segments, self.dtype, dim)
        return features, Source(state.st_size, state.st_mtime_ns, _hash(content).hexdigest())

    def _array(self, stream: str, checksum: str) -> Path:
        return self.folder / f"{_file_stem(stream)}-{checksum}.bin"

    def _has_array(self, index: Index, stream: str) -> bool:
        try:
            size = self._array(stream, index.streams[stream].checksum).stat().st_size
        except OSError:
            return False
        return size == index.num_bytes(stream)

    def _is_whole(self, index: Index, stream: str) -> bool:
        """Whether the array of a stream has the bytes that it was written with."""
        if not self._has_array(index, stream):
            return False
        checksum = index.streams[stream].checksum
        with self._array(stream, checksum).open("rb") as file:
            return hashlib.file_digest(file, _hash).hexdigest() == checksum

    def _map(self, index: Index, stream: str) -> Tensor:
        """A stream of all videos, [N, T, D]. Memory is shared between processes; what is written to it stays here."""
        dtype, dim = DTYPES[index.dtype], index.streams[stream].dim
        path, size = self._array(stream, index.streams[stream].checksum), index.num_bytes(stream) // dtype.itemsize
        try:
            flat = torch.from_file(str(path), shared=False, size=size, dtype=dtype)
        except RuntimeError as error:  # another process has just replaced it
            raise InputError(f"{path}: {error}") from None
        return flat.view(len(index.names), index.segments, dim)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time change the store, and remove what no index names. The kernel unlocks at a kill."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / ".lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    log.info("%s: another process is packing; waiting for it", self.folder)
                    fcntl.flock(lock, fcntl.LOCK_EX)
                try:
                    self._sweep()
                    yield
                finally:
                    self._sweep()
        except OSError as error:
            raise InputError(
                f"{self.folder}: cannot be written ({error.strerror or error}); give another data.packed=DIR"
            ) from error

    def _sweep(self) -> None:
        """Remove arrays that the index does not name, and what a killed process left half-written."""
        index = self._index()
        named = {self._array(name, s.checksum).name for name, s in index.streams.items()} if index else set()
        for path in self.folder.iterdir():
            if path.name not in named and OURS.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _hash(content: bytes = b"") -> Any:
    return hashlib.blake2b(content, digest_size=16)


def _file_stem(stream: str) -> str:
    return re.sub(r"[^\w-]", "_", stream)


def _typed(value: Any, kind: type[Kind]) -> Kind:
    if type(value) is not kind:
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value


def _positive(value: Any) -> int:
    if _typed(value, int) < 1:
        raise ValueError(f"{value} is not positive")
    return int(value)


def _checksum(value: Any) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", _typed(value, str)):
        raise ValueError(f"{value!r} is no checksum")
    return str(value)
