"""Checkpoints that cannot be evaluated: each is refused by one line."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import Command
from tests.small import changed, checkpoint

Change = Callable[[dict[str, Any]], object]

WRONG: dict[str, tuple[Change, str]] = {
    "a method outside the package": (
        lambda content: content["config"]["method"].update(_target_="os.system"),
        "its configuration would build os.system as method._target_",
    ),
    "a network outside the package": (
        lambda content: content["config"]["network"].update(_target_="os.system"),
        "its configuration would build os.system as network._target_",
    ),
    "the environment in its method": (
        lambda content: content["config"]["method"].update(class_weighting="${oc.env:HOME}"),
        "its configuration refers to something outside it",
    ),
    "no network": (
        lambda content: [content["state_dict"].pop(name) for name in list(content["state_dict"]) if "network" in name],
        "its weights are of another network",
    ),
    "a weight too many": (
        lambda content: content["state_dict"].update({"network.more": torch.ones(1)}),
        "its weights are of another network: more has the shape [1], the settings need nothing",
    ),
    "a weight of another shape": (
        lambda content: content["state_dict"].update({"network.event_head.bias": torch.ones(3)}),
        "its weights are of another network: event_head.bias has the shape [3], the settings need the shape [25]",
    ),
    "other events": (lambda content: content["events"].reverse(), "was trained on 25 events that are not those"),
    "other streams": (lambda content: content["streams"].pop(), "was trained on the streams"),
    "weights that are no numbers": (
        lambda content: content["state_dict"]["network.event_head.bias"].fill_(math.nan),
        "the network has diverged; give another checkpoint",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_checkpoint_is_one_line(
    command: Command, han: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], wrong: str
) -> None:
    change, message = WRONG[wrong]
    path = changed(checkpoint(han), tmp_path / "wrong.ckpt", change)
    assert command("evaluate", f"checkpoint={path}", "+experiment=han_ppl_test") == 2
    error = capfd.readouterr().err
    (line,) = [line for line in error.splitlines() if line.startswith("avvp_pl.evaluate: ")]
    assert message in line
    assert "Traceback" not in error


def test_other_bytes_are_no_checkpoint(command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.ckpt").write_bytes(b"something else")
    assert command("evaluate", f"checkpoint={tmp_path / 'bad.ckpt'}") == 2
    assert "bad.ckpt: not a checkpoint" in capfd.readouterr().err


def test_the_name_of_an_inference_cannot_lead_out_of_the_folder(
    command: Command, ppl: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Several inferences have a folder each, which has the name of the inference in the checkpoint."""

    def change(content: dict[str, Any]) -> None:
        inference = content["config"]["inference"]
        inference["\x1b[31m../../x"] = dict(inference["classifier"])

    path = changed(checkpoint(ppl), tmp_path / "wrong.ckpt", change)
    folder = tmp_path / "deep" / "deeper" / "run"
    assert command("evaluate", f"checkpoint={path}", f"hydra.run.dir={folder}") == 2
    error = capfd.readouterr().err
    assert f"{path}: the name of an inference is " in error
    assert r"\x1b[31m../../x" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "deep" / "x").exists()
    assert not (tmp_path / "x").exists()


def test_the_name_of_the_inference_of_a_training_reads_nothing_of_the_environment(
    command: Command, ppl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation notes it, although it tests by another one."""
    monkeypatch.setenv("SOMETHING", "nobodys_business")

    def change(content: dict[str, Any]) -> None:
        content["config"]["inference"] = {"${oc.env:SOMETHING}": content["config"]["inference"]["classifier"]}

    path = changed(checkpoint(ppl), tmp_path / "wrong.ckpt", change)
    folder = tmp_path / "run"
    assert command("evaluate", f"checkpoint={path}", f"hydra.run.dir={folder}", "inference=classifier") == 0
    config = (folder / "config.yaml").read_text()
    assert "trained_inference: null" in config
    assert "nobodys_business" not in config
