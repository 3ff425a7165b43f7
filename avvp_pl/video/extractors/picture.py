"""``picture``: colors, edges and motion of each second. It needs no weights and sees simple shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from avvp_pl.video.extractor import Extractor, Pictures

SIDE = 64  # pictures are made this small, whatever their shape
THUMBNAIL = 8  # cells on a side whose mean color is kept
CELLS = 4  # cells on a side with edges and motion of their own
LEVELS = 4  # of red, green and blue in the histogram of colors
DIRECTIONS = 8  # of edges, in half a turn
# What each part is multiplied by, so that its columns vary about as much as those of the others. Without this, a
# network mostly sees the thumbnail, and learns the backgrounds of its training videos
THUMBNAIL_SCALE, COLORS_SCALE, EDGES_SCALE, MOTION_SCALE = 0.3, 2.0, 30.0, 5.0


class Picture(Extractor):
    """Per second, as means over its pictures: a thumbnail, histograms of colors and edges, and the motion.

    - a thumbnail of 8 x 8 colors;
    - the square root of each color's share of the picture, of 4 x 4 x 4 colors;
    - in each of 4 x 4 cells, the strength of edges in each of 8 directions;
    - in each of 4 x 4 cells, the mean change from one picture to the next one.
    """

    name = "picture"
    modality = "visual"
    dim = 3 * THUMBNAIL**2 + LEVELS**3 + DIRECTIONS * CELLS**2 + CELLS**2

    def __init__(self, per_second: int = 4) -> None:
        self.per_second = per_second
        self.input = Pictures(per_second)

    def rows(self, block: npt.NDArray[Any]) -> Float32[np.ndarray, "R dim"]:
        """Return a row for each second of ``block``, uint8 [T, n, H, W, 3]."""
        seconds, pictures = block.shape[:2]
        small = np.stack([shrink(one) for one in block.reshape(-1, *block.shape[2:])])  # [T n, 64, 64, 3]
        parts = [
            THUMBNAIL_SCALE * (cells(small, THUMBNAIL) - 0.5),
            COLORS_SCALE * np.sqrt(colors(small)),
            EDGES_SCALE * edges(small),
        ]
        rows = [part.reshape(seconds, pictures, -1).mean(axis=1) for part in parts]
        rows.append(MOTION_SCALE * motion(small.reshape(seconds, pictures, SIDE, SIDE, 3)))
        return np.concatenate(rows, axis=1, dtype=np.float32)

    def identity(self) -> dict[str, Any]:
        """Return what decides the rows."""
        return {**super().identity(), "per_second": self.per_second}


def shrink(picture: npt.NDArray[np.uint8]) -> Float32[np.ndarray, "side side 3"]:
    """Return a picture [H, W, 3] as 64 x 64 means of equal areas, from 0 to 1. A smaller one has pixels repeated."""
    height, width = picture.shape[:2]
    coarse: npt.NDArray[Any] = picture[
        :: max(1, height // (4 * SIDE)), :: max(1, width // (4 * SIDE))
    ]  # large ones need no more
    for axis in (0, 1):
        size = coarse.shape[axis]
        if size < SIDE:
            coarse = coarse.take(np.arange(SIDE) * size // SIDE, axis=axis)
            size = SIDE
        starts = np.arange(SIDE) * size // SIDE
        counts = np.diff([*starts, size]).astype(np.float32)
        sums = np.add.reduceat(coarse, starts, axis=axis, dtype=np.float32)
        coarse = sums / np.expand_dims(counts, tuple(other for other in range(3) if other != axis))
    return (coarse / 255).astype(np.float32)


def cells(small: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """Return means over ``count`` x ``count`` cells of pictures [N, 64, 64, ...], as [N, count, count, ...]."""
    side = SIDE // count
    means: npt.NDArray[np.float32] = small.reshape(len(small), count, side, count, side, *small.shape[3:]).mean((2, 4))
    return means


def colors(small: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the share of each of 4 x 4 x 4 colors in pictures [N, 64, 64, 3]."""
    levels = (small * LEVELS).astype(np.int64).clip(max=LEVELS - 1)
    number = (levels[..., 0] * LEVELS + levels[..., 1]) * LEVELS + levels[..., 2]  # [N, 64, 64]
    number += LEVELS**3 * np.arange(len(small))[:, None, None]
    counts = np.bincount(number.ravel(), minlength=LEVELS**3 * len(small)).reshape(len(small), -1)
    return (counts / SIDE**2).astype(np.float32)


def edges(small: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the mean strength of edges in each direction and cell of pictures [N, 64, 64, 3], as [N, 4, 4, 8].

    The direction is that of the gradient of the lightness, up to half a turn.
    """
    light = small.mean(axis=3)
    down, right = np.gradient(light, axis=(1, 2))
    strength = np.hypot(down, right)
    turn = np.arctan2(down, right) % np.pi
    direction = (turn / np.pi * DIRECTIONS + 0.5).astype(np.int64) % DIRECTIONS  # the first is centered at 0
    split = strength[..., None] * (direction[..., None] == np.arange(DIRECTIONS))
    return cells(split.astype(np.float32), CELLS)


def motion(small: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the mean absolute change between the pictures of each second, [T, n, 64, 64, 3], as [T, 16]."""
    if small.shape[1] == 1:
        return np.zeros((len(small), CELLS**2), dtype=np.float32)
    change = np.abs(np.diff(small, axis=1)).mean(axis=(1, 4))  # [T, 64, 64]
    return cells(change, CELLS).reshape(len(small), -1)
