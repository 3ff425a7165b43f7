"""Which files are videos, and under which names their features are stored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from avvp_pl.data.annotations import read_list
from avvp_pl.errors import InputError
from avvp_pl.video.files import find_videos
from avvp_pl.video.folder import write_names


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_a_folder_has_videos_and_other_things(tmp_path: Path) -> None:
    folder = touch(
        tmp_path / "clips", "b.mp4", "a.MKV", "notes.txt", "cover.jpg", "x.jpg", "README", "._b.mp4", ".DS_Store"
    )
    (folder / "more").mkdir()
    (folder / "folder.mp4").mkdir()
    found = find_videos(folder)
    assert [video.path.name for video in found.videos] == ["a.MKV", "b.mp4"]
    assert [video.name for video in found.videos] == ["a", "b"]
    assert found.notes == [
        f"{folder}: 4 files are ignored, because their endings are of no video (2 with .jpg, 1 with .txt, 1 with no "
        "ending)",
        f"{folder}: 2 folders in it are not searched, such as folder.mp4",
    ]


def test_a_file_may_have_any_ending(tmp_path: Path) -> None:
    assert find_videos(touch(tmp_path, "strange.xyz") / "strange.xyz").videos[0].name == "strange"
    (tmp_path / "list.txt").write_text("strange.xyz\r\n\n/else/where.mp4\n", encoding="utf-8-sig")
    listed = find_videos(tmp_path / "list.txt").videos
    assert [str(video.path) for video in listed] == [str(tmp_path / "strange.xyz"), "/else/where.mp4"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a.mp4", "a.mkv"), "a.mkv and {folder}/a.mp4 would have the same features, a.npy; rename one of them"),
        (("caf\u00e9.mp4", "cafe\u0301.mp4"), "would have the same features, caf\u00e9.npy"),
        (("abcdefghijk_1_2.mp4", "abcdefghijk_3_4.mp4"), "would have the same features, abcdefghijk.npy"),
        ((), "there are no videos in this folder"),
        (("a.txt",), "there are no videos in this folder; {folder}: 1 files are ignored"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    folder = touch(tmp_path / "clips", *names)
    with pytest.raises(InputError) as caught:
        find_videos(folder)
    assert said.format(folder=folder) in str(caught.value)


def test_names_that_only_look_alike_are_different(tmp_path: Path) -> None:
    folder = touch(tmp_path / "clips", "holiday_video_1.mp4", "holiday_video_2.mp4", "BjCEufrlXm4_20_30.mp4")
    keys = [video.key for video in find_videos(folder).videos]
    assert keys == ["BjCEufrlXm4", "holiday_video_1", "holiday_video_2"]  # as LLP names its files


@pytest.mark.parametrize(
    "name", [b"a\nb.mp4", b"a\tb.mp4", b" a.mp4", b"a .mp4", b"---.mp4", b"\x1b[31m.mp4", b"filename.mp4", b"a\\b.mp4",
             b"\xff\xfe.mp4", b"x" * 252 + b".ts"],
)  # fmt: skip
def test_a_name_that_tables_cannot_have_fails_alone(tmp_path: Path, name: bytes) -> None:
    folder = touch(tmp_path / "clips", "good.mp4")
    try:
        (folder / os.fsdecode(name)).touch()
    except OSError:
        pytest.skip("this disk has no such names")
    found = find_videos(folder)
    assert [video.name for video in found.videos] == ["good"]
    ((path, reason),) = found.impossible.items()
    assert os.fsencode(path.name) == name
    assert reason.endswith("; rename it")


def test_every_possible_name_can_be_listed(tmp_path: Path) -> None:
    names = [
        "a b",
        'say "hi"',
        '"quoted"',
        "x,y",
        "50%",
        "\u00fc\u4e2d\U0001f600",
        "-i",
        "#1",
        "it's",
        "a;b",
        "{a}",
        "$HOME",
    ]
    folder = touch(tmp_path / "clips", *(f"{name}.mp4" for name in names))
    found = find_videos(folder)
    assert sorted(video.name for video in found.videos) == sorted(names)
    write_names(tmp_path / "names.txt", [video.name for video in found.videos])
    assert sorted(read_list(tmp_path / "names.txt")) == sorted(names)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "there is no path in it; write one on each line"),
        (b"\n \n", "there is no path in it; write one on each line"),
        (b"a.mp4\nb.mp4\na.mp4\n", "is listed twice; remove one of them"),
        (b"\xff\xfea\x00", "this is not UTF-8 text"),
        (b"a\0b\n", "line 1: this is no path"),
    ],
)
def test_a_bad_list_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(InputError) as caught:
        find_videos(tmp_path / "list.txt")
    assert said in str(caught.value)


def test_what_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file or folder"):
        find_videos(tmp_path / "nowhere.mp4")
    with pytest.raises(InputError, match="there is no such list"):
        find_videos(tmp_path / "nowhere.txt")
