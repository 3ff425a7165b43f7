"""One segment of each bin as public code picks it: where bins have their end in common."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avvp_pl.data.sampling import Bins


def choices(length: int, bins: int) -> list[set[int]]:
    """The segments that each bin can have, one bin at a time."""
    if length == bins:
        return [{number} for number in range(bins)]
    starts = [number * length // bins for number in range(bins)]
    found = []
    for number, start in enumerate(starts):
        if number == bins - 1:
            found.append(set(range(start, length)))
        elif starts[number + 1] == start:
            found.append({start})
        else:
            found.append(set(range(start, starts[number + 1] + 1)))
    return found


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 30))
def test_every_segment_of_a_bin_is_drawn_equally_often(bins: int, length: int) -> None:
    many = 400
    position, mask = Bins(bins, repeat=True, inclusive=True)(
        torch.full((many,), length), torch.arange(many), seed=0, epoch=0, longest=length
    )
    assert position.shape == (many, bins)
    assert mask.all()
    for number, possible in enumerate(choices(length, bins)):
        drawn = position[:, number].tolist()
        assert set(drawn) <= possible
        for segment in possible:
            expected = many / len(possible)
            assert drawn.count(segment) == pytest.approx(expected, abs=6 * expected**0.5)


def test_by_hand() -> None:
    """5 segments in 2 bins, which begin at 0 and 2, and share 2; and 2 segments in 4 bins."""
    assert choices(5, 2) == [{0, 1, 2}, {2, 3, 4}]
    assert choices(2, 4) == [{0}, {0, 1}, {1}, {1}]
    position, _ = Bins(2, inclusive=True)(torch.full((200,), 5), torch.arange(200), 0, 0, 5)
    assert (position[:, 0] == 2).any()
    assert (position == 2).all(1).any()  # neighbors can be the same segment
    exclusive, _ = Bins(2)(torch.full((200,), 5), torch.arange(200), 0, 0, 5)
    assert (exclusive[:, 0] < 2).all()


def test_without_repetition_a_shorter_video_is_taken_whole() -> None:
    position, mask = Bins(4, inclusive=True)(torch.tensor([3, 4, 9]), torch.arange(3), 0, 0, 9)
    assert position[0].tolist() == [0, 1, 2, 2]
    assert mask.tolist() == [[True, True, True, False], [True] * 4, [True] * 4]
    assert position[1].tolist() == [0, 1, 2, 3]


def test_a_video_without_segments_is_padding() -> None:
    for repeat in (False, True):
        position, mask = Bins(3, repeat, inclusive=True)(torch.tensor([0, 5]), torch.arange(2), 0, 0, 5)
        assert position[0].tolist() == [0, 0, 0]
        assert mask.tolist() == [[False] * 3, [True] * 3]
