"""``recipe``: the stages by one command are the stages by hand, killed and resumed as well, and in a sweep."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from avvp_pl.data.products import read_product
from avvp_pl.runs.reading import by_setting, read_runs
from tests.conftest import Command
from tests.forks import Zygote
from tests.small import SMALL, same_bits, scores, shell, weights

LEARNING = ("data.sizes.train=48", "trainer.max_epochs=3", "optimizer.learning_rate=0.003")
SETTINGS = (*SMALL, *LEARNING, "threads=1", "logger=csv")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every stage in a new process; in the tests below, they are forks."""
    folder = tmp_path_factory.mktemp("recipe")
    shell("recipe", "+recipe=ma", *SETTINGS, f"hydra.run.dir={folder / 'ma'}", folder=folder, check=True)
    return folder / "ma"


def assert_same_run(one: Path, other: Path) -> None:
    assert same_bits(weights(one), weights(other))
    assert scores(one) == scores(other)
    for name in ("metrics.csv", "predictions/audio.csv", "predictions/probabilities.npz"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def assert_same_labels(one: Path, other: Path) -> None:
    """Their checkpoints differ, which name their folders."""
    products = [read_product(path, "modality_labels") for path in (one, other)]
    np.testing.assert_array_equal(products[0].values, products[1].values)
    assert products[0].names == products[1].names


def test_it_does_what_its_commands_do(command: Command, whole: Path, tmp_path: Path) -> None:
    base, ma, labels = tmp_path / "base", tmp_path / "ma", tmp_path / "labels.npz"
    assert command("train", "+experiment=ma_base", *SETTINGS, f"hydra.run.dir={base}") == 0
    arguments = (f"checkpoint={base}/checkpoints/last.ckpt", f"output={labels}", "trainer.accelerator=cpu", "threads=1")
    assert command("refine", "+refine=ma", *arguments) == 0
    given = ("+experiment=ma", f"method.targets.file={labels}", *SETTINGS, f"hydra.run.dir={ma}")
    assert command("train", *given) == 0
    assert_same_run(whole / "stages" / "base", base)
    assert_same_labels(whole / "stages" / "labels.npz", labels)
    assert_same_run(whole, ma)
    assert list(json.loads((whole / "stages.json").read_text())) == ["base", "labels", "ma"]


def start(zygote: Zygote, folder: Path, *settings: str) -> int:
    """Start a recipe in ``folder``/ma; the number of its process."""
    arguments = ("+recipe=ma", *SETTINGS, *settings, f"hydra.run.dir={folder / 'ma'}")
    files = {"out": folder / "out", "err": folder / "err"}
    return zygote.start(module="avvp_pl.recipe", arguments=arguments, folder=folder, **files)


def wait_for(path: Path, process: int) -> None:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < deadline
        os.kill(process, 0)  # it is there
        time.sleep(0.02)


@pytest.mark.parametrize("when", ["stages/base/checkpoints/last.ckpt", "stages/labels.npz", "checkpoints/last.ckpt"])
def test_killed_at_any_stage_and_started_again_it_ends_with_the_same_bits(
    zygote: Zygote, whole: Path, tmp_path: Path, when: str
) -> None:
    """Nothing of the killed command goes on: the folder is free, and a stage that has ended is not repeated."""
    process = start(zygote, tmp_path)
    wait_for(tmp_path / "ma" / when, process)
    os.kill(process, signal.SIGKILL)
    assert zygote.ended() == -signal.SIGKILL
    (tmp_path / "out").unlink()
    start(zygote, tmp_path)
    assert zygote.ended() == 0, (tmp_path / "err").read_text()
    skipped = {"checkpoints/last.ckpt": 2, "stages/labels.npz": 1}.get(when, 0)
    assert (tmp_path / "out").read_text().count("done before") >= skipped
    assert_same_run(tmp_path / "ma", whole)
    assert_same_labels(tmp_path / "ma" / "stages" / "labels.npz", whole / "stages" / "labels.npz")


def test_a_finished_recipe_does_nothing_again(zygote: Zygote, whole: Path, tmp_path: Path) -> None:
    before = (whole / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    done = zygote.shell("recipe", "+recipe=ma", *SETTINGS, f"hydra.run.dir={whole}", folder=tmp_path, check=True)
    assert done.stdout.count("done before") == 3
    assert (whole / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before


def test_a_signal_reaches_the_stage_which_saves_and_the_code_is_passed_on(zygote: Zygote, tmp_path: Path) -> None:
    process = start(zygote, tmp_path, "trainer.max_epochs=500")
    wait_for(tmp_path / "ma" / "stages" / "base" / "checkpoints" / "last.ckpt", process)
    os.kill(process, signal.SIGTERM)
    assert zygote.ended() == 143
    assert not (tmp_path / "ma" / "stages.json").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "stages: there are none; give a recipe, such as +recipe=ma"),
        (("+recipe=mq",), "there is no recipe 'mq'."),
        (("+recipe=ma", "last=[labeling=prototype,labeling.gamma=2]"), "stage ma (train): labeling.gamma=2: it must"),
        (("+recipe=ma", "last=[method.nope=2]"), "stage ma (train): there is no setting 'method.nope'"),
        (("+recipe=ma", "trainer.max_epochs=0"), "trainer.max_epochs=0: it must be a whole number of at least 1"),
        (("+recipe=ma", "labeling.gamma=1"), "stage base (train): there is no setting 'labeling.gamma' here"),
        (("+recipe=ma", "+trainer.fast_dev_run=true"), "trainer.fast_dev_run writes no checkpoint"),
        (("+recipe=ma", "stages.base.command=report"), "stages.base.command='report': it must be one of clips"),
        (("stages={a: {command: refine, settings: []}}", "name=a"), "stages: none of them is train"),
        (("+recipe=ma", "stages.base.settings=mil"), "stages.base.settings: it must be a list"),
        (("stages={a: {command: train}}", "name=a"), "stages.a: it must have a command and settings, and nothing else"),
        (("+recipe=ma", "network.dmi=3"), "stage base (train): there is no setting 'network.dmi'"),
        (("+recipe=ma", "+stages.base.more=1"), "stages.base: it must have a command and settings, and nothing else"),
    ],
)
def test_wrong_settings_of_any_stage_are_refused_before_the_first_one(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert command("recipe", *SETTINGS, *arguments, f"hydra.run.dir={tmp_path / 'run'}") == 2
    error = capfd.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run" / "stages").exists()


def test_the_error_of_a_stage_is_told_once_with_its_name(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """This one is found only once the data are read."""
    data = ("data=llp", f"data.root={tmp_path / 'nowhere'}")
    assert command("recipe", "+recipe=ma", *data, "logger=csv", f"hydra.run.dir={tmp_path / 'run'}") == 2
    error = capfd.readouterr().err
    assert error.startswith("avvp_pl.recipe: stage base: ")
    assert "nowhere" in error
    assert len(error.splitlines()) == 1


def test_a_sweep_over_seeds_is_one_row_of_its_summary_and_of_a_report(zygote: Zygote, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    arguments = ("-m", "+recipe=ma", "seed=0,1", *SETTINGS, f"hydra.sweep.dir={sweep}")
    zygote.shell("recipe", *arguments, folder=tmp_path, check=True)
    table = (sweep / "summary.md").read_text()
    assert "| all | 2 |" in table
    assert "Failed" not in table
    (setting,) = by_setting(read_runs([sweep]))
    # the labels of each seed are part of the method: their paths do not set the runs apart
    assert (setting.label, len(setting.runs)) == ("ma dim=32 feedforward_dim=32 learning_rate=0.003 max_epochs=3", 2)
    assert setting.runs[0].scores != setting.runs[1].scores


def test_what_only_the_last_stage_is_given(zygote: Zygote, whole: Path, tmp_path: Path) -> None:
    """Prototypes on top of MA, with the labels of the recipe that has ended."""
    run = tmp_path / "run"
    last = "last=[labeling=prototype,labeling.k=2]"
    arguments = ("+recipe=ma", last, "name=mine", *SETTINGS, f"hydra.run.dir={run}")
    zygote.shell("recipe", *arguments, folder=tmp_path, check=True)
    assert (run / "classifier" / "scores.json").exists()
    assert "name: mine" in (run / "config.yaml").read_text()
    assert "name: ma_base" in (run / "stages" / "base" / "config.yaml").read_text()
    assert same_bits(weights(run / "stages" / "base"), weights(whole / "stages" / "base"))


@pytest.mark.parametrize("recipe", ["validation_teacher", "uwav_teacher", "leap_teacher"])
def test_a_teacher_labels_the_data_of_the_recipe_and_this_is_said_beside_the_scores(
    zygote: Zygote, tmp_path: Path, recipe: str
) -> None:
    """The stages without a checkpoint are given the data, also where nothing says which."""
    folder = tmp_path / "run"
    few = ("network.num_heads=2", *SETTINGS, "trainer.max_epochs=1")
    zygote.shell("recipe", f"+recipe={recipe}", *few, f"hydra.run.dir={folder}", folder=tmp_path, check=True)
    note = "the teacher has learned from the annotated segments of 16 validation videos"
    assert scores(folder)["tested"]["notes"] == [note]
    logits = read_product(folder / "stages" / "logits.npz", "logits")
    labels = read_product(folder / "stages" / "labels.npz", "labels")
    assert logits.note == labels.note == note
    assert len(labels.names) == 48
    assert (((labels.values > 0) & (labels.values < 1)).any()) == (recipe == "uwav_teacher")
    assert (labels.values[logits.values < -30] < 1e-6).all()
    (run,) = read_runs([folder])
    assert run.tested is not None
    assert run.tested.notes == (note,)
