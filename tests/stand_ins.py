"""Small stand-ins for what surrounds a part: a network whose output is known, a training step, several processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from avvp_pl.data.videos import Asked, ParsingSet, VideoSet
from avvp_pl.parts import Step, Team
from avvp_pl.training.module import ParsingModule
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput

Result = TypeVar("Result")
TEMPTING = 0.999  # what a Lookup returns for padding, so that code that reads padding fails its test


class Lookup(ParsingNetwork):
    """A network whose output is looked up by the number of a segment, [S, M, D] and [S, M, C], and of a video."""

    def __init__(self, features: Tensor, segment_probs: Tensor) -> None:
        super().__init__()
        self.feature_dim = features.shape[-1]
        self.weight = nn.Parameter(torch.zeros(1))  # something to follow
        self.table = features
        self.probs = segment_probs
        videos = torch.Generator().manual_seed(9)
        self.video_probs = torch.rand(64, segment_probs.shape[-1], generator=videos)  # more videos than any test has
        self.asked: list[tuple[list[int], tuple[str, ...] | None]] = []  # rows, and which modalities attended

    def forward(self, batch: Batch) -> ParsingOutput:
        """Look up."""
        self.asked.append((batch.index.tolist(), self.attending))
        padding = ~batch.mask[:, :, None, None]
        probs = self.probs[batch.segment].masked_fill(padding, TEMPTING) + 0 * self.weight
        features = self.table[batch.segment].masked_fill(padding, TEMPTING)
        pooled = self.video_probs[batch.index]
        return ParsingOutput(features, probs, pooled, pooled[:, None].expand(-1, probs.shape[2], -1))


def lookup(videos: VideoSet, modalities: int = 2, dim: int = 3, seed: int = 0) -> Lookup:
    """Random features and probabilities for all segments of some videos."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(videos.num_segments, modalities, dim, generator=generator)
    probs = torch.rand(videos.num_segments, modalities, videos.weak_labels.shape[1], generator=generator)
    return Lookup(features, probs)


def some_videos(lengths: Sequence[int], weak_labels: Sequence[Sequence[float]]) -> VideoSet:
    """Videos of these lengths and events, with one stream."""
    stream = torch.arange(float(sum(lengths)))[:, None]
    names = tuple(f"video{number}" for number in range(len(lengths)))
    return VideoSet(names, torch.tensor(lengths), {"stream": stream}, torch.tensor(weak_labels))


def segments_of(videos: VideoSet, row: int) -> range:
    """The numbers of a video's segments, by counting from the first video."""
    start = sum(videos.lengths.tolist()[:row])
    return range(start, start + int(videos.lengths[row]))


class Padded(VideoSet):
    """The same videos, but with so many more segments of padding, and with something in all of it."""

    more: int
    garbage: float

    @classmethod
    def of(cls, videos: VideoSet, more: int = 0, garbage: float = 0.0) -> Padded:
        fields = (videos.names, videos.lengths, videos.streams, videos.weak_labels, videos.truth, videos.keys)
        padded = cls(*fields)
        object.__setattr__(padded, "more", more)
        object.__setattr__(padded, "garbage", garbage)
        return padded

    def to(self, device: torch.device, resident: bool = True) -> Padded:
        return self

    def __getitem__(self, rows: Asked) -> Batch:
        batch = super().__getitem__(rows)
        more = torch.zeros(len(batch.index), self.more, dtype=torch.bool)
        mask = torch.cat([batch.mask, more], dim=1)
        steps = torch.minimum(torch.arange(mask.shape[1]), (mask.sum(1, keepdim=True) - 1).clamp(min=0))
        at = torch.arange(len(batch.index))[:, None], steps  # padding repeats the last segment ...
        features = {name: x[at].masked_fill(~mask[..., None], self.garbage) for name, x in batch.features_in.items()}
        assert batch.truth is not None
        truth = batch.truth[at] & mask[:, :, None, None]
        return replace(batch, features_in=features, mask=mask, segment=batch.segment[at], truth=truth)  # ... everywhere


def with_padding(made: ParsingSet, **how: Any) -> ParsingSet:
    """A data set whose batches have other padding: ``more`` of it, and ``garbage`` in it."""
    changed: dict[str, Any] = {name: Padded.of(videos, **how) for name, videos in made.splits.items()}
    return replace(made, **changed)


def find_more(module: ParsingModule, by: float) -> None:
    """Raise the probabilities of all events, so that an untrained network finds some."""
    head: Any = module.network.event_head
    with torch.no_grad():
        head.bias += by


def step_of(network: ParsingNetwork, batch: Batch, epoch: int = 0, done: float = 0.0, team: Team | None = None) -> Step:
    """A training step on a batch."""
    return Step(network, batch, network(batch), epoch, done, Team() if team is None else team)


class Meeting:
    """What several threads need to behave like the processes of a run."""

    def __init__(self, size: int) -> None:
        self.size, self.barrier = size, threading.Barrier(size, timeout=60)
        self.brought: list[Tensor | None] = [None] * size

    def bring(self, rank: int, x: Tensor) -> list[Tensor]:
        """Return what every process brings, in their order; all have to call it."""
        self.brought[rank] = x.clone()
        self.barrier.wait()
        everything = [part for part in self.brought if part is not None]
        self.barrier.wait()
        return everything

    def team(self, rank: int) -> Team:
        """The processes as that one sees them."""

        def add_up(x: Tensor) -> Tensor:
            return x.copy_(torch.stack(self.bring(rank, x)).sum(0))

        def gather(x: Tensor) -> Tensor:
            return torch.cat(self.bring(rank, x))

        return Team(rank, self.size, add_up, gather, gather)


def together(size: int, work: Callable[[Team], Result]) -> list[Result]:
    """Let so many processes do the work, each with its own view of the team; return what each of them returns."""
    meeting = Meeting(size)
    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(lambda rank: work(meeting.team(rank)), range(size)))
