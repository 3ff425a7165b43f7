"""Eight made-up events: what each sounds like, and what it looks like.

Every clip has its own variant of an event: pitch, tempo, color, size and path are drawn from a generator. Some events
share a range of pitch, and some a color, so that no single number of a sound or picture tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.floating]


class Layer(NamedTuple):
    """What is painted over a picture: how much of each pixel it covers, [F, H, W] in [0, 1], and its color, [3]."""

    cover: Floats
    color: Floats


class Stage:
    """Where shapes move: F pictures of ``side`` x ``side`` pixels. Positions and sizes are in units of half a side."""

    def __init__(self, times: Floats, side: int) -> None:
        self.times = times  # [F], in seconds
        self.pixel = 2 / side
        line = np.linspace(-1, 1, side, dtype=np.float32)
        self.x, self.y = line[None, None, :], line[None, :, None]

    def path(self, rng: np.random.Generator, reach: float = 0.6) -> tuple[Floats, Floats]:
        """Return a slow path, x and y [F, 1, 1]: two swings, each with a tempo of its own."""
        tempo, phase = rng.uniform(0.05, 0.25, 2), rng.uniform(0, 2 * np.pi, 2)
        x, y = (reach * np.sin(2 * np.pi * tempo[k] * self.times + phase[k]) for k in range(2))
        return self.frames(x), self.frames(y)

    def frames(self, values: npt.ArrayLike) -> Floats:
        """Return one value for each picture, as [F, 1, 1]."""
        return np.asarray(values, dtype=np.float32).reshape(-1, 1, 1)

    def fill(self, distance: Floats) -> Floats:
        """Return how much of each pixel lies inside a shape: ``distance`` to its edge is negative inside."""
        inside: Floats = np.clip(0.5 - distance * np.float32(1 / self.pixel), 0, 1)
        return inside


Sound: TypeAlias = Callable[[np.random.Generator, Floats], Floats]
Look: TypeAlias = Callable[[np.random.Generator, Stage], Iterator[Layer]]


class Event(NamedTuple):
    """An event. ``sound`` makes a waveform [n] for times in seconds [n]; ``look`` paints all pictures of a clip."""

    name: str
    sound: Sound
    look: Look


# sounds


def _wave(pitch: float | Floats, times: Floats) -> Floats:
    """Return a sine of a constant pitch, or of one that changes: of its integral over time."""
    wave: Floats
    if isinstance(pitch, np.ndarray):
        step = times[1] - times[0] if len(times) > 1 else 0.0
        wave = np.sin(2 * np.pi * np.cumsum(pitch, dtype=np.float64) * step).astype(np.float32)
    else:
        wave = np.sin(np.float32(2 * np.pi * pitch) * times)
    return wave


def _since(times: Floats, period: float) -> Floats:
    """Return the time since the last of many strokes, one in every ``period``."""
    passed: Floats = np.mod(times - times[0], np.float32(period))
    return passed


def _bell(rng: np.random.Generator, times: Floats) -> Floats:
    pitch, since = rng.uniform(480, 720), _since(times, rng.uniform(0.45, 0.8))
    partials = ((1, 1.0, 4), (2.0, 0.6, 5), (2.76, 0.5, 7), (5.4, 0.25, 12))  # inharmonic, and the high ones die first
    struck = [share * np.exp(-decay * since) * _wave(pitch * ratio, times) for ratio, share, decay in partials]
    sound: Floats = np.sum(struck, axis=0, dtype=np.float32)
    return sound


def _bee(rng: np.random.Generator, times: Floats) -> Floats:
    trembling = 1 + 0.03 * _wave(rng.uniform(4, 7), times)
    pitch = rng.uniform(170, 240) * trembling
    harmonics = [_wave(pitch * k, times) / (3 * k**0.7) for k in range(1, 12)]
    sound: Floats = np.sum(harmonics, axis=0, dtype=np.float32)
    return sound


def _bird(rng: np.random.Generator, times: Floats) -> Floats:
    period, lasts = rng.uniform(0.2, 0.33), rng.uniform(0.1, 0.16)
    since = _since(times, period)
    pitch = rng.uniform(2000, 2600) + rng.uniform(9000, 14000) * np.minimum(since, lasts)
    sound: Floats = _wave(pitch, times) * np.sin(np.pi * np.clip(since / lasts, 0, 1))
    return sound


def _siren(rng: np.random.Generator, times: Floats) -> Floats:
    low, high = rng.uniform(450, 650), rng.uniform(1000, 1400)
    pitch = low + (high - low) * (0.5 + 0.5 * _wave(rng.uniform(0.6, 1.4), times))
    sound: Floats = _wave(pitch, times) + 0.4 * _wave(2 * pitch, times) + 0.3 * _wave(3 * pitch, times)
    return sound


def _clock(rng: np.random.Generator, times: Floats) -> Floats:
    since = _since(times, rng.uniform(0.25, 0.45))
    tones = _wave(rng.uniform(1500, 2500), times) + _wave(rng.uniform(3500, 4500), times)
    sound: Floats = 2 * np.exp(-60 * since) * tones
    return sound


def _drum(rng: np.random.Generator, times: Floats) -> Floats:
    since = _since(times, rng.uniform(0.3, 0.55))
    skin = np.exp(-9 * since) * _wave(rng.uniform(70, 110), times)
    rattle = np.exp(-25 * since) * rng.standard_normal(len(times), dtype=np.float32)
    sound: Floats = 1.6 * skin + 0.4 * rattle
    return sound


def _frog(rng: np.random.Generator, times: Floats) -> Floats:
    pulses = np.maximum(_wave(rng.uniform(22, 34), times), 0) ** 2
    croaks = _since(times, rng.uniform(0.5, 0.8)) < 0.35
    pitch = rng.uniform(550, 800)
    sound: Floats = 1.5 * croaks * pulses * (_wave(pitch, times) + 0.6 * _wave(1.9 * pitch, times))
    return sound


def _train(rng: np.random.Generator, times: Floats) -> Floats:
    pitch = rng.uniform(300, 380)
    whistle = np.sum([_wave(pitch * ratio, times) for ratio in (1, 1.26, 1.5, 3.0)], axis=0, dtype=np.float32)
    steam = rng.standard_normal(len(times), dtype=np.float32) * np.maximum(_wave(rng.uniform(3, 5), times), 0)
    return 0.4 * whistle + 0.4 * steam


# looks


def _shade(rng: np.random.Generator, red: float, green: float, blue: float) -> Floats:
    """Return a color near the given one: brighter or darker, and of a slightly other hue."""
    color = np.array([red, green, blue]) * rng.uniform(0.75, 1.1) + rng.normal(0, 0.06, 3)
    return np.clip(color, 0, 1).astype(np.float32)


def _size(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.2, 0.32))


def _yellow_triangle(rng: np.random.Generator, stage: Stage) -> Iterator[Layer]:
    """Swing like a bell."""
    size, (x, y) = _size(rng), stage.path(rng, 0.5)
    angle = stage.frames(0.6 * np.sin(2 * np.pi * rng.uniform(0.5, 1) * stage.times))
    across = (stage.x - x) * np.cos(angle) + (stage.y - y) * np.sin(angle)
    down = (stage.y - y) * np.cos(angle) - (stage.x - x) * np.sin(angle)
    edge = np.maximum(np.abs(across) * 0.9 - (down + size) * 0.45, down - size)
    yield Layer(stage.fill(edge), _shade(rng, 0.95, 0.8, 0.15))


def _striped_ellipse(rng: np.random.Generator, stage: Stage) -> Iterator[Layer]:
    """Tremble like a bee."""
    size, (x, y) = _size(rng), stage.path(rng)
    x, y = (place + stage.frames(rng.normal(0, 0.06, len(stage.times))) for place in (x, y))
    edge = np.hypot((stage.x - x) / 1.4, stage.y - y) - size * 0.8
    body = stage.fill(edge)
    yield Layer(body, _shade(rng, 0.95, 0.7, 0.1))
    stripes = stage.fill(np.cos((stage.x - x) * (3.2 * np.pi / size)) * 0.1)
    yield Layer(body * stripes, _shade(rng, 0.1, 0.08, 0.05))


def _blue_diamond(rng: np.random.Generator, stage: Stage) -> Iterator[Layer]:
    """Hop from place to place like a bird."""
    size, every = _size(rng), rng.uniform(0.4, 0.8)
    places = rng.uniform(-0.65, 0.65, (2, 100)).astype(np.float32)
    x, y = stage.frames(places[0]), stage.frames(places[1])
    place = (stage.times / every).astype(int) % 100
    edge = (np.abs(stage.x - x[place]) + np.abs(stage.y - y[place]) - size * 1.2) / np.sqrt(2)
    yield Layer(stage.fill(edge), _shade(rng, 0.2, 0.4, 0.95))


def _red_disc(rng: np.random.Generator, stage: Stage) -> Iterator[Layer]:
    """Turn brighter and darker like the light of a siren."""
    size, (x, y) = _size(rng), stage.path(rng)
    disc = stage.fill(np.hypot(stage.x - x, stage.y - y) - size)
    light = stage.frames(0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.8, 1.6) * stage.times))
    yield Layer(disc, _shade(rng, 0.55, 0.05, 0.05))
    yield Layer(disc * light, _shade(rng, 1.0, 0.2, 0.15))


def _white_clock(rng: np.random.Generator, stage: Stage) -> Iterator[Layer]:
    """A ring with a hand that turns."""
    size, (x, y) = _size(rng) * 1.15, stage.path(rng, 0.3)
    color = _shade(rng, 0.95, 0.95, 0.95)
    yield Layer(stage.fill(np.abs(np.hypot(stage.x - x, stage.y - y) - size) - 0.04), color)
    angle = stage.frames(2 * np.pi * rng.uniform(0.2, 0.6) * stage.times)
    along = (stage.x - x) * np.cos(angle) + (stage.y - y) * np.sin(angle)
    beside = (stage.y - y) * np.cos(angle) - (stage.x - x) * np.sin(angle)
    yield Layer(stage.fill(np.maximum(np.abs(along - size / 2) - size / 2, np.abs(beside) - 0.04)), color)


def _red_square(rng: np.random.Generator, stage: Stage) -> Iterator[Layer]:
    """Grow and shrink with the strokes of a drum."""
    x, y = stage.path(rng)
    size = _size(rng) * stage.frames(0.8 + 0.25 * np.sin(2 * np.pi * rng.uniform(1, 2) * stage.times))
    edge = np.maximum(np.abs(stage.x - x), np.abs(stage.y - y)) - size
    yield Layer(stage.fill(edge), _shade(rng, 0.75, 0.15, 0.1))
    yield Layer(stage.fill(np.abs(edge + size * 0.35) - 0.03), _shade(rng, 0.9, 0.85, 0.7))


def _green_ellipse(rng: np.random.Generator, stage: Stage) -> Iterator[Layer]:
    """Jump along the ground like a frog."""
    size, phase = _size(rng), _since(stage.times, rng.uniform(0.7, 1.2))
    x, _ = stage.path(rng, 0.7)
    y = stage.frames(0.55 - 1.6 * np.maximum(phase * (0.8 - phase), 0) / 0.16 * 0.5)
    edge = np.hypot((stage.x - x) / 1.5, stage.y - y) - size * 0.75
    yield Layer(stage.fill(edge), _shade(rng, 0.15, 0.75, 0.2))


def _blue_train(rng: np.random.Generator, stage: Stage) -> Iterator[Layer]:
    """Pass by, a long box with windows."""
    height, y = _size(rng) * 0.8, float(rng.uniform(-0.5, 0.5))
    start = rng.uniform(0, 2.4)
    x = stage.frames(np.mod(start + rng.uniform(0.5, 0.9) * stage.times, 2.4) - 1.2)
    box = stage.fill(np.maximum(np.abs(stage.x - x) - 0.6, np.abs(stage.y - y) - height))
    yield Layer(box, _shade(rng, 0.2, 0.25, 0.7))
    panes = np.maximum(np.cos((stage.x - x) * (5 * np.pi)) * 0.1, np.abs(stage.y - y + height * 0.2) - height * 0.4)
    yield Layer(box * stage.fill(panes), _shade(rng, 0.95, 0.9, 0.6))


EVENTS = (
    Event("Bell", _bell, _yellow_triangle),
    Event("Bee", _bee, _striped_ellipse),
    Event("Bird", _bird, _blue_diamond),
    Event("Siren", _siren, _red_disc),
    Event("Clock", _clock, _white_clock),
    Event("Drum", _drum, _red_square),
    Event("Frog", _frog, _green_ellipse),
    Event("Train", _train, _blue_train),
)
