"""Every command with folders whose names have signs that shells, Hydra, YAML, CSV, HTML or patterns of files use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Command
from tests.own_data import FOUR, write_own_data
from tests.small import SMALL_NETWORK, scores

ODD = '数据 é, lr=0.1 (copy) [x] {y} it\'s "q" #1 & 100%'


def test_every_command_with_odd_folders(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    root = write_own_data(tmp_path / ODD / "own", {name: FOUR[name] for name in ("audio", "visual")})
    data = (f"data.root=~/{ODD}/own", "data.modalities={audio: [clap], visual: [clip]}")
    assert command("prepare", *data, f"data.packed=~/{ODD}/packed") == 0
    tiny = (*SMALL_NETWORK, "logger=csv", "trainer.max_epochs=1")
    run = tmp_path / ODD / "run"
    packed = f"data.packed={tmp_path / ODD / 'packed'}"
    assert command("train", "data=folder", *data, packed, *tiny, f"hydra.run.dir=~/{ODD}/run") == 0
    assert "the packed features are used" in (run / "train.log").read_text()
    best = f"checkpoint=~/{ODD}/run/checkpoints/best.ckpt"
    assert command("evaluate", best, f"paths.output_root=~/{ODD}/tested", f"hydra.run.dir=~/{ODD}/again") == 0
    assert scores(tmp_path / ODD / "again") == scores(run)
    assert command("predict", best, f"output=~/{ODD}/parsed", f"data.root={root}") == 0
    tables = [f"{name}={root}/data/AVVP_eval_{name}.csv" for name in ("audio", "visual")]
    predicted = [f"predicted_{name}=~/{ODD}/parsed/{name}.csv" for name in ("audio", "visual")]
    output = f"output={tmp_path / ODD / 'scored' / 'scores.json'}"
    assert command("score", f"videos={root}/data/AVVP_test_pd.csv", *tables, *predicted, output) == 0
    assert scores(tmp_path / ODD / "scored")["segment"] == scores(run)["segment"]
    media = tmp_path / ODD / "media"
    media.mkdir()
    with np.load(run / "predictions" / "probabilities.npz") as file:
        (media / f"{file['names'][0]}.mp4").touch()
    assert command("report", f"runs=~/{ODD}/run", f"output=~/{ODD}/report", f"media={media}") == 0
    assert (tmp_path / ODD / "report" / "index.html").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {ODD}


@pytest.mark.parametrize("setting", ["paths: {output_root: ~/runs}", "hydra: {sweep: {dir: ~/runs}}"])
def test_a_home_folder_in_a_file_never_becomes_a_folder_of_this_name(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str], setting: str
) -> None:
    file = tmp_path / "conf" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(f"# @package _global_\n{setting}\n")
    assert command("train", "--config-dir", "conf", "+experiment=mine") == 2
    assert "=~/runs: write the folder in full here: " in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]
