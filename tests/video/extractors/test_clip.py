from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avvp_pl.errors import InputError
from avvp_pl.video.extractors.clip import Clip

transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'avvp_pl[transformers]'")
BLOCK = np.random.default_rng(0).integers(0, 256, (3, 1, 40, 70, 3), dtype=np.uint8)
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    text = {**SIZES, "vocab_size": 30, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    vision = {**SIZES, "image_size": 32, "patch_size": 8, "projection_dim": 12}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    return transformers.CLIPModel(config).eval()


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    model.save_pretrained(folder)
    return folder


def slow_resize(picture: np.ndarray, size: int) -> np.ndarray:
    """Bilinear and not antialiased: each new pixel is a mean of the four old ones around it."""
    height, width = picture.shape[:2]
    found = np.zeros((size, size, 3))
    for i in range(size):
        for j in range(size):
            y = min(max((i + 0.5) * height / size - 0.5, 0), height - 1)
            x = min(max((j + 0.5) * width / size - 0.5, 0), width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = picture[top, left] * (1 - x + left) + picture[top, right] * (x - left)
            lower = picture[bottom, left] * (1 - x + left) + picture[bottom, right] * (x - left)
            found[i, j] = upper * (1 - y + top) + lower * (y - top)
    return found


def test_rows_are_the_directions_of_the_whole_model(model: Any, folder: Path) -> None:
    extractor = Clip(str(folder), "cpu", 2, None, "clip")
    rows = extractor.rows(BLOCK)
    assert (extractor.dim, rows.shape) == (12, (3, 12))
    assert rows.dtype == np.float32
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    read = np.stack([(slow_resize(picture / 255, 32) - mean) / std for picture in BLOCK[:, 0]])
    with torch.inference_mode():
        embedded = model.get_image_features(pixel_values=torch.from_numpy(read).float().permute(0, 3, 1, 2))
    expected = embedded.pooler_output.numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(rows[0] - rows[1]).max() > 1e-3


def test_the_identity_changes_with_the_weights_and_with_nothing_else(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "README.md").write_text("text")
    before = Clip(str(folder), "cpu", 1, None, "clip").identity()
    assert Clip(str(copy), "cpu", 1, None, "clip").identity() == before
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    assert Clip(str(copy), "cpu", 1, None, "clip").identity() != before


def test_folders_of_something_else_are_refused(folder: Path, tmp_path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message):
            Clip(str(tmp_path), "cpu", 1, None, "clip")

    refused("must be a folder with config.json and weights")
    config = tmp_path / "config.json"
    config.write_text("{")
    refused(r"has no weights \(model.safetensors")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"text")
    refused(r"config\.json: cannot be read")
    config.write_text(json.dumps({"model_type": "bert"}))
    refused("its config.json is that of bert, not of clip")
    shutil.copy(folder / "config.json", config)
    refused("cannot be loaded as CLIPVisionModelWithProjection")
    state = transformers.CLIPModel.from_pretrained(folder).state_dict()
    del state["visual_projection.weight"]
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(state, weights, metadata={"format": "pt"})
    refused(r"lacks weights of CLIPVisionModelWithProjection: visual_projection\.weight$")
