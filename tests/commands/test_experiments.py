"""Every experiment in ``conf/experiment``, as soon as its file exists: it learns and resumes exactly.

Experiments that `evaluate` runs are named in ``tests/small.py``, each with the experiment whose checkpoint it tests.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from avvp_pl.settings.conf import config_dir
from tests.commands.conftest import LEARNING, Trained
from tests.commands.evaluating import evaluate
from tests.commands.experiments import SETTINGS, settings_for, settings_of
from tests.conftest import Command
from tests.forks import Zygote
from tests.restarts import Runs, assert_same, kill_at_random
from tests.small import EVALUATED, EXPERIMENTS, LOCALIZING, TRAINED, rows, scores


@pytest.fixture(scope="module")
def runs(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(zygote, tmp_path_factory.mktemp("runs"), SETTINGS, from_python=True)


@pytest.fixture(scope="module")
def undisturbed(runs: Runs, request: pytest.FixtureRequest) -> tuple[str, Path]:
    """An experiment, and the folder of its run."""
    return request.param, runs.timed(request.param, *settings_for(request.param, runs.folder))


@pytest.mark.parametrize("undisturbed", TRAINED, indirect=True)
def test_the_loss_falls(undisturbed: tuple[str, Path]) -> None:
    experiment, run = undisturbed
    assert OmegaConf.load(run / "config.yaml").name == experiment
    assert_the_loss_falls(run)
    assert scores(run)["videos"]["listed"] == 16


def assert_the_loss_falls(run: Path) -> None:
    """From the first epoch with all terms of the loss to the last one."""
    epochs = [{name: float(cell) for name, cell in row.items() if cell} for row in rows(run / "metrics.csv")]
    terms = [{name for name in epoch if name.startswith("train/")} for epoch in epochs]
    assert terms[-1] >= {"train/loss"}
    first = terms.index(terms[-1])
    assert first < len(epochs) - 1
    assert epochs[-1]["train/loss"] < 0.98 * epochs[first]["train/loss"]


@pytest.mark.parametrize("undisturbed", TRAINED, indirect=True)
def test_killed_at_random_and_resumed_it_has_the_same_bits(runs: Runs, undisturbed: tuple[str, Path]) -> None:
    experiment, run = undisturbed
    settings = settings_for(experiment, runs.folder)
    killed = kill_at_random(runs, f"{experiment}_killed", sum(map(ord, experiment)), 1, *settings)
    assert_same(killed, run)


@pytest.mark.parametrize("experiment", EVALUATED)
def test_experiments_of_evaluate_test_the_checkpoint_of_another(
    command: Command, trained: Trained, tmp_path: Path, experiment: str
) -> None:
    run = trained(*settings_for(EVALUATED[experiment], tmp_path, LEARNING[0]), *LEARNING)
    evaluate(command, run, tmp_path / "run", f"+experiment={experiment}")
    inferences = settings_of(experiment)["inference"]
    for inference in inferences:
        folder = tmp_path / "run" / inference if len(inferences) > 1 else tmp_path / "run"
        assert OmegaConf.load(folder / "config.yaml").name == experiment
        assert scores(folder)["videos"]["listed"] == 16


def test_no_experiment_is_left_out() -> None:
    assert set(EXPERIMENTS) == {*TRAINED, *EVALUATED, *LOCALIZING}
    files = {name: OmegaConf.load(config_dir() / "experiment" / f"{name}.yaml") for name in EXPERIMENTS}
    # with this key, whose value is missing, train refuses an experiment
    assert set(EVALUATED) == {name for name, file in files.items() if "checkpoint" in list(file)}
    assert set(EVALUATED.values()) <= set(TRAINED)
    assert len(TRAINED) >= 14
