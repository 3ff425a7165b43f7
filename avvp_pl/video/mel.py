"""Log-mel spectrograms of single seconds of sound, as YAMNet and VGGish expect them.

Both take 96 frames and 64 bands of a second at 16 kHz, and differ in details: see :func:`log_mel` and
:func:`mel_filters`.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64

RATE = 16_000  # samples a second
WINDOW, HOP, FFT = 400, 160, 512  # samples
FRAMES, BANDS = 96, 64
LOWEST, HIGHEST = 125.0, 7500.0  # Hz, of the bands


def log_mel(
    seconds: Float32[np.ndarray, "T rate"], offset: float, start: int, linear_in: Literal["hertz", "mel"]
) -> Float32[np.ndarray, "T frames bands"]:
    """Return log(mel + ``offset``) of each second, [T, 96, 64]; no frame reaches into the next second.

    A frame is 400 samples under a periodic Hann window, and its magnitude spectrum has 257 bins. Frame i begins at
    sample 160 i + ``start``. The last frames that a second has room for are not used: 96 is what the networks take.
    """
    if seconds.shape[1] != RATE:
        raise ValueError(f"{seconds.shape[1]} samples a second, but the bands are those of {RATE}")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    every = np.lib.stride_tricks.sliding_window_view(seconds, WINDOW, axis=1)
    frames = every[:, start::HOP][:, :FRAMES]  # [T, 96, 400]
    magnitudes = np.abs(np.fft.rfft(frames * window, FFT))  # [T, 96, 257]
    bands: Float64[np.ndarray, "T frames bands"] = np.log(magnitudes @ mel_filters(linear_in) + offset)
    return bands.astype(np.float32)


@cache
def mel_filters(linear_in: Literal["hertz", "mel"]) -> Float64[np.ndarray, "bins bands"]:
    """Return triangular filters, [257, 64], whose edges are at equal distances on HTK's mel scale.

    The sides of the triangles are straight lines over mel, as in VGGish, or over hertz, as in torchaudio. No filter is
    normalized.
    """
    hertz = np.linspace(0, RATE / 2, FFT // 2 + 1)
    bins = 1127 * np.log1p(hertz / 700)  # HTK's mel
    lowest, highest = 1127 * np.log1p(np.array([LOWEST, HIGHEST]) / 700)
    edges = np.linspace(lowest, highest, BANDS + 2)
    if linear_in == "hertz":
        bins, edges = hertz, 700 * np.expm1(edges / 1127)
    lower, center, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - lower) / (center - lower)
    falling = (upper - bins[:, None]) / (upper - center)
    filters: Float64[np.ndarray, "bins bands"] = np.maximum(0.0, np.minimum(rising, falling))
    return filters
