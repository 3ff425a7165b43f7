"""Encoding in bounded memory: the same blocks, kept or computed again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.models import HAN
from avvp_pl.pseudo_labels import EncodedVideos
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
        assert torch.equal(one.mask, videos[rows].mask)
        assert torch.equal(one.weak_labels, videos.weak_labels[rows])
        expected = torch.nn.functional.normalize(everything.features[rows], dim=-1)
        torch.testing.assert_close(one.features, expected)
        torch.testing.assert_close(one.segment_probs, everything.segment_probs[rows])


def test_features_may_stay_as_they_are(videos: VideoSet, net: Counting) -> None:
    (block,) = EncodedVideos(net, videos, BLOCKS[:1], 0.0)
    torch.testing.assert_close(block.features, net(videos[BLOCKS[0]]).features)


def test_a_network_that_has_diverged_is_an_error(videos: VideoSet, net: Counting) -> None:
    net.net.event_head.bias[3] = torch.nan
    with pytest.raises(ValueError, match=r"^some segment probabilities are NaN: the network has diverged$"):
        list(EncodedVideos(net, videos, BLOCKS, 0.0))
