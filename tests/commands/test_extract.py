"""``extract``: a folder of videos becomes a folder of features, whatever some of the videos are like."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from avvp_pl.data.llp import load_llp
from avvp_pl.video.clip import extract_clip
from avvp_pl.video.extractors.logmel import LogMel
from avvp_pl.video.extractors.picture import Picture
from avvp_pl.video.manifest import Manifest, read_manifest
from tests.conftest import Command
from tests.small import environment
from tests.video.clips import Sound, write_clip

NAMES = ("first", "second_clip", "third")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    for number, name in enumerate(NAMES):
        write_clip(folder / f"{name}.mkv", 2 + number, sounds=[Sound(gain=1 / (1 + number))])
    return folder


@pytest.fixture
def videos(originals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals, tmp_path / "clips"))


def manifest(output: str = "out") -> Manifest:
    found = read_manifest(Path(output) / "feats")
    assert found is not None
    return found


def failed(output: str = "out") -> dict[str, str]:
    with (Path(output) / "failed.csv").open(encoding="utf-8", newline="") as file:
        return {Path(row["file"]).name: row["reason"] for row in csv.DictReader(file)}


def times(output: str = "out") -> dict[str, int]:
    """When each file of features was written."""
    return {str(path): path.stat().st_mtime_ns for path in Path(output).glob("feats/*/*.npy")}


def test_a_folder_of_videos_becomes_one_that_predict_reads(
    command: Command, videos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command("extract", f"videos={videos}", "output=out", "workers=0") == 0
    assert capfd.readouterr().out == "3 videos extracted: out/feats\n"
    logmel, picture = LogMel(), Picture()
    for number, name in enumerate(NAMES):
        expected = extract_clip(videos / f"{name}.mkv", [logmel, picture]).features
        for stream, rows in expected.items():
            found = np.load(f"out/feats/{stream}/{name}.npy", allow_pickle=False)
            assert found.shape == (2 + number, rows.shape[1])
            np.testing.assert_array_equal(found, rows)
    entry = manifest().videos["third"]
    size = (videos / "third.mkv").stat().st_size
    assert (entry.file, entry.bytes, entry.seconds, entry.segments) == ("third.mkv", size, 4.0, 4)
    assert (entry.streams, entry.missing, entry.problems) == (["logmel", "picture"], [], [])
    assert manifest().streams["logmel"].settings == {
        "_target_": "avvp_pl.video.extractors.logmel.LogMel",
        "bands": 64,
    }
    assert Path("out/names.txt").read_text(encoding="utf-8").splitlines() == ["filename", *NAMES]
    assert not Path("out/failed.csv").exists()
    modalities = {"audio": ["logmel"], "visual": ["picture"]}
    data = load_llp("out", modalities, splits=("test",), truth_required=False, events=["x"])
    assert data.test is not None
    assert data.test.names == NAMES
    assert data.test.lengths.tolist() == [2, 3, 4]
    listed = load_llp("out", modalities, splits=("test",), truth_required=False, events=["x"], names="out/names.txt")
    assert listed.test is not None
    assert listed.test.names == NAMES


def test_processes_make_the_same(command: Command, videos: Path) -> None:
    assert command("extract", f"videos={videos}", "output=alone", "workers=0") == 0
    assert command("extract", f"videos={videos}", "output=together", "workers=2") == 0
    assert manifest("alone") == manifest("together")
    for path in times("alone"):
        np.testing.assert_array_equal(np.load(path), np.load(path.replace("alone", "together")))


def test_what_is_there_is_not_made_again(command: Command, videos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ("extract", f"videos={videos}", "output=out", "workers=0")
    (videos / "third.mkv").rename(videos / "later")
    assert command(*arguments) == 0
    before = times()
    (videos / "later").rename(videos / "third.mkv")
    capfd.readouterr()
    assert command(*arguments) == 0
    assert capfd.readouterr().out == "1 videos extracted, 2 were there before: out/feats\n"
    assert before.items() <= times().items()
    assert len(times()) == 6
    Path("out/feats/logmel/first.npy").unlink()  # one that was lost is made again, and no other
    assert command(*arguments) == 0
    assert len(times()) == 6
    assert [path for path, when in times().items() if before.get(path, when) != when] == ["out/feats/logmel/first.npy"]


def test_streams_can_be_added_but_not_mixed(command: Command, videos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ("extract", f"videos={videos}", "output=out", "workers=0")
    assert command(*arguments, "extractors=[logmel]") == 0
    before = times()
    assert command(*arguments, "extractors=[picture]") == 0
    assert manifest().videos["first"].streams == ["logmel", "picture"]
    assert before.items() <= times().items()
    capfd.readouterr()
    assert command(*arguments, "extractors=[logmel]", "extractors.logmel.bands=32") == 2
    assert capfd.readouterr().err == (
        "avvp_pl.extract: out/feats: the features 'logmel' are not those of these extractors: dim is 256 there and 128 "
        "here, bands is 64 there and 32 here; give another output\n"
    )
    assert before.items() <= times().items()
    Path("out/feats/manifest.json").unlink()
    assert command(*arguments) == 2
    assert "there are features here that out/feats/manifest.json does not know" in capfd.readouterr().err


def test_another_file_of_the_same_name_replaces_the_first(
    command: Command, videos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ("extract", f"videos={videos}", "output=out", "workers=0")
    assert command(*arguments) == 0
    shutil.copy(videos / "third.mkv", videos / "first.mkv")
    assert command(*arguments, "extractors=[logmel]") == 1  # picture would stay that of the other file
    assert "out/feats has features of another file of this name, first.mkv of " in failed()["first.mkv"]
    assert command(*arguments) == 0
    assert manifest().videos["first"].segments == 4
    assert len(np.load("out/feats/picture/first.npy")) == 4
    assert not Path("out/failed.csv").exists()
    capfd.readouterr()


def test_a_video_that_fails_is_named_and_stops_no_other(
    command: Command, videos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_clip(videos / "mute.mkv", sounds=[])
    whole = (videos / "third.mkv").read_bytes()
    (videos / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    (videos / "text.mp4").write_text("404 Not Found")
    (videos / "notes.txt").write_text("about these videos")
    arguments = ("extract", f"videos={videos}", "output=out")
    assert command(*arguments, "workers=2") == 1
    out, err = capfd.readouterr()
    assert out == "3 videos extracted, 3 failed (out/failed.csv): out/feats\n"
    reasons = failed()
    assert sorted(reasons) == ["cut.mkv", "mute.mkv", "text.mp4"]
    assert reasons["mute.mkv"] == "it has no sound; missing_track=mask uses the rest of such videos"
    assert reasons["cut.mkv"].startswith("it is cut off: ")
    lines = err.splitlines()
    assert lines[0].startswith(f"{videos}: 1 files are ignored")
    assert sorted(lines[1:]) == [f"{videos / name}: {reason}" for name, reason in sorted(reasons.items())]
    assert sorted(manifest().videos) == sorted(NAMES)

    assert command(*arguments, "workers=0", "missing_track=mask", "damaged=keep") == 1
    assert list(failed()) == ["text.mp4"]
    assert manifest().videos["mute"].missing == ["audio"]
    assert not np.load("out/feats/logmel/mute.npy").any()
    assert np.load("out/feats/picture/mute.npy").any()
    assert manifest().videos["cut"].problems[0].startswith("it is cut off: ")
    assert f"{videos / 'mute.mkv'}: audio is missing, and masked" in capfd.readouterr().err.splitlines()


def test_where_no_video_can_be_used(command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mp4").write_text("404 Not Found")
    assert command("extract", "videos=a.mp4", "output=out", "workers=0") == 2
    said = "avvp_pl.extract: none of 1 videos could be used (out/failed.csv); the first one: this is no video"
    assert said in capfd.readouterr().err
    assert command("extract", "videos=nowhere", "output=other") == 2
    assert capfd.readouterr().err == "avvp_pl.extract: videos=nowhere: there is no such file or folder\n"
    assert not Path("other").exists()


def test_equal_names_are_refused_before_anything_is_done(
    command: Command, videos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(videos / "first.mkv", videos / "first.mp4")
    assert command("extract", f"videos={videos}", "output=out") == 2
    said = f"{videos}/first.mkv and {videos}/first.mp4 would have the same features, first.npy; rename one of them"
    assert capfd.readouterr().err == f"avvp_pl.extract: {said}\n"
    assert not Path("out").exists()


def test_names_that_no_list_can_hold_fail_alone(
    command: Command, videos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (videos / "first.mkv").rename(videos / os.fsdecode(b"\xff\x1b[31m.mkv"))
    (videos / "third.mkv").rename(videos / 'a "b", {c} = 50%.mkv')
    assert command("extract", f"videos={videos}", "output=out", "workers=0") == 1
    assert list(failed()) == ["\\udcff\x1b[31m.mkv"]
    assert "\x1b" not in capfd.readouterr().err
    assert sorted(manifest().videos) == ['a "b", {c} = 50%', "second_clip"]


def test_settings_of_extractors_are_checked(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    for argument, said in {
        "extractors=[]": "extractors=[]: it must be one of ",
        "extractors=[logmell]": "there is no extractors 'logmell'. Did you mean 'logmel'?",
        "extractors.logmel.bands=0": "extractors.logmel.bands=0: it must be a whole number in [1, 256]",
        "workers=-1": "workers=-1: it must be a whole number of at least 0, or null",
        "missing_track=ignore": "missing_track=ignore: it must be one of refuse, mask",
        "damaged=yes": "damaged=",
    }.items():
        assert command("extract", "videos=x", "output=out", argument) == 2
        assert said in capfd.readouterr().err


def test_the_extractor_on_the_page_works(
    command: Command, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "video.md").read_text(encoding="utf-8")
    for name, content in re.findall(r"^```\w+\n# file: (\S+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    (line,) = re.findall(r"^python -m avvp_pl.extract (.*mymethods.*)$", page, re.MULTILINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert command("extract", *line.replace("CLIPS", str(videos)).split(), "workers=0") == 0
    loudness = np.load("features/feats/loudness/first.npy")
    power = (1 / 16) ** 2 / 4  # a tone in the first half of each half of a second, at 1/16 of full scale
    np.testing.assert_allclose(loudness[:2, 0], [10 * np.log10(power + 1e-6), -60], atol=0.1)
    assert manifest("features").streams["loudness"].identity["floor"] == -60


SLOW = """
import time
import numpy as np
from avvp_pl.video.extractor import Extractor, Sound

class Slow(Extractor):
    name, modality, dim, input = "slow", "audio", 3, Sound(8000)
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
    def rows(self, block):
        time.sleep(self.seconds)
        return np.ones((len(block), 3), dtype=np.float32)
"""


def test_a_killed_extraction_is_continued_and_starts_without_torch(
    command: Command, originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an extractor of the user's own, in a package of theirs."""
    (tmp_path / "mine" / "conf" / "extractors").mkdir(parents=True)
    (tmp_path / "mine" / "__init__.py").write_text("")
    (tmp_path / "mine" / "slow.py").write_text(SLOW)
    file = tmp_path / "mine" / "conf" / "extractors" / "slow.yaml"
    file.write_text("# @package extractors.slow\n_target_: mine.slow.Slow\nseconds: 1.5\n")
    videos = tmp_path / "clips"
    videos.mkdir()
    for number in range(8):
        shutil.copy(originals / "first.mkv", videos / f"{number}.mkv")
    arguments = ["--config-dir", "mine/conf", f"videos={videos}", "output=out", "extractors=[slow]"]
    code = (
        "import sys; from avvp_pl.extract import main\ntry: main()\n"
        "finally: print({'torch', 'av'} & set(sys.modules), file=sys.stderr)"
    )
    helped = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert helped.stderr == "set()\n"
    path = f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"
    running = subprocess.Popen(
        [sys.executable, "-m", "avvp_pl.extract", *arguments, "workers=0"],
        env={**environment(), "PYTHONPATH": path},
        cwd=tmp_path,
        start_new_session=True,
    )
    done: dict[str, int] = {}
    while not done:
        assert running.poll() is None
        time.sleep(0.1)
        found = read_manifest(tmp_path / "out" / "feats")
        done = dict.fromkeys(found.videos, 1) if found is not None else {}
    os.killpg(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    for file in (tmp_path / "out").glob("feats/slow/*.npy"):
        assert np.load(file).shape == (2, 3)
    found = read_manifest(tmp_path / "out" / "feats")
    assert found is not None
    assert 1 <= len(found.videos) < 8
    before = {path: when for path, when in times(str(tmp_path / "out")).items() if Path(path).stem in found.videos}
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "out" / "feats" / "slow" / f".7.npy.{'0' * 32}.tmp").write_bytes(b"unfinished")
    assert command("extract", *arguments, "workers=0", "extractors.slow.seconds=0") == 0
    assert len(manifest().videos) == 8
    assert before.items() <= times(str(tmp_path / "out")).items()
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_a_name_with_a_line_break_stays_on_one_line(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "two\nlines.mp4").write_text("no video")
    assert command("extract", "videos=clips", "output=out", "workers=0") == 2
    said = [line for line in capfd.readouterr().err.splitlines() if "lines.mp4" in line]
    assert said
    assert all(r"two\nlines.mp4" in line for line in said)
