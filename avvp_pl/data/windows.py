"""Windows of videos: where they lie in videos that are longer than one, and batches of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Sampler

from avvp_pl.data.sampling import Picks
from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError

log = logging.getLogger(__name__)


class Cutting(NamedTuple):
    """How videos are cut into windows of so many ``segments``, of which neighbors share ``overlap``.

    ``segments`` is None where every video is taken whole.
    """

    segments: int | None
    overlap: int = 0

    def cuts(self, lengths: Int[Tensor, " N"]) -> bool:
        """Return whether any video of these lengths is longer than a window."""
        return self.segments is not None and bool((lengths > self.segments).any())

    def windows(self, lengths: Int[Tensor, " N"]) -> Windows:
        """Return the windows of videos of these lengths."""
        if self.segments is None:
            return Windows(torch.arange(len(lengths)), torch.zeros_like(lengths), lengths.clone())
        found = [window_starts(length, self.segments, self.overlap) for length in lengths.tolist()]
        counts = torch.tensor([len(starts) for starts in found], dtype=torch.long)
        rows = torch.arange(len(lengths)).repeat_interleave(counts)
        starts = torch.tensor([start for starts in found for start in starts], dtype=torch.long)
        return Windows(rows, starts, lengths[rows].clamp(max=self.segments))


WHOLE = Cutting(None)


class Windows(NamedTuple):
    """The W windows of the videos of a set, video by video and in each by time.

    ``rows`` are those of their videos, ``starts`` the segments of the video at which they begin, and ``lengths`` their
    numbers of segments. Windows of one video have the same length.
    """

    rows: Int[Tensor, " W"]
    starts: Int[Tensor, " W"]
    lengths: Int[Tensor, " W"]


def window_starts(length: int, window: int, overlap: int) -> list[int]:
    """Return the segments at which the windows of a video begin.

    Each begins ``window - overlap`` segments after the one before, except for the last one, which ends with the video.
    So all have ``window`` segments; only a video that is shorter than that has one shorter window. Raises ValueError
    unless windows move on: 0 <= ``overlap`` < ``window``.

    >>> window_starts(10, 10, 5), window_starts(23, 10, 5), window_starts(7, 10, 5)
    ([0], [0, 5, 10, 13], [0])
    """
    if not 0 <= overlap < window:
        raise ValueError(f"windows of {window} segments cannot overlap by {overlap}")
    last = max(0, length - window)
    return [*range(0, last, window - overlap), last]


def cutting_of(
    window: int | Literal["whole"] | None,
    overlap: int | None,
    trained: tuple[int, int] | None,
    longest: int | None = None,
) -> Cutting:
    """Return how videos are cut, from the settings ``window`` and ``overlap``.

    ``trained`` are the numbers of segments of the shortest and the longest training video (None: many lengths), and
    ``longest`` is that of the longest video that the network can take (None: any). Without a ``window``, a network
    whose training videos all had the same length sees windows of this length, as it knows nothing else; one that was
    trained on videos of many lengths sees every video whole, or as much of it as it can take. Without an ``overlap``,
    windows overlap by half.

    Raises :class:`InputError` for a window that the network cannot take, and for an overlap that is not possible.

    >>> cutting_of(None, None, (10, 10)), cutting_of(None, None, (5, 40)), cutting_of(20, 0, (10, 10))
    (Cutting(segments=10, overlap=5), Cutting(segments=None, overlap=0), Cutting(segments=20, overlap=0))
    """
    if window is None:
        segments = trained[0] if trained is not None and trained[0] == trained[1] else longest
    else:
        segments = None if window == "whole" else window
    if longest is not None and (segments is None or segments > longest):
        raise InputError(
            f"window={window}: the network takes at most {longest} segments; give window={longest} or a smaller one"
        )
    if segments is None:
        if overlap is not None:
            raise InputError(
                f"overlap={overlap}: it has no effect, because every video is taken whole; give window=SEGMENTS as well"
            )
        return WHOLE
    if overlap is not None and overlap >= segments:
        raise InputError(f"overlap={overlap}: it must be less than the window, which is {segments} segments")
    return Cutting(segments, segments // 2 if overlap is None else overlap)


def cutting_for(
    videos: VideoSet,
    window: int | Literal["whole"] | None,
    overlap: int | None,
    trained: tuple[int, int] | None,
    longest: int | None,
) -> Cutting:
    """Return how these videos are cut, by :func:`cutting_of`, and log it if one of them is longer than a window.

    Videos with proposals are whole, because proposals are intervals of whole videos. Raises :class:`InputError` for
    windows of such videos.
    """
    if videos.proposals is not None and window is None:
        window = "whole"
    cutting = cutting_of(window, overlap, trained, longest)
    if not cutting.cuts(videos.lengths):
        return WHOLE
    if videos.proposals is not None:
        raise InputError(f"window={window}: the network is told proposals, which need whole videos; give window=whole")
    log.info(
        "%d of %d videos are longer than %d segments, and seen through windows of so many, which overlap by %d",
        int((videos.lengths > (cutting.segments or 0)).sum()),
        len(videos),
        cutting.segments,
        cutting.overlap,
    )
    return cutting


class WindowBatches(Sampler[Picks]):
    """The windows of a set of videos of these ``lengths``, in order, ``batch_size`` at once."""

    def __init__(self, lengths: Int[Tensor, " N"], windows: Windows, batch_size: int) -> None:
        self.starts, self.windows, self.batch_size = lengths.cumsum(0) - lengths, windows, batch_size
        self.last = max(0, int(lengths.sum()) - 1)

    def __len__(self) -> int:
        return -(-len(self.windows.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Picks]:
        parts: Sequence[Sequence[Tensor]] = [torch.split(column, self.batch_size) for column in self.windows]
        for rows, starts, lengths in zip(*parts, strict=True):
            yield self.picks(Windows(rows, starts, lengths))

    def picks(self, windows: Windows) -> Picks:
        """Return the segments of some windows, padded to the longest of them and to at least one segment."""
        steps = torch.arange(max(1, int(windows.lengths.max())))
        own = torch.minimum(steps, (windows.lengths - 1).clamp(min=0)[:, None])  # [B, T]
        segment = (self.starts[windows.rows] + windows.starts)[:, None] + own
        return Picks(windows.rows, segment.clamp(max=self.last), steps < windows.lengths[:, None])
