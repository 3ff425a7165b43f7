"""A folder of features that grows video by video: whole or not there, and never of two extractors in one stream."""

from __future__ import annotations

import csv
import fcntl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from avvp_pl.errors import InputError
from avvp_pl.files import atomic_write, atomic_write_bytes, remove_unfinished
from avvp_pl.video.clip import Clip
from avvp_pl.video.files import VideoFile
from avvp_pl.video.manifest import Manifest, Stream, Video, check_same, read_manifest, write_manifest

NAMES, FAILED, FEATS = "names.txt", "failed.csv", "feats"
EVERY = 1.0  # seconds between two writings of the manifest, or more where writing takes more than a twentieth of that


class FeatureFolder:
    """``feats/STREAM/KEY.npy`` and ``feats/manifest.json`` in a folder, to which videos are added.

    A video is complete when the manifest has it with all ``streams``. What was written of a video before a kill, but is
    not in the manifest, is written again. Raises :class:`InputError` where the folder has features of these names that
    other extractors have made, or nobody knows which.
    """

    def __init__(self, root: Path, streams: Mapping[str, Stream]) -> None:
        self.root, self.feats = root, root / FEATS
        self.streams = dict(streams)
        self.failed: dict[Path, str] = {}
        self.due = 0.0  # when the manifest is next written

    @contextmanager
    def open(self) -> Iterator[FeatureFolder]:
        """Lock the folder and read its manifest; write the manifest and the lists of names when it is closed."""
        try:
            self.feats.mkdir(parents=True, exist_ok=True)
            lock = (self.feats / ".lock").open("wb")
        except OSError as error:
            raise InputError(f"{self.feats}: cannot be written ({error.strerror or error})") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"{self.root}: another extraction is writing there; wait, or give another output"
                ) from None
            except OSError:
                pass  # a disk without locks
            for folder in (self.root, self.feats, *(self.feats / name for name in self.streams)):
                remove_unfinished(folder)
            self.manifest = self._begun()
            write_manifest(self.feats, self.manifest)
            try:
                yield self
            finally:
                self._write()

    def _begun(self) -> Manifest:
        """Return the manifest to continue."""
        found = read_manifest(self.feats) or Manifest({}, {})
        check_same(
            {name: stream.identity for name, stream in self.streams.items()},
            {name: stream.identity for name, stream in found.streams.items()},
            "these extractors",
            str(self.feats),
            "give another output",
        )
        for name in self.streams:
            if name not in found.streams and any((self.feats / name).glob("*.npy")):
                raise InputError(
                    f"{self.feats / name}: there are features here that {self.feats}/manifest.json does not know; give "
                    "another output"
                )
        return Manifest({**found.streams, **self.streams}, dict(found.videos))

    def missing(self, video: VideoFile) -> list[str]:
        """Return the streams that a video does not have yet.

        Raises :class:`InputError` where the file is another one than that of the features which are there already.
        """
        entry = self.manifest.videos.get(video.key)
        if entry is None:
            return list(self.streams)
        if entry.file != video.path.name or entry.bytes != video.path.stat().st_size:
            if set(entry.streams) <= set(self.streams):
                return list(self.streams)
            others = ", ".join(sorted(set(entry.streams) - set(self.streams)))
            raise InputError(
                f"{video.path}: {self.feats} has features of another file of this name, {entry.file} of {entry.bytes} "
                f"bytes; extract {others} with the others, so that all are renewed, or give another output"
            )
        absent = [name for name in entry.streams if not feature_file(self.feats, name, video.key).exists()]
        return [name for name in self.streams if name not in entry.streams or name in absent]

    def add(self, video: VideoFile, entry: Video) -> None:
        """Note a video whose features were written. They replace what there was of another file."""
        before = self.manifest.videos.get(video.key)
        if before is not None and (before.file, before.bytes) == (entry.file, entry.bytes):
            streams = [*before.streams, *(name for name in entry.streams if name not in before.streams)]
            missing = [*before.missing, *(one for one in entry.missing if one not in before.missing)]
            problems = [*before.problems, *(said for said in entry.problems if said not in before.problems)]
            entry = Video(entry.file, entry.bytes, entry.seconds, entry.segments, streams, missing, problems)
        self.manifest.videos[video.key] = entry
        if time.monotonic() >= self.due:
            began = time.monotonic()
            write_manifest(self.feats, self.manifest)
            ended = time.monotonic()
            self.due = ended + max(EVERY, 20 * (ended - began))

    def fail(self, path: Path, reason: str) -> None:
        """Note a video that failed."""
        self.failed[path] = reason

    def _write(self) -> None:
        write_manifest(self.feats, self.manifest)
        write_names(self.root / NAMES, sorted(Path(video.file).stem for video in self.manifest.videos.values()))
        if self.failed:
            with atomic_write(self.root / FAILED) as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(("file", "reason"))
                table.writerows((plain(str(path)), plain(reason)) for path, reason in self.failed.items())
        else:
            (self.root / FAILED).unlink(missing_ok=True)


def save_features(feats: Path, video: VideoFile, clip: Clip) -> Video:
    """Write the features of a video, each file whole or not at all; return its entry in the manifest."""
    for stream, rows in clip.features.items():
        with atomic_write_bytes(feature_file(feats, stream, video.key)) as file:
            np.save(file, rows, allow_pickle=False)
    size, streams = video.path.stat().st_size, list(clip.features)
    missing, problems = list(clip.missing), list(clip.problems)
    return Video(video.path.name, size, round(clip.seconds, 3), clip.segments, streams, missing, problems)


def write_names(path: Path, names: Iterable[str]) -> None:
    """Write a list of videos as a table of one column, which ``predict`` and ``score`` read."""
    with atomic_write(path) as file:
        table = csv.writer(file, "excel-tab", lineterminator="\n")
        table.writerow(("filename",))
        table.writerows([name] for name in names)


def feature_file(feats: Path, stream: str, key: str) -> Path:
    """Return the file of one stream of a video."""
    return feats / stream / f"{key}.npy"


def plain(text: str) -> str:
    """Return text that UTF-8 can hold: a file name may have bytes that are none."""
    return text.encode("utf-8", "backslashreplace").decode()
