"""Training on labels from a file, which may move before the run is resumed but must still have the same labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avvp_pl.commands.build import build_videos
from avvp_pl.data.products import Product, read_product, write_product
from tests.conftest import Command, composed
from tests.small import SMALL, content, same_bits, scores, stop_in_epoch, train, weights

LABELING = ("labeling=from_file", "resume=auto", "threads=1")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """The truth of the small training videos, as a file of labels."""
    videos = build_videos(composed("mil", *SMALL), ("train",))
    assert videos.train is not None
    assert videos.train.truth is not None
    path = tmp_path / "labels.npz"
    write_product(
        path,
        Product(
            "labels",
            videos.train.names,
            videos.train.lengths.numpy(),
            tuple(videos.modalities),
            videos.events,
            videos.train.truth.numpy().astype(np.float32),
        ),
    )
    return path


def change(path: Path) -> None:
    """Halve the labels."""
    product = read_product(path, "labels")
    write_product(path, replace(product, values=product.values / np.float32(2)))


def test_the_file_may_move_and_the_run_ends_as_if_it_had_not(command: Command, tmp_path: Path, labels: Path) -> None:
    whole = train(command, tmp_path / "whole", *LABELING, f"labeling.file={labels}", "trainer.max_epochs=3")
    run = train(command, tmp_path / "run", *LABELING, f"labeling.file={labels}", "trainer.max_epochs=1")
    assert list(content(run)["digests"]) == ["labeling"]
    moved = tmp_path / "elsewhere" / "moved.npz"
    moved.parent.mkdir()
    labels.rename(moved)
    train(command, run, *LABELING, f"labeling.file={moved}", "trainer.max_epochs=3")
    assert same_bits(weights(run), weights(whole))
    assert scores(run) == scores(whole)
    assert "other settings" not in (run / "train.log").read_text()


def test_it_may_also_move_in_the_middle_of_an_epoch(command: Command, tmp_path: Path, labels: Path) -> None:
    settings = (*SMALL, "logger=csv", *LABELING, "trainer.max_epochs=3", "data.batch_size=8")
    whole = tmp_path / "whole"
    assert command("train", *settings, f"labeling.file={labels}", f"hydra.run.dir={whole}") == 0
    run = tmp_path / "run"
    stop_in_epoch(command, 6, *settings, f"labeling.file={labels}", f"hydra.run.dir={run}")
    moved = labels.rename(tmp_path / "moved.npz")
    assert command("train", *settings, f"labeling.file={moved}", f"hydra.run.dir={run}") == 0
    assert same_bits(weights(run), weights(whole))


@pytest.mark.parametrize("place", ["the same", "another"])
def test_other_labels_are_refused_and_a_finished_run_is_unharmed(
    command: Command, tmp_path: Path, labels: Path, capfd: pytest.CaptureFixture[str], place: str
) -> None:
    run = train(command, tmp_path / "run", *LABELING, f"labeling.file={labels}", "trainer.max_epochs=1")
    path = labels if place == "the same" else labels.rename(tmp_path / "moved.npz")
    change(path)
    before = (run / "checkpoints" / "last.ckpt").read_bytes()
    arguments = (*SMALL, "logger=csv", *LABELING, f"labeling.file={path}", "trainer.max_epochs=2")
    assert command("train", *arguments, f"hydra.run.dir={run}") == 2
    error = capfd.readouterr().err
    said = "is from a training with another content of labeling.file, so the run cannot be resumed; restore the file"
    assert f"{run / 'checkpoints' / 'last.ckpt'} {said}" in error
    assert len(error.splitlines()) == 1
    assert scores(run)
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == before


def test_a_checkpoint_is_resumed_with_other_labels_only_between_epochs_and_on_request(
    command: Command, tmp_path: Path, labels: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = (*SMALL, "logger=csv", "labeling=from_file", f"labeling.file={labels}", "data.batch_size=8")
    run = tmp_path / "run"
    stop_in_epoch(command, 6, *settings, f"hydra.run.dir={run}")
    change(labels)
    resumed = (f"resume={run / 'checkpoints' / 'last.ckpt'}", f"hydra.run.dir={tmp_path / 'other'}")
    assert command("train", *settings, *resumed) == 2
    assert (
        "is from the middle of an epoch of a training with another content of labeling.file" in capfd.readouterr().err
    )
    train(command, tmp_path / "first", "labeling=from_file", f"labeling.file={labels}", "trainer.max_epochs=1")
    before = weights(tmp_path / "first")
    change(labels)
    last = tmp_path / "first" / "checkpoints" / "last.ckpt"
    again = train(
        command,
        tmp_path / "again",
        *("labeling=from_file", f"labeling.file={labels}", "trainer.max_epochs=2", f"resume={last}"),
    )
    log = (again / "train.log").read_text()
    assert "was trained with another content of labeling.file; from now on the present one is used" in log
    assert not same_bits(weights(again), before)
    found = content(again)["progress"]["labeling"]["pseudo_labels"]
    assert torch.equal(found, torch.from_numpy(read_product(labels, "labels").values))


def test_another_setting_that_is_called_file_is_not_free(
    command: Command, tmp_path: Path, labels: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Only that of a part whose content is known."""
    run = train(command, tmp_path / "run", "+experiment=mil", "resume=auto", "trainer.max_epochs=1")
    arguments = (*SMALL, "logger=csv", *LABELING, f"labeling.file={labels}", f"hydra.run.dir={run}")
    assert command("train", *arguments, "trainer.max_epochs=2") == 2
    error = capfd.readouterr().err
    assert "holds a run with other settings" in error
    assert f"labeling.file: missing, now {labels}" in error
