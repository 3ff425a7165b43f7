"""``feats/manifest.json``: which extractors made the features beside it, of which files, and what is wrong with those.

Features of two versions or settings of an extractor look alike, and a network that is given the wrong ones only scores
badly. So the manifest has the identity of each extractor, and what is to be joined or continued is compared first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from avvp_pl.errors import InputError, brief, quote
from avvp_pl.files import atomic_write
from avvp_pl.video.decode import VERSION
from avvp_pl.video.extractor import Extractor

FORMAT = 1
NAME = "manifest.json"
MODALITIES = ("audio", "visual")


@dataclass(frozen=True)
class Stream:
    """One stream of features: the identity of its extractor, and the settings that build the extractor again."""

    identity: dict[str, Any]
    modality: str
    rows_per_segment: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class Video:
    """One video: its ``file`` and the size of that in ``bytes``, and the ``streams`` that were made of it.

    The rows of a ``missing`` modality are 0 and mean nothing. ``problems`` are sentences.
    """

    file: str
    bytes: int
    seconds: float
    segments: int
    streams: list[str]
    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Manifest:
    """The streams of a folder by name, and its videos by the stem of their feature files."""

    streams: dict[str, Stream]
    videos: dict[str, Video]


def stream_of(extractor: Extractor, settings: Mapping[str, Any]) -> Stream:
    """Return the entry of an extractor that ``settings``, with its ``_target_``, have built."""
    return Stream(identity_of(extractor), extractor.modality, extractor.rows_per_segment, dict(settings))


def identity_of(extractor: Extractor) -> dict[str, Any]:
    """Return what decides the rows of an extractor for a file, the version of the decoding included."""
    return {**extractor.identity(), "decoding": VERSION}


def check_same(
    wanted: Mapping[str, Mapping[str, Any]],
    found: Mapping[str, Mapping[str, Any]],
    wanted_by: str,
    found_in: str,
    advice: str,
) -> None:
    """Raise :class:`InputError` unless each stream that both have has the same identity in both.

    The message names the first differing stream, all that differs in it, and what to do.
    """
    for stream in wanted:
        if stream in found and (differences := _differences(wanted[stream], found[stream])):
            raise InputError(
                f"{found_in}: the features {quote(stream)} are not those of {wanted_by}: {differences}; {advice}"
            )


def _differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return in words which entries of two identities differ; nothing if they are the same."""
    keys = [key for key in {**wanted, **found} if wanted.get(key) != found.get(key)]
    return ", ".join(f"{key} is {found.get(key)!r} there and {wanted.get(key)!r} here" for key in keys)


def write_manifest(feats: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into a folder of features; it is whole at any time."""
    content = {"format": FORMAT, **asdict(manifest)}
    content["videos"] = dict(sorted(content["videos"].items()))
    with atomic_write(feats / NAME) as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")


def read_manifest(feats: Path) -> Manifest | None:
    """Read the manifest of a folder of features; None if it has none.

    Raises :class:`InputError` for a manifest that is damaged, or that a later version of avvp_pl has written.
    """
    path = feats / NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: this is not the manifest that extract writes ({brief(error)}); restore it") from None
    return _Reader(path).manifest(content)


@dataclass
class _Reader:
    """Checks the content of a manifest while it is read."""

    path: Path

    def manifest(self, content: Any) -> Manifest:
        form = content.get("format") if isinstance(content, dict) else None
        if isinstance(form, int) and form > FORMAT:
            raise InputError(f"{self.path}: a later version of avvp_pl has written this; use that version")
        if form != FORMAT:
            raise self._damaged("format", form, str(FORMAT))
        streams = {name: self._stream(f"streams.{name}", one) for name, one in self._entries(content, "streams")}
        videos = {name: self._video(f"videos.{name}", one) for name, one in self._entries(content, "videos")}
        for name, video in videos.items():
            for stream in video.streams:
                if stream not in streams:
                    raise self._damaged(f"videos.{name}.streams", stream, f"one of {', '.join(streams)}")
        return Manifest(streams, videos)

    def _stream(self, place: str, entry: Mapping[str, Any]) -> Stream:
        modality = self._text(place, entry, "modality")
        if modality not in MODALITIES:
            raise self._damaged(f"{place}.modality", modality, " or ".join(MODALITIES))
        rows = self._number(place, entry, "rows_per_segment", 1)
        return Stream(self._mapping(place, entry, "identity"), modality, rows, self._mapping(place, entry, "settings"))

    def _video(self, place: str, entry: Mapping[str, Any]) -> Video:
        seconds = entry.get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
            raise self._damaged(f"{place}.seconds", seconds, "a number of seconds")
        return Video(
            self._text(place, entry, "file"),
            self._number(place, entry, "bytes", 0),
            float(seconds),
            self._number(place, entry, "segments", 1),
            self._texts(place, entry, "streams"),
            self._texts(place, entry, "missing"),
            self._texts(place, entry, "problems"),
        )

    def _entries(self, content: Mapping[str, Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for key, entry in self._mapping("", content, name).items():
            if not isinstance(entry, dict):
                raise self._damaged(f"{name}.{key}", entry, "a mapping")
            yield key, entry

    def _mapping(self, place: str, entry: Mapping[str, Any], name: str) -> dict[str, Any]:
        value = entry.get(name)
        if not isinstance(value, dict):
            raise self._damaged(f"{place}.{name}".lstrip("."), value, "a mapping")
        return value

    def _text(self, place: str, entry: Mapping[str, Any], name: str) -> str:
        value = entry.get(name)
        if not isinstance(value, str):
            raise self._damaged(f"{place}.{name}", value, "text")
        return value

    def _texts(self, place: str, entry: Mapping[str, Any], name: str) -> list[str]:
        value = entry.get(name)
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self._damaged(f"{place}.{name}", value, "a list of texts")
        return value

    def _number(self, place: str, entry: Mapping[str, Any], name: str, least: int) -> int:
        value = entry.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self._damaged(f"{place}.{name}", value, f"a whole number of at least {least}")
        return value

    def _damaged(self, place: str, value: Any, needed: str) -> InputError:
        given = quote(value) if isinstance(value, str) else brief(value)
        return InputError(f"{self.path}: {place} is {given}, but must be {needed}; restore the file")
