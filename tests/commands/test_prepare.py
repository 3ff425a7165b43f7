"""``prepare`` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import Command
from tests.small import SMALL_NETWORK, same_bits, weights


def test_prepare_packs_a_good_folder_and_lists_every_problem(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "llp"
    (root / "data").mkdir(parents=True)
    videos = [f"{name:_<11}_0_10" for name in ("one", "two", "three")]
    for table, video in zip(("train", "val_pd", "test_pd"), videos, strict=True):
        (root / "data" / f"AVVP_{table}.csv").write_text(f"filename\tevent_labels\n{video}\tSpeech\n")
    for modality in ("audio", "visual"):
        (root / "data" / f"AVVP_eval_{modality}.csv").write_text("filename\tonset\toffset\tevent_labels\n")
    for stream, shape in (("vggish", (10, 4)), ("res152", (80, 6)), ("r2plus1d_18", (10, 5))):
        (root / "feats" / stream).mkdir(parents=True)
        for video in videos:
            np.save(root / "feats" / stream / f"{video[:11]}.npy", np.ones(shape, dtype=np.float32))
    assert command("prepare", f"data.root={root}") == 0
    printed = capfd.readouterr().out
    assert "everything is in order: 3 videos, dimensions {'vggish': 4, 'res152': 6, 'r2plus1d_18': 5}" in printed
    assert f"packed: {root / 'packed'}, 0.0 MB of float32; trainings on this folder use it" in printed
    assert command("prepare", f"data.root={root}", "data.packed=null") == 2
    assert "give a folder to pack into" in capfd.readouterr().err

    states: list[dict[str, torch.Tensor]] = []
    for packed in (str(root / "packed"), "null"):
        run = tmp_path / f"run{len(states)}"
        data = ("data=llp", f"data.root={root}", f"data.packed={packed}", *SMALL_NETWORK, "trainer.max_epochs=1")
        assert command("train", "+experiment=mil", *data, "logger=csv", f"hydra.run.dir={run}") == 0
        assert ("the packed features are used" in (run / "train.log").read_text()) == (packed != "null")
        states.append(weights(run))
    assert same_bits(*states)

    (root / "feats" / "vggish" / f"{videos[0][:11]}.npy").unlink()
    np.save(root / "feats" / "res152" / f"{videos[1][:11]}.npy", np.full((80, 6), np.nan))
    assert command("prepare", f"data.root={root}") == 2
    error = capfd.readouterr().err
    assert "2 problems" in error
    assert f"vggish/{videos[0][:11]}.npy: no such file" in error
    assert f"res152/{videos[1][:11]}.npy: contains NaN" in error
