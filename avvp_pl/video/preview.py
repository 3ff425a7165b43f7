"""A small copy of a video that every browser plays, for the files that some browsers do not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from avvp_pl.video.decode import Decoding, opened
from avvp_pl.video.extractor import Input, Pictures, Sound

if TYPE_CHECKING:
    from av.container import OutputContainer

# What the browsers of today play, in FFmpeg's names; a container has several, such as "mov,mp4,m4a,3gp,3g2,mj2"
CONTAINERS = {"mp4", "webm"}
CODECS = {"video": {"h264", "vp8", "vp9", "av1"}, "audio": {"aac", "mp3", "opus", "vorbis", "flac"}}
COLORS = {"yuv420p", "yuvj420p"}  # finer colors, or ten bits, are not played everywhere

SOUND = Sound(48_000)
PICTURES = Pictures(12)
TALLEST = 480  # pixels: the copy is looked at in a page
PACKET = 1000  # samples: a second has a whole number of them, and AAC takes any


def is_playable(path: Path) -> bool:
    """Return whether every browser plays a video file, by its container and its codecs.

    Raises :class:`InputError` for a file that is no video.
    """
    with opened(path) as container:
        if not CONTAINERS & set(container.format.name.split(",")):
            return False
        contexts = [stream.codec_context for stream in container.streams if stream.type in CODECS]
        return all(
            one is not None and one.name in CODECS[one.type] and getattr(one, "pix_fmt", "yuv420p") in COLORS
            for one in contexts
        )


def write_preview(path: Path, output: Path) -> None:
    """Write a copy as MP4 (H.264 and AAC, at most 480 pixels high), in time with what extractors are given of the file.

    Raises :class:`InputError` for a file of which nothing can be decoded.
    """
    import av

    decoding = Decoding(path, [SOUND, PICTURES], damaged="keep")
    tracks: dict[Input, _Sound | _Pictures] = {}
    held: list[tuple[Input, npt.NDArray[Any]]] = []
    with av.open(str(output), "w", format="mp4", options={"movflags": "+faststart"}) as target:
        for wanted, block in decoding.blocks():
            held.append((wanted, block))
            # all tracks have to be known before anything is written, and a picture's size is known from the first one
            if tracks or len({wanted for wanted, _ in held}) == len(decoding.tracks):
                _write(target, tracks, held)
                held = []
        _write(target, tracks, held)
        for track in tracks.values():
            track.finish()


def _write(
    target: OutputContainer, tracks: dict[Input, _Sound | _Pictures], blocks: list[tuple[Input, npt.NDArray[Any]]]
) -> None:
    for wanted, block in blocks:
        if wanted not in tracks:
            tracks[wanted] = _Sound(target) if wanted == SOUND else _Pictures(target, block.shape[2:4])
    for wanted, block in blocks:
        tracks[wanted].write(block)


class _Sound:
    def __init__(self, target: OutputContainer) -> None:
        self._target, self._track, self._written = target, target.add_stream("aac", rate=SOUND.rate, layout="mono"), 0

    def write(self, block: npt.NDArray[Any]) -> None:
        """Write seconds of samples [T, rate]."""
        import av

        for samples in block.reshape(-1, PACKET):
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SOUND.rate, self._written, Fraction(1, SOUND.rate)
            self._written += PACKET
            self._target.mux(self._track.encode(frame))

    def finish(self) -> None:
        self._target.mux(self._track.encode(None))


class _Pictures:
    def __init__(self, target: OutputContainer, size: tuple[int, ...]) -> None:
        shrunk = min(1.0, TALLEST / size[0])
        self._target, self._written = target, 0
        self._track = target.add_stream("libx264", rate=PICTURES.per_second, options={"preset": "veryfast"})
        # H.264 in 4:2:0 has even sizes only
        self._track.height, self._track.width = (max(2, round(side * shrunk / 2) * 2) for side in size)
        self._track.pix_fmt = "yuv420p"

    def write(self, block: npt.NDArray[Any]) -> None:
        """Write seconds of pictures [T, n, height, width, 3]."""
        import av

        for picture in block.reshape(-1, *block.shape[2:]):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(self._track.width, self._track.height, "yuv420p")
            frame.pts, frame.time_base = self._written, Fraction(1, PICTURES.per_second)
            self._written += 1
            self._target.mux(self._track.encode(frame))

    def finish(self) -> None:
        self._target.mux(self._track.encode(None))
