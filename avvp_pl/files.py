"""Files that are either whole or not there."""

from __future__ import annotations

import csv
import os
import re
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TextIO

from avvp_pl.errors import InputError, brief, quote

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """The name of a temporary file beside ``path``, which takes its place once it is complete."""
    # of no other writer, whichever process, thread or machine on a shared disk it is
    temporary = path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex}.tmp")  # not longer than a name may be
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
        _folder_to_disk(path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_write(path: Path) -> Iterator[TextIO]:
    """A text file to write to, which takes the place of ``path`` only once it is complete and on the disk."""
    with _replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file
        _to_disk(file)


def atomic_write_bytes(path: Path, content: memoryview) -> None:
    """Write a file of bytes in the same way."""
    with _replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        _to_disk(file)


def _to_disk(file: IO[Any]) -> None:
    """A renamed file that is not on the disk yet would be empty after a power cut."""
    file.flush()
    os.fsync(file.fileno())


def _folder_to_disk(folder: Path) -> None:
    """So that the new name, too, outlives a power cut; not every disk can do that, and the file is whole without it."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of writers that were killed; for a folder that nobody else writes into now."""
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
    """The rows of a comma-separated file with a header; none where there is no file.

    Raises :class:`InputError` where it is not as :func:`append_rows` left it.
    """
    with _reading(path) as (_, rows):
        return list(rows)


@contextmanager
def _reading(path: Path) -> Iterator[tuple[Sequence[str], Iterator[dict[str, str]]]]:
    """The header of such a file and, one after the other, its rows; nothing of either where there is no file."""
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
        if None in row or None in row.values():  # as DictReader has more or fewer cells than the header
            raise _damaged(path, f"row {number} has another number of cells than the header")
        yield row


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]], replacing: str) -> None:
    """Add rows to a comma-separated file, in place of those that have the same value of ``replacing`` or a later one.

    So a run that went back to an earlier epoch overwrites what it does again. New columns are added on the right. Rows
    that stay are copied one by one, for a long run has tens of thousands.
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
    return InputError(f"{path}: was changed by another program ({brief(reason)}); mend it or remove it")
