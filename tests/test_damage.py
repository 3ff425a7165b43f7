"""Every case of the corpus of damage, by the command as a user runs it; and the page that lists them."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.damage import CORPUS, page
from tests.damage.place import SHAPES, Bomb, Case, Place

CASES = [case for cases in CORPUS.values() for case in cases]
PAGE = Path(__file__).resolve().parents[1] / "docs" / "bad_input.md"


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """What is copied, and then damaged. The run is trained where it is first needed."""
    return Place.make(tmp_path_factory.mktemp("good"))


@pytest.fixture
def place(good: Place, tmp_path: Path, command: Command, request: pytest.FixtureRequest) -> Place:
    case: Case = request.node.callspec.params["case"]
    needs_run = case.command in {"evaluate", "predict", "report"} or "resume=auto" in case.arguments
    if needs_run and not good.run.exists():
        assert command("train", *good.arguments("train", [f"hydra.run.dir={good.run}"])) == 0
    shutil.copytree(
        good.root, tmp_path, dirs_exist_ok=True, ignore=None if needs_run else shutil.ignore_patterns("run")
    )
    return Place(tmp_path)


def holds(text: str, said: str) -> bool:
    """Whether the parts of ``said`` stand in the text, in this order."""
    return bool(re.search(".*".join(map(re.escape, said.split(" ... "))), text, re.DOTALL))


@pytest.mark.filterwarnings("ignore::UserWarning:avvp_pl.tasks.timelines")  # a font has not every sign
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.command}: {case.name}")
def test_damage(case: Case, place: Place, command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    case.does(place)
    beside = set(place.root.parent.iterdir())
    capfd.readouterr()
    code = command(case.command, *place.arguments(case.command, case.arguments))
    printed, complained = capfd.readouterr()
    assert code == (2 if case.outcome == "error" else 0), complained
    assert "Traceback" not in complained
    assert "Error executing job" not in complained
    if case.outcome == "error":
        ours = complained[complained.index(f"avvp_pl.{case.command}: ") :]
        assert holds(ours, case.says), ours
        lines = ours.rstrip("\n").splitlines()
        listed = re.match(r"avvp_pl.prepare: (\d+) problems?:$", lines[0])
        assert len(lines) == (1 if listed is None else 1 + min(int(listed[1]), 10) + (int(listed[1]) > 10))
        assert not re.search(r"\x1b|full_key|object_type", ours)  # signs for a terminal, notes for developers
    elif case.outcome == "warning":
        assert re.search(f"WARNING .*{re.escape(case.says)}", printed), printed
    else:
        assert "WARNING" not in printed
        check_result(case, place, printed)
    assert not (place.root / "harm").exists()  # as a bomb would have made
    assert set(place.root.parent.iterdir()) == beside


def check_result(case: Case, place: Place, printed: str) -> None:
    if case.command == "score":
        scores = json.loads((place.root / "scores.json").read_text())
        assert scores["videos"] == {"listed": 2, "with_predictions": 1}
        assert scores["segment"]["audio"] == 50.0
    elif case.command == "prepare":
        dims = {stream: shape[1] for stream, shape in SHAPES.items()}
        assert re.search(r"everything is in order: 4 videos of (9 to )?10 segments, ", printed)
        assert f"segments, dimensions {dims}" in printed
    else:
        (picture,) = (place.root / "parsed" / "pictures").iterdir()
        assert picture.suffix == ".png"
        assert picture.stat().st_size > 1000


def test_the_page_has_the_cases_of_the_corpus_and_no_others() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.damage > docs/bad_input.md"


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_bomb_is_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Bomb()))
    assert (tmp_path / "harm").exists()
