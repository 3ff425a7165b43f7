"""What is kept of uploads, under which names, and for how long."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from avvp_pl.serving.results import LONGEST_NAME, Results, Upload


@pytest.fixture
def results(tmp_path: Path) -> Results:
    for name in ("results", "uploads"):
        (tmp_path / name).mkdir()
    return Results(tmp_path / "results", tmp_path / "uploads", seconds=60)


def filled(results: Results) -> str:
    token = results.new()
    (results.folder(token) / "video.mp4").write_bytes(b"0")
    return token


def test_no_two_results_share_a_folder_and_none_can_be_guessed(results: Results) -> None:
    tokens = {results.new() for _ in range(20)}
    assert len(tokens) == 20
    assert min(map(len, tokens)) >= 20
    assert all(results.folder(token).stat().st_mode & 0o077 == 0 for token in tokens)


def test_what_is_deleted_is_gone_and_the_rest_stays(results: Results) -> None:
    one, other = filled(results), filled(results)
    results.delete(one)
    results.delete(one)
    results.delete(None)
    results.delete("../uploads")
    assert not results.folder(one).exists()
    assert (results.folder(other) / "video.mp4").exists()
    assert results.folder("../uploads").exists()


def test_results_and_forgotten_uploads_go_after_their_time(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = tmp_path / "uploads" / "hash"
    uploads.mkdir()
    old, new = uploads / "old.mp4", uploads / "new.mp4"
    for path, age in ((old, 61), (new, 1)):
        path.write_bytes(b"0")
        os.utime(path, (time.time() - age,) * 2)
    token = filled(results)
    results.delete_old()
    assert results.folder(token).exists()
    assert [path.name for path in uploads.iterdir()] == ["new.mp4"]
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    results.delete_old()
    assert not results.folder(token).exists()


@pytest.mark.parametrize(
    ("given", "name", "ending"),
    [
        ("/uploads/x/Föhn 1.MP4", "Föhn 1.MP4", ".mp4"),
        ("/uploads/x/C:\\films\\a.mkv", "a.mkv", ".mkv"),
        ("/uploads/x/a\u202egnp.mp4", "a\\u202egnp.mp4", ".mp4"),
        ("/uploads/x/two\nlines.webm", "two lines.webm", ".webm"),
        ("/uploads/x/no ending", "no ending", ""),
        ("/uploads/x/" + "long" * 50 + ".mp4", "long" * 17 + "lon" + "…" + "long.mp4", ".mp4"),
    ],
)
def test_the_name_of_an_upload_is_made_harmless(given: str, name: str, ending: str) -> None:
    upload = Upload(Path(given))
    assert (upload.name, upload.ending) == (name, ending)
    assert len(upload.name) <= LONGEST_NAME
