"""Which segments of long videos a training batch has."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avvp_pl.data.sampling import Bins, Picks, uniform
from avvp_pl.data.videos import VideoBatches, VideoSet
from tests.stand_ins import some_videos


def pick(bins: Bins, lengths: list[int], epoch: int = 0, seed: int = 0) -> list[list[int]]:
    """The positions that are no padding, for videos in the rows 0, 1, ...."""
    given = torch.tensor(lengths)
    position, mask = bins(given, torch.arange(len(lengths)), seed, epoch, max(lengths))
    assert position.shape == mask.shape
    return [own[real].tolist() for own, real in zip(position, mask, strict=True)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_segment_of_every_bin_or_the_whole_video(lengths: list[int], segments: int, seed: int) -> None:
    found = pick(Bins(segments), lengths, seed=seed)
    for length, own in zip(lengths, found, strict=True):
        if length <= segments:
            assert own == list(range(length))
            continue
        assert len(own) == segments
        for number, position in enumerate(own):
            assert number * length // segments <= position < (number + 1) * length // segments


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(1, 9))
def test_shorter_videos_are_repeated_if_wanted(lengths: list[int], segments: int) -> None:
    for length, own in zip(lengths, pick(Bins(segments, repeat=True), lengths), strict=True):
        assert len(own) == segments
        assert own == sorted(own)
        assert own[0] >= 0
        assert own[-1] < length


def test_every_segment_of_a_bin_is_picked_equally_often() -> None:
    drawn = torch.tensor([pick(Bins(2), [8], epoch)[0] for epoch in range(2000)])
    for column, first in ((drawn[:, 0], 0), (drawn[:, 1], 4)):
        counts = (column - first).bincount(minlength=4)
        assert (counts - 500).abs().max() < 5 * (500 * 0.75) ** 0.5


def test_picks_depend_on_seed_epoch_and_row_alone() -> None:
    bins, lengths, rows = Bins(5), torch.tensor([30, 50, 40]), torch.tensor([7, 2, 5])
    position, _ = bins(lengths, rows, 3, 4, 50)
    for number in range(3):  # whatever else is in the batch
        alone, _ = bins(lengths[[number]], rows[[number]], 3, 4, 60)
        assert torch.equal(alone[0], position[number])
    for seed, epoch, row in ((4, 4, 7), (3, 5, 7), (3, 4, 8)):
        other, _ = bins(lengths[:1], torch.tensor([row]), seed, epoch, 50)
        assert not torch.equal(other[0], position[0])


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_any_seed_can_be_given(seed: int) -> None:
    drawn = uniform(seed, 10**6, torch.tensor([0, 10**6]), 3)
    assert ((drawn >= 0) & (drawn < 1)).all()


class TestBatches:
    """What the loader of a training yields."""

    LENGTHS = (30, 3, 12, 7, 25)

    def videos(self) -> VideoSet:
        return some_videos(list(self.LENGTHS), [[1.0]] * 5)

    def batches(self, rank: int = 0, world_size: int = 1, epoch: int = 2, skipped: int = 0) -> list[Picks]:
        lengths = torch.tensor(self.LENGTHS)
        order = VideoBatches(5, 2, 9, True, rank, world_size, lengths=lengths, sampling=Bins(8))
        order.skip(epoch, skipped)
        order.set_epoch(epoch)
        return list(order)

    def test_the_features_are_those_of_the_segments(self) -> None:
        videos, seen = self.videos(), []
        for picks in self.batches():
            batch = videos[picks]
            seen += batch.index.tolist()
            for row, segment, mask, x in zip(
                batch.index.tolist(), batch.segment, batch.mask, batch.features_in["stream"], strict=True
            ):
                assert mask.sum() == min(8, self.LENGTHS[row])
                assert torch.equal(x[mask], videos.streams["stream"][segment[mask]])
                assert (x[~mask] == 0).all()
                first = int(videos.starts[row])
                assert ((segment >= first) & (segment < first + self.LENGTHS[row])).all()
        assert sorted(seen) == list(range(5))

    def test_a_resumed_epoch_goes_on_with_the_same_picks(self) -> None:
        for one, other in zip(self.batches()[1:], self.batches(skipped=1), strict=True):
            for mine, yours in zip(one, other, strict=True):
                assert torch.equal(mine, yours)

    def test_processes_pad_to_the_same_length(self) -> None:
        shares = [self.batches(rank, 2) for rank in range(2)]
        widths = [[picks.segment.shape[1] for picks in share] for share in shares]
        assert widths[0] == widths[1]
        assert sorted({row for share in shares for picks in share for row in picks.rows.tolist()}) == list(range(5))
