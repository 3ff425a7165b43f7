"""The process with the model: what it writes of a video, and what it survives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from avvp_pl import InputError
from avvp_pl.serving.worker import BROKEN, PAGE, STEM, Loading, Progress, Worker
from avvp_pl.timelines.saving import FORMATS, suffix_of
from tests.video.clips import Pictures, write_clip

SECONDS = 3


@pytest.fixture(scope="module")
def worker(model: Path) -> Iterator[Worker]:
    worker = Worker(Loading(str(model), {}, threads=1), seconds=60, longest=10)
    yield worker
    worker.close()


def parse(worker: Worker, video: Path, name: str = "a clip.mkv") -> tuple[str, list[Progress]]:
    """The text of a timeline, and the progress on the way."""
    parsing, progress = worker.parse(video, video.parent, name), []
    while True:
        try:
            progress.append(next(parsing))
        except StopIteration as end:
            return end.value, progress


def test_a_video_is_parsed_into_all_formats(worker: Worker, tmp_path: Path) -> None:
    text, progress = parse(worker, write_clip(tmp_path / "video.mkv", SECONDS))
    assert "a clip" in text
    done = [one.done for one in progress]
    assert done == sorted(done)
    assert 0 <= done[0] < done[-1] < 1
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"video.mkv", "preview.mp4", PAGE, *(f"{STEM}{suffix_of(form)}" for form in FORMATS)}
    found = json.loads((tmp_path / "video.json").read_text())
    assert found["name"] == "a clip"
    assert str(tmp_path) not in (tmp_path / "video.json").read_text() + (tmp_path / PAGE).read_text()
    assert "preview.mp4" in (tmp_path / PAGE).read_text()
    assert "data:video/mp4" in (tmp_path / "video.html").read_text()


def test_what_the_model_knows_is_told(worker: Worker) -> None:
    assert worker.known == (("Bell", "Dog"), ("audio", "visual"), "classifier")


def test_a_video_without_sound_is_parsed_by_its_pictures(worker: Worker, tmp_path: Path) -> None:
    text, _ = parse(worker, write_clip(tmp_path / "video.mkv", SECONDS, sounds=()))
    assert "not known" in text


def test_a_file_that_is_no_video_is_one_error_under_its_own_name(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_text("text")
    with pytest.raises(InputError, match=r"^my film\.mp4: this is no video") as error:
        parse(worker, tmp_path / "video.mp4", "my film.mp4")
    assert str(tmp_path) not in str(error.value)
    parse(worker, write_clip(tmp_path / "video.mkv", SECONDS))


def test_a_video_that_is_too_long_is_refused_before_it_is_decoded(worker: Worker, tmp_path: Path) -> None:
    long = write_clip(tmp_path / "video.mkv", 11, Pictures(times=[0, 5, 10.9]))
    with pytest.raises(InputError, match=r"^film.mkv: it is 0.2 minutes long; at most 0.166667 are possible"):
        parse(worker, long, "film.mkv")


def test_a_video_that_takes_too_long_or_kills_the_process_does_not_stop_the_next_one(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_clip(tmp_path / "video.mkv", SECONDS)
    assert worker._process is not None
    parsing = worker.parse(video, tmp_path, "film.mkv")
    assert next(parsing).doing
    worker._process.kill()
    with pytest.raises(InputError, match=BROKEN):
        list(parsing)
    text, progress = parse(worker, video)
    assert progress[0] == (0.0, "Loading the model again")
    monkeypatch.setattr(worker, "_seconds", 0.0)
    with pytest.raises(InputError, match="takes more than 0 seconds, which is the limit"):
        parse(worker, video)
    assert vars(worker)["_process"] is None
    assert text


def test_a_checkpoint_that_cannot_parse_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.ckpt").write_text("none")
    with pytest.raises(InputError, match=r"no\.ckpt"):
        Worker(Loading(str(tmp_path / "no.ckpt"), {}), seconds=60, longest=10)
