"""``avvp_pl.score``: the scores of the command, from Python."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import avvp_pl
from avvp_pl import InputError
from tests.commands.test_score import table
from tests.conftest import Command


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "videos.csv").write_text("filename\nv\nw\n")
    return {
        "videos": tmp_path / "videos.csv",
        "truth": {"audio": table(tmp_path / "a.csv", "v\t0\t5\tDog\nw\t0\t1\tCat\n")},
        "predicted": {"audio": table(tmp_path / "fa.csv", "v\t1\t5\tDog\n")},
    }


def test_scores_are_those_of_the_command(command: Command, given: dict[str, Any], tmp_path: Path) -> None:
    tables = [f"{name}={{audio: {given[name]['audio']}}}" for name in ("truth", "predicted")]
    assert command("score", f"videos={given['videos']}", *tables, f"output={tmp_path / 'command.json'}") == 0
    scores = avvp_pl.score(**given)
    scores.write(tmp_path / "library.json")
    assert (tmp_path / "library.json").read_bytes() == (tmp_path / "command.json").read_bytes()
    assert scores.values.segment["audio"] == pytest.approx(100 * 8 / 9 / 2)
    assert json.loads((tmp_path / "library.json").read_text())["videos"] == {"listed": 2, "with_predictions": 1}


def test_it_is_the_function_also_after_the_command_was_imported(given: dict[str, Any]) -> None:
    importlib.import_module("avvp_pl.score")
    assert avvp_pl.score(**given).values.listed == 2
    from avvp_pl import score

    assert score is importlib.import_module("avvp_pl.library.scoring").score


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": {}}, "predicted has no table for 'audio'."),
        ({"predicted": {}, "truth": {}}, "truth and predicted are empty"),
        ({"videos": "nowhere.csv"}, "nowhere.csv: no such file"),
        ({"predicted": {"audio": "nowhere.csv"}}, "nowhere.csv: no such file"),
        ({"truth": "a.csv"}, "truth=a.csv: it must be a mapping such as {audio: CSV, visual: CSV}"),
        ({"predicted": ["a.csv"]}, "predicted=['a.csv']: it must be a mapping such as {audio: CSV, visual: CSV}"),
        ({"truth": None}, "truth must be given"),
        ({"truth": {"audio": 3}}, "truth.audio=3: it must be a path"),
        (
            {"truth": {"a b": "a.csv"}, "predicted": {"a b": "a.csv"}},
            "'a b' is not a possible name (only letters, digi",
        ),
        ({"truth": {"type_av": "a.csv"}}, "'type_av' is the name of a score"),
        ({"videos": None}, "videos=null: it must be a path"),
        ({"classes": ["Dog"]}, "classes=['Dog']: it must be a path"),
        ({"segments": "10"}, "segments=10: it must be a whole number in [1, 1000000]"),
        ({"segments": 10.5}, "segments=10.5: it must be a whole number in [1, 1000000]"),
        ({"segments": 0}, "segments=0: it must be a whole number in [1, 1000000]"),
        ({"segment_seconds": "1"}, "segment_seconds=1: it must be a number above 0"),
        ({"segment_seconds": float("nan")}, "segment_seconds=nan: it must be a number above 0"),
    ],
)
def test_wrong_tables_are_one_clear_error(given: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        avvp_pl.score(**{**given, **change})
    assert message in str(error.value)


def test_numbers_of_numpy_are_numbers(given: dict[str, Any]) -> None:
    numbers: dict[str, Any] = {"segments": np.int64(10), "segment_seconds": np.float32(1)}
    assert avvp_pl.score(**given, **numbers) == avvp_pl.score(**given)
