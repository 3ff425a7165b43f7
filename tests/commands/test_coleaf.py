"""CoLeaF as a run: what its protocol selects, and a test that does not need the references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from tests.commands.evaluating import evaluate
from tests.conftest import Command
from tests.small import SMALL, changed, checkpoint, content, rows, scores, train, weights

COLEAF = ("+experiment=coleaf", "method/targets=smoothed", "optimizer.learning_rate=0.003", "trainer.max_epochs=4")
REFERENCES = "method.references."


def test_its_protocol_selects_by_what_is_in_one_modality_only(command: Command, tmp_path: Path) -> None:
    run = train(command, tmp_path / "run", *COLEAF, "protocol=coleaf")
    assert (scores(run)["protocol"], scores(run)["tested"]["monitor"]) == ("coleaf", "val/exclusive_average")
    assert list(OmegaConf.load(run / "config.yaml").inference) == ["mixture"]
    table = rows(run / "metrics.csv")
    found = [float(row["val/exclusive_average"]) for row in table]
    assert found != [float(row["val/average"]) for row in table]
    assert content(run, "best")["epoch"] == found.index(max(found))
    assert not any("exclusive" in name for name in table[-1] if name.startswith("test/"))


def test_it_is_tested_without_its_references(command: Command, tmp_path: Path) -> None:
    """Whatever their weights are, the scores are the same; and another optimizer step is not."""
    run = train(command, tmp_path / "run", *COLEAF)
    names = [name for name in weights(run) if name.startswith(REFERENCES)]
    assert {name.split(".")[2] for name in names} == {"audio", "visual"}
    assert not any("reference" in name for name in weights(run) if name.startswith("network."))

    def spoil(saved: Any) -> None:
        for name in names:
            saved["state_dict"][name] = torch.full_like(saved["state_dict"][name], torch.nan)

    changed(checkpoint(run), checkpoint(run), spoil)
    assert scores(evaluate(command, run, tmp_path / "spoiled")) == scores(run)


def test_the_references_are_trained(command: Command, tmp_path: Path) -> None:
    short, longer = (train(command, tmp_path / str(n), *COLEAF, f"trainer.max_epochs={n}") for n in (1, 2))
    one, two = weights(short), weights(longer)
    moved = {name for name in one if name.startswith(REFERENCES) and not torch.equal(one[name], two[name])}
    assert moved == {name for name in one if name.startswith(REFERENCES)}


def test_with_pseudo_labels_of_segments(command: Command, tmp_path: Path) -> None:
    run = train(command, tmp_path / "run", *COLEAF, "labeling=prototype", "labeling.start_epoch=1")
    assert float(rows(run / "metrics.csv")[-1]["train/pseudo_label"]) > 0
    assert not any("references" in name for name in weights(run) if name.startswith("labeling."))


def test_another_network_is_refused(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = (*SMALL, "+experiment=coleaf", "method/targets=smoothed", "network=han")
    assert command("train", *settings, f"hydra.run.dir={tmp_path}") == 2
    assert "method=coleaf needs network=cmpae" in capsys.readouterr().err
