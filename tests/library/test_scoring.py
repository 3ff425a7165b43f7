"""``avvp_pl.score``: the scores of the command, from Python."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

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
    ],
)
def test_wrong_tables_are_one_clear_error(given: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        avvp_pl.score(**{**given, **change})
    assert message in str(error.value)
