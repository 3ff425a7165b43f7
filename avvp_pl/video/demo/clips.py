"""From a plan to a clip: its sound, its pictures, and the file of both."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from jaxtyping import Float32, UInt8

from avvp_pl.video.demo.events import EVENTS, Floats, Layer, Stage
from avvp_pl.video.demo.plans import Plan

RATE = 16_000  # samples of sound a second
FPS = 8  # pictures a second
FADE = 0.02  # seconds in which a sound begins and ends, so that it does not click
# H.264 and AAC in an MP4 file play in every browser. One thread and no time of writing: the same plan, the same bytes
VIDEO_OPTIONS = {"preset": "ultrafast", "crf": "28", "threads": "1", "g": str(FPS)}
FILE_OPTIONS = {"fflags": "bitexact"}


def sound_of(plan: Plan, rng: np.random.Generator) -> Float32[np.ndarray, " n"]:
    """Return the sound of a clip, at ``RATE`` samples a second, in [-1, 1]."""
    times = (np.arange(plan.seconds * RATE, dtype=np.float32)) / RATE
    mixed = _noise(rng, len(times)) * rng.uniform(0.005, 0.03)
    for planned in plan.events:
        if planned.heard.any():
            waveform = EVENTS[planned.event].sound(rng, times)
            loudness = rng.uniform(0.05, 0.15) / np.sqrt(np.mean(waveform**2))
            mixed += loudness * waveform * _faded(np.repeat(planned.heard, RATE))
    for span in plan.other_sounds:
        there = _faded((times >= span.start) & (times < span.end))
        hiss, tone = _noise(rng, len(times)), np.sin(2 * np.pi * np.float32(rng.uniform(150, 3000)) * times)
        mixed += rng.uniform(0.03, 0.1) * (hiss if rng.random() < 0.5 else tone) * there
    sound: Floats = np.clip(mixed, -1, 1)
    return sound


def _noise(rng: np.random.Generator, samples: int) -> Floats:
    """Return noise whose power falls with its frequency, more or less steeply, with a mean square of 1."""
    spectrum = np.fft.rfft(rng.standard_normal(samples, dtype=np.float32))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** -rng.uniform(0, 0.8)
    noise = np.fft.irfft(spectrum, samples).astype(np.float32)
    noise /= np.sqrt(np.mean(noise**2))
    return noise


def _faded(active: npt.NDArray[np.bool_]) -> Floats:
    """Return 0 and 1 with ramps inside each interval, so that nothing is heard outside of it."""
    width = int(FADE * RATE)
    padded = np.concatenate([[0], np.cumsum(active, dtype=np.int64)])
    position = np.arange(len(active))
    counts = padded[np.minimum(position + width + 1, len(active))] - padded[np.maximum(position - width, 0)]
    around = np.minimum(position + width + 1, len(active)) - np.maximum(position - width, 0)
    return np.where(active, np.clip(2 * counts / around - 1, 0, 1), 0).astype(np.float32)


def pictures_of(plan: Plan, rng: np.random.Generator, side: int) -> UInt8[np.ndarray, "F side side 3"]:
    """Return the pictures of a clip, ``FPS`` a second."""
    times = ((np.arange(plan.seconds * FPS) + 0.5) / FPS).astype(np.float32)
    pictures = _background(rng, Stage(times, side))
    for span in plan.other_shapes:
        seen = (times >= span.start) & (times < span.end)
        _paint(pictures, seen, [_other_shape(rng, Stage(times[seen], side))])
    for planned in plan.events:
        if planned.seen.any():
            seen = np.repeat(planned.seen, FPS)
            _paint(pictures, seen, EVENTS[planned.event].look(rng, Stage(times[seen], side)))
    pictures += 0.02 * rng.standard_normal((*pictures.shape[:3], 1), dtype=np.float32)
    return (np.clip(pictures, 0, 1) * 255).astype(np.uint8)


def _background(rng: np.random.Generator, stage: Stage) -> Floats:
    """Return a texture of two muted colors that drifts slowly, [F, H, W, 3]."""
    waves = np.zeros((len(stage.times), stage.y.shape[1], stage.x.shape[2]), dtype=np.float32)
    for _ in range(2):
        along, down, tempo = rng.normal(0, 2.5), rng.normal(0, 2.5), rng.normal(0, 0.5)
        drift = stage.frames(tempo * stage.times + rng.uniform(0, 2 * np.pi))
        waves += np.sin(stage.x * np.float32(along) + stage.y * np.float32(down) + drift)
    blend = (0.5 + waves / 4)[..., None]
    one, other = (_muted(rng, 0.2, 0.7, 0.06) for _ in range(2))
    return other + blend * (one - other)


def _muted(rng: np.random.Generator, darkest: float, brightest: float, tint: float) -> Floats:
    """Return a gray with a little color, [3]."""
    return np.clip(rng.uniform(darkest, brightest) + rng.normal(0, tint, 3), 0, 1).astype(np.float32)


def _other_shape(rng: np.random.Generator, stage: Stage) -> Layer:
    """Return a shape that is no event: a disc or a box of any muted color."""
    x, y = stage.path(rng)
    size, wide = rng.uniform(0.15, 0.35), np.float32(rng.uniform(0.6, 1.6))
    away = np.abs((stage.x - x) / wide), np.abs(stage.y - y)
    edge = (np.hypot(*away) if rng.random() < 0.5 else np.maximum(*away)) - np.float32(size)
    return Layer(stage.fill(edge), _muted(rng, 0.1, 0.9, 0.15))


def _paint(pictures: Floats, seen: npt.NDArray[np.bool_], layers: Iterable[Layer]) -> None:
    """Paint layers in place, one over another, on the pictures in which they are ``seen``."""
    painted = pictures[seen]
    for layer in layers:
        painted += layer.cover[..., None] * (layer.color - painted)
    pictures[seen] = painted


def encoded(sound: Float32[np.ndarray, " n"], pictures: UInt8[np.ndarray, "F H W 3"]) -> bytes:
    """Return an MP4 file with these pictures (H.264) and this sound (AAC), for as many whole seconds as both have.

    The same input gives the same bytes.
    """
    content = io.BytesIO()
    with av.open(content, "w", format="mp4", options=FILE_OPTIONS) as file:
        video = file.add_stream("libx264", rate=FPS, options=VIDEO_OPTIONS)
        video.height, video.width, video.pix_fmt = pictures.shape[1], pictures.shape[2], "yuv420p"
        audio = file.add_stream("aac", rate=RATE, layout="mono")
        audio.bit_rate = 48_000
        for second in range(len(pictures) // FPS):  # in turn, so that a player finds both tracks side by side
            for number in range(second * FPS, (second + 1) * FPS):
                picture = av.VideoFrame.from_ndarray(pictures[number], format="rgb24")
                picture.pts, picture.time_base = number, Fraction(1, FPS)
                file.mux(video.encode(picture))
            samples = sound[second * RATE : (second + 1) * RATE]
            heard = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = RATE, second * RATE, Fraction(1, RATE)
            file.mux(audio.encode(heard))
        for stream in (video, audio):
            file.mux(stream.encode(None))
    return content.getvalue()
