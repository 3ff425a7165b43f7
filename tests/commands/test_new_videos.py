"""``predict`` on new videos: another folder, laid over the data settings of the checkpoint, with or without tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from tests.conftest import Command
from tests.own_data import FOUR, write_own_data
from tests.small import SMALL_NETWORK, checkpoint, run_once, scores

TWO = {name: FOUR[name] for name in ("audio", "visual")}
EXPECTED = [f"test{number}" for number in range(8)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on data of one's own, which are packed."""
    root = write_own_data(tmp_path_factory.mktemp("trained") / "own", TWO)
    data = ("data=folder", f"data.root={root}", "data.modalities={audio: [clap], visual: [clip]}")
    run_once("prepare", *data)
    folder = root.parent / "run"
    tiny = (*SMALL_NETWORK, "logger=csv", "trainer.max_epochs=3", "optimizer.learning_rate=0.003")
    run_once("train", "+experiment=ppl_soft", *data, *tiny, f"hydra.run.dir={folder}")
    return folder


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """Other videos, of other lengths, without tables."""
    root = write_own_data(tmp_path / "new", TWO, seed=1)
    shutil.rmtree(root / "data")
    for path in (root / "feats").glob("*/t*.npy"):
        if not path.stem.startswith("test"):
            path.unlink()
        elif path.stem == "test3":
            np.save(path, np.load(path)[:7])
    for path in (root / "feats").glob("*/val*.npy"):
        path.unlink()
    return root


def parsed(command: Command, run: Path, folder: Path, *arguments: str) -> dict[str, int]:
    """The parsed videos with their numbers of segments."""
    assert command("predict", f"checkpoint={checkpoint(run)}", f"output={folder}", "pictures=1", *arguments) == 0
    videos = json.loads((folder / "timelines.json").read_text())["videos"]
    return {name: video["segments"] for name, video in videos.items()}


def test_a_folder_of_features_alone(command: Command, run: Path, new: Path, tmp_path: Path) -> None:
    found = parsed(command, run, tmp_path / "parsed", f"data.root={new}")
    assert list(found) == EXPECTED
    assert found["test3"] == 7
    assert (tmp_path / "parsed" / "audio.csv").exists()
    assert not (new / "packed").exists()


@pytest.mark.parametrize(
    "text",
    ["test5\ntest0\n\n", "filename\ntest5\ntest0\n", "filename\tevent_labels\r\ntest5\tOwl\r\ntest0\t\r\n"],
    ids=["plain", "header", "table"],
)
def test_a_list_of_names(command: Command, run: Path, new: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "list.txt").write_text(text)
    given = (f"data.root={new}", f"names={tmp_path / 'list.txt'}")
    assert list(parsed(command, run, tmp_path / "parsed", *given)) == ["test5", "test0"]


@pytest.mark.parametrize("table", ["filename\ntest2\ntest1\n", "filename\tevent_labels\ntest2\tOwl\ntest1\t\n"])
def test_the_table_of_the_split_needs_no_labels(
    command: Command, run: Path, new: Path, tmp_path: Path, table: str
) -> None:
    (new / "data").mkdir()
    (new / "data" / "AVVP_test_pd.csv").write_text(table)
    assert list(parsed(command, run, tmp_path / "parsed", f"data.root={new}")) == ["test2", "test1"]


def test_the_same_videos_in_another_place(command: Command, run: Path, tmp_path: Path) -> None:
    """Their packed features, their tables and their scores move with them."""
    moved = tmp_path / "moved"
    shutil.copytree(run.parent / "own", moved)
    found = parsed(command, run, tmp_path / "parsed", f"data.root={moved}")
    assert list(found) == EXPECTED
    for name in ("audio.csv", "visual.csv", "probabilities.npz"):
        assert (tmp_path / "parsed" / name).read_bytes() == (run / "predictions" / name).read_bytes()
    again = tmp_path / "again"
    assert command("evaluate", f"checkpoint={checkpoint(run)}", f"data.root={moved}", f"hydra.run.dir={again}") == 0
    data = OmegaConf.load(again / "prototype" / "config.yaml").data
    assert (data.root, data.packed, data.source.root) == (str(moved), f"{moved}/packed", str(moved))
    assert data.name == "moved"  # results on other data must not stand under the name of the training's
    assert data.modalities == {"audio": ["clap"], "visual": ["clip"]}
    assert scores(again / "prototype") == scores(run)


def test_a_report_of_runs_whose_data_was_moved(command: Command, run: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    shutil.copytree(run, there / "run")
    moved = tmp_path / "moved"
    shutil.copytree(run.parent / "own", moved)
    config = OmegaConf.load(there / "run" / "config.yaml")
    for node in (config.data, config.data.source):
        node.root, node.packed = "/nowhere", "/nowhere/packed"
    OmegaConf.save(config, there / "run" / "config.yaml")
    assert command("report", f"runs={there}", f"output={tmp_path / 'report'}", f"data.root={moved}") == 0
    assert "not available" not in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            ["data.root=nowhere"],
            "nowhere: this is not an LLP folder, as it has no folder data/ and no folder feats/ in it; set",
        ),
        (["data.rot=x"], "there is no setting 'data.rot' in the data of "),
        (["data.root={new}", "names=nowhere.txt"], "nowhere.txt: no such file"),
        (["data.root={new}", "names={new}/list.txt"], "other.npy: no such file, but 'other' is listed"),
        (["data.root={new}", "names={new}/twice.txt"], "twice.txt, lines 1, 3: 'test0' is listed twice"),
        (["data.root={new}", "data.modalities={audio: [clap]}"], "was trained on the streams"),
        (["data=synthetic", "names={new}/list.txt"], "was trained on"),
    ],
)
def test_what_cannot_be_parsed_is_one_line(
    command: Command,
    run: Path,
    new: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    given: list[str],
    says: str,
) -> None:
    (new / "list.txt").write_text("test0\nother\n")
    (new / "twice.txt").write_text("test0\ntest1\ntest0\n")
    arguments = [argument.replace("{new}", str(new)) for argument in given]
    assert command("predict", f"checkpoint={checkpoint(run)}", f"output={tmp_path / 'parsed'}", *arguments) == 2
    message = capfd.readouterr().err
    assert says in message
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "parsed" / "audio.csv").exists()
