"""Files that are either whole or not there."""

from __future__ import annotations

import csv
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, TextIO

from avvp_pl.errors import InputError, brief, quote

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield the name of a temporary file beside ``path``, and rename it to ``path`` once it is complete."""
    # no other writer has this name, not even another thread, or a machine on a shared disk
    temporary = path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex}.tmp")  # not longer than a name may be
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
        _folder_to_disk(path.parent)
    except OSError as error:
        no_folder = next((above for above in path.parents if above.exists() and not above.is_dir()), None)
        reason = f"{no_folder} is a file, not a folder" if no_folder else error.strerror or error
        raise InputError(f"{path}: cannot be written ({reason})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_write(path: Path) -> Iterator[TextIO]:
    """Open a text file for writing, which replaces ``path`` only once it is complete and on the disk."""
    with _replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file
        _to_disk(file)


@contextmanager
def atomic_write_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file of bytes for writing in the same way."""
    with _replacing(path) as temporary, temporary.open("wb") as file:
        yield file
        _to_disk(file)


def atomic_copy(source: Path, path: Path) -> None:
    """Copy a file to ``path`` in the same way; :class:`InputError` where ``source`` cannot be read."""
    try:
        content = source.open("rb")
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror or error})") from None
    with content, atomic_write_bytes(path) as file:
        shutil.copyfileobj(content, file)


def _to_disk(file: IO[Any]) -> None:
    """Flush a file: a renamed file that is not on the disk yet would be empty after a power failure."""
    file.flush()
    os.fsync(file.fileno())


def _folder_to_disk(folder: Path) -> None:
    """Flush a folder, so that a new name also survives a power failure. Not every disk can do that."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of writers that were killed. No other writer may use the folder now."""
    for path in folder.glob(".*.tmp"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def remove_stale(folder: Path, names: re.Pattern[str], written: Collection[str]) -> None:
    """Remove the files in ``folder`` whose whole name is one of ``names`` and not among those just ``written``.

    Folders of such a name stay, and so does every other file.
    """
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if names.fullmatch(path.name) and path.name not in written and (path.is_file() or path.is_symlink()):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                problem = f"is of an earlier report and cannot be removed ({error.strerror or error})"
                raise InputError(f"{path}: {problem}") from None


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a comma-separated file with a header; none if there is no file.

    Raises :class:`InputError` if the file is not as :func:`append_rows` has written it.
    """
    with _reading(path) as (_, rows):
        return list(rows)


@contextmanager
def _reading(path: Path) -> Iterator[tuple[Sequence[str], Iterator[dict[str, str]]]]:
    """Yield the header of such a file and an iterator over its rows; both are empty if there is no file."""
    if not path.exists():
        yield (), iter(())
        return
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            yield reader.fieldnames or (), _whole(path, reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, error) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _whole(path: Path, reader: csv.DictReader[str]) -> Iterator[dict[str, str]]:
    for number, row in enumerate(reader, start=1):
        if None in row or None in row.values():  # so DictReader marks more or fewer cells than the header has
            raise _damaged(path, f"row {number} has another number of cells than the header")
        yield row


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]], replacing: str) -> None:
    """Add rows to a comma-separated file. They replace those with the same value of ``replacing`` or a later one.

    So a run that is resumed from an earlier epoch overwrites what it repeats. New columns are added on the right. Rows
    that are kept are copied one by one, because a long run has tens of thousands.
    """
    first = min(int(row[replacing]) for row in rows)
    with _reading(path) as (header, before), atomic_write(path) as file:
        columns = list(dict.fromkeys((*header, *(name for row in rows for name in row))))
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        for number, row in enumerate(before, start=1):
            if not re.fullmatch("[0-9]{1,18}", row.get(replacing, "")):
                raise _damaged(path, f"row {number} has {quote(row.get(replacing, ''))} as {replacing}")
            if int(row[replacing]) < first:
                writer.writerow(row)
        writer.writerows(rows)


def _damaged(path: Path, reason: object) -> InputError:
    return InputError(f"{path}: was changed by another program ({brief(reason)}); fix it or remove it")
