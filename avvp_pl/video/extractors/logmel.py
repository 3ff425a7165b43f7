"""``logmel``: statistics of the log-mel spectrogram of each second. It needs no weights and hears tones and noises."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from avvp_pl.video.extractor import Extractor, Sound

RATE = 16_000
WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms, every 10 ms
LOWEST, HIGHEST = 60.0, 7_800.0  # Hz
OFFSET = 0.01  # added before the logarithm: what is 40 dB below a loud tone counts as silence


class LogMel(Extractor):
    """Per second and band: the mean, the standard deviation and the maximum over time, and the mean change.

    A second has the 98 frames that lie inside it, so its row does not depend on what is before or after it.
    """

    name = "logmel"
    modality = "audio"
    input = Sound(RATE)

    def __init__(self, bands: int = 64) -> None:
        self.bands, self.dim = bands, 4 * bands
        self.filters = mel_filters(bands)
        self.window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)  # periodic

    def rows(self, block: npt.NDArray[Any]) -> Float32[np.ndarray, "R dim"]:
        """Return a row for each second of ``block``, float32 [T, 16000]."""
        frames = np.lib.stride_tricks.sliding_window_view(block, WINDOW, axis=1)[:, ::HOP]  # [T, 98, 400]
        spectrum = np.abs(np.fft.rfft(frames * self.window, FFT))  # [T, 98, 257]
        logs = np.log(spectrum @ self.filters + OFFSET)  # [T, 98, bands]
        change = np.abs(np.diff(logs, axis=1)).mean(axis=1)
        statistics = (logs.mean(axis=1), logs.std(axis=1), logs.max(axis=1), change)
        return np.concatenate(statistics, axis=1).astype(np.float32)

    def identity(self) -> dict[str, Any]:
        """Return what decides the rows."""
        return {**super().identity(), "bands": self.bands}


def mel_filters(bands: int) -> Float32[np.ndarray, "bins bands"]:
    """Return triangles of equal width on the mel scale, 2595 log10(1 + f / 700), each with a weight of 1 in all."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (LOWEST, HIGHEST))
    corners = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(FFT, 1 / RATE)[:, None]
    rising = (hertz - corners[:-2]) / np.diff(corners[:-1])
    falling = (corners[2:] - hertz) / np.diff(corners[1:])
    triangles = np.minimum(rising, falling).clip(min=0)
    filters: npt.NDArray[np.float32] = (triangles / np.maximum(triangles.sum(axis=0), 1e-12)).astype(np.float32)
    return filters
