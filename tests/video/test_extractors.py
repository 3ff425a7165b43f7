"""The two extractors without weights: what their numbers are, and that they tell sounds and shapes apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from avvp_pl.settings.conf import config_dir
from avvp_pl.video.extractor import Extractor, Sound
from avvp_pl.video.extractors.logmel import HIGHEST, LOWEST, LogMel, mel_filters
from avvp_pl.video.extractors.picture import Picture, colors, edges, shrink

BUILT: dict[str, Extractor] = {"logmel": LogMel(), "picture": Picture()}


def block_for(extractor: Extractor, seconds: int, seed: int = 0) -> npt.NDArray[Any]:
    rng = np.random.default_rng(seed)
    if isinstance(extractor.input, Sound):
        return rng.normal(scale=0.1, size=(seconds, extractor.input.rate)).astype(np.float32)
    return rng.integers(0, 256, (seconds, extractor.input.per_second, 30, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", BUILT)
def test_the_contract(name: str) -> None:
    """Rows of float32, which do not depend on what is beside a second, and an identity of text and numbers."""
    extractor = BUILT[name]
    block = block_for(extractor, 5)
    rows = extractor.rows(block)
    assert rows.shape == (5 * extractor.rows_per_segment, extractor.dim)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    apart = np.concatenate([extractor.rows(block[second : second + 1]) for second in range(5)])
    np.testing.assert_allclose(rows, apart, rtol=1e-5, atol=1e-6)
    zeros = extractor.rows(np.zeros_like(block))
    assert np.isfinite(zeros).all()
    assert all(isinstance(value, str | int | float | None) for value in extractor.identity().values())
    settings = OmegaConf.load(config_dir() / "extractors" / f"{name}.yaml")
    built = instantiate(settings)
    assert (built.name, built.identity()) == (name, extractor.identity())


def test_settings_are_part_of_the_identity() -> None:
    assert LogMel(8).identity() != LogMel(16).identity()
    assert (LogMel(8).dim, LogMel(8).identity()["bands"]) == (32, 8)
    assert Picture(1).identity() != Picture(4).identity()


def test_log_mel_statistics_are_those_of_a_slow_computation() -> None:
    sound = block_for(LogMel(20), 1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = []
    for first in range(0, 16_000 - 400 + 1, 160):
        part = np.zeros(512)
        part[:400] = sound[0, first : first + 400] * window
        spectrum = [abs(np.sum(part * np.exp(-2j * np.pi * k * np.arange(512) / 512))) for k in range(257)]
        frames.append(np.log(np.array(spectrum) @ mel_filters(20) + 0.01))
    logs = np.array(frames)
    assert logs.shape == (98, 20)
    expected = [logs.mean(0), logs.std(0), logs.max(0), np.abs(logs[1:] - logs[:-1]).mean(0)]
    np.testing.assert_allclose(LogMel(20).rows(sound)[0], np.concatenate(expected), rtol=1e-3, atol=1e-3)


def test_mel_filters_are_triangles_of_equal_width_in_mel() -> None:
    filters = mel_filters(64)
    np.testing.assert_allclose(filters.sum(axis=0), 1, rtol=1e-5)
    hertz = np.arange(257) * 16_000 / 512
    peaks = hertz[filters.argmax(axis=0)]
    mel = 2595 * np.log10(1 + peaks / 700)
    low, high = (2595 * np.log10(1 + one / 700) for one in (LOWEST, HIGHEST))
    expected = low + (high - low) * np.arange(1, 65) / 65
    assert np.abs(mel - expected).max() < 2595 * np.log10(1 + (100 + 31.25) / 700) - 2595 * np.log10(1 + 100 / 700)


def test_a_tone_is_heard_in_its_band_and_its_beat_in_the_change() -> None:
    times = np.arange(16_000) / 16_000
    tones = np.stack([np.sin(2 * np.pi * hertz * times) for hertz in (300, 1000, 4000)]).astype(np.float32)
    means = LogMel().rows(tones)[:, :64]
    assert (np.diff(means.argmax(axis=1)) > 5).all()
    beating = tones[1:2] * (times % 0.1 < 0.05).astype(np.float32)
    steady, beats = (LogMel().rows(sound)[0, 192:].max() for sound in (tones[1:2], beating))
    assert beats > 5 * steady


@pytest.mark.parametrize("size", [(64, 64), (48, 64), (1, 1), (7, 300), (65, 63), (1080, 1920)])
def test_shrinking_keeps_colors_and_places(size: tuple[int, int]) -> None:
    height, width = size
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    picture[..., 0] = 200
    picture[:, width // 2 :, 1] = 100
    small = shrink(picture)
    assert small.shape == (64, 64, 3)
    np.testing.assert_allclose(small[..., 0], 200 / 255, atol=1e-6)
    np.testing.assert_allclose(small[..., 1].mean(), 100 / 255 * (width - width // 2) / width, atol=0.01)
    assert small[:, 40:, 1].min() == pytest.approx(100 / 255)


def test_shrinking_is_a_mean_of_areas() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (128, 192, 3), dtype=np.uint8)
    expected = [[picture[2 * y : 2 * y + 2, 3 * x : 3 * x + 3].mean((0, 1)) for x in range(64)] for y in range(64)]
    np.testing.assert_allclose(shrink(picture) * 255, expected, atol=1e-3)


def test_colors_are_counted() -> None:
    small = np.zeros((2, 64, 64, 3), dtype=np.float32)
    small[0, :16] = [1, 0, 0]  # a quarter is red
    counts = colors(small)
    assert counts[0, 3 * 16] == 0.25
    assert counts[0, 0] == 0.75
    assert counts[1, 0] == 1
    np.testing.assert_allclose(counts.sum(axis=1), 1)


@pytest.mark.parametrize(("degrees", "direction"), [(0, 0), (45, 2), (90, 4), (135, 6)])
def test_edges_have_the_direction_of_their_gradient(degrees: int, direction: int) -> None:
    y, x = np.mgrid[0:64, 0:64] / 64
    along = np.cos(np.radians(degrees)) * x + np.sin(np.radians(degrees)) * y
    small = np.repeat(along[None, :, :, None], 3, axis=3).astype(np.float32)
    strength = edges(small)
    assert strength.shape == (1, 4, 4, 8)
    assert (strength.argmax(axis=3) == direction).all()
    np.testing.assert_allclose(strength.sum(axis=3), 1 / 64, rtol=0.05)


def test_a_row_has_all_parts_with_their_weights() -> None:
    block = np.random.default_rng(0).integers(0, 256, (3, 1, 64, 64, 3), dtype=np.uint8)
    small = (block[:, 0] / 255).astype(np.float32)
    rows = Picture(per_second=1).rows(block)
    assert rows.shape == (3, Picture.dim)
    means = small.reshape(3, 8, 8, 8, 8, 3).mean(axis=(2, 4)).reshape(3, -1)
    np.testing.assert_allclose(rows[:, :192], 0.3 * (means - 0.5), atol=1e-5)
    np.testing.assert_allclose(rows[:, 192:256], 2 * np.sqrt(colors(small)), atol=1e-5)
    np.testing.assert_allclose(rows[:, 256:384], 30 * edges(small).reshape(3, -1), atol=1e-4)
    assert not rows[:, 384:].any()  # no motion in one picture


def test_motion_is_seen_where_it_is() -> None:
    block = np.zeros((2, 4, 64, 64, 3), dtype=np.uint8)
    block[1, ::2, :16, 48:] = 255  # the top right blinks in the second second
    motion = Picture().rows(block)[:, -16:].reshape(2, 4, 4)
    assert motion[1, 0, 3] == pytest.approx(5)  # black to white and back, times the weight of motion
    motion[1, 0, 3] = 0
    assert not motion.any()
