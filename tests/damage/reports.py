"""Damaged run folders, and settings of a report that cannot be met."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.damage.place import DENSE, Bomb, Case, Place, cut, replace, setting

NONE_FINISHED = "no finished run (a folder with config.yaml and scores.json); train one first"


def report(name: str, says: str, does: Callable[[Place], object]) -> Case:
    return Case(name, "error", says, does, "report")


def edit_scores(place: Place, change: Callable[[Any], object]) -> None:
    path = place.run / "scores.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def two_runs(place: Place, change: Callable[[Any], object]) -> None:
    """Add a copy of the run, and change the scores of the run itself."""
    shutil.copytree(place.run, place.run / "copy")
    edit_scores(place, change)


def found(place: Place, modality: str = "audio") -> Path:
    return place.run / "predictions" / f"{modality}.csv"


def probabilities(place: Place) -> Path:
    return place.run / "predictions" / "probabilities.npz"


def bomb(place: Place) -> None:
    with probabilities(place).open("wb") as file:
        np.savez(file, names=np.array([Bomb()], dtype=object))


CASES: dict[str, list[Case]] = {
    "Reports": [
        report("a run that has not ended", NONE_FINISHED, lambda p: (p.run / "scores.json").unlink()),
        report("scores cut off", NONE_FINISHED, lambda p: cut(p.run / "scores.json", 40)),
        report(
            "a score that is not a number",
            NONE_FINISHED,
            lambda p: edit_scores(p, lambda s: s["segment"].update(audio=float("nan"))),
        ),
        report("scores without a protocol", NONE_FINISHED, lambda p: edit_scores(p, lambda s: s.pop("protocol"))),
        Case(
            "scores of another program",
            "warning",
            "scores.json: names no protocol, so another program wrote it; evaluate the checkpoint again",
            lambda p: two_runs(p, lambda s: s.pop("protocol")),
            "report",
        ),
        report(
            "runs of two protocols",
            "several protocols (common: 1 run, mine: 1 run), whose scores cannot be compared in one table; give",
            lambda p: two_runs(p, lambda s: s.update(protocol="mine")),
        ),
        report("no configuration", NONE_FINISHED, lambda p: (p.run / "config.yaml").write_text("- a list\n")),
        report("epochs of another program", NONE_FINISHED, lambda p: replace(p.run / "metrics.csv", b",", b"\n,,,")),
        Case(
            "a run whose data would run a program",
            "warning",
            "config.yaml: its configuration would build os.system as data.source._target_, which avvp_pl does not",
            lambda p: replace(p.run / "config.yaml", b"avvp_pl.data.llp.load_llp", b"os.system"),
            "report",
        ),
        report("predictions that are gone", "audio.csv: no such file", lambda p: found(p).unlink()),
        report(
            "predictions of other videos",
            "audio.csv: EEEEEEEEEEE_0_10 is no test video of the data, so the run was tested on others",
            lambda p: found(p).write_text(DENSE + "EEEEEEEEEEE_0_10\t0\t3\tSpeech\n"),
        ),
        report(
            "predictions that have changed since",
            "so one of them has changed since; evaluate again",
            lambda p: edit_scores(p, lambda s: s["segment"].update(audio=1.5)),
        ),
        report("probabilities cut off", "probabilities.npz: damaged", lambda p: cut(probabilities(p), 100)),
        report("an object among the probabilities", "probabilities.npz: damaged", bomb),
        setting(
            "runs=nowhere", "nowhere: no such folder; runs= takes run folders, or folders of them", command="report"
        ),
        setting("baseline=ppl", "baseline='ppl' is not among the settings; give baseline=", command="report"),
        setting(
            "shown=[mli]", "shown='mli' is not among the settings: 'mil', ... Did you mean 'mil'?", command="report"
        ),
        setting("figure3=[nobody]", "'nobody' is not a video of the test split", command="report"),
        setting(
            "media=nowhere", "nowhere: no such folder; media= takes the folder with the videos' files", command="report"
        ),
        setting(
            "media_copy=true",
            "media_copy=true copies the videos' files of media=FOLDER, which must be given as well",
            command="report",
        ),
        setting("published=nowhere.csv", "nowhere.csv: no such file", command="report"),
        setting(
            "protocol=mine", "there is no protocol 'mine'. The choices are: asm_loc, bas_net, cmpae", command="report"
        ),
        setting("wandb=mine", "wandb='mine': it must be ENTITY/PROJECT", command="report"),
    ],
}
