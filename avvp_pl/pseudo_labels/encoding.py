"""Outputs of the labeling network for all training videos: one forward pass, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.types import ParsingNetwork

SEGMENTS_AT_ONCE = 1280  # of a forward pass: large enough for full speed, some 30 MB of activations


def blocks_of(videos: VideoSet, segments: int = SEGMENTS_AT_ONCE) -> list[Int[Tensor, " B"]]:
    """Return the rows of all videos in blocks of at most so many segments, padding included, and at least one video.

    The blocks do not depend on the number of processes, so that the bits of the labels do not depend on it either.
    """
    if videos.equal_length is not None:
        return list(torch.split(torch.arange(len(videos)), max(1, segments // max(1, videos.equal_length))))
    blocks: list[range] = []
    first = longest = 0
    for row, length in enumerate(videos.lengths.tolist()):
        longest = max(longest, length)
        if (row + 1 - first) * longest > segments and row > first:
            blocks.append(range(first, row))
            first, longest = row, length
    blocks.append(range(first, len(videos)))
    return [torch.tensor(block) for block in blocks]


@dataclass(frozen=True)
class EncodedBlock:
    """Some videos with their labels and the network's output."""

    index: Int[Tensor, " B"]
    segment: Int[Tensor, "B T"]
    mask: Bool[Tensor, "B T"]
    weak_labels: Float[Tensor, "B C"]
    features: Float[Tensor, "B T M D"]
    segment_probs: Float[Tensor, "B T M C"]
    video_probs: Float[Tensor, "B C"]

    @property
    def bytes(self) -> int:
        """The memory of the outputs in bytes."""
        return self.features.nbytes + self.segment_probs.nbytes


class EncodedVideos:
    """Blocks of videos that ``net`` encodes; they can be iterated over several times.

    A block is encoded when it is first needed and then kept, up to ``memory`` bytes for all blocks; the blocks beyond
    that are encoded again in every iteration, so memory does not grow with the number of videos. With
    ``normalize_features`` features have length 1. Raises ValueError if the output of the network is not finite.
    """

    def __init__(
        self,
        net: ParsingNetwork,
        videos: VideoSet,
        blocks: Sequence[Tensor],
        memory: float,
        normalize_features: bool = False,
    ) -> None:
        self.net, self.videos, self.blocks = net, videos, blocks
        self.memory, self.normalize_features = memory, normalize_features
        self.kept: list[EncodedBlock] = []
        self.free = memory

    def __iter__(self) -> Iterator[EncodedBlock]:
        for number, rows in enumerate(self.blocks):
            if number < len(self.kept):
                yield self.kept[number]
                continue
            block = self._encode(rows)
            if number == len(self.kept) and block.bytes <= self.free:
                self.kept.append(block)
                self.free -= block.bytes
            yield block

    def _encode(self, rows: Int[Tensor, " B"]) -> EncodedBlock:
        batch = self.videos[rows]
        output = self.net(batch)
        if not output.segment_probs.isfinite().all():
            raise ValueError("some segment probabilities are NaN: the network has diverged")
        features = F.normalize(output.features, dim=-1) if self.normalize_features else output.features
        return EncodedBlock(
            batch.index,
            batch.segment,
            batch.mask,
            batch.weak_labels,
            features,
            output.segment_probs,
            output.video_probs,
        )
