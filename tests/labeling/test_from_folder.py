"""Published labels as they are: a folder for each modality, with one .npy file for each video."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError
from avvp_pl.labeling.from_folder import FromFolder

MODALITIES, EVENTS = ("audio", "visual"), ("bell", "dog", "cat")
LENGTHS = {"a": 2, "b": 3}
WEAK = {"a": [1.0, 0, 1], "b": [0.0, 1, 1]}


def videos_of(*names: str) -> VideoSet:
    """Videos whose names are longer than those of their files, as in LLP."""
    lengths = torch.tensor([LENGTHS[name] for name in names])
    streams, weak = {"sound": torch.zeros(int(lengths.sum()), 1)}, torch.tensor([WEAK[name] for name in names])
    return VideoSet(tuple(f"{name}_0_10" for name in names), lengths, streams, weak, keys=names)


def labels_of(name: str, m: int) -> np.ndarray:
    rows = [[(t + m + c) % 2 * int(WEAK[name][c]) for c in range(3)] for t in range(LENGTHS[name])]
    return np.array(rows, dtype=np.int64)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    for m, modality in enumerate(MODALITIES):
        (tmp_path / modality).mkdir()
        for name in ("a", "b", "unknown"):
            np.save(tmp_path / modality / f"{name}.npy", labels_of("a" if name == "unknown" else name, m))
    return {modality: str(tmp_path / modality) for modality in MODALITIES}


def convert(folders: dict[str, str], *names: str, missing: Any = "error") -> torch.Tensor:
    return FromFolder(MODALITIES, EVENTS, folders, missing)({"train": videos_of(*names)}).values


def test_labels_are_read_as_they_are(folders: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        found = convert(dict(reversed(folders.items())), "b", "a")
    expected = [np.concatenate([labels_of("b", m), labels_of("a", m)]) for m in range(2)]
    np.testing.assert_array_equal(found.numpy(), np.stack(expected, axis=1))
    assert found.dtype == torch.float32
    assert "covers 2 of 2 training videos, labels above 0:" in caplog.messages[-1]


def test_a_video_in_no_folder_may_have_its_weak_label(folders: dict[str, str]) -> None:
    for folder in folders.values():
        (Path(folder) / "a.npy").unlink()
    with pytest.raises(InputError) as error:
        convert(folders, "a", "b")
    said = "no such file, so the training video 'a_0_10' has no labels; add it, or give missing=weak"
    assert str(error.value).startswith(f"{folders['audio']}/a.npy: {said}")
    found = convert(folders, "a", "b", missing="weak")
    np.testing.assert_array_equal(found[:2].numpy(), np.tile(np.array(WEAK["a"], dtype=np.float32), (2, 2, 1)))
    for folder in folders.values():
        (Path(folder) / "b.npy").unlink()
    with pytest.raises(InputError, match="has a file of none of the 2 videos"):
        convert(folders, "a", "b", missing="weak")


@pytest.mark.parametrize("missing", ["error", "weak"])
def test_a_video_in_one_folder_only_is_refused(folders: dict[str, str], missing: str) -> None:
    (Path(folders["visual"]) / "a.npy").unlink()
    with pytest.raises(InputError) as error:
        convert(folders, "a", "b", missing=missing)
    assert str(error.value).startswith(f"{folders['visual']}/a.npy: no such file, but there is {folders['audio']}/a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((3, 3)), "has shape [3, 3] and type float64; needed are numbers of shape [2, 3]"),
        (np.zeros((2, 25)), "has shape [2, 25]"),
        (np.array([["a"] * 3] * 2), "has shape [2, 3] and type <U1"),
        (np.array([[None] * 3] * 2), "has Python objects, which are not read; write numbers"),
        (b"", "cannot be read ("),
        (pickle.dumps(print), "cannot be read ("),
        (np.eye(2, 3, 1), "has a label above 0 for dog in 'a_0_10', whose weak label does not have this event"),
    ],
)
def test_files_that_are_refused(folders: dict[str, str], content: Any, message: str) -> None:
    path = Path(folders["audio"]) / "a.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(InputError) as error:
        convert(folders, "a", "b")
    where = path.parent.parent if "above" in message else path
    assert str(error.value).startswith(f"{where}: {message}")


@pytest.mark.parametrize(
    "given", [{"audio": "x"}, {"audio": "x", "visul": "y"}, {"audio": "x", "visual": "y", "z": "z"}]
)
def test_every_modality_needs_one_folder(given: dict[str, str]) -> None:
    with pytest.raises(InputError, match="give a folder for each of the modalities audio, visual, but there are"):
        FromFolder(MODALITIES, EVENTS, given, "error")
