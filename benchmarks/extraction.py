"""From video files to features with the two extractors that need no weights: time of a clip, memory, and processes.

Memory is that of a process of its own, which extracts many clips, or one long video, beside one that extracts few, or a
short one: neither number nor length may count.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np

from avvp_pl.video.clip import extract_clip
from avvp_pl.video.extractors.logmel import LogMel
from avvp_pl.video.extractors.picture import Picture
from benchmarks.measure import Row, Scale, alternate, run_module, seconds, threads
from benchmarks.workload import folder

SIZE, LARGE = (320, 240), (1920, 1080)
RATE = 44_100


def measure(scale: Scale) -> Iterator[Row]:
    """The time of a clip, the peak memory of few and many clips and of a short and a long video, and the processes."""
    with folder() as files, threads(1):
        clip = write(files / "clip.mp4", 10, 25, SIZE)
        extractors = [LogMel(), Picture()]
        pair = alternate(lambda: extract_clip(clip, extractors), lambda: extract_clip(clip, []), scale.repeats)
        (whole, read) = pair.medians()
        yield Row(
            "features of a clip of 10 s, 320 x 240", f"{whole:.3g} s", f"{read:.3g} s to read it", "", "under 1 s"
        )
        few, many = (extracted(copies(clip, files / f"{count}", count), 0) for count in (10, scale.clips))
        yield memory(f"`extract`, {scale.clips} clips to 10", many, few)
        short, long = (write(files / f"{minutes}.mp4", 60 * minutes, 2, LARGE) for minutes in (1, scale.minutes))
        yield memory(f"`extract`, {scale.minutes} minutes of 1080p to 1", extracted(long, 0), extracted(short, 0))
        several = copies(clip, files / "several", scale.clips // 5)
        one, two = (seconds(lambda workers=workers: extracted(several, workers)) for workers in (1, 2))  # type: ignore[misc]
        named = f"`extract`, {scale.clips // 5} clips, 2 processes"
        yield Row(named, f"{two:.3g} s", "", f"{one / two:.3g} times faster than 1 process")


def memory(measured: str, more: int, less: int) -> Row:
    """Two peaks of memory."""
    megabytes = f"{more / 1e6:.0f} MB to {less / 1e6:.0f} MB"
    return Row(f"peak memory of {measured}", megabytes, "", f"{more / less:.2f}", "at most 1.1")


def extracted(videos: Path, workers: int) -> int:
    """The peak memory, in bytes, of a process that extracts a video or a folder of videos."""
    output = videos.with_name(f"{videos.name}_{workers}")
    return run_module("avvp_pl.extract", f"videos={videos}", f"output={output}", f"workers={workers}").peak


def copies(clip: Path, place: Path, count: int) -> Path:
    """A folder with so many names of a clip."""
    place.mkdir()
    for number in range(count):
        (place / f"{number}.mp4").hardlink_to(clip)
    return place


def write(path: Path, length: int, fps: int, size: tuple[int, int]) -> Path:
    """Write a video of so many seconds with noise and a moving pattern."""
    rng = np.random.default_rng(0)
    width, height = size
    wide = rng.integers(0, 256, (height // 8, width // 4, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio: Any = container.add_stream("aac", rate=RATE, layout="stereo")
        for number in range(length * fps):
            left = 2 * number % width
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(wide[:height, left : left + width]), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
            if (number + 1) % fps == 0:
                second = number // fps
                noise = (0.1 * rng.normal(size=(2, RATE))).astype(np.float32)
                for first, end in pairwise([*range(0, RATE, 1024), RATE]):
                    part = av.AudioFrame.from_ndarray(
                        np.ascontiguousarray(noise[:, first:end]), format="fltp", layout="stereo"
                    )
                    part.sample_rate, part.pts, part.time_base = RATE, second * RATE + first, Fraction(1, RATE)
                    container.mux(audio.encode(part))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    return path
