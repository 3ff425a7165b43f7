"""Every experiment in ``conf/experiment``, as soon as its file exists: it learns, resumes exactly and runs in parallel.

Experiments that `evaluate` runs are named in ``tests/small.py``, each with the experiment whose checkpoint it tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from avvp_pl.commands.build import build_videos
from avvp_pl.data.products import Kind, Product, write_product
from avvp_pl.settings.conf import config_dir
from tests.commands.conftest import LEARNING, Trained
from tests.commands.evaluating import evaluate
from tests.conftest import Command
from tests.restarts import Runs, assert_same, kill_at_random, opened
from tests.small import EVALUATED, EXPERIMENTS, SMALL_NETWORK, TRAINED, TWO_PROCESSES, content, rows, scores

SETTINGS = (
    "data.sizes.train=70",
    "data.sizes.val=16",
    "data.sizes.test=16",
    *SMALL_NETWORK,
    "data.batch_size=16",
    "trainer.max_epochs=4",
    "optimizer.learning_rate=0.003",
    "threads=1",
    "logger=csv",
    "resume=auto",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with opened(tmp_path_factory.mktemp("runs"), SETTINGS) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(runs: Runs, request: pytest.FixtureRequest) -> tuple[str, Path]:
    """An experiment, and the folder of its run."""
    return request.param, runs.timed(request.param, *settings_for(request.param, runs.folder))


def settings_of(experiment: str) -> dict[str, Any]:
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        cfg: Any = OmegaConf.to_container(compose("train", [f"+experiment={experiment}"]), resolve=False)
    return dict(cfg)


def settings_for(experiment: str, folder: Path, *more: str) -> list[str]:
    """The settings of an experiment, with a file where it learns from an earlier stage: some labels are removed."""
    targets = settings_of(experiment)["method"].get("targets", {})
    if targets.get("file") != "???":
        return [f"+experiment={experiment}"]
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        videos = build_videos(compose("train", [*SETTINGS[:-1], *more]), ("train",))
    train = videos.train
    assert train is not None
    drawn = torch.rand(len(train), 2, len(videos.events), generator=torch.Generator().manual_seed(0))
    kept, rates = train.weak_labels[:, None] * (drawn < 0.8), 0.5 * drawn[0]
    kind: Kind = "rates" if "ramp" in targets else "modality_labels"
    path = folder / f"{experiment}_{len(train)}.npz"
    names, lengths = train.names, train.lengths.numpy()
    values = (rates if kind == "rates" else kept).numpy()
    write_product(path, Product(kind, names, lengths, tuple(videos.modalities), videos.events, values))
    return [f"+experiment={experiment}", f"method.targets.file={path}"]


@pytest.mark.parametrize("undisturbed", TRAINED, indirect=True)
def test_the_loss_falls(undisturbed: tuple[str, Path]) -> None:
    """From the first epoch with all terms of the loss to the last one."""
    experiment, run = undisturbed
    assert OmegaConf.load(run / "config.yaml").name == experiment
    epochs = [{name: float(cell) for name, cell in row.items() if cell} for row in rows(run / "metrics.csv")]
    terms = [{name for name in epoch if name.startswith("train/")} for epoch in epochs]
    assert terms[-1] >= {"train/loss"}
    first = terms.index(terms[-1])
    assert first < len(epochs) - 1
    assert epochs[-1]["train/loss"] < 0.98 * epochs[first]["train/loss"]
    assert scores(run)["videos"]["listed"] == 16


@pytest.mark.parametrize("undisturbed", TRAINED, indirect=True)
def test_killed_at_random_and_resumed_it_has_the_same_bits(runs: Runs, undisturbed: tuple[str, Path]) -> None:
    experiment, run = undisturbed
    settings = settings_for(experiment, runs.folder)
    killed = kill_at_random(runs, f"{experiment}_killed", sum(map(ord, experiment)), 1, *settings)
    assert_same(killed, run)


@pytest.mark.parametrize("experiment", TRAINED)
def test_two_processes_train_as_one(runs: Runs, experiment: str) -> None:
    """With the same effective batch and without dropout, losses, prototypes, labels and predictions agree."""
    cfg = settings_of(experiment)
    videos = "data.sizes.train=192"
    same = [*settings_for(experiment, runs.folder, videos), videos, "trainer.max_epochs=3"]
    if cfg["network"]["_target_"].endswith(("MGN", "CVCM")):
        # many of their gradients are hardly more than rounding errors at first, which Adam turns into whole steps
        same.append("optimizer.learning_rate=0.0003")
    for name, value in cfg["network"].items():
        if "dropout" in name:
            same += [f"network.{name}.{key}=0" for key in value] if isinstance(value, dict) else [f"network.{name}=0"]
    if "assignment" in cfg["network"]:  # a hard one jumps at the smallest difference, and draws noise
        same.append("network.assignment=soft")
    if "max_segments_per_event" in cfg["labeling"]:  # each process draws a part of the sample
        same.append("labeling.max_segments_per_event=40")
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
    for name, value in saved["state_dict"].items():
        difference = (value.float() - other_saved["state_dict"][name].float()).abs()
        assert difference.max() < 1e-2, name
    for table in ("predictions/audio.csv", "predictions/visual.csv"):
        assert (two / table).read_text() == (one / table).read_text()


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
    assert set(EXPERIMENTS) == {*TRAINED, *EVALUATED}
    files = {name: OmegaConf.load(config_dir() / "experiment" / f"{name}.yaml") for name in EXPERIMENTS}
    # with this key, whose value is missing, train refuses an experiment
    assert set(EVALUATED) == {name for name, file in files.items() if "checkpoint" in list(file)}
    assert set(EVALUATED.values()) <= set(TRAINED)
    assert len(TRAINED) >= 14
