from __future__ import annotations

import cmath
import math
from typing import Literal

import numpy as np
import pytest

from avvp_pl.video.mel import log_mel, mel_filters

KINDS: tuple[tuple[int, Literal["hertz", "mel"]], ...] = ((0, "mel"), (56, "hertz"))


def mel(hertz: float) -> float:
    return 1127 * math.log(1 + hertz / 700)


def hertz(value: float) -> float:
    return 700 * (math.exp(value / 1127) - 1)


def slow(second: np.ndarray, frame: int, band: int, offset: float, start: int, linear_in: str) -> float:
    """One number of a spectrogram, by the definition of the Fourier transform."""
    samples = [
        float(second[160 * frame + start + n]) * (0.5 - 0.5 * math.cos(2 * math.pi * n / 400)) for n in range(400)
    ]
    step = (mel(7500) - mel(125)) / 65
    low, center, high = (mel(125) + (band + i) * step for i in range(3))
    total = 0.0
    for bin_ in range(257):
        at, a, b, c = bin_ * 8000 / 256, hertz(low), hertz(center), hertz(high)
        if linear_in == "mel":
            at, a, b, c = mel(at), low, center, high
        weight = min((at - a) / (b - a), (c - at) / (c - b))
        if weight > 0:
            total += weight * abs(sum(x * cmath.exp(-2j * math.pi * bin_ * n / 512) for n, x in enumerate(samples)))
    return math.log(total + offset)


@pytest.mark.parametrize(("start", "linear_in"), KINDS)
def test_numbers_are_those_of_the_definition(start: int, linear_in: Literal["hertz", "mel"]) -> None:
    seconds = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 16000)).astype(np.float32)
    found = log_mel(seconds, 0.01, start, linear_in)
    assert found.shape == (2, 96, 64)
    for second, frame, band in ((0, 0, 0), (0, 95, 63), (1, 40, 7), (1, 95, 30)):
        assert found[second, frame, band] == pytest.approx(
            slow(seconds[second], frame, band, 0.01, start, linear_in), abs=1e-5
        )


@pytest.mark.parametrize(("start", "linear_in"), KINDS)
def test_a_second_is_computed_alone(start: int, linear_in: Literal["hertz", "mel"]) -> None:
    seconds = np.random.default_rng(1).uniform(-0.5, 0.5, (3, 16000)).astype(np.float32)
    together = log_mel(seconds, 0.01, start, linear_in)
    for number in range(3):
        np.testing.assert_array_equal(together[number : number + 1], log_mel(seconds[[number]], 0.01, start, linear_in))


def test_silence_is_the_logarithm_of_the_offset() -> None:
    np.testing.assert_allclose(log_mel(np.zeros((1, 16000), np.float32), 0.01, 0, "mel"), math.log(0.01), rtol=1e-6)


@pytest.mark.parametrize("linear_in", ["hertz", "mel"])
@pytest.mark.parametrize("tone", [440.0, 1000.0, 3000.0])
def test_a_tone_is_loudest_in_the_band_whose_middle_is_nearest(linear_in: Literal["hertz", "mel"], tone: float) -> None:
    second = np.sin(2 * np.pi * tone * np.arange(16000) / 16000).astype(np.float32)[None]
    middles = np.array([hertz(mel(125) + (band + 1) * (mel(7500) - mel(125)) / 65) for band in range(64)])
    loudest = log_mel(second, 0.01, 0, linear_in)[0].mean(0).argmax()
    assert abs(loudest - np.abs(middles - tone).argmin()) <= 1  # the lowest bands are narrower than a bin


def test_filters_overlap_to_one_in_what_their_sides_are_straight_over() -> None:
    """Between the middles of the first and the last triangle, two neighbors add up to 1; it is 0 outside of all."""
    at = np.arange(257) * 8000 / 256
    first, last = (hertz(mel(125) + i * (mel(7500) - mel(125)) / 65) for i in (1, 64))
    for linear_in in ("hertz", "mel"):
        filters = mel_filters(linear_in)
        np.testing.assert_allclose(filters[(at > first) & (at < last)].sum(1), 1, rtol=1e-12)
        assert not filters[(at < 125) | (at > 7500)].any()


def test_another_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="48000 samples a second"):
        log_mel(np.zeros((1, 48000), np.float32), 0.01, 0, "mel")
