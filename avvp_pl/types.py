"""The vocabulary: one symbol of the paper, one name in the code.

Axes: B videos, T segments, M modalities, C events, D feature dimensions, K prototypes, N videos of a
data set, S segments of all N videos, one video after another.

=============  ==========================================  ======================
paper          code                                        shape
=============  ==========================================  ======================
x              ``features_in``, one entry a stream         [B, T, D_stream]
f              ``features`` (encoder output)               [B, T, M, D]
p              ``segment_probs``                           [B, T, M, C]
w-hat          ``video_probs``                             [B, C]
w              ``weak_labels``                             [B, C] in {0, 1}
y              ``pseudo_labels``                           [B, T, M, C] in [0, 1]
C_P, C_N       ``prototypes.positive``, ``.negative``      [C, K, D], masks [C, K]
gamma, beta    ``gamma``, ``beta``
k, tau, tau_c  ``k``, ``tau``, ``tau_contrastive``
eta            ``momentum``
lambda_PL/CL   ``weight_pseudo_label``, ``weight_contrastive``
=============  ==========================================  ======================

A *segment* is one step of time, an *event* one of the C labels; *weak* labels are video-level.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class Proposals(NamedTuple):
    """The intervals that an earlier network has found in each of B videos, padded to K >= 1, where ``mask`` is false.

    Those of a video stand by event and then by falling score. ``bounds`` are in segments from the start of the video,
    and in float64, as scores are: they are rounded.
    """

    bounds: Float[Tensor, "B K 2"]
    events: Int[Tensor, "B K"]
    scores: Float[Tensor, "B K"]
    mask: Bool[Tensor, "B K"]

    def of(self, rows: Int[Tensor, " R"]) -> Proposals:
        """Return those of some of the videos."""
        return Proposals(*(column[rows] for column in self))

    def to(self, **move: Any) -> Proposals:
        """Return them on another device."""
        return Proposals(*(column.to(**move) for column in self))


@dataclass(frozen=True)
class Batch:
    """B videos, padded to T segments: the input of a network, and what is known about the videos.

    ``mask`` is true where a segment exists and false at padding; features are 0 and ``truth`` is False at padding.
    ``index`` is the row of each video in its data set, and ``segment`` the number of each segment in its data set,
    counted from 0 over all videos; padding repeats the number of the video's last segment. ``truth`` is the
    annotation of every segment, or None where it is unknown. ``proposals`` are intervals for a network that is told
    where to look; their bounds count the segments of whole videos, so a batch that has some has all segments.
    """

    features_in: dict[str, Float[Tensor, "B T _"]]
    mask: Bool[Tensor, "B T"]
    weak_labels: Float[Tensor, "B C"]
    index: Int[Tensor, " B"]
    segment: Int[Tensor, "B T"]
    truth: Bool[Tensor, "B T M C"] | None = None
    proposals: Proposals | None = None

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return this batch on ``device``; tensors that are already there are not copied."""
        move: dict[str, Any] = {"device": device, "non_blocking": non_blocking}
        return replace(
            self,
            features_in={name: stream.to(**move) for name, stream in self.features_in.items()},
            mask=self.mask.to(**move),
            weak_labels=self.weak_labels.to(**move),
            index=self.index.to(**move),
            segment=self.segment.to(**move),
            truth=None if self.truth is None else self.truth.to(**move),
            proposals=None if self.proposals is None else self.proposals.to(**move),
        )


@dataclass(frozen=True)
class ParsingOutput:
    """What every network returns. ``modality_probs`` are the poolings of one modality alone.

    ``projected`` are the features of each segment by itself, before segments attend to one another; None if the network
    has no such features. A network that returns more derives a dataclass of its own from this one.
    """

    features: Float[Tensor, "B T M D"]
    segment_probs: Float[Tensor, "B T M C"]
    video_probs: Float[Tensor, "B C"]
    modality_probs: Float[Tensor, "B M C"]
    projected: Float[Tensor, "B T M D"] | None = None


class ParsingNetwork(nn.Module, ABC):
    """The contract of a network: a batch in, a :class:`ParsingOutput` out, with features of ``feature_dim``."""

    feature_dim: int
    longest: int | None = None
    """The largest number of segments that it can take, such as that of learned positions; None: any number."""
    attending: tuple[str, ...] | None = None
    """The modalities whose segments attend to those of the others; None: all that the network lets."""

    @property
    def computes_crossing(self) -> bool:
        """Whether cross-attention is computed: where no modality attends, only to give its weights gradients of 0."""
        return self.training or self.attending != ()

    @abstractmethod
    def forward(self, batch: Batch) -> ParsingOutput:
        """Parse a batch."""

    if TYPE_CHECKING:  # nn.Module's own call is untyped

        def __call__(self, batch: Batch) -> ParsingOutput:
            """Run :meth:`forward`."""
            ...


class Instances(NamedTuple):
    """Annotated intervals, in the order of the annotation: number of the video, number of the event, start and end.

    Bounds are in seconds, unless something else is said.
    """

    videos: Int[Tensor, " I"]
    events: Int[Tensor, " I"]
    bounds: Float[Tensor, "I 2"]


class Detections(NamedTuple):
    """Predicted intervals, in the unit of the instances; among equal scores the first detection counts as better."""

    videos: Int[Tensor, " D"]
    events: Int[Tensor, " D"]
    bounds: Float[Tensor, "D 2"]
    scores: Float[Tensor, " D"]

    @classmethod
    def join(cls, parts: Iterable[Detections], counts: Iterable[int]) -> Detections:
        """Return the detections of several sets of so many videos, one set after another."""
        moved, before = [], 0
        for part, count in zip(parts, counts, strict=True):
            moved.append(part._replace(videos=part.videos + before))
            before += count
        return cls(*map(torch.cat, zip(*moved, strict=True)))


@dataclass(frozen=True)
class Segments:
    """The key segments of every event (Eqs. 5-6): masks over the segments of a batch."""

    positive: Bool[Tensor, "B T M C"]
    negative: Bool[Tensor, "B T M C"]


@dataclass(frozen=True)
class Prototypes:
    """Cluster centers of the key segments of every event (Eq. 8); rows whose mask is false are unused."""

    positive: Float[Tensor, "C K D"]
    positive_mask: Bool[Tensor, "C K"]
    negative: Float[Tensor, "C K D"]
    negative_mask: Bool[Tensor, "C K"]
