"""From pictures of any size to what networks read: resized, cropped or squashed, and normalized channel by channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from torch import Tensor

Fit: TypeAlias = Callable[[Image.Image], Image.Image]


class Normalization(NamedTuple):
    """The mean and standard deviation of red, green and blue, for values from 0 to 1."""

    mean: Sequence[float]
    std: Sequence[float]

    def __call__(self, pictures: Float32[Tensor, "N 3 h w"]) -> Float32[Tensor, "N 3 h w"]:
        """Return the pictures with these subtracted and divided by."""
        mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in self)
        return (pictures - mean) / std


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def as_tensor(pictures: UInt8[np.ndarray, "N H W 3"]) -> Float32[Tensor, "N 3 H W"]:
    """Return pictures with values from 0 to 1 and channels first."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div(255)


def fitted(pictures: UInt8[np.ndarray, "N H W 3"], fit: Fit) -> Float32[Tensor, "N 3 h w"]:
    """Return pictures that ``fit`` has brought to the same size, with values from 0 to 1 and channels first."""
    return as_tensor(np.stack([np.asarray(fit(Image.fromarray(picture))) for picture in pictures]))


def cropped(shorter: int, size: int) -> Fit:
    """Resize the shorter side to ``shorter`` pixels (bilinear, antialiased) and cut the middle ``size`` squared."""

    def fit(picture: Image.Image) -> Image.Image:
        width, height = picture.size
        short = min(width, height)
        width, height = int(shorter * width / short), int(shorter * height / short)
        left, top = round((width - size) / 2), round((height - size) / 2)
        resized = picture.resize((width, height), Image.Resampling.BILINEAR)
        return resized.crop((left, top, left + size, top + size))

    return fit


def squashed(size: int) -> Fit:
    """Resize to ``size`` x ``size`` whatever the shape (bilinear, antialiased)."""
    return lambda picture: picture.resize((size, size), Image.Resampling.BILINEAR)
