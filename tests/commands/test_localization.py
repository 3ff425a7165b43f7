"""A training of localization as a user runs it, and what its checkpoint and its files are good for."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import jsonschema
import pytest
import torch

import avvp_pl
from avvp_pl import InputError, Instances
from avvp_pl.library.results import DetectionScores
from avvp_pl.runs.reading import read_run
from tests import small_localization
from tests.conftest import Command
from tests.small import checkpoint, run_once, scores


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("localization")
    run_once("train", *small_localization.settings(folder), f"hydra.run.dir={folder / 'run'}")
    return folder / "run"


def test_the_files_of_a_run_fit_the_schemas_and_are_read(run: Path) -> None:
    found = json.loads((run / "predictions" / "detections.json").read_text())
    jsonschema.validate(scores(run), avvp_pl.schema("localization"))
    jsonschema.validate(found, avvp_pl.schema("detections"))
    assert read_run(run).scores["map/0.3"] == scores(run)["map"]["0.3"] > 10
    assert "train/loss" in (run / "metrics.csv").read_text().partition("\n")[0]


def test_predict_writes_what_score_scores_as_the_run(command: Command, run: Path, tmp_path: Path) -> None:
    arguments = (f"checkpoint={checkpoint(run)}", f"output={tmp_path / 'parsed'}", "trust=[tests]")
    assert command("predict", *arguments, "pictures=1") == 0
    path = tmp_path / "parsed" / "detections.json"
    assert path.read_bytes() == (run / "predictions" / "detections.json").read_bytes()
    jsonschema.validate(json.loads((tmp_path / "parsed" / "timelines.json").read_text()), avvp_pl.schema("timelines"))
    truth = small_localization.annotation(tmp_path / "gt.json")
    assert command("score", "task=localization", f"truth={truth}", f"detections={path}", "output=s.json") == 0
    scored, own = json.loads((tmp_path / "s.json").read_text()), scores(run)
    for part in ("map", "per_event", "videos", "instances", "detections"):
        assert scored[part] == own[part]
    assert own["protocol"] == f"localization, {scored['protocol']}"


def test_the_library_finds_and_scores_intervals(run: Path, tmp_path: Path) -> None:
    parser = avvp_pl.load(checkpoint(run), trust=["tests"], device="cpu")
    assert parser.segment_seconds == 0.64
    test = small_localization.read(parser.modalities).test
    assert test is not None
    parsing = parser.parse(test)
    results = json.loads((run / "predictions" / "detections.json").read_text())["results"]
    written = [
        (video, one["label"], *one["segment"], one["score"]) for video, found in results.items() for one in found
    ]
    assert [tuple(one) for one in parsing.detections] == written
    frame = parsing.detections_frame()
    assert list(frame.columns) == ["video", "event", "start", "end", "score"]
    assert len(frame) == len(written) > 6
    scored = parsing.score()
    assert isinstance(scored, DetectionScores)
    assert dict(zip(scored.frame()["tiou"], scored.frame()["score"], strict=True)) == scores(run)["map"]
    assert scored.average == scores(run)["map"]["average_0.1_0.7"]
    of_events = {(row.tiou, row.event): row.score for row in scored.per_event().itertuples()}
    assert of_events["0.5", "Jump"] == scores(run)["per_event"]["0.5"]["Jump"]
    scored.write(tmp_path / "scores.json")
    jsonschema.validate(json.loads((tmp_path / "scores.json").read_text()), avvp_pl.schema("localization"))
    # another truth: the first instance only
    assert test.instances is not None
    first = parsing.score(Instances(*(column[:1] for column in test.instances)))
    assert isinstance(first, DetectionScores)
    assert first.protocol == "localization, seconds_210 (6 videos, 1 instances)"
    with pytest.raises(InputError, match="localization is scored by intervals"):
        parsing.score([torch.zeros(3, 1, 3, dtype=torch.bool)])
    lengths = test.lengths.tolist()
    unknown = parser.parse({name: list(torch.split(stream, lengths)) for name, stream in test.streams.items()})
    assert len(unknown.detections) == len(written)
    with pytest.raises(InputError, match="the annotated intervals of these videos are not known"):
        unknown.score()


def test_a_report_has_it_in_table_5_if_it_is_as_shipped(command: Command, run: Path, tmp_path: Path) -> None:
    assert command("report", f"runs={run}", "output=report", "trust=[tests]") == 0
    with (tmp_path / "report" / "tables" / "all.csv").open(newline="") as file:
        (label,) = {line["row"] for line in csv.DictReader(file)}
    assert label == "tal_mil dim=16 learning_rate=0.01"
    assert not (tmp_path / "report" / "tables" / "table5.csv").exists()  # with another learning rate it is no row


def test_a_sweep_is_summarized_and_logged_offline(command: Command, tmp_path: Path) -> None:
    arguments = [one for one in small_localization.settings(tmp_path) if one != "logger=csv"]
    few = ["trainer.max_epochs=1", "logger=[csv,wandb]", "hydra.sweep.dir=sweep", "seed=0,1"]
    assert command("train", "-m", *arguments, *few) == 0
    summary = (tmp_path / "sweep" / "summary.md").read_text()
    assert "| mAP 0.1:0.7 |" in summary
    assert "| 2 |" in summary
