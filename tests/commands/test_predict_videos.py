"""``predict videos=``, and the same by the library: from video files to timelines, by what a checkpoint knows."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import avvp_pl
from avvp_pl import InputError
from tests.conftest import Command
from tests.small import changed, checkpoint, content, run_once
from tests.video.clips import write_clip

SECONDS, TRAINED, LONG = 3, 6, 8
EVENTS = ("Bell", "Dog")
STREAMS = {"audio": ["logmel"], "visual": ["picture"]}
SMALL = ("extractors.logmel.bands=8", "extractors.picture.per_second=1", "workers=0")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of three seconds in ``clips``, their features and tables in ``data``, and a training on them in ``run``."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "clips").mkdir()
    for number in range(TRAINED):
        write_clip(folder / "clips" / f"clip {number}.mkv", SECONDS, sounds=[sound(number)])
    run_once("extract", f"videos={folder / 'clips'}", f"output={folder / 'data'}", *SMALL)
    tables = folder / "data" / "data"
    tables.mkdir()
    (tables / "classes.txt").write_text("\n".join(EVENTS) + "\n")
    for split, numbers in (("train", (0, 1, 2, 3)), ("val_pd", (4,)), ("test_pd", (5,))):
        rows = "".join(f"clip {number}\t{EVENTS[number % 2]}\n" for number in numbers)
        (tables / f"AVVP_{split}.csv").write_text(f"filename\tevent_labels\n{rows}")
    for modality in STREAMS:
        rows = "".join(f"clip {number}\t0\t2\t{EVENTS[number % 2]}\n" for number in (4, 5))
        (tables / f"AVVP_eval_{modality}.csv").write_text(f"filename\tonset\toffset\tevent_labels\n{rows}")
    run_once(
        "train", "+experiment=han", "data=folder", f"data.root={folder / 'data'}",
        "data.modalities={audio: [logmel], visual: [picture]}", f"data.segments={SECONDS}", "network.dim=8",
        "network.feedforward_dim=8", "trainer.accelerator=cpu", "trainer.max_epochs=1", "logger=csv", "threads=1",
        f"hydra.run.dir={folder / 'run'}",
    )  # fmt: skip
    return folder


def sound(number: int) -> Any:
    from tests.video.clips import Sound

    return Sound(gain=(number + 1) / TRAINED)


@pytest.fixture
def new(place: Path, tmp_path: Path) -> Path:
    """Two of the clips, a longer one and a silent one, in a folder of their own."""
    folder = tmp_path / "new"
    folder.mkdir()
    shutil.copy(place / "clips" / "clip 1.mkv", folder / "a.mkv")
    shutil.copy(place / "clips" / "clip 4.mkv", folder / "b.mkv")
    write_clip(folder / "long.mkv", LONG)
    return folder


def arguments(place: Path, videos: Path, output: Path, *more: str) -> list[str]:
    given = (
        f"checkpoint={checkpoint(place / 'run')}",
        f"videos={videos}",
        f"output={output}",
        "workers=0",
        "threads=1",
    )
    return [*given, "pictures=1", *more]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def timelines(output: Path) -> Any:
    return json.loads((output / "timelines.json").read_text())["videos"]


def probabilities(output: Path) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(output / "probabilities.npz") as archive:
        parts = np.split(archive["segment"], np.cumsum(archive["lengths"])[:-1])
        return dict(zip(archive["names"].tolist(), parts, strict=True))


def test_a_checkpoint_knows_its_extractors_and_the_lengths_of_its_videos(place: Path) -> None:
    saved = content(place / "run")
    assert saved["lengths"] == [SECONDS, SECONDS]
    assert list(saved["extractors"]) == ["logmel", "picture"]
    assert saved["extractors"]["logmel"]["identity"]["bands"] == 8
    assert saved["extractors"]["logmel"]["settings"]["bands"] == 8
    manifest = json.loads((place / "data" / "feats" / "manifest.json").read_text())
    assert saved["extractors"] == manifest["streams"]


def test_videos_are_parsed_as_their_features_are(command: Command, place: Path, tmp_path: Path, new: Path) -> None:
    """And the longer one through windows; the page has a player for each."""
    assert command("predict", *arguments(place, new, tmp_path / "out")) == 0
    found = timelines(tmp_path / "out")
    assert {name: video["segments"] for name, video in found.items()} == {"a": SECONDS, "b": SECONDS, "long": LONG}
    by_features = (f"checkpoint={checkpoint(place / 'run')}", f"output={tmp_path / 'val'}", "pictures=0")
    assert command("predict", *by_features, "split=val", "threads=1") == 0
    np.testing.assert_allclose(
        probabilities(tmp_path / "out")["b"], probabilities(tmp_path / "val")["clip 4"], atol=1e-3
    )
    assert probabilities(tmp_path / "out")["long"].shape == (LONG, 2, len(EVENTS))
    page = (tmp_path / "out" / "index.html").read_text()
    assert all(f"{name}.mkv" in page for name in found)
    assert not (tmp_path / "out" / "missing.csv").exists()
    # once more, whole: nothing is extracted again
    features = tmp_path / "out" / "features" / "feats" / "logmel" / "long.npy"
    before = features.stat().st_mtime_ns
    more = ("window=whole", "formats=[vtt]", "keep_features=true")
    assert command("predict", *arguments(place, new, tmp_path / "out", *more)) == 0
    assert features.stat().st_mtime_ns == before
    assert (tmp_path / "out" / "timelines" / "long.vtt").read_text().startswith("WEBVTT")


def test_windows_are_those_of_the_settings(command: Command, place: Path, tmp_path: Path, new: Path) -> None:
    found = []
    for name, more in (("default", []), ("same", ["window=3", "overlap=1"]), ("whole", ["window=whole"])):
        output = tmp_path / name
        assert command("predict", *arguments(place, new / "long.mkv", output, "keep_features=false", *more)) == 0
        assert not (output / "features").exists()
        found.append(probabilities(output)["long"])
    assert (found[0] == found[1]).all()
    assert not np.allclose(found[0], found[2], atol=1e-3)


def test_a_video_that_fails_is_one_line_and_stops_no_other(
    command: Command, place: Path, tmp_path: Path, new: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (new / "broken.mp4").write_text("this is no video")
    write_clip(new / "silent.mkv", SECONDS, sounds=[])
    assert command("predict", *arguments(place, new, tmp_path / "out")) == 1
    printed = capfd.readouterr()
    assert [line for line in printed.err.splitlines() if "broken.mp4" in line]
    assert "silent.mkv: it has no sound; missing_track=mask" in printed.err
    assert "3 videos parsed" in printed.out
    assert "2 failed" in printed.out
    assert list(timelines(tmp_path / "out")) == ["a", "b", "long"]
    for name in ("a.mkv", "b.mkv", "long.mkv"):
        (new / name).unlink()
    assert command("predict", *arguments(place, new, tmp_path / "none")) == 2
    assert "none of 2 videos could be used" in capfd.readouterr().err


def test_a_missing_modality_is_not_known_in_any_output(
    command: Command, place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips" / "silent.mkv", SECONDS, sounds=[])
    shutil.copy(place / "clips" / "clip 1.mkv", tmp_path / "clips" / "a.mkv")
    more = ("missing_track=mask", "formats=[json,html]")
    assert command("predict", *arguments(place, tmp_path / "clips", tmp_path / "out", *more)) == 0
    assert "1 lack a modality (missing.csv)" in capfd.readouterr().out
    found = timelines(tmp_path / "out")
    assert found["silent"]["missing"] == ["audio"]
    assert list(found["silent"]["events"]) == ["visual"]
    assert "missing" not in found["a"]
    probs = probabilities(tmp_path / "out")
    assert np.isnan(probs["silent"][:, 0]).all()
    assert np.isfinite(probs["silent"][:, 1]).all()
    assert np.isfinite(probs["a"]).all()
    with (tmp_path / "out" / "missing.csv").open() as file:
        assert list(csv.reader(file, "excel-tab")) == [["filename", "modality"], ["silent", "audio"]]
    timeline = json.loads((tmp_path / "out" / "timelines" / "silent.json").read_text())
    assert timeline["missing"] == ["audio"]
    assert timeline["probabilities"]["audio"] is None
    # the same of its features: the manifest says so
    by_features = (f"checkpoint={checkpoint(place / 'run')}", f"data.root={tmp_path / 'out' / 'features'}", "threads=1")
    assert command("predict", *by_features, f"output={tmp_path / 'again'}") == 0
    assert timelines(tmp_path / "again") == found


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["extractors.logmel.bands=16"], "the features 'logmel' are not those of the training of"),
        (["extractors.logmal.bands=8"], "extractors.logmal: the extractors of"),
        (["names=list.txt"], "these are parsed in place of features; leave out names"),
        (["split=val"], "video files belong to no split; leave out split=val"),
        (["window=2", "overlap=2"], "overlap=2: it must be less than the window, which is 2 segments"),
        (["window=none"], "window=none: it must be"),
    ],
)
def test_what_cannot_be_is_one_line(
    command: Command, place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], given: list[str], says: str
) -> None:
    assert command("predict", *arguments(place, place / "clips" / "clip 1.mkv", tmp_path / "out", *given)) == 2
    message = capfd.readouterr().err
    assert says in message
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "out" / "audio.csv").exists()
    assert not (tmp_path / "out" / "features").exists()  # it is known before any work


def drop(key: str) -> Any:
    return lambda saved: saved.pop(key)


def retarget(saved: dict[str, Any]) -> None:
    saved["extractors"]["logmel"]["settings"]["_target_"] = "os.system"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop("extractors"), "it does not know by which extractors its features were made (logmel, picture)"),
        (
            retarget,
            "its configuration would build os.system as extractors.logmel._target_, which avvp_pl does not trust",
        ),
    ],
)
def test_checkpoints_without_extractors_and_with_strange_ones_are_refused(
    place: Path, tmp_path: Path, change: Any, says: str
) -> None:
    path = changed(checkpoint(place / "run"), tmp_path / "other.ckpt", change)
    parser = avvp_pl.load(path, device="cpu")
    with pytest.raises(InputError) as refusal:
        parser.parse(place / "clips" / "clip 1.mkv")
    assert says in str(refusal.value)


def test_features_of_other_extractors_are_refused(
    command: Command, place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Naming the stream and both; and features of unknown ones are used with a warning."""
    other = tmp_path / "other"
    shutil.copytree(place / "data", other)
    manifest = other / "feats" / "manifest.json"
    written = json.loads(manifest.read_text())
    written["streams"]["picture"]["identity"]["version"] = 99
    manifest.write_text(json.dumps(written))
    given = (f"checkpoint={checkpoint(place / 'run')}", f"data.root={other}", "threads=1", "pictures=0")
    for name, more in (("predict", f"output={tmp_path / 'out'}"), ("evaluate", f"hydra.run.dir={tmp_path / 'run'}")):
        use = given if name == "predict" else given[:-1]
        assert command(name, *use, more) == 2
        error = capfd.readouterr().err
        assert "the features 'picture' are not those of the training of" in error
        assert "version is 99 there" in error
    parser = avvp_pl.load(checkpoint(place / "run"), device="cpu")
    with pytest.raises(InputError, match="'picture'"):
        parser.parse(other)
    manifest.unlink()
    assert command("predict", *given, f"output={tmp_path / 'out'}") == 0
    assert "the extractors of the features (logmel, picture) are not known" in capfd.readouterr().out


def test_the_packed_store_keeps_what_the_manifest_says(
    command: Command, place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "packed"
    shutil.copytree(place / "data", root)
    prepared = (f"data.root={root}", "data=folder", f"data.segments={SECONDS}")
    assert command("prepare", *prepared, "data.modalities={audio: [logmel], visual: [picture]}") == 0
    index = json.loads((root / "packed" / "index.json").read_text())
    assert list(index["made"]) == ["logmel", "picture"]
    for stream in ("logmel", "picture"):
        shutil.rmtree(root / "feats" / stream)
    (root / "feats" / "manifest.json").unlink()
    parser = avvp_pl.load(checkpoint(place / "run"), device="cpu")
    assert len(parser.parse(root)) == 1
    assert not warnings(caplog)  # the extractors are known from the store
    index["made"]["logmel"]["identity"]["version"] = 5
    (root / "packed" / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="the features 'logmel' are not those of the training"):
        parser.parse(root)


def test_the_library_parses_files_lists_and_folders(
    command: Command, place: Path, tmp_path: Path, new: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parser = avvp_pl.load(checkpoint(place / "run"), device="cpu")
    assert list(parser.extractors) == ["logmel", "picture"]
    assert parser.extractors["logmel"].dim == parser.streams["logmel"]
    told: list[float] = []
    parsing = parser.parse(new, progress=told.append)
    assert parsing.names == ("a", "b", "long")
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(set(told)) > 3
    assert command("predict", *arguments(place, new, tmp_path / "out", "pictures=0")) == 0
    written = probabilities(tmp_path / "out")
    for name, probs in zip(parsing.names, parsing.probs, strict=True):
        np.testing.assert_allclose(probs.numpy(), written[name], atol=1e-3)
    paths = [new / "long.mkv", new / "a.mkv"]
    listed = parser.parse(paths)
    assert listed.names == ("long", "a")
    torch.testing.assert_close(listed.probs[0], parsing.probs[2])
    one = parser.parse(str(new / "a.mkv"), names=["mine"])
    assert one.names == ("mine",)
    assert one[0].media == new / "a.mkv"
    assert one[0].duration == pytest.approx(SECONDS, abs=0.2)
    assert one[0].made_by["checkpoint"] == "best.ckpt"
    assert one[0].made_by["logmel.bands"] == 8
    assert "mine" in str(one)
    one.save(tmp_path / "clip.html")
    assert (tmp_path / "clip.html").exists()
    whole = parser.parse(new / "long.mkv", window="whole")
    assert not torch.allclose(whole.probs[0], parsing.probs[2], atol=1e-3)
    rows = parser.parse(new / "long.mkv", window=SECONDS, overlap=1)
    torch.testing.assert_close(rows.probs[0], parsing.probs[2])
    assert not warnings(caplog)


def test_the_library_says_what_is_wrong_with_files(place: Path, tmp_path: Path, new: Path) -> None:
    parser = avvp_pl.load(checkpoint(place / "run"), device="cpu")
    (tmp_path / "a.mp4").write_text("this is no video")
    for given, says in (
        (tmp_path / "a.mp4", "this is no video"),
        ([new / "a.mkv", tmp_path / "a.mp4"], "would both be called a; give names="),
        (new / "nothing.mkv", "nothing.mkv"),
        ([new / "nothing.mkv"], "nothing.mkv"),
    ):
        with pytest.raises(InputError) as refusal:
            parser.parse(given)
        assert says in str(refusal.value)
    silent = write_clip(tmp_path / "silent.mkv", SECONDS, sounds=[])
    with pytest.raises(InputError, match="it has no sound"):
        parser.parse(silent)
    parsing = parser.parse(silent, missing_track="mask")
    assert parsing[0].missing == ("audio",)
    assert parsing.probs[0][:, 0].isnan().all()
    assert not parsing.timelines[0][:, 0].any()
    assert set(parsing.segments_frame()["modality"]) == {"visual"}
    with pytest.raises(InputError, match="extractors"):
        _ = avvp_pl.load(checkpoint(place / "run"), device="cpu", extractors={"logmel": {"bands": 9}}).extractors
