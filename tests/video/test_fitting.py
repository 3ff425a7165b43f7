from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from avvp_pl.video.fitting import IMAGENET, Fit, cropped, fitted, squashed
from tests.video.oracles import torchvision


def weights(before: int, after: int) -> np.ndarray:
    """The matrix of an antialiased bilinear resize, [after, before]: triangles as wide as what is merged."""
    scale = before / after
    reach = max(scale, 1.0)
    rows = np.zeros((after, before))
    for i in range(after):
        middle = (i + 0.5) * scale
        for j in range(before):
            rows[i, j] = max(0.0, 1 - abs(j + 0.5 - middle) / reach)
    rows /= rows.sum(1, keepdims=True)
    return rows


def resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize across and then down, rounded to whole levels after each."""
    across = np.floor(np.einsum("wx,hxc->hwc", weights(picture.shape[1], width), picture) + 0.5)
    down: np.ndarray = np.floor(np.einsum("hy,ywc->hwc", weights(picture.shape[0], height), across) + 0.5)
    return down


def levels(picture: np.ndarray, fit: Fit) -> np.ndarray:
    return (fitted(picture[None], fit)[0] * 255).round().permute(1, 2, 0).numpy()


PICTURES = [
    np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    for seed, shape in enumerate([(48, 64, 3), (75, 40, 3), (32, 32, 3), (33, 51, 3), (32, 51, 3)])
]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: str(picture.shape))
def test_pictures_are_cropped_as_by_hand(picture: np.ndarray) -> None:
    height, width = picture.shape[:2]
    short = min(height, width)
    whole = resized(picture, int(32 * height / short), int(32 * width / short))
    top, left = round((whole.shape[0] - 24) / 2), round((whole.shape[1] - 24) / 2)
    found = levels(picture, cropped(32, 24))
    assert np.abs(found - whole[top : top + 24, left : left + 24]).max() <= 1  # Pillow rounds weights to 22 bits


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: str(picture.shape))
def test_pictures_are_squashed_as_by_hand(picture: np.ndarray) -> None:
    assert np.abs(levels(picture, squashed(28)) - resized(picture, 28, 28)).max() <= 1


def test_a_picture_of_the_right_size_is_unchanged() -> None:
    picture = PICTURES[2]
    np.testing.assert_array_equal(levels(picture, cropped(32, 32)), picture)
    np.testing.assert_array_equal(levels(picture, squashed(32)), picture)


def test_values_are_normalized_by_channel() -> None:
    grey = torch.full((1, 3, 1, 1), 0.5)
    expected = [(0.5 - mean) / std for mean, std in zip(*IMAGENET, strict=True)]
    assert IMAGENET(grey).flatten().tolist() == pytest.approx(expected)
    assert math.isclose(expected[0], 0.0655, abs_tol=1e-4)


def test_pictures_are_exactly_those_of_torchvision() -> None:
    vision = torchvision()
    if vision is None:
        pytest.skip("needs torchvision, which tests/video/oracles.py says how to install")
    transforms = vision.transforms
    last = [transforms.ToTensor(), transforms.Normalize(*IMAGENET)]
    for picture in [*PICTURES, np.random.default_rng(9).integers(0, 256, (301, 417, 3), dtype=np.uint8)]:
        by_hand = {
            cropped(256, 224): [transforms.Resize(256), transforms.CenterCrop(224)],
            squashed(112): [transforms.Resize((112, 112))],
        }
        for fit, first in by_hand.items():
            expected = transforms.Compose([*first, *last])(Image.fromarray(picture))
            assert torch.equal(IMAGENET(fitted(picture[None], fit))[0], expected)
