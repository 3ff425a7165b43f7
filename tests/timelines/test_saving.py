"""Which files are written for one video and for several, and what they are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from avvp_pl.errors import InputError
from avvp_pl.settings.limits import limit_of
from avvp_pl.timelines.saving import FORMATS, format_of, save, save_all, suffix_of
from avvp_pl.timelines.words import file_names
from tests.timelines.made import clip


@pytest.mark.parametrize("form", FORMATS)
def test_a_format_is_known_by_the_ending_of_its_files(form: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"clip{suffix_of(form)}"
    assert format_of(path) == format_of(path.with_suffix(path.suffix.upper())) == form
    assert clip().save(path) == path
    assert path.read_bytes() == clip().save(tmp_path / "new" / "other.name", form).read_bytes()


def test_one_file_cannot_have_several_videos(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clip\.vtt: this is one file, but there are 2 videos; .* formats=\['vtt'\]"):
        save([clip(), clip()], tmp_path / "clip.vtt")
    assert list(tmp_path.iterdir()) == []


def test_several_videos_have_files_each_and_one_page(tmp_path: Path) -> None:
    paths = save_all([clip(), clip(name="b")], tmp_path, ["srt", "html", "srt"], ["a/b", "A?b"], inside="in")
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["in/a_b.srt", "in/A_b-2.srt", "index.html"]
    assert all(path.is_file() for path in paths)


def test_a_wrong_format_is_known_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mp3 is no format"):
        save_all([clip()], tmp_path, ["json", "mp3"])
    assert list(tmp_path.iterdir()) == []


def test_files_stay_in_their_folder_and_apart() -> None:
    names = [
        "..",
        "../../etc/passwd",
        "/",
        ".hidden",
        "a\\b",
        "a b",
        "a\tb",
        "ü" * 300,
        "ü" * 299 + "x",
        "v",
        "V",
        "v-2",
        "",
    ]
    files = file_names(names)
    assert len({file.casefold() for file in files}) == len(names)
    for file in files:
        assert "/" not in file
        assert "\\" not in file
        assert not file.startswith(".")
        assert 0 <= len(file.encode()) < 220
    assert files[9:12] == ["v", "V-2", "v-2-2"]


def test_the_settings_know_all_formats() -> None:
    limit = limit_of("formats")
    assert list(FORMATS) in limit  # type: ignore[operator]
    assert [] in limit  # type: ignore[operator]
    assert all(form in str(limit) for form in FORMATS)
