"""``refine +refine=from_logits`` and ``from_folder``: from files of another program to a training, by commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from avvp_pl.commands.build import build_videos
from avvp_pl.data.products import Product, read_product, write_product
from avvp_pl.data.videos import ParsingSet, VideoSet
from tests.conftest import Command, composed
from tests.small import SMALL, content, train

DATA = ("data=synthetic", *(setting for setting in SMALL if setting.startswith("data.")))


@pytest.fixture
def videos() -> ParsingSet:
    return build_videos(composed("mil", *SMALL), ("train", "val"))


def both(videos: ParsingSet) -> tuple[VideoSet, VideoSet]:
    assert videos.train is not None
    assert videos.val is not None
    return videos.train, videos.val


def noisy(split: VideoSet) -> npt.NDArray[np.float32]:
    """Logits that know the truth of most segments."""
    assert split.truth is not None
    drawn = torch.randn(split.truth.shape, generator=torch.Generator().manual_seed(len(split)))
    logits: npt.NDArray[np.float32] = (6 * split.truth.numpy() - 2 + 2 * drawn.numpy()).astype(np.float32)
    return logits


@pytest.fixture
def logits(videos: ParsingSet, tmp_path: Path) -> Path:
    splits, path = both(videos), tmp_path / "logits.npz"
    names, lengths = (sum((split.names for split in splits), ()), np.concatenate([s.lengths for s in splits]))
    values = np.concatenate([noisy(split) for split in splits])
    write_product(path, Product("logits", names, lengths, tuple(videos.modalities), videos.events, values))
    return path


def refine(command: Command, *arguments: str) -> int:
    return command("refine", "trainer.accelerator=cpu", *arguments)


def test_labels_of_fixed_thresholds_and_a_training_with_them(
    command: Command, videos: ParsingSet, logits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "labels.npz"
    given = (f"logits={logits}", "thresholds={audio: 1.5, visual: 0}", f"output={output}")
    assert refine(command, "+refine=from_logits", *DATA, *given) == 0
    product, (split, _) = read_product(output, "labels"), both(videos)
    weak = np.repeat(split.weak_labels.numpy(), split.lengths.numpy(), axis=0)[:, None]
    expected = weak * (noisy(split) > np.array([1.5, 0])[:, None])
    np.testing.assert_array_equal(product.values, expected)
    assert product.names == split.names
    assert product.checkpoint is product.note is None
    assert product.thresholds is not None
    np.testing.assert_array_equal(product.thresholds, np.tile([[1.5], [0]], (1, 25)))
    counts = (expected > 0).sum((0, 2)).tolist()
    captured = capfd.readouterr()
    said = f"32 videos with 320 segments, labels above 0: {counts[0]} audio, {counts[1]} visual: {output}\n"
    assert said in captured.out
    run = train(command, tmp_path / "run", "+experiment=valor", f"labeling.file={output}", "trainer.max_epochs=1")
    assert list(content(run)["digests"]) == ["labeling"]
    log = (run / "train.log").read_text()
    assert f"{output}: covers 32 of 32 training videos, labels above 0: {counts[0]} audio, {counts[1]} visual" in log
    assert "F1-optimal" not in log


def test_thresholds_of_the_validation_videos_are_said_by_every_command(
    command: Command, logits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "labels.npz"
    given = (f"logits={logits}", "thresholds=validation", "soft=true", f"output={output}")
    assert refine(command, "+refine=from_logits", *DATA, *given) == 0
    captured = capfd.readouterr()
    assert "F1-optimal on the annotated segments of the 16 validation videos" in captured.out + captured.err
    product = read_product(output, "labels")
    assert product.note == "its thresholds are F1-optimal on the annotated segments of 16 validation videos"
    assert 0 < ((product.values > 0) & (product.values < 1)).mean() < 0.2
    again = tmp_path / "again.npz"  # by the thresholds that the file has
    given = (f"logits={logits}", f"thresholds={output}", "soft=true", f"output={again}")
    assert refine(command, "+refine=from_logits", *DATA, *given) == 0
    np.testing.assert_array_equal(read_product(again, "labels").values, product.values)
    assert read_product(again, "labels").note == product.note
    more = ("trainer.max_epochs=1", "network.num_layers=1")
    run = train(command, tmp_path / "run", "+experiment=uwav", f"labeling.file={output}", *more)
    assert f"{output}: its thresholds are F1-optimal on the annotated" in (run / "train.log").read_text()
    best = f"checkpoint={run / 'checkpoints' / 'best.ckpt'}"
    assert refine(command, "+refine=ma", best, f"output={tmp_path / 'ma.npz'}") == 0
    assert read_product(tmp_path / "ma.npz", "modality_labels").note == product.note


def test_published_folders(command: Command, videos: ParsingSet, tmp_path: Path) -> None:
    split, _ = both(videos)
    assert split.truth is not None
    for m, modality in enumerate(videos.modalities):
        (tmp_path / modality).mkdir()
        for row, stem in enumerate(split.file_stems[1:], start=1):
            start = int(split.starts[row])
            np.save(tmp_path / modality / f"{stem}.npy", split.truth[start : start + 10, m].numpy())
    folders = f"folders={{audio: {tmp_path / 'audio'}, visual: {tmp_path / 'visual'}}}"
    output = tmp_path / "labels.npz"
    assert refine(command, "+refine=from_folder", *DATA, folders, f"output={output}") == 2
    note = "note='the labels are those of annotators'"
    assert refine(command, "+refine=from_folder", *DATA, folders, f"output={output}", "missing=weak", note) == 0
    assert read_product(output, "labels").note == "the labels are those of annotators"
    values = read_product(output, "labels").values
    np.testing.assert_array_equal(values[10:], split.truth[10:].numpy())
    np.testing.assert_array_equal(values[:10], np.tile(split.weak_labels[0].numpy(), (10, 2, 1)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("+refine=from_logits", *DATA, "thresholds=0", "output=x.npz"), "logits must be given: logits=..."),
        (("+refine=from_logits", *DATA, "logits=x.npz", "output=x.npz"), "thresholds must be given: thresholds=..."),
        (("+refine=from_logits", "logits=x", "thresholds=0", "output=x.npz"), "give the data, such as data=llp"),
        (("+refine=from_logits", *DATA, "logits=x.npz", "thresholds=0", "output=y.npz"), "x.npz: no such file"),
        (("+refine=from_logits", *DATA, "logits=3", "thresholds=0", "output=y.npz"), "logits=3: it must be a path, or"),
        (("+refine=from_logits", *DATA, "logits=x", "thresholds=null", "output=y.npz"), "thresholds=null: it must be"),
        (("+refine=from_logits", *DATA, "logits=x", "thresholds=0", "output=y.npz", "soft=2"), "soft=2: it must be tr"),
        (("+refine=from_folder", *DATA, "folders={audio: x}", "output=y.npz"), "give a folder for each of the modali"),
        (("+refine=ma", *DATA, "checkpoint=null", "output=y.npz"), "does not build an avvp_pl.parts.Conversion"),
    ],
)
def test_what_is_refused(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert refine(command, *arguments) == 2
    error = capfd.readouterr().err
    assert message in error
    assert len([line for line in error.splitlines() if line.startswith("avvp_pl.refine: ")]) == 1


def test_evaluate_needs_a_checkpoint(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", "checkpoint=null", "trainer.accelerator=cpu") == 2
    assert "checkpoint=null: give a checkpoint file that train has written" in capfd.readouterr().err
