"""``data.extracted_as``: features without a manifest, of which the manifest of another folder says what made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avvp_pl.data.llp import load_llp
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from avvp_pl.video.manifest import Manifest, Stream, write_manifest
from tests.own_data import write_own_data

MODALITIES = {"audio": ["clap"], "visual": ["clip"]}


def stream(modality: str, dim: int, **more: Any) -> Stream:
    return Stream({"extractor": "x", "dim": dim, **more}, modality, 1, {"_target_": "mine.X"})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_own_data(tmp_path_factory.mktemp("data"), {"audio": "clap", "visual": "clip"})


def other(folder: Path, **streams: Stream) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder / "feats", Manifest(streams, {}))
    return folder


def load(root: Path, extracted_as: Path | None) -> ParsingSet:
    return load_llp(root, MODALITIES, splits=("val",), extracted_as=extracted_as)


def test_the_extractors_are_those_of_the_other_folder(root: Path, tmp_path: Path) -> None:
    """And nothing else of it is: not its videos, nor streams that are not used here."""
    assert load(root, None).extractors == {}
    streams = {"clap": stream("audio", 5), "clip": stream("visual", 6, version=2), "more": stream("audio", 1)}
    found = load(root, other(tmp_path, **streams)).extractors
    assert sorted(found) == ["clap", "clip"]
    assert found["clip"]["identity"] == {"extractor": "x", "dim": 6, "version": 2}
    assert found["clip"]["settings"] == {"_target_": "mine.X"}


def test_a_manifest_of_its_own_must_agree(tmp_path: Path) -> None:
    own = write_own_data(tmp_path / "own", {"audio": "clap", "visual": "clip"})
    write_manifest(own / "feats", Manifest({"clap": stream("audio", 5, version=1)}, {}))
    agreeing = other(tmp_path / "a", clap=stream("audio", 5, version=1), clip=stream("visual", 6))
    assert sorted(load(own, agreeing).extractors) == ["clap", "clip"]
    differing = other(tmp_path / "b", clap=stream("audio", 5, version=2), clip=stream("visual", 6))
    with pytest.raises(InputError, match=r"'clap' are not those of data.extracted_as=.*version is 1 there and 2 here"):
        load(own, differing)


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        ({"clap": stream("audio", 5)}, "it has no stream 'clip', only clap. Did you mean 'clap'?"),
        (
            {"clap": stream("audio", 5), "clip": stream("visual", 7)},
            "its extractor of 'clip' makes 7 columns, but {root} has 6",
        ),
    ],
)
def test_what_cannot_be_true_is_refused(root: Path, tmp_path: Path, streams: dict[str, Stream], message: str) -> None:
    with pytest.raises(InputError) as refused:
        load(root, other(tmp_path, **streams))
    assert str(refused.value) == f"data.extracted_as={tmp_path}: {message.format(root=root)}"


def test_a_folder_without_a_manifest_says_nothing(root: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(1))
    with pytest.raises(InputError, match=r"there is no feats/manifest.json in this folder, as extract writes it"):
        load(root, tmp_path)
