"""The pictures of a video: which frames stand for each second, upright and in one size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from avvp_pl.video.extractor import BLOCK_SECONDS, Pictures

if TYPE_CHECKING:
    import av

Images: TypeAlias = npt.NDArray[np.uint8]

BLOCK_BYTES = 2**28  # a block has as many seconds as fit, and at least one: ten of 8 pictures in 4K would be 2 GB
SLACK = 1e-5  # seconds by which a frame may be late: the start of a file is rounded to microseconds
LIST_RATE = 8  # frames a second in the list that the features of LLP were made of


class _Blocks:
    """Blocks [T, n, H, W, 3] of pictures that are added one by one, each time with the frame that it shows.

    All have the size of the first frame. A frame that shows several times in a row is converted once.
    """

    def __init__(self, per_second: int) -> None:
        self.per_second = per_second
        self.count = 0  # of the pictures that were added
        self.block: Images | None = None
        self.filled = 0  # pictures in the block
        self.seconds = 0  # in the blocks before it
        self.size: tuple[int, int] | None = None  # width and height of the upright pictures
        self.last: tuple[av.VideoFrame, Images] | None = None

    def add(self, frame: av.VideoFrame) -> Iterator[Images]:
        """Add a picture. Yields the block before it if that is full: then its last second is surely over."""
        if self.last is None or self.last[0] is not frame:
            self.last = frame, self._upright(frame)
        image = self.last[1]
        if self.block is not None and self.filled == self.block.shape[0] * self.per_second:
            yield self.block
            self.seconds += len(self.block)
            self.block = None
        if self.block is None:
            seconds = max(1, min(BLOCK_SECONDS, BLOCK_BYTES // (image.nbytes * self.per_second)))
            self.block, self.filled = np.empty((seconds, self.per_second, *image.shape), dtype=np.uint8), 0
        self.block.reshape(-1, *image.shape)[self.filled] = image
        self.filled, self.count = self.filled + 1, self.count + 1

    def finish(self, segments: int) -> Iterator[Images]:
        """Yield the last block, up to so many seconds in all."""
        seconds = min(self.filled // self.per_second, segments - self.seconds)
        if self.block is not None and seconds > 0:
            yield self.block[:seconds]

    def _upright(self, frame: av.VideoFrame) -> Images:
        """Return a frame as red, green and blue [H, W, 3], turned as players turn it."""
        quarters = round(frame.rotation / 90)
        width, height = (frame.height, frame.width) if quarters % 2 else (frame.width, frame.height)
        self.size = width, height = self.size or (width, height)
        stored = (height, width) if quarters % 2 else (width, height)
        # with one thread: by default, it would start and await as many as there are cores for every picture
        return np.rot90(frame.reformat(*stored, format="rgb24", threads=1).to_ndarray(), quarters)


class MiddlePictures:
    """Of each of n equal parts of a second, the frame that is on the screen at its middle.

    That is the last frame whose time has come; before the first frame, it is the first one.
    """

    def __init__(self, wanted: Pictures) -> None:
        self.blocks = _Blocks(wanted.per_second)
        self.held: av.VideoFrame | None = None

    def add(self, frame: av.VideoFrame, time: float) -> Iterator[Images]:
        """Add a frame that is shown from ``time`` on; yield the blocks that are complete then."""
        if self.held is not None:
            yield from self._until(time - SLACK)
        self.held = frame

    def finish(self, segments: int) -> Iterator[Images]:
        """Yield the remaining blocks of so many seconds; the last frame stays until the end."""
        if self.held is not None:
            yield from self._until(segments)
            yield from self.blocks.finish(segments)

    def _until(self, time: float) -> Iterator[Images]:
        assert self.held is not None
        while (self.blocks.count + 0.5) / self.blocks.per_second < time:
            yield from self.blocks.add(self.held)


class LlpPictures:
    """The frames that the features of LLP were made of: evenly spaced ones of the list that ``ffmpeg -r 8`` writes.

    LLP's videos have ten seconds. A longer video is cut into clips of ten seconds, and each of them is treated as a
    video of its own. ``frame_seconds`` is the duration of a frame by the rate of the track.
    """

    def __init__(self, wanted: Pictures, frame_seconds: float) -> None:
        self.blocks = _Blocks(wanted.per_second)
        self.frame_seconds = frame_seconds
        self.clip: _FrameList | None = None
        self.following: _FrameList | None = None  # of the next clip, if there will be one

    def add(self, frame: av.VideoFrame, time: float) -> Iterator[Images]:
        """Add a frame that is shown from ``time`` on; yield the blocks that are complete then."""
        if self.clip is None:
            self.clip = _FrameList(0, self.frame_seconds, frame)
        while time > self.clip.end + 1:  # now there surely is another clip
            yield from self._close()
        self.clip.add(frame, time)
        if time >= self.clip.end - SLACK:  # in this clip's list only if the video ends, rounded, with the clip
            if self.following is None:
                self.following = _FrameList(self.clip.end, self.frame_seconds, self.clip.last)
            self.following.add(frame, time)

    def finish(self, segments: int) -> Iterator[Images]:
        """Yield the remaining blocks of so many seconds."""
        if self.clip is not None:
            while segments > self.clip.end:
                yield from self._close()
            if segments > self.clip.begin:
                seconds = segments - self.clip.begin
                yield from self._chosen(self.clip.whole(seconds), seconds)
            yield from self.blocks.finish(segments)

    def _close(self) -> Iterator[Images]:
        """Choose from the clip, and go to the next one."""
        assert self.clip is not None
        yield from self._chosen(self.clip.inside(), BLOCK_SECONDS)
        self.clip = self.following or _FrameList(self.clip.end, self.frame_seconds, self.clip.last)
        self.following = None

    def _chosen(self, frames: list[av.VideoFrame], seconds: int) -> Iterator[Images]:
        for number in evenly_spaced(len(frames), self.blocks.per_second * seconds):
            yield from self.blocks.add(frames[number])


class _FrameList:
    """The frames of a clip of ten seconds that FFmpeg writes at 8 frames a second, by its rule for a constant rate.

    It writes a frame whose end, counted in frames of the list, is up to 1.1 behind or ahead of the next one once; an
    earlier one never, and a later one as often as is needed to catch up, some of them with the frame before. Here, the
    last frame is also repeated until the end. ``previous`` is the frame before the first.
    """

    def __init__(self, begin: int, frame_seconds: float, previous: av.VideoFrame) -> None:
        self.begin, self.end = begin, begin + BLOCK_SECONDS
        self.duration = LIST_RATE * frame_seconds
        self.previous = self.last = previous  # the last frame of all, and the last one inside the clip
        self.frames: list[tuple[float, av.VideoFrame]] = []  # each with the time of the frame with which it came

    def add(self, frame: av.VideoFrame, time: float) -> None:
        late = LIST_RATE * (time - self.begin) - len(self.frames)
        end = late + self.duration
        copies = 0 if end < -1.1 else round(end) if end > 1.1 else 1
        of_previous = round(late - 0.6) if late > 1.1 else 0
        self.frames += [(time, self.previous if copy < of_previous else frame) for copy in range(copies)]
        self.previous = frame
        if time < self.end - SLACK:
            self.last = frame

    def inside(self) -> list[av.VideoFrame]:
        """Return the list as it was before the first frame behind the clip, up to the end of the clip."""
        frames = [frame for time, frame in self.frames if time < self.end - SLACK]
        return _held(frames, self.last, BLOCK_SECONDS)

    def whole(self, seconds: int) -> list[av.VideoFrame]:
        """Return the whole list, which has at least so many seconds."""
        return _held([frame for _, frame in self.frames], self.previous, seconds)


def _held(frames: list[av.VideoFrame], last: av.VideoFrame, seconds: int) -> list[av.VideoFrame]:
    return frames + [last] * (LIST_RATE * seconds - len(frames))


def evenly_spaced(length: int, count: int) -> list[int]:
    """Return the positions in a list of frames that are nearest to ``count`` evenly spaced ones.

    >>> sorted(set(range(82)) - set(evenly_spaced(82, 80)))
    [20, 61]
    """
    numbers: list[int] = np.linspace(0, length - 1, count).round().astype(int).tolist()
    return numbers
