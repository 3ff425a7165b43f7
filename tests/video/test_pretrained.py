from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avvp_pl.errors import InputError
from avvp_pl.video.extractor import Sound
from avvp_pl.video.pretrained import Pretrained, Projection, require, sha256_of


class Sums(Pretrained):
    """Embeddings that can be computed in the head: the sum of a second, and its first sample."""

    name = "sums"
    modality = "audio"
    input = Sound(2)

    def __init__(self, pca: str | None, name: str = "sums") -> None:
        super().__init__("of the weights", 2, pca, name)

    def embed(self, block: np.ndarray) -> np.ndarray:
        return np.stack([block.sum(1), block[:, 0]], axis=1)


BLOCK = np.array([[1, 2], [3, 4]], dtype=np.float32)  # embeddings [3, 1] and [7, 3]


def write(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def test_embeddings_are_the_rows() -> None:
    extractor = Sums(None)
    assert extractor.rows(BLOCK).tolist() == [[3, 1], [7, 3]]
    assert extractor.identity() == {
        "extractor": "sums",
        "version": 1,
        "dim": 2,
        "rows": 1,
        "weights": "of the weights",
        "pca": None,
    }


def test_embeddings_are_projected(tmp_path: Path) -> None:
    file = write(tmp_path / "pca.npz", mean=[1.0, 1.0], components=[[1.0], [10.0]], scale=2.0)
    extractor = Sums(file, "fewer")
    rows = extractor.rows(BLOCK)
    assert rows.tolist() == [[1.0], [13.0]]  # ((3 - 1) + 10 (1 - 1)) / 2, ((7 - 1) + 10 (3 - 1)) / 2
    assert rows.dtype == np.float32
    assert (extractor.name, extractor.dim) == ("fewer", 1)
    assert extractor.identity()["pca"] == hashlib.sha256(Path(file).read_bytes()).hexdigest()
    assert extractor.identity()["dim"] == 1


def test_a_scale_may_be_one_of_each_column(tmp_path: Path) -> None:
    file = write(tmp_path / "pca.npz", mean=[0.0, 0.0], components=np.eye(2), scale=[1.0, 4.0])
    assert Sums(file).rows(BLOCK).tolist() == [[3, 0.25], [7, 0.75]]


GOOD = {"mean": np.zeros(2), "components": np.eye(2), "scale": np.float64(1)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mean": None}, "has no mean"),
        ({"mean": np.zeros(3)}, r"have the shapes \[3\], \[2, 2\] and \[\]"),
        ({"scale": np.ones(3)}, r"have the shapes \[2\], \[2, 2\] and \[3\]"),
        ({"components": np.eye(3), "mean": np.zeros(3)}, "embeddings of 3 columns, but those of this network have 2"),
        ({"scale": np.float64(0)}, "scale must be above 0"),
        ({"components": np.full((2, 2), np.nan)}, "components must consist of finite numbers"),
        ({"components": np.array([["a"]])}, "components must consist of finite numbers"),
        ({"mean": np.array([{}], dtype=object)}, "is not a .npz file of mean, components and scale"),
    ],
)
def test_what_is_no_projection_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    arrays = {name: array for name, array in {**GOOD, **changed}.items() if array is not None}
    with pytest.raises(InputError, match=rf"pca\.npz: .*{message}"):
        Projection(Path(write(tmp_path / "pca.npz", **arrays)), 2)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pca.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is not a \.npz file of mean, components and scale"):
        Projection(path, 2)
    with pytest.raises(InputError, match=r"absent\.npz: cannot be read"):
        Projection(tmp_path / "absent.npz", 2)


def test_a_checksum_of_files_is_of_their_contents_and_names(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"1")
    other.write_bytes(b"2")
    before = sha256_of([one, other])
    assert sha256_of([one]) == hashlib.sha256(b"1").hexdigest()
    other.write_bytes(b"3")
    assert sha256_of([one, other]) != before
    other.write_bytes(b"2")
    assert sha256_of([one, other]) == before
    assert sha256_of([one, other.rename(tmp_path / "third")]) != before


def test_an_absent_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InputError, match=r"yamnet needs no_such_package, .* \(No module named 'no_such_package'\): pip install x"
    ):
        require("no_such_package.inside", "yamnet", "pip install x")
    (tmp_path / "unfit_package.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"unfit_package, which cannot be imported \(operator torchvision::nms"):
        require("unfit_package", "clip", "pip install x")
