"""The sound of a video: samples of one rate, each at the place that its time stamp says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from avvp_pl.video.extractor import BLOCK_SECONDS, Sound

if TYPE_CHECKING:
    import av

# Seconds by which a time stamp may differ from the count of samples. Time stamps of real files are rounded; one that
# is farther off marks a hole, or another clock
JITTER = 0.04


class SoundBlocks:
    """Collects the decoded frames of a sound track into blocks [T, rate] of at most :data:`BLOCK_SECONDS`.

    Frames that follow each other are resampled as one run, and a run begins where its first time stamp says. So a track
    that starts late sounds late, and a hole in it moves nothing behind it. What no frame covers is silent. Where two
    runs overlap, the later one counts. The channels are averaged, because a conversion to mono would weigh them by
    conventions of loudspeakers.
    """

    def __init__(self, wanted: Sound) -> None:
        self.rate = wanted.rate
        self.block = self._empty()
        self.first = 0  # number of the block's first sample
        self.position = 0  # number of the next sample of this run
        self.resampler: av.AudioResampler | None = None
        self.form: tuple[str, str, int] | None = None  # of the frames of this run
        self.begin = self.samples = 0.0  # seconds where the run begins, and its number of samples

    def add(self, frame: av.AudioFrame, time: float) -> Iterator[npt.NDArray[np.float32]]:
        """Add a frame whose first sample is at ``time`` seconds; yield the blocks that are complete then."""
        from av import AudioResampler

        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        expected = self.begin + self.samples / frame.sample_rate
        if self.resampler is None or form != self.form or abs(time - expected) > JITTER:
            yield from self._end_run()
            self.resampler, self.form = AudioResampler("fltp", rate=self.rate), form
            self.begin, self.samples, self.position = time, 0, round(time * self.rate)
        self.samples += frame.samples
        yield from self._resampled(frame)

    def finish(self, segments: int) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the remaining blocks of so many seconds; the sound is cut there, or silence follows."""
        yield from self._end_run()
        while (samples := segments * self.rate - self.first) > 0:
            yield self._next()[: samples // self.rate]

    def _end_run(self) -> Iterator[npt.NDArray[np.float32]]:
        if self.resampler is not None:
            yield from self._resampled(None)
        self.resampler = None

    def _resampled(self, frame: av.AudioFrame | None) -> Iterator[npt.NDArray[np.float32]]:
        from av.error import FFmpegError

        assert self.resampler is not None
        try:
            ready = self.resampler.resample(frame)
        except FFmpegError:
            self.resampler = None  # the next frame begins another run
            raise
        for resampled in ready:
            mono = np.nan_to_num(resampled.to_ndarray().mean(axis=0, dtype=np.float32))
            yield from self._place(mono.clip(-1, 1))

    def _place(self, samples: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
        begin = self.position
        self.position += len(samples)
        if begin < self.first:  # before the start, or in a block that is gone
            samples, begin = samples[self.first - begin :], self.first
        while len(samples):
            offset = begin - self.first
            if offset >= self.block.size:
                yield self._next()
                continue
            part = samples[: self.block.size - offset]
            self.block.reshape(-1)[offset : offset + len(part)] = part
            samples, begin = samples[len(part) :], begin + len(part)

    def _next(self) -> npt.NDArray[np.float32]:
        """Return the block, and begin another one."""
        block, self.block = self.block, self._empty()
        self.first += block.size
        return block

    def _empty(self) -> npt.NDArray[np.float32]:
        return np.zeros((BLOCK_SECONDS, self.rate), dtype=np.float32)
