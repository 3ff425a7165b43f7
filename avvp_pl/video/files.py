"""Which video files a user means, and under which names their features are stored."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from avvp_pl.data.names import composed, feature_key
from avvp_pl.errors import InputError, quote

# What is taken for a video in a folder; a file that is named itself, or in a list, may have any ending
ENDINGS = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mkv", ".mov",
    ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv",
})  # fmt: skip
LISTS = frozenset({".txt", ".csv", ".tsv", ".lst", ".list"})
LONGEST = 255 - len(".npy")  # bytes of a file name


class VideoFile(NamedTuple):
    """A video: its path, its name (the file name without the ending) and ``key``, the stem of its feature files.

    The key is the name, unless that is one of LLP (:func:`~avvp_pl.data.names.feature_key`).
    """

    path: Path
    name: str
    key: str


class Found(NamedTuple):
    """The videos that were found, those whose name is not possible with the reason, and notes about what was not."""

    videos: list[VideoFile]
    impossible: dict[Path, str]
    notes: list[str]


def find_videos(place: Path) -> Found:
    """Return the videos that ``place`` stands for: a folder with videos, a list of files, or one file.

    In a folder, those with an ending of :data:`ENDINGS` are videos, and folders in it are not searched. A list is a
    text file (:data:`LISTS`) with one path on each line, relative to the folder of the list. Raises
    :class:`InputError` where there is no video, where a file is listed twice, and where two videos would have the same
    feature files.
    """
    notes: list[str] = []
    if place.is_dir():
        paths = _in_folder(place, notes)
    elif place.suffix.lower() in LISTS:
        paths = _listed(place)
    elif place.is_file():
        paths = [place]
    else:
        raise InputError(f"videos={place}: there is no such file or folder")
    found = Found([], {}, notes)
    for path in paths:
        name = composed(path.stem)
        if reason := _impossible(name):
            found.impossible[path] = reason
        else:
            found.videos.append(VideoFile(path, name, feature_key(name)))
    _check_different(found.videos)
    return found


def _in_folder(folder: Path, notes: list[str]) -> list[Path]:
    try:
        paths = sorted(
            path for path in folder.iterdir() if not path.name.startswith(".")
        )  # of systems, such as ._a.mp4
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from None
    videos = [path for path in paths if path.suffix.lower() in ENDINGS and not path.is_dir()]
    folders = [path for path in paths if path.is_dir()]
    others = Counter(path.suffix.lower() or "no ending" for path in paths if path not in {*videos, *folders})
    if others:
        endings = ", ".join(f"{count} with {ending}" for ending, count in sorted(others.items()))
        notes.append(f"{folder}: {others.total()} files are ignored, because their endings are of no video ({endings})")
    if folders:
        notes.append(f"{folder}: {len(folders)} folders in it are not searched, such as {folders[0].name}")
    if not videos:
        raise InputError("; ".join([f"{folder}: there are no videos in this folder", *notes]))
    return videos


def _listed(path: Path) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise InputError(f"videos={path}: there is no such list") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: this is not UTF-8 text; a list has the path of a video on each line") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    first: dict[Path, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if "\0" in line:
            raise InputError(f"{path}, line {number}: this is no path; a list has the path of a video on each line")
        video = path.parent / line.rstrip("\r")
        if first.setdefault(video, number) != number:
            raise InputError(f"{path}, lines {first[video]}, {number}: {video} is listed twice; remove one of them")
    if not first:
        raise InputError(f"{path}: there is no path in it; write one on each line")
    return list(first)


def _impossible(name: str) -> str:
    """Return why tables and lists cannot have a name; nothing if they can."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it"
    if len(encoded) > LONGEST:
        return f"its name is too long for features: {len(encoded)} bytes of at most {LONGEST}; rename it"
    readable = name == name.strip() and name.casefold() != "filename" and name not in {".", ".."} and "\\" not in name
    if not readable or re.search(r"[\x00-\x1f\x7f]", name) or (name.isascii() and not any(map(str.isalnum, name))):
        return f"tables of videos cannot have the name {quote(name)}; rename it"
    return ""


def _check_different(videos: Iterable[VideoFile]) -> None:
    first: dict[str, VideoFile] = {}
    for video in videos:
        other = first.setdefault(video.key, video)
        if other is not video:
            raise InputError(
                f"{other.path} and {video.path} would have the same features, {video.key}.npy; rename one of them"
            )
