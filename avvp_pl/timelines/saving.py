"""Timelines as files: which format, where, and one file for each video or one page for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from avvp_pl.errors import InputError, nearest
from avvp_pl.files import atomic_write
from avvp_pl.timelines.formats import audacity, csv, elan, json, srt, vtt
from avvp_pl.timelines.timeline import Timeline
from avvp_pl.timelines.words import file_names

HTML = "html"
WRITERS: dict[str, Callable[[Timeline, Path], str]] = {
    "json": json.write,
    "csv": csv.write,
    "vtt": vtt.write,
    "srt": srt.write,
    "audacity": audacity.write,
    "elan": elan.write,
}
FORMATS = (*WRITERS, HTML)
SUFFIXES = {"audacity": ".txt", "elan": ".eaf"}  # of the others: their names
PAGE = "index.html"  # the page of all videos, in a folder
FILES = "timelines"  # what predict calls the folder of all other files


def suffix_of(form: str) -> str:
    """Return the ending of the files of a format."""
    return SUFFIXES.get(form, f".{form}")


def format_of(path: Path) -> str:
    """Return the format of a file by its ending; :class:`InputError` if it is none."""
    forms = {suffix_of(form): form for form in FORMATS} | {".htm": HTML, ".tsv": "csv"}
    if path.suffix.lower() not in forms:
        endings = ", ".join(f"{suffix_of(form)} ({form})" for form in FORMATS)
        raise InputError(f"{path}: the ending is that of no format; give one of {endings}, or the format by its name")
    return forms[path.suffix.lower()]


def check_format(form: str) -> None:
    """Raise :class:`InputError` unless there is such a format."""
    if form not in FORMATS:
        raise InputError(f"{form} is no format of timelines; there are {', '.join(FORMATS)}.{nearest(form, FORMATS)}")


def save(timelines: Sequence[Timeline], path: Path, form: str | None = None, embed_media: bool = False) -> Path:
    """Write one file: a page of all these videos, or any other format of the only one of them."""
    form = format_of(path) if form is None else form
    check_format(form)
    if form == HTML:
        from avvp_pl.timelines.page import write_timelines

        write_timelines(path, timelines, embed_media=embed_media)
        return path
    if embed_media:
        raise InputError(f"{path}: only a page (html) can contain media; leave embed_media out")
    if len(timelines) != 1:
        raise InputError(
            f"{path}: this is one file, but there are {len(timelines)} videos; give a folder and formats=['{form}'], "
            "or save one of the videos"
        )
    with atomic_write(path) as file:
        file.write(WRITERS[form](timelines[0], path.parent))
    return path


def save_all(
    timelines: Sequence[Timeline],
    folder: Path,
    formats: str | Iterable[str],
    stems: Sequence[str] | None = None,
    *,
    inside: str = "",
    embed_media: bool = False,
) -> list[Path]:
    """Write ``folder/inside/NAME.ENDING`` for each video and format, and ``folder/index.html`` for ``html``.

    The names of the files are the ``stems`` of the videos (None: their names) as far as files can have them. Returns
    the paths.
    """
    forms = [formats] if isinstance(formats, str) else list(dict.fromkeys(formats))
    for form in forms:
        check_format(form)
    names = file_names([one.name for one in timelines] if stems is None else stems)
    paths = [
        save([timeline], folder / inside / f"{name}{suffix_of(form)}", form)
        for form in forms
        if form != HTML
        for name, timeline in zip(names, timelines, strict=True)
    ]
    if HTML in forms:
        paths.append(save(timelines, folder / PAGE, HTML, embed_media))
    return paths
