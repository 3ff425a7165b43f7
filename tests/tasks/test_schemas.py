"""The JSON schemas: they are valid, fit what the commands write, and notice what is wrong."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch

from avvp_pl.data.activitynet import Annotation, Interval, Results, write_detections
from avvp_pl.errors import InputError
from avvp_pl.metrics import ParsingScores
from avvp_pl.runs.tested import EpochTested, Videos
from avvp_pl.tasks.localization import write_scores as write_localization
from avvp_pl.tasks.parsing import write_scores
from avvp_pl.tasks.schemas import SCHEMAS, schema
from avvp_pl.tasks.scoring import Scoring
from avvp_pl.types import Detections

PACKAGE = Path(__file__).resolve().parents[2] / "avvp_pl"


def valid(name: str, content: Any) -> bool:
    return jsonschema.Draft202012Validator(schema(name)).is_valid(content)


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name))
    assert schema(name)["title"] == f"{name}.json"


def test_every_schema_in_the_package_can_be_asked_for() -> None:
    assert {path.name for path in PACKAGE.rglob("*.schema.json")} == {f"{name}.schema.json" for name in SCHEMAS}
    with pytest.raises(InputError, match=r"there is no schema 'score'; .* Did you mean 'scores'"):
        schema("score")


@pytest.fixture
def scores(tmp_path: Path) -> Any:
    names = {"audio": 0.0, "visual": 100.0, "audio_visual": 3.5, "type_av": 50.0, "event_av": 1 / 3}
    per_event: dict[str, list[float | None]] = {track: [None, 12.5] for track in ("audio", "visual", "audio_visual")}
    found = ParsingScores(names, names, {"segment": per_event, "event": per_event}, 3, 2)
    write_scores(tmp_path / "scores.json", found, ("Dog", "Föhn, at night"), "common")
    return json.loads((tmp_path / "scores.json").read_text())


def test_scores(scores: Any) -> None:
    assert valid("scores", scores)
    tested = {"epoch": 3, "monitor": "val/segment/type_av", "score": 51.5, "pseudo_labels": None}
    part = {"validation_videos": {"scored": 8, "all": 16}}
    for entry in (None, tested, {**tested, "monitor": None, "score": None, "pseudo_labels": False}, {**tested, **part}):
        assert valid("scores", {**scores, "tested": entry, "test_videos": "0f"})


def test_every_key_of_a_run_is_in_the_schema(scores: Any) -> None:
    """An unknown key is allowed, but each that is written is explained."""
    of_run = {"tested": EpochTested(3, "val/average", 51.5, True, Videos(8, 16), ("x",)).as_dict(), "test_videos": "0f"}
    properties: Any = schema("scores")["properties"]
    assert {*scores, *of_run} == set(properties)
    assert set(of_run["tested"]) == set(properties["tested"]["properties"])


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("segment", "audio"), 100.1),
        (("segment", "audio"), None),
        (("segment", "type_av"), ...),
        (("event",), ...),
        (("videos", "listed"), 2.5),
        (("videos", "with_predictions"), -1),
        (("per_event", "segment", "audio", "Dog"), "12"),
        (("protocol",), 3),
        (("tested",), 3),
        (("tested",), {"epoch": 3}),
        (("tested",), {"epoch": -1, "monitor": None, "score": None, "pseudo_labels": None}),
        (("tested",), {"epoch": 1, "monitor": None, "score": None, "pseudo_labels": "no"}),
        (("test_videos",), None),
    ],
)
def test_wrong_scores_are_noticed(scores: Any, place: tuple[str, ...], value: Any) -> None:
    content = copy.deepcopy(scores)
    *above, last = place
    node = content
    for name in above:
        node = node[name]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    assert not valid("scores", content)


@pytest.mark.parametrize(
    ("entry", "fits"),
    [
        ({"event": "Dog", "onset": 0, "offset": 1.5, "probability": 0.5}, True),
        ({"event": "Dog", "onset": -1, "offset": 1.5, "probability": 0.5}, False),
        ({"event": "Dog", "onset": 0, "offset": 1.5, "probability": 1.5}, False),
        ({"event": "Dog", "onset": 0, "offset": 1.5}, False),
        ({"event": 3, "onset": 0, "offset": 1.5, "probability": 0.5}, False),
    ],
)
def test_timelines(entry: dict[str, Any], fits: bool) -> None:
    video = {"segments": 10, "events": {"audio": [entry], "visual": []}}
    content = {"events": ["Dog"], "segment_seconds": 0.5, "videos": {"v": video}}
    assert valid("timelines", content) == fits


def test_scores_of_detections(tmp_path: Path) -> None:
    interval = Interval("v", "Diving", 1.0, 2.5, 0.5, "")
    scoring = Scoring("mine", "seconds", 25, 16, [], [], False, False, None, None)
    scored = scoring.score(Annotation(("v", "w"), (interval,)), Results(("v",), (interval,)), Path("found.json"))
    of_run = {"tested": EpochTested(3, None, None, True).as_dict(), "test_videos": "0f"}
    write_localization(tmp_path / "file.json", scored)
    assert valid("localization", json.loads((tmp_path / "file.json").read_text()))
    write_localization(tmp_path / "scores.json", scored, of_run)
    content = json.loads((tmp_path / "scores.json").read_text())
    assert valid("localization", content)
    assert valid("localization", {**content, "per_event": {"0.1": {"Diving": None}}, "tested": None})
    properties: Any = schema("localization")["properties"]
    assert set(content) == set(properties)
    assert set(content["detections"]) == set(properties["detections"]["properties"])
    for wrong in (
        {"protocol": 3},
        {"map": {"0.1": "100"}},
        {"videos": {"listed": 2}},
        {"per_event": {"0.1": 3}},
        {"tested": 3},
    ):
        assert not valid("localization", {**content, **wrong})


@pytest.mark.parametrize(
    ("entry", "fits"),
    [
        ({"segment": [0.0, 1.5], "label": "Diving", "score": -0.5}, True),
        ({"segment": [0.0], "label": "Diving", "score": 0.5}, False),
        ({"segment": [-1, 1.5], "label": "Diving", "score": 0.5}, False),
        ({"segment": [0, 1.5], "label": "Diving"}, False),
        ({"segment": [0, 1.5], "label": 3, "score": 0.5}, False),
    ],
)
def test_detections(entry: dict[str, Any], fits: bool) -> None:
    assert valid("detections", {"results": {"v": [entry], "w": []}}) == fits


def test_detections_that_are_written_fit(tmp_path: Path) -> None:
    number = torch.zeros(1, dtype=torch.int64)
    found = Detections(number, number, torch.tensor([[0.5, 2.0]]).double(), torch.tensor([0.25]).double())
    write_detections(tmp_path / "detections.json", ("v", "w"), ("Diving",), found)
    content = json.loads((tmp_path / "detections.json").read_text())
    assert valid("detections", content)
    assert content["results"]["w"] == []
