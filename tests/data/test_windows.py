"""Where windows lie, and which segments a batch of them has."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from avvp_pl.data.windows import WHOLE, Cutting, WindowBatches, cutting_of, window_starts
from avvp_pl.errors import InputError
from tests.stand_ins import some_videos


@pytest.mark.parametrize("window", [1, 2, 5, 10])
def test_windows_cover_a_video_have_the_same_length_and_end_with_it(window: int) -> None:
    for overlap in range(window):
        for length in range(1, 45):
            starts = window_starts(length, window, overlap)
            if length <= window:
                assert starts == [0]
                continue
            assert starts[0] == 0
            assert starts[-1] + window == length
            steps = [b - a for a, b in pairwise(starts)]
            assert all(step == window - overlap for step in steps[:-1])
            assert 0 < steps[-1] <= window - overlap
            assert {s for start in starts for s in range(start, start + window)} == set(range(length))


def test_windows_that_do_not_move_on_are_refused() -> None:
    for overlap in (-1, 4, 5):
        with pytest.raises(ValueError, match="cannot overlap"):
            window_starts(10, 4, overlap)


@pytest.mark.parametrize("lengths", [[3, 9, 4, 1], [9, 9]])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_have_the_segments_of_the_windows_in_order(lengths: list[int], batch_size: int) -> None:
    """By hand: each feature is the number of its segment."""
    videos = some_videos(lengths, [[1.0]] * len(lengths))
    expected = []
    for row, length in enumerate(lengths):
        before = sum(lengths[:row])
        size = min(4, length)
        expected += [(row, [before + start + i for i in range(size)]) for start in window_starts(length, 4, 2)]
    lengths_of = torch.tensor(lengths)
    batches = WindowBatches(lengths_of, Cutting(4, 2).windows(lengths_of), batch_size)
    found = []
    count = 0
    for picks in batches:
        batch = videos.batch(*picks)
        count += 1
        for b, row in enumerate(batch.index.tolist()):
            mask = batch.mask[b]
            assert batch.segment[b, mask].tolist() == batch.features_in["stream"][b, mask, 0].long().tolist()
            assert not batch.features_in["stream"][b, ~mask].any()
            found.append((row, batch.segment[b, mask].tolist()))
    assert found == expected
    assert count == len(batches)


def test_whole_videos_are_never_cut() -> None:
    lengths = torch.tensor([3, 5000])
    assert not WHOLE.cuts(lengths)
    assert WHOLE.windows(lengths).lengths.tolist() == [3, 5000]
    assert Cutting(10, 5).cuts(lengths)
    assert not Cutting(10, 5).cuts(torch.tensor([3, 10]))


def test_the_default_is_what_the_network_knows() -> None:
    assert cutting_of(None, None, (10, 10)) == Cutting(10, 5)
    assert cutting_of(None, 2, (10, 10)) == Cutting(10, 2)
    assert cutting_of(None, None, (5, 40)) == WHOLE
    assert cutting_of(None, None, None) == WHOLE
    assert cutting_of(None, None, (5, 40), longest=64) == Cutting(64, 32)
    assert cutting_of("whole", None, (10, 10)) == WHOLE
    assert cutting_of(7, None, (5, 40)) == Cutting(7, 3)
    assert cutting_of(1, None, (10, 10)) == Cutting(1, 0)


@pytest.mark.parametrize(
    ("window", "overlap", "longest", "says"),
    [
        ("whole", None, 64, "window=whole: the network takes at most 64 segments"),
        (65, None, 64, "window=65: the network takes at most 64 segments"),
        ("whole", 3, None, "overlap=3: it has no effect, because every video is taken whole"),
        (4, 4, None, "overlap=4: it must be less than the window, which is 4 segments"),
        (None, 10, None, "overlap=10: it must be less than the window, which is 10 segments"),
    ],
)
def test_what_is_not_possible_is_refused(window: object, overlap: int, longest: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        cutting_of(window, overlap, (10, 10), longest)  # type: ignore[arg-type]
