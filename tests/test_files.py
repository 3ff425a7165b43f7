"""Files that are either whole or not there, and tables that a resumed run continues to write."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

import pytest

from avvp_pl.errors import InputError, nearest
from avvp_pl.files import append_rows, atomic_write, read_rows, remove_stale


def write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text)


def test_the_file_and_its_folders_appear_with_the_exact_text(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    write(path, "Grüße\r\n\n")
    assert path.read_bytes() == "Grüße\r\n\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_nothing_is_to_be_seen_before_the_file_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write("new" * 100_000)
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new" * 100_000


def test_a_folder_that_cannot_be_synced_fails_no_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network disks; that the file itself cannot be is an error."""
    sync = os.fsync

    def refuse(number: int) -> None:
        if stat.S_ISDIR(os.fstat(number).st_mode) or everything:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(number)

    everything = False
    monkeypatch.setattr(os, "fsync", refuse)
    write(tmp_path / "file.txt", "new")
    assert (tmp_path / "file.txt").read_text() == "new"
    everything = True
    with pytest.raises(InputError, match=r"cannot be written \(Invalid argument\)"):
        write(tmp_path / "file.txt", "newer")
    assert (tmp_path / "file.txt").read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("old", ["old", None])
def test_a_failure_leaves_what_was_there_and_no_temporary_file(
    tmp_path: Path, error: type[BaseException], old: str | None
) -> None:
    path = tmp_path / "file.txt"
    if old is not None:
        path.write_text(old)

    def fail_halfway() -> None:
        with atomic_write(path) as file:
            file.write("half of")
            file.flush()
            raise error

    with pytest.raises(error):
        fail_halfway()
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == ({} if old is None else {"file.txt": old})


def test_a_folder_in_the_way_is_an_error_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(InputError, match=r"folder: cannot be written \(Is a directory\)"):
        write(path, "")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["file/inside.txt", "x" * 300])
def test_an_impossible_path_is_an_error_of_the_user(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / name, "")


def test_rows_of_no_file(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "none.csv") == []


def test_rows_are_appended_and_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    append_rows(path, [{"epoch": 0, "note": 'a, "b"\nc'}], replacing="epoch")
    append_rows(path, [{"epoch": 1, "note": ""}, {"epoch": 2, "note": 0.5}], replacing="epoch")
    assert read_rows(path) == [
        {"epoch": "0", "note": 'a, "b"\nc'},
        {"epoch": "1", "note": ""},
        {"epoch": "2", "note": "0.5"},
    ]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("written", "kept"), [([12], range(11)), ([9], range(9)), ([10], range(10)), ([0], []), ([5, 4, 6], range(4))]
)
def test_rows_of_the_same_and_of_later_epochs_give_way(tmp_path: Path, written: list[int], kept: range) -> None:
    path = tmp_path / "metrics.csv"
    append_rows(path, [{"epoch": epoch, "run": 1} for epoch in range(11)], replacing="epoch")
    append_rows(path, [{"epoch": epoch, "run": 2} for epoch in written], replacing="epoch")
    expected = [(str(epoch), "1") for epoch in kept] + [(str(epoch), "2") for epoch in written]
    assert [(row["epoch"], row["run"]) for row in read_rows(path)] == expected


def test_new_columns_come_on_the_right_and_missing_cells_stay_empty(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    append_rows(path, [{"epoch": 0, "loss": 2}], replacing="epoch")
    append_rows(path, [{"val": 7, "epoch": 1}], replacing="epoch")
    assert path.read_bytes() == b"epoch,loss,val\n0,2,\n1,,7\n"


def test_the_nearest_name() -> None:
    assert nearest("Speach", ["Dog", "Speech", "Cheering"]) == " Did you mean 'Speech'?"
    assert nearest("xyzzy", ["Dog", "Speech"]) == ""
    assert nearest("Dog", []) == ""


def test_only_files_of_an_earlier_time_are_removed(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "3.png").mkdir()
    (tmp_path / "4.png").symlink_to(tmp_path / "nowhere")
    remove_stale(tmp_path, re.compile(r"\d\.png"), {"2.png"})
    assert {path.name for path in tmp_path.iterdir()} == {"2.png", "notes.txt", "3.png"}
    remove_stale(tmp_path / "none", re.compile(""), {})
