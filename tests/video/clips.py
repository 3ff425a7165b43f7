"""Small video files of every nasty kind, whose content tells the time.

Every frame is gray, and its lightness is :func:`lightness` of its number, so that a picture says which frame it is.
The sound is a tone of 1 kHz that is on during the first quarter of each second, and louder with each second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 64, 48
CLOCK = 90_000  # ticks a second of all time stamps


def lightness(number: int) -> int:
    """The lightness of a frame: no two of 45 frames in a row have nearly the same."""
    return 20 + 5 * (number % 45)


def number_of(picture: npt.NDArray[np.uint8]) -> int:
    """The number of a frame, below 45, by its picture."""
    return round((float(picture[4:-4, 4:-4].mean()) - 20) / 5)


def tone(rate: int, seconds: float) -> npt.NDArray[np.float32]:
    """The sound of a clip: in second k < 16, a quarter of a second at (k + 1) / 16 of full scale."""
    times = np.arange(round(rate * seconds)) / rate
    on = times % 1 < 0.25
    samples: npt.NDArray[np.float32] = np.sin(2 * np.pi * 1000 * times) * on * (np.floor(times) % 16 + 1) / 16
    return samples.astype(np.float32)


@dataclass
class Sound:
    """A sound track: ``holes`` are seconds [from, to) of the content that are cut out, without moving the rest."""

    codec: str = "pcm_s16le"
    rate: int = 16_000
    layout: str = "mono"
    start: float = 0.0
    seconds: float | None = None
    holes: Sequence[tuple[float, float]] = ()
    gain: float = 1.0
    samples: npt.NDArray[np.float32] | None = None  # [channels, n], in place of the tone


@dataclass
class Pictures:
    """A track of pictures: the frames at ``times`` (in seconds), or as many a second as ``fps``."""

    codec: str = "mpeg4"
    fps: Fraction = field(default_factory=lambda: Fraction(10))
    times: Sequence[float] | None = None
    size: tuple[int, int] = (WIDTH, HEIGHT)
    start: float = 0.0
    rotation: int = 0
    form: str = "yuv420p"
    image: npt.NDArray[np.uint8] | None = None  # every frame, in place of the gray ones
    reordered: bool = False  # libx264 only: frames are stored in another order than they are shown in (B-frames)


USUAL = Pictures()


def write_clip(
    path: Path,
    seconds: float = 4.0,
    pictures: Pictures | None = USUAL,
    sounds: Sequence[Sound] = (Sound(),),
    shift: float = 0.0,
    cover: bool = False,
    sound_first: bool = False,
    **options: str,
) -> Path:
    """Write a clip with these tracks, if any. ``shift`` is added to all time stamps, and a ``cover`` is a picture.

    ``options`` are those of the container.
    """
    with av.open(str(path), "w", options=options) as container:
        heard = [_audio(container, sound, seconds, shift) for sound in sounds] if sound_first else []
        tracks = [] if pictures is None else [_video(container, pictures, seconds, shift)]
        tracks = heard + tracks if sound_first else tracks + [_audio(container, one, seconds, shift) for one in sounds]
        if cover:
            stream = _cover_stream(container)
            container.mux(stream.encode(_cover()))
        # in order of time, as files are written
        packets = sorted((packet for track in tracks for packet in track), key=lambda one: one.dts * one.time_base)
        for packet in packets:
            container.mux(packet)
    return path


def _video(container: Any, wanted: Pictures, seconds: float, shift: float) -> Iterator[Any]:
    stream = container.add_stream(wanted.codec, rate=wanted.fps)
    stream.width, stream.height = wanted.size
    stream.pix_fmt = wanted.form
    stream.codec_context.time_base = Fraction(1, CLOCK) if wanted.codec != "mpeg4" else Fraction(1, 30_000)
    stream.codec_context.thread_count = 1
    if wanted.codec == "libx264":
        stream.options = {"preset": "ultrafast", "qp": "8", "g": "10"}
        if wanted.reordered:
            stream.options |= {"preset": "medium", "bf": "3", "b-adapt": "0"}
            stream.codec_context.max_b_frames = 3
    elif wanted.codec == "mpeg4":
        stream.options = {"qmin": "1", "qmax": "2", "g": "5"}
    if wanted.rotation:
        stream.set_display_rotation(wanted.rotation)
    times = wanted.times
    if times is None:
        times = [number / float(wanted.fps) for number in range(round((seconds - wanted.start) * wanted.fps))]
    return _encoded(stream, [_frame(wanted, number, time, shift) for number, time in enumerate(times)])


def _frame(wanted: Pictures, number: int, time: float, shift: float) -> av.VideoFrame:
    width, height = wanted.size
    image = wanted.image
    if image is None:
        image = np.full((height, width, 3), lightness(number), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=wanted.form)
    frame.time_base = Fraction(1, CLOCK)
    frame.pts = round((time + wanted.start + shift) * CLOCK)
    return frame


def _audio(container: Any, wanted: Sound, seconds: float, shift: float) -> Iterator[Any]:
    stream = container.add_stream(wanted.codec, rate=wanted.rate, layout=wanted.layout)
    content = wanted.samples
    if content is None:
        mono = tone(wanted.rate, seconds) * wanted.gain
        content = np.repeat(mono[None], av.AudioLayout(wanted.layout).nb_channels, axis=0)
    begin = round(wanted.start * wanted.rate)
    content = content[:, begin : None if wanted.seconds is None else begin + round(wanted.seconds * wanted.rate)]
    resampler = av.AudioResampler(stream.format, wanted.layout, wanted.rate)
    frames = []
    size = stream.codec_context.frame_size or 1024
    for first in range(0, content.shape[1], size):
        at = (begin + first) / wanted.rate
        if any(low <= at < high for low, high in wanted.holes):
            continue
        part = np.ascontiguousarray(content[:, first : first + size])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=wanted.layout)
        frame.sample_rate, frame.time_base = wanted.rate, Fraction(1, wanted.rate)
        for one in resampler.resample(frame):
            one.pts = begin + first + round(shift * wanted.rate)
            frames.append(one)
    return _encoded(stream, frames)


def _encoded(stream: Any, frames: Sequence[Any]) -> Iterator[Any]:
    for frame in [*frames, None]:
        yield from stream.encode(frame)


def _cover_stream(container: Any) -> Any:
    from av.stream import Disposition

    stream = container.add_stream("mjpeg", rate=1)
    stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
    stream.disposition = Disposition.attached_pic
    return stream


def _cover() -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 255, np.uint8), format="rgb24").reformat(format="yuvj420p")
    frame.pts, frame.time_base = 0, Fraction(1, 1)
    return frame
