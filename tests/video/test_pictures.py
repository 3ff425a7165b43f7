"""Which frames are chosen, for any times of frames, compared with slow references that see all frames at once."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avvp_pl.video import pictures
from avvp_pl.video.extractor import BLOCK_SECONDS, Pictures
from avvp_pl.video.pictures import LlpPictures, MiddlePictures, evenly_spaced


class Frame:
    """A frame of one pixel, whose value is its number."""

    width = height = 1
    rotation = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def reformat(self, width: int, height: int, format: str, threads: int) -> Frame:  # noqa: A002
        return self

    def to_ndarray(self) -> npt.NDArray[np.uint8]:
        return np.array([[[self.number >> 16, self.number >> 8 & 255, self.number & 255]]], dtype=np.uint8)


def chosen(chooser: Any, times: list[float], segments: int) -> list[int]:
    """The numbers of the frames that are chosen."""
    blocks = [block for number, time in enumerate(times) for block in chooser.add(cast(Any, Frame(number)), time)]
    blocks += chooser.finish(segments)
    assert all(1 <= len(block) <= BLOCK_SECONDS for block in blocks)
    values = np.concatenate(blocks).astype(int).reshape(-1, 3)
    return [int(number) for number in values @ [65536, 256, 1]]


@st.composite
def frame_times(draw: st.DrawFn) -> tuple[list[float], int]:
    """Frames at any times, in milliseconds, and the number of seconds."""
    steps = draw(st.lists(st.integers(1, 900), min_size=1, max_size=60))
    first = draw(st.integers(0, 1500))
    times = np.cumsum([first, *steps]) / 1000
    seconds = times[-1] + draw(st.integers(1, 3000)) / 1000
    return times.tolist(), max(1, round(seconds))


@settings(max_examples=50, deadline=None)
@given(frame_times(), st.integers(1, 12))
def test_in_the_middle_of_each_part_is_the_frame_on_the_screen(video: tuple[list[float], int], count: int) -> None:
    times, segments = video
    at = [(number + 0.5) / count for number in range(segments * count)]
    expected = [max([number for number, time in enumerate(times) if time - 1e-5 < one], default=0) for one in at]
    assert chosen(MiddlePictures(Pictures(count)), times, segments) == expected


@settings(max_examples=50, deadline=None)
@given(st.integers(25, 60), st.integers(1, 10), st.integers(0, 20), st.sampled_from([1, 4, 8]))
def test_llp_takes_evenly_spaced_frames_of_what_ffmpeg_writes(
    fps: int, seconds: int, more: int, per_second: int
) -> None:
    """FFmpeg's output j is the first unused frame whose end, in eighths of a second, is not 1.1 before j."""
    count = round(fps * seconds) + min(more, fps // 2 - 1)
    listed: list[int] = []
    next_frame = 0
    while True:
        late = (n for n in range(next_frame, count) if Fraction(8 * (n + 1), fps) >= len(listed) - Fraction(11, 10))
        if (frame := next(late, None)) is None:
            break
        listed.append(frame)
        next_frame = frame + 1
    positions = np.round(np.linspace(0, len(listed) - 1, per_second * seconds)).astype(int)
    found = chosen(LlpPictures(Pictures(per_second, "llp"), 1 / fps), [n / fps for n in range(count)], seconds)
    assert found == [listed[position] for position in positions]


def test_llp_lists_82_frames_of_ten_seconds() -> None:
    """As is known of its published frames: 80 of them are used, all but numbers 20 and 61."""
    assert sorted(set(range(82)) - set(evenly_spaced(82, 80))) == [20, 61]
    found = chosen(LlpPictures(Pictures(8, "llp"), 1 / 30), [n / 30 for n in range(300)], 10)
    assert found[:4] == [0, 1, 3, 7]  # the list lags at its start
    assert found[-1] == 299
    assert len(set(found)) == 80


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([8, 15, 24, 25, 30]), st.integers(11, 45))
def test_llp_treats_a_longer_video_as_clips_of_ten_seconds(fps: int, seconds: int) -> None:
    wanted = Pictures(8, "llp")
    whole = chosen(LlpPictures(wanted, 1 / fps), [n / fps for n in range(fps * seconds)], seconds)
    apart = []
    for begin in range(0, seconds, 10):
        length = min(10, seconds - begin)
        clip = chosen(LlpPictures(wanted, 1 / fps), [n / fps for n in range(fps * length)], length)
        apart += [begin * fps + number for number in clip]
    assert whole == apart


@settings(max_examples=50, deadline=None)
@given(frame_times())
def test_llp_stays_in_time_whatever_the_times_of_frames_are(video: tuple[list[float], int]) -> None:
    """Its pictures are those of at most a third of a second before or after, also with few frames and holes."""
    times, segments = video
    found = chosen(LlpPictures(Pictures(8, "llp"), 0.04), times, segments)
    assert len(found) == 8 * segments
    for number, frame in enumerate(found):
        at = (number + 0.5) / 8
        near = [max([n for n, time in enumerate(times) if time <= at + off], default=0) for off in (-0.7, 0.7)]
        assert near[0] <= frame <= near[1]


def test_large_pictures_come_in_smaller_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "BLOCK_BYTES", 3 * 4 * 3)  # three seconds of four pictures of three bytes
    chooser = MiddlePictures(Pictures(4))
    blocks = [block for n in range(80) for block in chooser.add(cast(Any, Frame(n)), n / 10)]
    blocks += chooser.finish(8)
    assert [len(block) for block in blocks] == [3, 3, 2]
    monkeypatch.setattr(pictures, "BLOCK_BYTES", 1)
    chooser = MiddlePictures(Pictures(4))
    blocks = [block for n in range(30) for block in chooser.add(cast(Any, Frame(n)), n / 10)]
    assert [len(block) for block in [*blocks, *chooser.finish(3)]] == [1, 1, 1]
