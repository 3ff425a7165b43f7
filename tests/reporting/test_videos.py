"""What runs save of their test videos, read again for a report: of equal and of different lengths."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from avvp_pl.reporting.videos import (
    TestVideos,
    copy_media,
    data_of,
    media_of,
    of_test_split,
    read_predictions,
    read_probabilities,
    read_test_videos,
)
from avvp_pl.runs.reading import Run
from avvp_pl.tasks.parsed import Parsed
from avvp_pl.tasks.parsing import write_predictions

SOURCE = {
    "_target_": "avvp_pl.data.synthetic.generate",
    "sizes": {"train": 40, "val": 12, "test": 12},
    "streams": {"vggish": 8, "res152": 12, "r2plus1d_18": 6},
    "modalities": {"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"]},
    "seed": 0,
}


def run_in(folder: Path, listed: int = 12) -> Run:
    """A run of which only the predictions matter."""
    return Run(folder, "mil", 0, OmegaConf.create({}), {}, {}, {}, listed, [])


@pytest.fixture(params=["equal", "ragged"])
def data(request: pytest.FixtureRequest, tiny: ParsingSet, ragged: ParsingSet) -> ParsingSet:
    """Videos of 10 segments, and of 4 to 10."""
    return tiny if request.param == "equal" else ragged


@pytest.fixture
def videos(data: ParsingSet) -> TestVideos:
    return of_test_split(data)


@pytest.fixture
def parsed(videos: TestVideos) -> Parsed:
    """Some timelines; probabilities that float16 does not have, and those of videos beyond 1."""
    generator = torch.Generator().manual_seed(0)
    axes = videos.truth.shape[2:]
    probs = torch.rand(sum(videos.lengths), *axes, generator=generator)
    video_probs = 1.9 * torch.rand(len(videos.names), *axes, generator=generator)
    return Parsed(torch.tensor(videos.lengths), probs > 0.7, probs, video_probs)


@pytest.fixture
def saved(parsed: Parsed, videos: TestVideos, data: ParsingSet, tmp_path: Path) -> Path:
    """A run folder with what was found in these videos."""
    write_predictions(tmp_path / "predictions", videos.names, parsed, data)
    return tmp_path


def of_each(videos: TestVideos, padded: torch.Tensor) -> list[torch.Tensor]:
    """The part of a padded tensor that each video has, after checking that the rest is zero."""
    assert not padded[~videos.mask].any()
    return [rows[:length] for rows, length in zip(padded, videos.lengths, strict=True)]


def test_the_test_split_is_read_by_the_data_of_a_configuration(tiny: ParsingSet, ragged: ParsingSet) -> None:
    for data, shortest in ((tiny, None), (ragged, 4)):
        assert data.test is not None
        assert data.test.truth is not None
        read = read_test_videos(OmegaConf.create({"source": {**SOURCE, "shortest": shortest}}))
        assert (read.names, read.events, read.modalities) == (data.test.names, data.events, ("audio", "visual"))
        assert (read.segment_seconds, list(read.lengths)) == (1.0, data.test.lengths.tolist())
        for video, truth in zip(
            of_each(read, read.truth), torch.split(data.test.truth, list(read.lengths)), strict=True
        ):
            assert torch.equal(video, truth)


def test_predictions_come_back_unchanged(saved: Path, parsed: Parsed, videos: TestVideos) -> None:
    found = read_predictions(run_in(saved), videos)
    for video, timeline in zip(of_each(videos, found), parsed.videos(parsed.timelines), strict=True):
        assert torch.equal(video, timeline)


def test_predictions_are_cut_at_the_end_of_each_video(tmp_path: Path) -> None:
    short = torch.tensor([[True, True, False, False, False], [True] * 5])
    videos = TestVideos(("a", "b"), ("Dog",), ("audio",), torch.zeros(2, 5, 1, 1, dtype=torch.bool), short, 1.0)
    table = tmp_path / "predictions" / "audio.csv"
    table.parent.mkdir()
    table.write_text("filename\tonset\toffset\tevent_labels\na\t1\t5\tDog\nb\t3\t9\tDog\n")
    found = read_predictions(run_in(tmp_path, listed=2), videos)
    assert found[..., 0, 0].int().tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 1, 1]]


def test_probabilities_come_back_to_three_digits(saved: Path, parsed: Parsed, videos: TestVideos) -> None:
    found = read_probabilities(run_in(saved), videos)
    assert found is not None
    assert found.segment.dtype == found.video.dtype == torch.float32
    for video, probs in zip(of_each(videos, found.segment), parsed.videos(parsed.probs), strict=True):
        torch.testing.assert_close(video, probs, atol=3e-4, rtol=0)  # 1 / 2^12 is half a step below 1
    torch.testing.assert_close(found.video, parsed.video_probs, atol=6e-4, rtol=0)
    (saved / "predictions" / "probabilities.npz").unlink()
    assert read_probabilities(run_in(saved), videos) is None


def test_the_same_content_gives_the_same_bytes(
    saved: Path, parsed: Parsed, videos: TestVideos, data: ParsingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever it is written, although archives store times."""
    path = saved / "predictions" / "probabilities.npz"
    first = path.read_bytes()
    monkeypatch.setattr("time.time", lambda: 1e9)
    write_predictions(saved / "predictions", videos.names, parsed, data)
    assert path.read_bytes() == first
    with zipfile.ZipFile(path) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with np.load(path, allow_pickle=False) as content:
        assert {name: content[name].dtype.kind for name in content.files} == {
            "names": "U",
            "events": "U",
            "modalities": "U",
            "lengths": "i",
            "segment": "f",
            "video": "f",
        }


def test_names_of_any_script_and_length(parsed: Parsed, data: ParsingSet, videos: TestVideos, tmp_path: Path) -> None:
    names = ("x" * 300, "Föhn", "视频", "\u202ea", "a b", "=1", "0", "00", "-", "a,b", "null", "nan")
    write_predictions(tmp_path / "predictions", names, parsed, data)
    renamed = TestVideos(names, videos.events, videos.modalities, videos.truth, videos.mask, 1.0)
    found = read_probabilities(run_in(tmp_path), renamed)
    assert found is not None
    torch.testing.assert_close(found.video, parsed.video_probs, atol=6e-4, rtol=0)


def changed(name: str, change: Callable[[Any], Any]) -> Callable[[Path], object]:
    """Save the file again with one of its arrays changed."""

    def write(path: Path) -> None:
        with np.load(path) as content:
            arrays = {key: content[key] for key in content.files}
        arrays[name] = change(arrays[name])
        np.savez_compressed(path, **arrays)

    return write


def without(name: str) -> Callable[[Path], object]:
    """Save the file again without one of its arrays."""

    def write(path: Path) -> None:
        with np.load(path) as content:
            arrays = {key: content[key] for key in content.files if key != name}
        np.savez_compressed(path, **arrays)

    return write


def one_array() -> bytes:
    content = io.BytesIO()
    np.save(content, np.ones(3))
    return content.getvalue()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "damaged"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "damaged"),
    "text": (lambda path: path.write_text("filename"), "damaged"),
    "one array": (lambda path: path.write_bytes(one_array()), "damaged"),
    "objects": (changed("names", lambda names: names.astype(object)), "damaged"),
    "words for numbers": (changed("video", lambda video: video.astype(str)), "damaged"),
    "not a number": (changed("segment", lambda probs: probs * np.nan), "a probability that is not a number"),
    "no lengths": (without("lengths"), "damaged"),
    "other videos": (changed("names", lambda names: names[::-1]), "its names are not those"),
    "other events": (changed("events", lambda events: events[1:]), "its events are not those"),
    "one name": (changed("modalities", lambda modalities: modalities[0]), "its modalities are not those"),
    "other lengths": (changed("lengths", lambda lengths: lengths[::-1] + 1), "its lengths are not those"),
    "fewer segments": (changed("segment", lambda probs: probs[:9]), "segment has the shape .*; the test videos need"),
    "one modality of the videos": (
        changed("video", lambda probs: probs[:, 0]),
        "video has the shape .*; the test videos",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_probabilities_are_one_line(saved: Path, videos: TestVideos, damage: str) -> None:
    path = saved / "predictions" / "probabilities.npz"
    does, says = DAMAGE[damage]
    does(path)
    with pytest.raises(InputError, match=says) as raised:
        read_probabilities(run_in(saved), videos)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_predictions_of_other_videos_are_refused(saved: Path, videos: TestVideos) -> None:
    with pytest.raises(InputError, match="tested on 13 videos, but the data has 12"):
        read_predictions(run_in(saved, listed=13), videos)
    fewer = TestVideos(videos.names[1:], videos.events, videos.modalities, videos.truth[1:], videos.mask[1:], 1.0)
    with pytest.raises(InputError, match=f"{videos.names[0]} is no test video of the data"):
        read_predictions(run_in(saved, listed=11), fewer)


def test_media_are_called_as_videos_or_their_features(tmp_path: Path) -> None:
    long, short, none = "AAAAAAAAAAA_0_10", "holiday", "BBBBBBBBBBB_0_10"
    for name in ("AAAAAAAAAAA.mp4", "holiday.webm", "holiday.mp4", "BBBBBBBBBBB.txt"):
        (tmp_path / name).touch()
    found = media_of(tmp_path, (long, short, none))
    assert found == {long: tmp_path / "AAAAAAAAAAA.mp4", short: tmp_path / "holiday.mp4"}
    (tmp_path / f"{long}.mkv").touch()
    assert media_of(tmp_path, (long,)) == {long: tmp_path / f"{long}.mkv"}  # its very own
    with pytest.raises(InputError, match="no such folder"):
        media_of(tmp_path / "nowhere", (long,))
    (tmp_path / "Cafe\u0301.mp4").touch()
    assert media_of(tmp_path, ("Caf\xe9",))["Caf\xe9"].is_file()
    with pytest.raises(InputError, match=f"has no file of any of the 1 test videos, such as {none}.mp4"):
        media_of(tmp_path, (none,))


def test_media_are_copied_whole(tmp_path: Path) -> None:
    names = ("a #1?.mp4", "Vidéo.webm")
    media = {name: tmp_path / "from" / name for name in names}
    (tmp_path / "from").mkdir()
    for name, path in media.items():
        path.write_bytes(name.encode() * 1000)
    folder = tmp_path / "report" / "media"
    for _ in range(2):  # and again, over files of an earlier report
        copies = copy_media(media, folder)
        assert copies == {name: folder / name for name in names}
        assert all(copies[name].read_bytes() == media[name].read_bytes() for name in names)
        (folder / names[0]).write_bytes(b"of an earlier report")
    (folder / "mine.txt").touch()
    there = {name: folder / name for name in names}
    assert copy_media(there, folder) == there  # where they are already
    assert {path.name for path in folder.iterdir()} == {*names, "mine.txt"}


def test_media_that_cannot_be_copied_are_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone.mp4"
    with pytest.raises(InputError, match=r"gone\.mp4: cannot be read"):
        copy_media({"gone": gone}, tmp_path / "media")
    gone.touch()
    (tmp_path / "media").touch()
    with pytest.raises(InputError, match="media is a file, not a folder"):
        copy_media({"gone": gone}, tmp_path / "media")


OUTSIDE = """
from avvp_pl.data.synthetic import generate


def read(**settings):
    return generate(**settings)
"""


def test_data_outside_the_package_are_read_only_if_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: ParsingSet
) -> None:
    (tmp_path / "somebodys_data.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = OmegaConf.create({"data": {"name": "x", "source": {**SOURCE, "_target_": "somebodys_data.read"}}})
    run = Run(tmp_path, "mil", 0, config, {}, {}, {}, 12, [])
    with pytest.raises(InputError, match=r"if you trust the package somebodys_data, give trust=\[somebodys_data\]"):
        data_of(run)
    with pytest.raises(InputError, match=r"would build somebodys_data\.read"):
        data_of(run, ["another"])
    assert tiny.test is not None
    assert read_test_videos(data_of(run, ["somebodys_data"])).names == tiny.test.names
