"""Three modalities and videos of 5 to 40 segments, in LLP layout, from prepare to report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from avvp_pl.metrics import score_timelines
from tests.commands.evaluating import evaluate
from tests.conftest import Command
from tests.ragged import LONGEST, MODALITIES, Ragged
from tests.small import SMALL_NETWORK, checkpoint, rows, run_once, scores, stop_in_epoch

TRACKS = ["audio", "visual", "touch", "audio_visual_touch", "type_av", "event_av"]


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> Ragged:
    data = Ragged(tmp_path_factory.mktemp("ragged"))
    run_once("prepare", *data.settings)
    assert (data.root / "packed" / "index.json").exists()
    return data


@pytest.fixture(scope="module")
def runs(ragged: Ragged, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of a training by weak labels and of one by prototypes."""
    folders = {experiment: tmp_path_factory.mktemp(experiment) for experiment in ("mil", "ppl_soft")}
    for experiment, folder in folders.items():
        settings = [*ragged.settings, *SMALL_NETWORK, "logger=csv", "trainer.max_epochs=8", "data.batch_size=8"]
        more = ["optimizer.learning_rate=0.003", "+method.weights.touch=0.5", f"hydra.run.dir={folder}"]
        run_once("train", f"+experiment={experiment}", *settings, *more)
    return folders


def assert_scored(ragged: Ragged, folder: Path) -> None:
    """The scores in a folder are those of its predictions, computed from padded timelines and their mask."""
    lengths = torch.tensor(list(ragged.lengths["test"].values()))
    mask = torch.arange(LONGEST) < lengths[:, None]
    predicted = ragged.padded(folder / "predictions")
    assert not (predicted & ~mask[:, :, None, None]).any()
    expected, found = score_timelines(predicted, ragged.padded(), mask, list(MODALITIES)), scores(folder)
    assert list(found["segment"]) == TRACKS
    assert found["segment"] == pytest.approx(expected.segment)
    assert found["event"] == pytest.approx(expected.event)
    assert found["videos"] == {"listed": 12, "with_predictions": expected.with_predictions}


@pytest.mark.parametrize("experiment", ["mil", "ppl_soft"])
def test_training_learns_and_is_tested(ragged: Ragged, runs: dict[str, Path], experiment: str) -> None:
    run = runs[experiment]
    assert "the packed features are used" in (run / "train.log").read_text()
    metrics = rows(run / "metrics.csv")
    first = 1 if experiment == "ppl_soft" else 0  # from there on with all terms of the loss
    assert float(metrics[-1]["train/loss"]) < float(metrics[first]["train/loss"])
    assert float(metrics[-1]["val/segment/touch"]) >= 0
    assert_scored(ragged, run)
    assert scores(run)["segment"]["event_av"] > 0


def test_evaluate_by_both_inferences(command: Command, ragged: Ragged, runs: dict[str, Path], tmp_path: Path) -> None:
    run = evaluate(command, runs["ppl_soft"], tmp_path / "run")
    assert scores(run / "prototype") == scores(runs["ppl_soft"])
    assert scores(run / "classifier") == scores(runs["ppl_soft"] / "classifier")
    for inference in ("prototype", "classifier"):
        assert_scored(ragged, run / inference)
    assert scores(run / "prototype") != scores(run / "classifier")
    built = evaluate(command, runs["mil"], tmp_path / "built", "labeling=prototype", "inference=prototype")
    assert_scored(ragged, built)


def test_predict_writes_each_video_at_its_own_length(
    command: Command, ragged: Ragged, runs: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "parsed"
    assert command("predict", f"checkpoint={checkpoint(runs['ppl_soft'])}", f"output={folder}") == 0
    for name in (*(f"{modality}.csv" for modality in MODALITIES), "probabilities.npz"):
        assert (folder / name).read_bytes() == (runs["ppl_soft"] / "predictions" / name).read_bytes()
    with np.load(folder / "probabilities.npz") as archive:
        assert archive["modalities"].tolist() == list(MODALITIES)
        assert archive["names"].tolist() == list(ragged.lengths["test"])
        assert archive["lengths"].tolist() == list(ragged.lengths["test"].values())
        assert archive["segment"].shape == (archive["lengths"].sum(), 3, 4)
        assert archive["video"].shape == (12, 3, 4)
    videos = json.loads((folder / "timelines.json").read_text())["videos"]
    assert {name: video["segments"] for name, video in videos.items()} == ragged.lengths["test"]
    for video in videos.values():
        assert list(video["events"]) == list(MODALITIES)
        assert all(entry["offset"] <= video["segments"] for of in video["events"].values() for entry in of)
    assert len(list((folder / "pictures").iterdir())) == 4


def test_score_computes_the_same_scores(
    command: Command, ragged: Ragged, runs: dict[str, Path], tmp_path: Path
) -> None:
    run = runs["ppl_soft"]
    tables = [
        f"truth={ragged.tables(ragged.root / 'data', 'AVVP_eval_{}.csv')}",
        f"predicted={ragged.tables(run / 'predictions', '{}.csv')}",
    ]
    videos = ragged.root / "data" / "AVVP_test_pd.csv"
    output = tmp_path / "scores.json"
    assert command("score", f"videos={videos}", *tables, f"segments={LONGEST}", f"output={output}") == 0
    found, expected = json.loads(output.read_text()), scores(run)
    for level in ("segment", "event"):
        assert found[level] == pytest.approx(expected[level])
    assert found["videos"] == expected["videos"]
    assert found["per_event"]["segment"].keys() == expected["per_event"]["segment"].keys()


def test_an_interrupted_epoch_is_not_resumed_with_videos_of_other_lengths(
    command: Command, ragged: Ragged, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A number names a segment in the saved pseudo labels, so it must not name another one now."""
    run, path = tmp_path / "run", ragged.root / "feats" / "a" / "train05.npy"
    settings = [*ragged.settings, "data.packed=null", *SMALL_NETWORK, "logger=csv", "data.batch_size=8"]
    same = ["+experiment=ppl_soft", *settings, "trainer.max_epochs=3", f"hydra.run.dir={run}", "resume=auto"]
    stop_in_epoch(command, 5, *same)
    files = [ragged.root / "feats" / stream / path.name for stream, _ in MODALITIES.values()]
    kept = [file.read_bytes() for file in files]
    for file in files:
        np.save(file, np.load(file)[:-1])
    capfd.readouterr()
    assert command("train", *same) == 2
    assert "is from the middle of an epoch of a training on other videos" in capfd.readouterr().err
    for file, content in zip(files, kept, strict=True):
        file.write_bytes(content)
    assert command("train", *same) == 0


def test_report_shows_the_runs(command: Command, runs: dict[str, Path], tmp_path: Path) -> None:
    folders, output = f"runs=[{runs['mil']},{runs['ppl_soft']}]", tmp_path / "report"
    assert command("report", folders, f"output={output}") == 0
    tables = (output / "tables" / "tables.md").read_text()
    assert "touch" in tables.lower()
    for run in runs.values():
        assert f"{scores(run)['segment']['touch']:.1f}" in tables
    assert (output / "index.html").is_file()
