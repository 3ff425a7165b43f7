"""Encoding in bounded memory: the same blocks, kept or computed again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.models import HAN
from avvp_pl.pseudo_labels import EncodedVideos, blocks_of
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput


class Counting(ParsingNetwork):
    """A network that remembers what it was asked."""

    def __init__(self, net: HAN) -> None:
        super().__init__()
        self.net, self.asked = net, list[list[int]]()

    def forward(self, batch: Batch) -> ParsingOutput:
        self.asked.append(batch.index.tolist())
        return self.net(batch)


@pytest.fixture
def videos(tiny: ParsingSet) -> VideoSet:
    assert tiny.train is not None
    return tiny.train


@pytest.fixture
def net(tiny: ParsingSet) -> Counting:
    modalities = {name: list(streams) for name, streams in tiny.modalities.items()}
    return Counting(HAN(modalities, tiny.stream_dims, len(tiny.events), dim=16, feedforward_dim=16)).eval()


pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def of_lengths(lengths: list[int]) -> VideoSet:
    names = tuple(f"video {number}" for number in range(len(lengths)))
    features = torch.zeros(sum(lengths), 1)
    return VideoSet(names, torch.tensor(lengths, dtype=torch.long), {"sound": features}, torch.zeros(len(lengths), 1))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 30))
def test_blocks_are_as_large_as_they_may_be(lengths: list[int], segments: int) -> None:
    """All videos in order; no block of several is too large, and none could take the next video as well."""
    blocks = [block.tolist() for block in blocks_of(of_lengths(lengths), segments)]
    assert list(itertools.chain(*blocks)) == list(range(len(lengths)))

    def size(rows: list[int]) -> int:
        return len(rows) * max(lengths[row] for row in rows)

    assert all(len(rows) == 1 or size(rows) <= segments for rows in blocks)
    assert all(size([*rows, after[0]]) > segments for rows, after in itertools.pairwise(blocks))


@pytest.mark.parametrize(("length", "videos_in_blocks"), [(10, [128, 128, 44]), (1280, [1] * 300), (3000, [1] * 300)])
def test_blocks_of_equal_lengths_by_hand(length: int, videos_in_blocks: list[int]) -> None:
    """A block has 1,280 segments."""
    assert [len(block) for block in blocks_of(of_lengths([length] * 300))] == videos_in_blocks


def test_blocks_of_different_lengths_by_hand() -> None:
    """128 videos of 10 segments, but only 42 of 30, and a video that is longer than a block is one of its own."""
    blocks = blocks_of(of_lengths([10] * 130 + [30] * 41 + [2000, 1]))
    assert [len(block) for block in blocks] == [128, 42, 1, 1, 1]
    assert all(block.dtype == torch.long for block in blocks)


BLOCKS = list(torch.split(torch.arange(40), 16))
BYTES_OF_TWO = 2 * 16 * 10 * 2 * (16 + 25) * 4  # videos, segments, modalities, features and events, float32


@pytest.mark.parametrize(
    ("memory", "forward_passes"), [(0.0, 6), (BYTES_OF_TWO - 1.0, 5), (float(BYTES_OF_TWO), 4), (1e9, 3)]
)
def test_what_fits_is_encoded_once(videos: VideoSet, net: Counting, memory: float, forward_passes: int) -> None:
    encoded = EncodedVideos(net, videos, BLOCKS, memory, normalize_features=True)
    first, second = list(encoded), list(encoded)
    assert len(net.asked) == forward_passes
    everything = net(videos[torch.arange(40)])
    for one, other, rows in zip(first, second, BLOCKS, strict=True):
        assert torch.equal(one.index, rows)
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.segment, videos[rows].segment)
        assert torch.equal(one.mask, videos[rows].mask)
        assert torch.equal(one.weak_labels, videos.weak_labels[rows])
        expected = torch.nn.functional.normalize(everything.features[rows], dim=-1)
        torch.testing.assert_close(one.features, expected)
        torch.testing.assert_close(one.segment_probs, everything.segment_probs[rows])
        torch.testing.assert_close(one.video_probs, everything.video_probs[rows])


def test_features_may_stay_as_they_are(videos: VideoSet, net: Counting) -> None:
    (block,) = EncodedVideos(net, videos, BLOCKS[:1], 0.0)
    torch.testing.assert_close(block.features, net(videos[BLOCKS[0]]).features)


def test_a_network_that_has_diverged_is_an_error(videos: VideoSet, net: Counting) -> None:
    head: Any = net.net.event_head
    head.bias[3] = torch.nan
    with pytest.raises(ValueError, match=r"^some segment probabilities are NaN: the network has diverged$"):
        list(EncodedVideos(net, videos, BLOCKS, 0.0))
