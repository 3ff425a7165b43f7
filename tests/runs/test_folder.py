"""The folder of a run: what it may be resumed from, and what it contains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError
from avvp_pl.runs import names
from avvp_pl.runs.folder import EvaluationFolder, LockedFolder
from avvp_pl.training.module import digest
from tests.conftest import Command
from tests.damage.place import SHAPES, TRAIN, WEAK, Place
from tests.small import changed, content, same_bits, stop_in_epoch, train, weights


def test_names_are_those_of_the_files(command: Command, tmp_path: Path) -> None:
    run = train(command, tmp_path / "run", "+experiment=ppl_soft", "trainer.max_epochs=2")
    for path in (
        names.best_checkpoint(run),
        names.last_checkpoint(run),
        names.predictions_of(run / "predictions", "audio"),
    ):
        assert path.is_file()
    for name in (names.CONFIG, names.LOCK, names.SCORES, *names.TABLES, f"{names.PREDICTIONS}/{names.PROBABILITIES}"):
        assert (run / name).is_file(), name
    parsed = tmp_path / "parsed"
    assert command("predict", f"checkpoint={names.best_checkpoint(run)}", f"output={parsed}") == 0
    assert (parsed / names.TIMELINES).is_file()
    assert (parsed / names.PICTURES).is_dir()


@pytest.mark.parametrize("inferences", [["classifier"], ["classifier", "prototype"]])
def test_an_evaluation_has_a_folder_for_each_of_several_inferences(tmp_path: Path, inferences: list[str]) -> None:
    checkpoint = tmp_path / "best.ckpt"
    cfg = OmegaConf.create(
        {"paths": {"run_dir": str(tmp_path / "test")}, "name": None, "tags": ["mine"], "checkpoint": str(checkpoint)}
    )
    config = OmegaConf.create({"name": "ppl_soft", "inference": {name: {"value": name} for name in inferences}})
    whole = tmp_path / "test"
    (whole / "predictions").mkdir(parents=True)
    (whole / names.SCORES).touch()  # of an earlier evaluation
    with EvaluationFolder(cfg, inferences) as folder:
        assert (whole / names.SCORES).exists()  # nothing is lost before there are new scores
        folders = folder.replace(config)
    several = len(inferences) > 1
    assert folders == {name: whole / name if several else whole for name in inferences}
    assert not (whole / names.SCORES).exists()
    for name, path in folders.items():
        tested = OmegaConf.load(path / names.CONFIG)
        assert (tested.name, tested.tags, tested.checkpoint) == ("ppl_soft", ["mine"], str(checkpoint))
        assert tested.inference == {name: {"value": name}}


@pytest.mark.parametrize("of_training", [names.CHECKPOINTS, *names.TABLES])
@pytest.mark.parametrize("inside", ["", "classifier"])
def test_an_evaluation_never_uses_the_folder_of_a_training(tmp_path: Path, of_training: str, inside: str) -> None:
    cfg = OmegaConf.create({"paths": {"run_dir": str(tmp_path)}})
    kept = tmp_path / inside / of_training
    kept.parent.mkdir(exist_ok=True)
    kept.touch()
    (tmp_path / names.SCORES).touch()
    with pytest.raises(InputError, match=f"{kept.parent} holds a training run"):
        EvaluationFolder(cfg, ["classifier", "prototype"])
    assert (tmp_path / names.SCORES).exists()


def test_a_folder_is_used_by_one_run_or_evaluation_at_a_time(tmp_path: Path) -> None:
    cfg = OmegaConf.create({"paths": {"run_dir": str(tmp_path)}})
    with LockedFolder(tmp_path), pytest.raises(InputError, match=f"^{tmp_path}: another run is using this folder"):
        EvaluationFolder(cfg, ["classifier"])
    with EvaluationFolder(cfg, ["classifier"]), pytest.raises(InputError, match="another run is using this folder"):
        LockedFolder(tmp_path)
    with LockedFolder(tmp_path):
        pass


# ---- other training videos


def listed(place: Place, *videos: str) -> None:
    place.data("AVVP_train.csv", WEAK + "".join(f"{video}\tSpeech\n" for video in videos))


def rename(place: Place) -> None:
    for stream in SHAPES:
        place.feature(stream, TRAIN[0][:11]).rename(place.feature(stream, "XXXXXXXXXXX"))
    listed(place, "XXXXXXXXXXX_0_10", TRAIN[1])


OTHER_VIDEOS: dict[str, Callable[[Place], object]] = {
    "in another order": lambda place: listed(place, *TRAIN[::-1]),
    "one of another name": rename,
    "one less": lambda place: listed(place, TRAIN[0]),
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.make(tmp_path)


def arguments(place: Place, *more: str) -> list[str]:
    return place.arguments("train", ["+experiment=ppl_soft", "data.batch_size=1", "trainer.max_epochs=3", *more])


def in_the_middle_of_an_epoch(command: Command, place: Place) -> Path:
    """Stop a run before the last of its two steps in epoch 1; its checkpoint has the pseudo labels of this epoch."""
    stop_in_epoch(command, 2, *arguments(place))
    run = place.root / "new"
    saved = content(run)
    assert (saved["epoch"], saved["global_step"]) == (1, 3)
    assert "pseudo_labels" in saved["progress"]["labeling"]
    return run


@pytest.mark.parametrize("other", OTHER_VIDEOS)
def test_an_interrupted_epoch_is_not_resumed_with_other_training_videos(
    command: Command, place: Place, capfd: pytest.CaptureFixture[str], other: str
) -> None:
    run = in_the_middle_of_an_epoch(command, place)
    last = names.last_checkpoint(run)
    before = last.read_bytes()
    table = (place.llp / "data" / "AVVP_train.csv").read_text()
    OTHER_VIDEOS[other](place)
    for resume in (["resume=auto"], [f"resume={last}", f"hydra.run.dir={place.root / 'branch'}"]):
        capfd.readouterr()
        assert command("train", *arguments(place, *resume)) == 2
        error = capfd.readouterr().err
        assert f"{last} is from the middle of an epoch of a training on other videos: " in error
        assert "restore the table of training videos, or start another run (hydra.run.dir)" in error
        assert len(error.splitlines()) == 1
    assert last.read_bytes() == before
    if other == "in another order":
        place.data("AVVP_train.csv", table)
        assert command("train", *arguments(place, "resume=auto")) == 0
        assert command("train", *arguments(place, f"hydra.run.dir={place.root / 'whole'}")) == 0
        assert same_bits(weights(run), weights(place.root / "whole"))


def test_between_epochs_only_a_named_checkpoint_is_resumed_with_other_training_videos(
    command: Command, place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command("train", *arguments(place, "trainer.max_epochs=2")) == 0
    run = place.root / "new"
    last = names.last_checkpoint(run)
    OTHER_VIDEOS["one of another name"](place)
    capfd.readouterr()
    assert command("train", *arguments(place, "resume=auto")) == 2
    error = capfd.readouterr().err
    assert f"{last} is from a training on other videos: " in error
    assert len(error.splitlines()) == 1
    branch = place.root / "branch"
    assert command("train", *arguments(place, f"resume={last}", f"hydra.run.dir={branch}")) == 0
    assert "was trained on other training videos" in capfd.readouterr().out
    assert content(branch)["epoch"] == 2


def test_the_digest_of_videos_is_of_names_and_lengths_in_their_order() -> None:
    def videos(names: tuple[str, ...], lengths: list[int]) -> VideoSet:
        streams = {"x": torch.zeros(sum(lengths), 1)}
        return VideoSet(names, torch.tensor(lengths), streams, weak_labels=torch.zeros(len(names), 1))

    one = digest(videos(("a", "b"), [2, 3]))
    assert digest(videos(("a", "b"), [2, 3])) == one
    others = [(("b", "a"), [2, 3]), (("a", "b"), [3, 2]), (("a",), [2]), (("ab", ""), [2, 3]), (("a", "c"), [2, 3])]
    assert len({one, *(digest(videos(*other)) for other in others)}) == 1 + len(others)


def test_a_checkpoint_that_does_not_name_its_videos_is_refused(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = train(command, tmp_path / "run", "trainer.max_epochs=1")
    last = names.last_checkpoint(run)
    changed(last, last, lambda saved: saved.pop("train_videos"))
    assert command("train", f"hydra.run.dir={run}", "resume=auto", "trainer.max_epochs=2", "logger=csv") == 2
    assert f"{last}: not a checkpoint of avvp_pl.train (it has no train_videos)" in capfd.readouterr().err


# ---- files of earlier attempts


def test_several_inferences_have_no_scores_until_the_run_ends(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = ("+experiment=ppl_soft", "resume=auto")
    run = train(command, tmp_path / "run", *same, "trainer.max_epochs=1")
    written = [run / "scores.json", run / "classifier" / "scores.json"]
    unfinished = run / "classifier" / "predictions" / f".audio.csv.{'0' * 32}.tmp"
    unfinished.touch()

    def broken(*_: object, **__: object) -> None:
        assert not any(path.exists() for path in (*written, unfinished))
        raise RuntimeError("the machine is on fire")

    assert all(path.exists() for path in written)
    monkeypatch.setattr("lightning.pytorch.Trainer.fit", broken)
    with pytest.raises(RuntimeError, match="on fire"):
        train(command, run, *same, "trainer.max_epochs=2")
    assert not any(path.exists() for path in (*written, unfinished))


def test_a_run_without_a_checkpoint_begins_with_empty_tables(command: Command, tmp_path: Path) -> None:
    """It was killed before its first checkpoint, so that its rows belong to nothing."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.csv").write_text("epoch,step,train/old\n0,1,2\n")
    train(command, run, "trainer.max_epochs=1", "resume=auto")
    assert "train/old" not in (run / "metrics.csv").read_text()


def test_a_disk_without_locks_is_told(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_lock(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_lock)
    run = train(command, tmp_path / "run", "trainer.max_epochs=1")
    assert "this disk has no locks" in (run / "train.log").read_text()
