"""Reading annotated and predicted intervals in the JSON layout of ActivityNet, and intervals of ambiguous time.

Truth: ``{"database": {VIDEO: {"subset": ..., "annotations": [{"segment": [START, END], "label": EVENT}]}}}``.
Detections: ``{"results": {VIDEO: [{"segment": [START, END], "label": EVENT, "score": NUMBER}]}}``. Bounds are seconds,
as numbers or as strings. Other keys are ignored. Errors raise :class:`InputError` with the file and the place in it.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from avvp_pl.data.annotations import NUMBER
from avvp_pl.data.names import composed
from avvp_pl.errors import InputError, brief, nearest, quote
from avvp_pl.files import atomic_write
from avvp_pl.types import Detections

LAYOUT = '{"segment": [START, END], "label": EVENT}'
SCORED = '{"segment": [START, END], "label": EVENT, "score": NUMBER}'


class Interval(NamedTuple):
    """An event in a video, in seconds. A detection has a score; ``place`` is where it stands in its file."""

    video: str
    event: str
    start: float
    end: float
    score: float
    place: str


class Annotation(NamedTuple):
    """The videos of a subset, in the order of the files, and their instances in the same order."""

    videos: tuple[str, ...]
    instances: tuple[Interval, ...]


class Results(NamedTuple):
    """Detections, in the order of the file, and the videos that it lists, also without detections."""

    videos: tuple[str, ...]
    detections: tuple[Interval, ...]


def read_annotation(paths: Sequence[Path], subset: str) -> Annotation:
    """Read the videos of a subset and their instances, from one file or from several with different videos."""
    files: dict[str, Path] = {}
    subsets: Counter[str] = Counter()
    videos: list[str] = []
    instances: list[Interval] = []
    for path in paths:
        for video, entry in _member(_json(path), "database", "the annotated videos", path).items():
            place = f"database[{quote(video)}]"
            _check_mapping(entry, path, place, '{"subset": ..., "annotations": [...]}')
            for key in ("subset", "annotations"):
                if key not in entry:
                    raise InputError(f"{path}: {place} has no {key!r}.{nearest(key, entry)}")
            if video in files:
                raise InputError(f"{path}: {place} is in {files[video]}, too; remove one of them")
            files[video] = path
            of = entry["subset"]
            if not isinstance(of, str):
                raise InputError(f"{path}: {place}['subset'] is {brief(of)}; it must be text, such as {subset!r}")
            subsets[of] += 1
            if of == subset:
                videos.append(video)
                instances += _intervals(entry["annotations"], video, path, f"{place}['annotations']", scored=False)
    if not videos:
        named = ", ".join(f"{name!r} ({count} videos)" for name, count in subsets.items())
        said = (
            f"the subsets are {named}; give subset=NAME.{nearest(subset, subsets)}" if subsets else "there is no video"
        )
        raise InputError(f"{' and '.join(map(str, paths))}: no video is of the subset {subset!r}: {said}")
    if not instances:
        raise InputError(f"{' and '.join(map(str, paths))}: the videos of the subset {subset!r} have no instances")
    return Annotation(tuple(videos), tuple(instances))


def read_subsets(path: Path) -> Counter[str]:
    """Return the subsets of the videos in a file of truth, each with its number of videos; text only."""
    videos = _member(_json(path), "database", "the annotated videos", path).values()
    return Counter(str(entry["subset"]) for entry in videos if isinstance(entry, dict) and "subset" in entry)


def read_durations(path: Path) -> dict[str, float]:
    """Return the durations in seconds that a file of truth gives; of videos without a positive number, none."""
    videos = _member(_json(path), "database", "the annotated videos", path)
    found = {name: _number(entry.get("duration")) for name, entry in videos.items() if isinstance(entry, dict)}
    return {name: duration for name, duration in found.items() if duration is not None and duration > 0}


def read_detections(path: Path) -> Results:
    """Read the detections of any system."""
    results = _member(_json(path), "results", "the detections of each video", path)
    found = [
        interval
        for video, entries in results.items()
        for interval in _intervals(entries, video, path, f"results[{quote(video)}]", scored=True)
    ]
    return Results(tuple(results), tuple(found))


def write_detections(
    path: Path, names: Sequence[str], events: Sequence[str], detections: Detections, **more: str
) -> None:
    """Write detections as :func:`read_detections` reads them; every named video is listed, also without detections.

    ``more`` stands beside them in the file.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    columns = (column.tolist() for column in detections)
    for video, event, (start, end), score in zip(*columns, strict=True):
        results[names[video]].append({"segment": [start, end], "label": events[event], "score": score})
    with atomic_write(path) as file:
        json.dump({**more, "results": results}, file, indent=1)
        file.write("\n")


def read_ambiguous(path: Path) -> list[tuple[str, float, float]]:
    """Read intervals of time that may or may not show an action.

    The file is comma-separated, with the columns ``video,start,end``; or THUMOS14's own list, in which each line has a
    video, a start and an end between spaces.
    """
    lines = [(number, line) for number, line in enumerate(_text(path).splitlines(), 1) if line.strip()]
    header = [cell.strip() for cell in lines[0][1].split(",")] if lines else []
    found = []
    if "video" in header:
        if missing := [column for column in ("video", "start", "end") if column not in header]:
            raise InputError(f"{path}: the header must have the columns video,start,end; {missing[0]} is missing")
        for number, cells in ((number, next(csv.reader([line]))) for number, line in lines[1:]):
            if len(cells) != len(header):
                raise InputError(
                    f"{path}, line {number}: the row has {len(cells)} cells, but the header has {len(header)}"
                )
            row = dict(zip(header, cells, strict=True))
            found.append((number, row["video"].strip(), row["start"].strip(), row["end"].strip()))
    else:
        for number, line in lines:
            cells = line.split()
            if len(cells) != 3:
                raise InputError(
                    f"{path}, line {number}: {quote(line)} must be a video, a start and an end, with spaces between "
                    "them; or the file must begin with the line video,start,end"
                )
            found.append((number, cells[0], cells[1], cells[2]))
    if not found:
        raise InputError(f"{path}: the file has no intervals")
    return [(video, *_bounds([start, end], f"{path}, line {number}:")) for number, video, start, end in found]


def _intervals(entries: object, video: str, path: Path, place: str, scored: bool) -> Iterator[Interval]:
    layout = SCORED if scored else LAYOUT
    if not isinstance(entries, list):
        raise InputError(f"{path}: {place} is {_kind(entries)}; it must be a list of entries such as {layout}")
    for number, entry in enumerate(entries):
        here = f"{place}[{number}]"
        _check_mapping(entry, path, here, layout)
        for key in ("segment", "label", "score")[: 3 if scored else 2]:
            if key not in entry:
                raise InputError(f"{path}: {here} has no {key!r}; it must be such as {layout}.{nearest(key, entry)}")
        label = entry["label"]
        if not isinstance(label, str) or not label.strip():
            raise InputError(f"{path}: {here}['label'] is {_shown(label)}; it must be the name of an event")
        start, end = _bounds(entry["segment"], f"{path}: {here}['segment']")
        score = _score(entry["score"], f"{path}: {here}['score']") if scored else 1.0
        yield Interval(video, composed(label), start, end, score, here)


def _bounds(segment: object, place: str) -> tuple[float, float]:
    """Return start and end of an interval; ``place`` is the beginning of the message about one that is wrong."""
    if not isinstance(segment, list) or len(segment) != 2:
        raise InputError(f"{place} is {_shown(segment)}; it must be a list of two times in seconds, [START, END]")
    start, end = (_number(bound) for bound in segment)
    shown = f"[{', '.join(map(_shown, segment))}]"
    if start is None or end is None or start < 0:
        raise InputError(f"{place} is {shown}; both must be times in seconds from the start of the video, 0 or more")
    if end <= start:
        raise InputError(f"{place} is {shown}; it must end after its start")
    return start, end


def _score(value: object, place: str) -> float:
    score = None if isinstance(value, str) else _number(value)
    if score is None:
        raise InputError(f"{place} is {_shown(value)}; it must be a finite number")
    return score


def _number(value: object) -> float | None:
    """Return a finite number, also one that is written as text; None for anything else."""
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _member(content: object, key: str, what: str, path: Path) -> dict[str, Any]:
    """Return the mapping under the only key that is needed at the top of a file."""
    if not isinstance(content, dict) or key not in content:
        beside = nearest(key, content) if isinstance(content, dict) else ""
        raise InputError(f"{path}: there is no {key!r} at its top, which must have {what}.{beside}")
    inner = content[key]
    _check_mapping(inner, path, key, "a mapping from the names of videos")
    return {str(name): value for name, value in inner.items()}


def _check_mapping(value: object, path: Path, place: str, layout: str) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{path}: {place} is {_kind(value)}; it must be {layout}")


def _kind(value: object) -> str:
    """Return what a value is, in words."""
    kinds = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _shown(value: object) -> str:
    return quote(value) if isinstance(value, str) else brief(json.dumps(value))


def _json(path: Path) -> object:
    text = _text(path)
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _without_duplicates(pairs, path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: this is not JSON ({error.msg}, column {error.colno})") from None
    except RecursionError:
        raise InputError(f"{path}: this is not JSON that can be read: its brackets are nested too deep") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: this is not JSON that can be read ({brief(error)})") from None


def _without_duplicates(pairs: list[tuple[str, Any]], path: Path) -> Mapping[str, Any]:
    """Return a JSON object; of two members of the same name, the first would be lost without a word."""
    # names are compared in one form of Unicode, as in all other files
    members = [(composed(name), value) for name, value in pairs]
    found = dict(members)
    if len(found) < len(members):
        name = next(name for name, count in Counter(name for name, _ in members).items() if count > 1)
        raise InputError(f"{path}: the key {quote(name)} stands twice in the same braces; remove one or join them")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: this is not UTF-8 text; save the file as UTF-8") from None
