"""Whether tables fit together: they must name the same videos, and their times must fit the segments.

What does not fit in part is counted. Where nothing fits, scores would mean nothing, so an error says so.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from avvp_pl.data.annotations import (
    Oddities,
    TimedRow,
    Timelines,
    found_at,
    read_numbered,
    read_timed_rows,
    to_segments,
)
from avvp_pl.errors import SHOWN, InputError, quote

FINEST = 0.001  # seconds of the shortest segment that is proposed
ROUNDING = 1e-6  # seconds by which written times may be rounded
MOST_SEGMENTS = 1_000_000  # of a video that is proposed

ENDING = r"\.(?=\w*[a-z])\w{2,5}$"  # .mp4, but not the .8 of an LLP-style name
# the row of a table that sums up the others, with or without a number
TOTAL = r"[\W\d_]*(grand total|total|sum|count|mean|average|all|rows|videos)[\W\d_]*"
# what the names of videos have in common, and what is said of a name that lacks it
COMMON = {
    r".*\d": "it has no digit",
    r".*[^\W\d_]": "it has no letter",
    r"\S+$": "it has a space in it",
    r".{11}_[\d.]+_[\d.]+$": "it has not the form ID_START_END",
    rf".*{ENDING}": "it has no ending such as .mp4",
}


def check_names(path: Path, table: Timelines, listed: Mapping[str, Path], oddities: Oddities) -> None:
    """Count the videos of a table that are not listed, and say that a table has no rows.

    ``listed`` maps each listed video to the table that lists it. Raises :class:`InputError` if no video of the table is
    listed, or if some would be with another ending, folder or capital letters: their events would be missing.
    """
    if not table:
        oddities.note(f"{path}: tables that have no rows (no video has an event there)", path.name)
    others = [name for name in table if name not in listed]
    if not others:
        return
    first = found_at(path, others[0])
    if len(others) == len(table):
        similar = _most_similar(others[0], listed)
        there = f"{listed[similar]} has {found_at(listed[similar], similar)}"
        raise InputError(
            f"{path}: names none of the {len(listed)} listed videos: it has {first}, and {there}. "
            "Write the same names in both (capital letters and endings such as .mp4 count), or give the other list"
        )
    if alike := _alike(others, listed):
        name, similar = next(iter(alike.items()))
        there = f"{listed[similar]} has {found_at(listed[similar], similar)}"
        raise InputError(
            f"{path}: {len(alike)} of its {len(table)} videos would be listed under another name: it has "
            f"{found_at(path, name)}, and {there}. Write the same names in both: endings such as .mp4, folders and "
            "capital letters count"
        )
    oddities.note(f"{path}: videos that are not listed (ignored)", first, len(others))


def check_annotated(list_path: Path, names: Sequence[str], truth: Mapping[Path, Timelines], oddities: Oddities) -> None:
    """Count the listed videos that no table of the annotation names.

    Raises :class:`InputError` if those are all of them, but other videos are annotated.
    """
    missing = [name for name in names if not any(name in table for table in truth.values())]
    if not missing:
        return
    first = found_at(list_path, missing[0])
    other = next(((path, name) for path, table in truth.items() for name in table), None)
    if len(missing) == len(names) and other is not None:
        path, name = other
        raise InputError(
            f"{list_path}: none of the {len(names)} listed videos, such as {first}, is annotated in "
            f"{', '.join(map(str, truth))}; {path} has {found_at(path, name)}. Write the same names in both"
        )
    oddities.note(f"{list_path}: listed videos without any annotation (no event counts as true)", first, len(missing))


def check_list(list_path: Path, names: Sequence[str], tables: Iterable[Timelines], events: Collection[str]) -> None:
    """Raise :class:`InputError` for a row of a list that is no video, such as a total: it would have a perfect score.

    A video without events may be in none of the ``tables`` of annotation and predictions. So a row is taken for
    something else only if none of them names it, and if it lacks what all videos in them, and nearly all in the list,
    have in common.
    """
    named = {name for table in tables for name in table}
    unnamed = [name for name in names if name not in named]
    if not unnamed:
        return
    lacking = {form: {name for name in names if not re.match(form, name, re.IGNORECASE)} for form in COMMON}
    few = (len(names) - len(unnamed)) / 3
    odd = {form: those for form, those in lacking.items() if not those & named and len(those) <= few}
    numbered = read_numbered(list_path)
    for name in unnamed:
        reasons = [COMMON[form] for form, those in odd.items() if name in those]
        if name in numbered and numbered[name] not in events:
            reasons.append(f"it has the number {numbered[name]} in place of events")
        if re.fullmatch(TOTAL, name, re.IGNORECASE):
            reasons.append("it reads like a total")
        if reasons:
            raise InputError(
                f"{list_path}: {found_at(list_path, name)} is in none of the tables and unlike the videos that are "
                f"({'; '.join(reasons)}), so it seems to be no video; remove the row or, if it is a video without "
                "events, add a row with its name and three empty cells to a table of annotation"
            )


def check_grid(paths: Iterable[Path], names: Collection[str], segments: int, segment_seconds: float) -> None:
    """Raise :class:`InputError` if an event of these videos starts or ends within a segment, or ends after the last.

    The message proposes settings that fit all events of these videos in all of the tables of timelines ``paths``.
    """
    videos, places = set(names), dict[float, tuple[Path, TimedRow]]()  # where each time occurs first
    for path in dict.fromkeys(paths):
        for row in read_timed_rows(path):
            if row.event is not None and row.onset < row.offset and row.name in videos:
                places.setdefault(row.onset, (path, row))
                places.setdefault(row.offset, (path, row))
    within = [time for time in places if to_segments(time, segment_seconds) % 1]
    late = [time for time in places if to_segments(time, segment_seconds) > segments]
    if not within and not late:
        return
    path, row = places[(within or late)[0]]
    event = f"{path}, line {row.line}: the event of {quote(row.name)} from {row.onset:.9g} to {row.offset:.9g} s"
    longest = max(places)
    if within:
        step = _common_step([time for time in places if time > 0])
        needed = 0 if step is None else math.ceil(to_segments(max(longest, segments * segment_seconds), step))
        problem = (
            f"does not start and end with a segment of {segment_seconds:.9g} s, so it would be scored at other times"
        )
        fix = f"segment_seconds={step:.9g} segments={needed}, which fit all rows" if step else ""
    else:
        needed = math.ceil(to_segments(longest, segment_seconds))
        problem = f"ends after the {segments} segments of {segment_seconds:.9g} s, so it would be cut off"
        fix = f"segments={needed}, or correct the time"
    if not fix or needed > MOST_SEGMENTS:
        fix = "times of all tables that are whole segments of one duration"
    raise InputError(f"{event} {problem}; give {fix}")


def _common_step(times: Iterable[float]) -> float | None:
    """Return the longest duration of which all times, in seconds, are multiples; None if it is below ``FINEST``.

    This is Euclid's algorithm for rounded numbers: what is not larger than its own uncertainty counts as 0.
    """
    step = uncertainty = 0.0
    for time in sorted(times):
        rounding = ROUNDING + time * 1e-8  # of microseconds, or of nine digits as in ``write_timelines``
        longer, shorter = (time, rounding), (step, uncertainty)
        while shorter[0] > shorter[1]:
            rest = math.remainder(longer[0], shorter[0])
            longer, shorter = shorter, (abs(rest), longer[1] + round(longer[0] / shorter[0]) * shorter[1])
        steps = round(time / longer[0])
        step, uncertainty = time / steps, rounding / steps  # the longest time is the most exact measure of a step
    step = float(f"{step:.9g}")
    return step if step >= FINEST and not any(to_segments(time, step) % 1 for time in times) else None


def _alike(others: Iterable[str], listed: Iterable[str]) -> dict[str, str]:
    """Return those of the ``others`` that are a listed name except for its folder, its ending or capital letters."""
    by_stem: dict[str, list[str]] = {}
    for name in listed:
        by_stem.setdefault(_parts(name)[1], []).append(name)
    alike = {}
    for name in others:
        for similar in by_stem.get(_parts(name)[1], []):
            # two folders, or two endings, tell two videos apart
            if all(
                one == other or not (one and other) for one, other in zip(_parts(name), _parts(similar), strict=True)
            ):
                alike[name] = similar
    return alike


def _parts(name: str) -> tuple[str, str, str]:
    """Return the folder, the stem and the ending of a name, in small letters.

    >>> _parts("clips/Dog_1.MP4"), _parts("AP0061o0Nvk_101.8_111.8")
    (('clips', 'dog_1', '.mp4'), ('', 'ap0061o0nvk_101.8_111.8', ''))
    """
    folder, _, file = name.casefold().replace("\\", "/").rpartition("/")
    stem = re.sub(ENDING, "", file)
    return folder, stem, file[len(stem) :]


def _most_similar(name: str, names: Iterable[str]) -> str:
    """Return the one of the names that is most similar."""
    shortened = {one[:SHOWN]: one for one in names}
    return shortened[difflib.get_close_matches(name[:SHOWN], shortened, n=1, cutoff=0)[0]]
