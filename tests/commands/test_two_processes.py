"""Every experiment in ``conf/experiment``, as soon as its file exists, trains the same in two processes as in one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.commands.experiments import SETTINGS, settings_for, settings_of
from tests.forks import Zygote
from tests.ragged import Ragged
from tests.restarts import Runs
from tests.small import TRAINED, TWO_PROCESSES, content, rows

VIDEOS = "data.sizes.train=192"


@pytest.fixture(scope="module")
def runs(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(zygote, tmp_path_factory.mktemp("runs"), SETTINGS, from_python=True)


@pytest.fixture(scope="module")
def ragged_runs(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    data = Ragged(tmp_path_factory.mktemp("ragged"))
    of_synthetic = [setting for setting in SETTINGS if setting.startswith("data.sizes.")]
    settings = [setting for setting in SETTINGS if setting not in of_synthetic]
    return Runs(zygote, tmp_path_factory.mktemp("runs"), (*settings, *data.of("audio", "visual")), from_python=True)


def assert_alike(runs: Runs, experiment: str, *more: str) -> None:
    """With the same effective batch and without dropout, losses, prototypes, labels and predictions agree."""
    cfg = settings_of(experiment)
    # gradients that are hardly more than rounding errors are whole steps to Adam, so the steps have to be small
    same = ["trainer.max_epochs=3", "optimizer.learning_rate=3e-4", *more]
    for group in ("network", "method"):
        for name, value in cfg[group].items():
            if name.endswith("dropout"):
                place = f"{group}.{name}"
                same += [f"{place}.{key}=0" for key in value] if isinstance(value, dict) else [f"{place}=0"]
    if "assignment" in cfg["network"]:  # a hard one jumps at the smallest difference, and draws noise
        same.append("network.assignment=soft")
    if "max_segments_per_event" in cfg["labeling"]:  # each process draws a part of the sample
        same += ["labeling.max_segments_per_event=40", "labeling.max_contrastive_segments=null"]
    one = runs.whole(f"{experiment}_one", *same)
    two = runs.whole(f"{experiment}_two", *same, *TWO_PROCESSES)
    metrics = [rows(run / "metrics.csv") for run in (one, two)]
    for row, other in zip(*metrics, strict=True):
        assert row.keys() == other.keys()
        for name in row:
            if row[name] and name.startswith(("train/", "pseudo_labels/")):
                assert float(other[name]) == pytest.approx(float(row[name]), rel=2e-3), name
    saved, other_saved = content(one), content(two)
    assert saved["progress"].keys() == other_saved["progress"].keys()
    for part, progress in saved["progress"].items():
        for name, value in progress.items():
            assert (value - other_saved["progress"][part][name]).abs().mean() < 1e-4, name
    if cfg["labeling"]["_target_"].rpartition(".")[2] != "NoLabels":
        assert (saved["progress"]["labeling"]["pseudo_labels"] > 0.5).any()
    # not the weights: those whose gradient is a rounding error in both runs go where it sends them, and change nothing
    probs, other_probs = (np.load(run / "predictions/probabilities.npz", allow_pickle=False) for run in (one, two))
    for name in ("segment", "video"):
        assert np.abs(probs[name].astype(np.float64) - other_probs[name]).max() < 2e-3, name  # four steps of a float16
    for table in sorted((one / "predictions").glob("*.csv")):
        assert (two / "predictions" / table.name).read_text() == table.read_text()


@pytest.mark.parametrize("experiment", TRAINED)
def test_two_processes_train_as_one(runs: Runs, experiment: str) -> None:
    assert_alike(runs, experiment, *settings_for(experiment, runs.folder, VIDEOS), VIDEOS)


@pytest.mark.parametrize("experiment", ["ppl_soft", "cvcm"])
def test_also_with_videos_of_different_lengths(ragged_runs: Runs, experiment: str) -> None:
    """The processes join their batches, so these have to be padded to the same length."""
    assert_alike(ragged_runs, experiment, f"+experiment={experiment}")
