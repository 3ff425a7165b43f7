"""The packed store: the features of all videos, one memory-mapped array for each stream, with an index of checksums.

``index.json`` makes a folder a store. It is replaced as a whole, after everything else, and names every array by the
checksum of its bytes. So a build that is killed leaves the store unchanged, and an array that no index names is removed
by the next build. The arrays are plain numbers, [S, D]: the segments of all videos, in the order of the videos. There
is nothing in them to parse.
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
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor

from avvp_pl.data.features import DTYPES, FeatureFiles, Shape, Survey, in_parallel, read_bytes
from avvp_pl.errors import InputError
from avvp_pl.files import atomic_write

VERSION = 2
OURS = re.compile(
    r"[\w-]+-[0-9a-f]{32}\.bin|\.[\w-]+\.\d+\.bin|\.index\.json\.[0-9a-f]+\.tmp"
)  # all that a store writes, except for the index and the lock
SHOWN = 10  # problems; a missing stream alone would print thousands

log = logging.getLogger(__name__)

Kind = TypeVar("Kind")


class Packed(NamedTuple):
    """Features from a store: the length of each video, the streams of each split, [S, D], and what has made them."""

    lengths: dict[str, int]
    streams: dict[str, dict[str, Tensor]]
    made: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Source:
    """What distinguishes two states of a file: its size in bytes, the time of its last change, and its checksum."""

    size: int
    mtime_ns: int
    checksum: str


Kept: TypeAlias = Mapping[str, tuple[int, Source]]
"""Videos whose packed segments are kept: their row in the store, and the present state of their file."""


@dataclass(frozen=True)
class PackedStream:
    """One array of the store: its last axis, the checksum of its bytes, and the file of each video.

    ``rows_per_segment`` is the setting by which the lengths of the files were read, or None.
    """

    dim: int
    checksum: str
    rows_per_segment: int | None
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Index:
    """The contents of a store: its videos in order, their numbers of segments, and its streams.

    ``segments`` is the largest number of segments that a video may have. ``made`` has the entries of streams in the
    manifest of the features (:mod:`avvp_pl.video.manifest`), which say by which extractors they were made.
    """

    segments: int
    dtype: str
    names: tuple[str, ...]
    lengths: tuple[int, ...]
    streams: Mapping[str, PackedStream]
    made: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The number of each video's first segment, and of all segments at the end."""
        return tuple(accumulate(self.lengths, initial=0))

    def rows(self, names: Sequence[str]) -> slice:
        """Return the position of ``names``, which must stand there in this order and without a gap; else ValueError."""
        start = self.names.index(names[0])
        rows = slice(start, start + len(names))
        if self.names[rows] != tuple(names):
            raise ValueError("other videos")
        return rows

    def num_bytes(self, stream: str) -> int:
        """Return the size of a stream's array."""
        return self.starts[-1] * self.streams[stream].dim * DTYPES[self.dtype].itemsize

    def to_json(self) -> str:
        """Return the content of the file; of a source only the values are written, as there are tens of thousands."""
        streams = {
            name: {**asdict(replace(stream, sources=())), "sources": [list(vars(s).values()) for s in stream.sources]}
            for name, stream in self.streams.items()
        }
        content = {"version": VERSION, "segments": self.segments, "dtype": self.dtype}
        layout = {"names": self.names, "lengths": self.lengths, "layout": _layout(self.names, self.lengths)}
        return json.dumps({**content, **layout, "streams": streams, **({"made": self.made} if self.made else {})})

    @classmethod
    def from_json(cls, text: str) -> Index:
        """Read the content of a file without trusting it.

        Anything else than an index raises ValueError, TypeError, KeyError or RecursionError.
        """
        content = json.loads(text)
        if content["version"] != VERSION or content["dtype"] not in DTYPES:
            raise ValueError("another version")
        segments = _positive(content["segments"])
        names = tuple(_typed(name, str) for name in _typed(content["names"], list))
        if not names or len(set(names)) != len(names):
            raise ValueError("there must be names, and no name twice")
        lengths = tuple(_positive(length) for length in _typed(content["lengths"], list))
        if len(lengths) != len(names) or max(lengths) > segments:
            raise ValueError("there must be one length for each video")
        if _layout(names, lengths) != content["layout"]:  # wrong lengths with the right sum would fit the arrays
            raise ValueError("names or lengths have been changed")
        streams = {}
        for name, stream in _typed(content["streams"], dict).items():
            sources = tuple(
                Source(_typed(size, int), _typed(mtime, int), _checksum(checksum))
                for size, mtime, checksum in stream["sources"]
            )
            if len(sources) != len(names):
                raise ValueError("there must be one source for each video")
            rows = None if stream["rows_per_segment"] is None else _positive(stream["rows_per_segment"])
            streams[name] = PackedStream(_positive(stream["dim"]), _checksum(stream["checksum"]), rows, sources)
        made = {name: _typed(entry, dict) for name, entry in _typed(content.get("made", {}), dict).items()}
        return cls(segments, content["dtype"], names, lengths, streams, made)


class PackedStore:
    """The store in ``folder``, packed from ``files``; ``made`` are the entries of their streams in a manifest.

    Without an entry, that of the store still holds as long as no file of the stream has changed.
    """

    def __init__(self, folder: Path, files: FeatureFiles, made: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.folder, self.files, self.made = folder, files, made or {}

    def open(
        self,
        wanted: Mapping[str, Sequence[str]],
        streams: Sequence[str],
        all_names: Callable[[], Sequence[str]],
        create: bool = False,
    ) -> Packed | None:
        """Map the streams of the videos of every wanted split, without reading them.

        A store that is not current is first packed again, with the videos ``all_names``, and so is one that does not
        exist, if ``create``. Returns None if there is no store, or if it can be neither used nor renewed; the log says
        why.
        """
        exists = (self.folder / "index.json").exists()
        if not exists and not create:
            log.info("%s: there are no packed features, so the files are read; avvp_pl.prepare packs them", self.folder)
            return None
        index = self._index()
        try:
            if not exists:
                log.info("%s: the features are packed, as they are used for the first time", self.folder)
                index = self.pack(all_names(), streams)
            elif index is None or (reason := self._outdated(index, wanted, streams)):
                why = "the index is damaged or of another version" if index is None else reason
                log.info("%s: the packed features are not current (%s), so they are packed again", self.folder, why)
                if index is not None and self._made_otherwise(index, streams):
                    log.warning(
                        "%s: another run with the settings before would pack the features once more; give each of the "
                        "settings a folder of its own for them (data.packed=DIR)",
                        self.folder,
                    )
                index = self.pack(all_names(), streams)
            whole = {stream: self._map(index, stream) for stream in streams}
            rows = {split: index.rows(names) for split, names in wanted.items()}
        except InputError as error:
            why, *problems = str(error).splitlines()
            if problems:  # one of them is the error that follows, if it is in a file that is needed
                why = f"{why.removesuffix(':')}, listed by avvp_pl.prepare"
            log.warning("the packed features cannot be used or renewed, so the files are read: %s", why)
            return None
        log.info(
            "%s: the packed features are used (%s, %s). Only the sizes and times of their files were compared; "
            "avvp_pl.prepare reads them all",
            self.folder,
            ", ".join(streams),
            self.files.dtype,
        )
        parts = {split: slice(index.starts[part.start], index.starts[part.stop]) for split, part in rows.items()}
        lengths = dict(zip(index.names, index.lengths, strict=True))
        return Packed(
            {name: lengths[name] for names in wanted.values() for name in names},
            {split: {stream: array[parts[split]] for stream, array in whole.items()} for split in wanted},
            {stream: entry for stream, entry in index.made.items() if stream in streams},
        )

    def pack(
        self, names: Sequence[str], streams: Sequence[str], problems: Iterable[str] = (), every_file: bool = False
    ) -> Index:
        """Make the store current and complete, packing again only the files that have changed since they were packed.

        A file of another size or time is read to see whether it has changed. With ``every_file`` all are read, because
        a file can be replaced by another one of the same size and time. All problems with the files are raised as one
        :class:`InputError`, after those in ``problems``. Then the store stays unchanged, as it does if it cannot be
        written.
        """
        problems = [*problems]
        index = self._index()
        if index is not None and not problems and self._is_current_and_whole(index, names, streams, every_file):
            log.info("%s: the features are already packed, and no file has changed", self.folder)
            return index
        with self._locked():
            index = self._index()  # another process may have packed while this one waited
            form = (self.files.segments, self.files.dtype)
            old = index if index is not None and (index.segments, index.dtype) == form else None
            if self.files.spare_rows and old is not None and set(old.streams) != set(streams):
                old = None
            kept = {stream: self._kept(stream, names, old, every_file) for stream in streams}
            if self.files.spare_rows:  # what is kept of a stream may have been cut to the old length of another one
                common = set.intersection(*(set(videos) for videos in kept.values()))
                kept = {
                    stream: {name: row for name, row in videos.items() if name in common}
                    for stream, videos in kept.items()
                }
            survey = self._survey(names, streams, old, kept)
            survey.problems.update({(-1, number): problem for number, problem in enumerate(problems)})
            found = {
                stream: self._pack(stream, number, tuple(names), old, kept[stream], survey)
                for number, stream in enumerate(streams)
            }
            problems = [problem for _, problem in sorted(survey.problems.items())]
            if problems:
                more = f"\n... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
                count = f"{len(problems)} problem" + "s" * (len(problems) > 1)
                raise InputError(f"{count}:\n" + "\n".join(problems[:SHOWN]) + more)
            packed = {stream: array for stream, array in found.items() if array is not None}
            layout = (tuple(names), tuple(survey.lengths))
            others = old.streams if old is not None and (old.names, old.lengths) == layout else {}
            all_streams = {**others, **packed}
            made = Index(*form, *layout, all_streams, self._made(old, all_streams))
            if made != index:
                with atomic_write(self.folder / "index.json") as file:
                    file.write(made.to_json())
        return made

    def _index(self) -> Index | None:
        """Return the index; None if it is missing, damaged or of another version."""
        try:
            index = Index.from_json((self.folder / "index.json").read_text(encoding="utf-8"))
            for name in index.names:
                self.files.path("", name)  # raises InputError, a ValueError, for a name that leads elsewhere
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        return index

    def _outdated(self, index: Index, wanted: Mapping[str, Sequence[str]], streams: Sequence[str]) -> str | None:
        """Return why the store cannot serve the wanted videos, or None if it can; compares only sizes and times."""
        if otherwise := self._made_otherwise(index, streams):
            return otherwise
        try:
            rows = [index.rows(names) for names in wanted.values()]
        except ValueError:
            return "the tables list other videos"
        for stream in streams:
            if stream not in index.streams or not self._has_array(index, stream):
                return f"{stream} is missing or incomplete"
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
            if stream in self.made and self.made[stream] != index.made.get(stream):
                return f"the manifest says something else about {stream}"
        return None

    def _made(self, old: Index | None, streams: Mapping[str, PackedStream]) -> dict[str, Mapping[str, Any]]:
        """Return what has made the streams of a new index: as the manifest says, or the old index of the same bytes."""
        made = {name: entry for name, entry in self.made.items() if name in streams}
        if old is None:
            return made
        same = {name for name, stream in streams.items() if stream == old.streams.get(name)}
        return {**{name: entry for name, entry in old.made.items() if name in same}, **made}

    def _made_otherwise(self, index: Index, streams: Sequence[str]) -> str | None:
        """Return which settings of the store are not those that are wanted, or None if all are."""
        files = self.files
        if (index.segments, index.dtype) != (files.segments, files.dtype):
            return (
                f"they have segments={index.segments} and dtype={index.dtype}, but segments={files.segments} and "
                f"dtype={files.dtype} are wanted"
            )
        for stream in streams:
            now = self._rows_per_segment(index, stream)
            if stream in index.streams and (before := index.streams[stream].rows_per_segment) != now:
                return f"rows_per_segment of {stream} was {before} and is now {now}"
        if files.spare_rows and set(index.streams) != set(streams):  # videos are cut to the shortest of their streams
            return f"their streams are {', '.join(index.streams)}, but {', '.join(streams)} are wanted"
        return None

    def _is_current_and_whole(
        self, index: Index, names: Sequence[str], streams: Sequence[str], every_file: bool
    ) -> bool:
        """Return whether the store has these videos and no others, and every byte of these streams."""
        if self._outdated(index, {"all": names}, streams) or len(index.names) != len(names):
            return False
        if not all(self._is_whole(index, stream) for stream in streams):
            return False
        return not every_file or all(
            len(self._unchanged(stream, names, index, True)) == len(names) for stream in streams
        )

    def _rows_per_segment(self, index: Index, stream: str) -> int | None:
        """Return the setting for a stream: what a manifest had said that is gone now still holds."""
        given = self.files.rows_per_segment.get(stream)
        known = given is None and stream in index.made and stream in index.streams
        return index.streams[stream].rows_per_segment if known else given

    def _states(self, stream: str, names: Iterable[str]) -> dict[str, tuple[int, int]] | None:
        """Return size and time of last change of the files of ``names``; None if none of the files exists any more."""
        folders: dict[Path, dict[str, os.DirEntry[str]]] = {}
        states = {}
        for name in names:
            path = self.files.path(stream, name)
            if path.parent not in folders:
                folders[path.parent] = _entries(path.parent)
            with suppress(KeyError, OSError):
                state = folders[path.parent][path.name].stat()
                states[name] = (state.st_size, state.st_mtime_ns)
        if not states:
            gone = ", ".join(map(str, folders))
            log.info("%s: the files are gone, so the packed features cannot be compared with them", gone)
        return states or None

    def _kept(self, stream: str, names: Sequence[str], old: Index | None, every_file: bool) -> Kept:
        """Return the videos whose packed segments can be kept."""
        if old is None or stream not in old.streams:
            return {}
        if old.streams[stream].rows_per_segment != self._rows_per_segment(old, stream):
            return {}
        if self._is_whole(old, stream):
            return self._unchanged(stream, names, old, every_file)
        log.warning("%s: the packed array is damaged, so it is packed again from the files", stream)
        return {}

    def _survey(
        self,
        names: Sequence[str],
        streams: Sequence[str],
        old: Index | None,
        kept: Mapping[str, Kept],
    ) -> Survey:
        """Return the lengths of all videos: those of kept segments, and those of the files that must be read."""
        if old is None:
            return self.files.survey(streams, names)
        lengths = {
            stream: {name: old.lengths[row] for name, (row, _) in videos.items()} for stream, videos in kept.items()
        }
        return self.files.survey(streams, names, lengths, {name: stream.dim for name, stream in old.streams.items()})

    def _pack(
        self, stream: str, number: int, names: tuple[str, ...], old: Index | None, kept: Kept, survey: Survey
    ) -> PackedStream | None:
        """Renew the stream at position ``number``: copy what is kept, and read the files of all other videos.

        Returns None if there is a problem with any stream so far, and adds those with this one to ``survey.problems``.
        """
        if old is not None and len(kept) == len(names) and old.names == names:
            return replace(old.streams[stream], sources=tuple(source for _, source in kept.values()))
        readable = [row for row, name in enumerate(names) if name not in kept and (number, row) in survey.shapes]
        log.info("%s: %d files to read, %d videos kept", stream, len(readable), len(kept))
        sources = [kept[name][1] if name in kept else None for name in names]
        starts, dim, usable = survey.starts, survey.dims.get(stream, 0), not survey.problems
        temporary = self.folder / f".{_file_stem(stream)}.{os.getpid()}.bin"
        with temporary.open("w+b") as file:

            def write(row: int, features: Tensor) -> None:
                content = features.contiguous().view(torch.uint8).numpy().data
                place = starts[row] * dim * features.itemsize
                if os.pwrite(file.fileno(), content, place) != content.nbytes:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            def read(row: int) -> None:
                try:
                    features, sources[row] = self._read(stream, names[row], survey.shapes[number, row])
                except InputError as error:
                    survey.problems[number, row] = str(error)
                else:
                    if usable:  # otherwise the files are only checked
                        write(row, features[: survey.lengths[row]])

            in_parallel(read, readable, stream)
            if survey.problems:
                return None
            if old is not None and kept:
                array = self._map(old, stream)
                for row, name in enumerate(names):
                    if name in kept:
                        before = kept[name][0]
                        write(row, array[old.starts[before] : old.starts[before + 1]])
            os.fsync(file.fileno())
            file.seek(0)
            checksum = hashlib.file_digest(file, _hash).hexdigest()
        temporary.replace(self._array(stream, checksum))
        rows_per_segment = self.files.rows_per_segment.get(stream)
        return PackedStream(dim, checksum, rows_per_segment, tuple(source for source in sources if source is not None))

    def _unchanged(self, stream: str, names: Sequence[str], old: Index, every_file: bool) -> Kept:
        """Return the videos whose file is unchanged: their row in the store, and the present state of the file.

        A file with another time but the same bytes (after copying, for example) is unchanged. With ``every_file``, a
        file of the same size and time is unchanged only if it has the same bytes as well.
        """
        states, sources = self._states(stream, names), old.streams[stream].sources
        rows = {name: row for row, name in enumerate(old.names)}

        def same(name: str) -> Source | None:
            source = sources[rows[name]]
            if states is None or (not every_file and states.get(name) == (source.size, source.mtime_ns)):
                return source
            if name not in states or states[name][0] != source.size:
                return None
            with suppress(InputError):
                state, content = read_bytes(self.files.path(stream, name), name)
                if _hash(content).hexdigest() == source.checksum:
                    return replace(source, mtime_ns=state.st_mtime_ns)
            return None

        known = [name for name in names if name in rows]
        found = zip(known, in_parallel(same, known, f"{stream}: comparing"), strict=True)
        return {name: (rows[name], source) for name, source in found if source is not None}

    def _read(self, stream: str, name: str, shape: Shape) -> tuple[Tensor, Source]:
        state, content = read_bytes(self.files.path(stream, name), name)
        features = self.files.decode(stream, name, content, shape)
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
        """Return whether the array of a stream has the bytes that were written."""
        if not self._has_array(index, stream):
            return False
        checksum = index.streams[stream].checksum
        with self._array(stream, checksum).open("rb") as file:
            return hashlib.file_digest(file, _hash).hexdigest() == checksum

    def _map(self, index: Index, stream: str) -> Tensor:
        """Map a stream of all videos, [S, D]; processes share its memory, and the file cannot be changed through it."""
        dtype, dim = DTYPES[index.dtype], index.streams[stream].dim
        path, size = self._array(stream, index.streams[stream].checksum), index.num_bytes(stream) // dtype.itemsize
        try:
            flat = torch.from_file(str(path), shared=False, size=size, dtype=dtype)
        except RuntimeError as error:  # another process has just replaced it
            raise InputError(f"{path}: {error}") from None
        return flat.view(-1, dim)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time change the store, and remove what no index names; a killed process is unlocked."""
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
                f"{self.folder}: cannot be written ({error.strerror or error}); set data.packed to another folder"
            ) from error

    def _sweep(self) -> None:
        """Remove arrays that the index does not name, and the unfinished files of a killed process."""
        index = self._index()
        named = {self._array(name, s.checksum).name for name, s in index.streams.items()} if index else set()
        for path in self.folder.iterdir():
            if path.name not in named and OURS.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _entries(folder: Path) -> dict[str, os.DirEntry[str]]:
    """Return what is in a folder, by its name; nothing if there is no such folder."""
    try:
        with os.scandir(folder) as listing:
            return {entry.name: entry for entry in listing}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from None


def _hash(content: bytes = b"") -> Any:
    return hashlib.blake2b(content, digest_size=16)


def _layout(names: Sequence[str], lengths: Sequence[int]) -> str:
    """Return a checksum of the videos and their lengths."""
    return str(_hash(json.dumps([names, lengths]).encode()).hexdigest())


def _file_stem(stream: str) -> str:
    return re.sub(r"[^\w-]", "_", stream)


def _typed(value: Any, kind: type[Kind]) -> Kind:
    if type(value) is not kind:
        raise ValueError(f"{value!r} is not of type {kind.__name__}")
    return value


def _positive(value: Any) -> int:
    if _typed(value, int) < 1:
        raise ValueError(f"{value} is not positive")
    return int(value)


def _checksum(value: Any) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", _typed(value, str)):
        raise ValueError(f"{value!r} is not a checksum")
    return str(value)
