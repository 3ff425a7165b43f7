"""Video files as videos to parse: their features are extracted in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy.typing as npt

from avvp_pl.data.media import Extracted, extracted_videos
from avvp_pl.data.names import composed
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError
from avvp_pl.timelines.timeline import Source
from avvp_pl.video.clip import extract_clip
from avvp_pl.video.decode import declared_seconds
from avvp_pl.video.extractor import Extractor
from avvp_pl.video.files import ENDINGS, find_videos

Progress = Callable[[float], None]

log = logging.getLogger(__name__)


class Media(NamedTuple):
    """Videos that were extracted from files, and what is known of the files, by the names of the videos."""

    videos: VideoSet
    sources: dict[str, Source]


def media_of(given: object, names: Sequence[str] | None = None) -> dict[str, Path] | None:
    """Return the video files that a user means, by the names of the videos; None if these are no files of videos.

    They are the path of a video, a list of such paths, a folder with videos, or the list of :func:`find_videos`.
    Names are those of the files, without their endings, unless others are given.
    """
    if isinstance(given, str | Path):
        place = Path(given)
        if not place.exists() and place.suffix.lower() in ENDINGS:
            raise InputError(f"{place}: there is no such file")
        of_features = (place / "feats").is_dir() or any((place / "data").glob("AVVP_*.csv"))
        if not place.is_file() and (of_features or not place.is_dir()):
            return None
        try:
            videos = find_videos(place)
        except InputError as error:
            if place.is_file():
                raise
            no_features = "it has no folder data/ and no folder feats/ in it, so there are no features either"
            raise InputError(f"{error}; {no_features}") from None
        for path, reason in videos.impossible.items():
            raise InputError(f"{path}: {reason}")
        paths = [video.path for video in videos.videos]
    elif isinstance(given, Sequence) and given and all(isinstance(path, str | Path) for path in given):
        paths = [Path(path) for path in given]
    else:
        return None
    names = [composed(path.stem) for path in paths] if names is None else list(names)
    if len(names) != len(paths):
        raise InputError(f"names: there must be one for each of the {len(paths)} videos, but there are {len(names)}")
    found: dict[str, Path] = {}
    for name, path in zip(names, paths, strict=True):
        if found.setdefault(name, path) is not path:
            raise InputError(f"{found[name]} and {path} would both be called {name}; give names=[...]")
    return found


def extract(
    files: Mapping[str, Path],
    extractors: Sequence[Extractor],
    known: ParsingSet,
    missing_track: Literal["refuse", "mask"],
    damaged: Literal["refuse", "keep"],
    dtype: str,
    progress: Progress | None,
) -> Media:
    """Return the videos of ``files``, by name, with the streams of ``known``.

    ``progress`` is called with the fraction that is done, while videos are read. Raises :class:`InputError` for the
    first file that cannot be used, and logs what is wrong with others.
    """
    videos, sources = [], {}
    for number, (name, path) in enumerate(files.items()):
        watched = list(extractors)
        if progress is not None:
            part = _Part(progress, number, len(files), _expected_seconds(path) * len(extractors))
            watched = [_Watched(one, part) for one in extractors]
        clip = extract_clip(path, watched, missing_track, damaged)
        for problem in clip.problems:
            log.warning("%s: %s", path, problem)
        videos.append(Extracted(name, clip.segments, clip.features, clip.missing))
        sources[name] = Source(path, clip.seconds)
    made = extracted_videos(videos, known, dtype)
    sources = {name: one._replace(missing=made.missing.get(name, ())) for name, one in sources.items()}
    return Media(made, sources)


class _Part:
    """One of ``count`` videos, of which the extractors are given so many seconds together, if the file is right."""

    def __init__(self, progress: Progress, number: int, count: int, seconds: float) -> None:
        self.progress, self.number, self.count = progress, number, count
        self.seconds, self.done = seconds, 0

    def add(self, seconds: int) -> None:
        """Tell what is done once an extractor has been given so many more seconds."""
        self.done += seconds
        self.progress((self.number + min(1.0, self.done / self.seconds)) / self.count)


class _Watched(Extractor):
    """An extractor that tells how much of a video it has been given."""

    def __init__(self, extractor: Extractor, part: _Part) -> None:
        self.extractor, self.part = extractor, part
        self.name, self.modality, self.dim = extractor.name, extractor.modality, extractor.dim
        self.rows_per_segment, self.input = extractor.rows_per_segment, extractor.input

    def rows(self, block: npt.NDArray[Any]) -> Any:
        """Return the rows of the extractor."""
        rows = self.extractor.rows(block)
        self.part.add(len(block))
        return rows


def _expected_seconds(path: Path) -> float:
    """Return the duration that a file declares; infinity if it declares none, or cannot be read."""
    try:
        return declared_seconds(path) or float("inf")
    except InputError:
        return float("inf")  # what reads it says what is wrong
