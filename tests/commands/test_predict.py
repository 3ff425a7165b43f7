"""``predict`` as a user runs it: tables, probabilities and timelines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from avvp_pl.timelines.saving import FORMATS
from avvp_pl.training.module import ParsingModule
from avvp_pl.types import Batch
from tests.conftest import Command
from tests.small import PREDICTIONS, checkpoint


def predict(command: Command, run: Path, folder: Path, *arguments: str) -> Path:
    assert command("predict", f"checkpoint={checkpoint(run)}", f"output={folder}", *arguments) == 0
    return folder


def test_predictions_are_those_of_the_test(command: Command, ppl: Path, tmp_path: Path) -> None:
    parsed = predict(command, ppl, tmp_path / "parsed")
    for name in PREDICTIONS:
        assert (parsed / Path(name).name).read_bytes() == (ppl / name).read_bytes()
    timelines = json.loads((parsed / "timelines.json").read_text())
    assert len(timelines["videos"]) == 16
    assert len(list((parsed / "pictures").iterdir())) == 4


def test_other_splits_and_inferences(command: Command, ppl: Path, tmp_path: Path) -> None:
    val = predict(command, ppl, tmp_path / "val", "split=val", "pictures=0")
    names = json.loads((val / "timelines.json").read_text())["videos"]
    assert len(names) == 16
    assert all(name.startswith("synthetic_val_") for name in names)
    own = predict(command, ppl, tmp_path / "own", "pictures=0", "inference=classifier")
    for name in PREDICTIONS:
        assert (own / Path(name).name).read_bytes() == (ppl / "classifier" / name).read_bytes()
    assert (own / "probabilities.npz").read_bytes() != (ppl / "predictions" / "probabilities.npz").read_bytes()


def test_the_probability_of_an_event_is_the_mean_over_its_segments(command: Command, ppl: Path, tmp_path: Path) -> None:
    """From the saved probabilities, which have three digits."""
    predict(command, ppl, tmp_path, "pictures=0")
    with np.load(tmp_path / "probabilities.npz") as archive:
        names, events, lengths = (archive[part].tolist() for part in ("names", "events", "lengths"))
        probs = dict(zip(names, np.split(archive["segment"], np.cumsum(lengths)[:-1]), strict=True))
    entries = 0
    for name, video in json.loads((tmp_path / "timelines.json").read_text())["videos"].items():
        assert video["segments"] == len(probs[name]) == 10
        for m, modality in enumerate(("audio", "visual")):
            for entry in video["events"][modality]:
                segments = slice(int(entry["onset"]), int(entry["offset"]))
                own = probs[name][segments, m, events.index(entry["event"])].astype(float)
                assert entry["probability"] == pytest.approx(own.mean(), abs=1e-3)
                entries += 1
    assert entries > 10


def test_timelines_in_every_format(command: Command, ppl: Path, tmp_path: Path) -> None:
    """They say what ``timelines.json`` says, and nothing is written that is not asked for."""
    predict(command, ppl, tmp_path / "plain", "pictures=0")
    assert not (tmp_path / "plain" / "timelines").exists()
    predict(command, ppl, tmp_path / "all", "pictures=0", f"formats=[{','.join(FORMATS)}]")
    content = json.loads((tmp_path / "all" / "timelines.json").read_text())["videos"]
    folder = tmp_path / "all" / "timelines"
    assert len(list(folder.iterdir())) == 6 * len(content)
    assert (tmp_path / "all" / "index.html").is_file()
    for name, video in content.items():
        own = json.loads((folder / f"{name}.json").read_text())
        assert own["name"] == name
        expected = [
            (modality, entry["event"], entry["onset"], entry["offset"], entry["probability"])
            for modality, entries in video["events"].items()
            for entry in entries
        ]
        assert [tuple(one.values()) for one in own["intervals"]] == expected
        assert len((folder / f"{name}.txt").read_text().splitlines()) == len(expected)


def test_the_trainers_precision_and_device_are_those_of_the_network(
    command: Command, ppl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`trainer` in the settings of predict takes effect: it once was ignored, and the network stayed on the CPU."""
    seen: list[tuple[torch.dtype, torch.device]] = []
    moved: list[object] = []
    step, move = ParsingModule.predict_step, SingleDeviceStrategy.model_to_device

    def watched(module: ParsingModule, batch: Batch, batch_idx: int) -> Any:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.get_default_dtype()
        seen.append((dtype, module.device))
        return step(module, batch, batch_idx)

    def noted(strategy: SingleDeviceStrategy) -> None:
        moved.append(strategy.model)
        move(strategy)

    monkeypatch.setattr(ParsingModule, "predict_step", watched)
    monkeypatch.setattr(SingleDeviceStrategy, "model_to_device", noted)
    arguments = ("pictures=0", "trainer.accelerator=cpu")
    full = predict(command, ppl, tmp_path / "full", *arguments)
    half = predict(command, ppl, tmp_path / "half", *arguments, "+trainer.precision=bf16-mixed")
    assert seen == [(torch.float32, torch.device("cpu")), (torch.bfloat16, torch.device("cpu"))]
    assert [type(model) for model in moved] == [ParsingModule, ParsingModule]
    probs = [np.load(run / "probabilities.npz")["segment"].astype(float) for run in (full, half)]
    assert 0 < abs(probs[0] - probs[1]).max() < 0.1


def test_a_device_that_does_not_exist_is_refused(
    command: Command, ppl: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    arguments = (f"checkpoint={checkpoint(ppl)}", f"output={tmp_path / 'out'}", "trainer.accelerator=cuda")
    assert command("predict", *arguments) == 2
    assert "cuda" in capfd.readouterr().err.lower()
    assert not (tmp_path / "out" / "audio.csv").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_predicts_as_the_cpu(command: Command, ppl: Path, tmp_path: Path) -> None:
    cpu, gpu = (
        predict(command, ppl, tmp_path / name, "pictures=0", f"trainer.accelerator={name}") for name in ("cpu", "cuda")
    )
    probs = [np.load(run / "probabilities.npz")["segment"].astype(float) for run in (cpu, gpu)]
    np.testing.assert_allclose(probs[0], probs[1], atol=2e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["split=all"], "split=all: it must be one of train, val, test"),
        (["trainer.devices=2", "trainer.accelerator=cpu"], "predict runs in one process; give trainer.devices=1"),
        (
            ["formats=[vtt,mp3]"],
            "formats=['vtt', 'mp3']: it must be one of json, csv, vtt, srt, audacity, elan, html, or a list",
        ),
        (["inference=[classifier,prototype]"], "predict writes the timelines of one inference"),
    ],
)
def test_impossible_settings_are_one_line(
    command: Command, ppl: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert command("predict", f"checkpoint={checkpoint(ppl)}", f"output={tmp_path / 'out'}", *arguments) == 2
    error = capfd.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out" / "audio.csv").exists()
