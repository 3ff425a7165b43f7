"""What was found in videos: timelines, probabilities and, in localization, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avvp_pl.types import Detections


class Parsed(NamedTuple):
    """N parsed videos: which events occur in which segments, and with which probability.

    The S segments of all videos come one after another. ``probs`` are segment probabilities before gating. They are
    kept for events that a gate rejects, so that a miss can be explained. ``detections`` are the intervals that a
    decision for localization has found, in seconds and by the row of the video; None: the decision finds none.
    What occurs in a modality that a video does not have is not known: see :meth:`without`.
    """

    lengths: Int[Tensor, " N"]
    timelines: Bool[Tensor, "S M C"]
    probs: Float[Tensor, "S M C"]
    video_probs: Float[Tensor, "N M C"]
    detections: Detections | None = None

    def videos(self, flat: Tensor) -> tuple[Tensor, ...]:
        """Split a tensor with a row for every segment into one tensor for each video."""
        return torch.split(flat, self.lengths.tolist())

    def without(self, missing: Bool[Tensor, "N M"]) -> Parsed:
        """Return the same without what was computed for ``missing`` modalities: no events, and NaN as probabilities."""
        if not missing.any():
            return self
        segments = missing.repeat_interleave(self.lengths, 0)[:, :, None]  # [S, M, 1]
        return self._replace(
            timelines=self.timelines & ~segments,
            probs=self.probs.masked_fill(segments, torch.nan),
            video_probs=self.video_probs.masked_fill(missing[:, :, None], torch.nan),
        )


def flat(padded: Parsed, mask: Bool[Tensor, "B T"]) -> Parsed:
    """Drop the padding of a parsed batch, whose tensors are [B, T, M, C], and move it to main memory."""
    mask = mask.cpu()
    return padded._replace(
        lengths=mask.sum(1),
        timelines=padded.timelines.cpu()[mask],
        probs=padded.probs.cpu()[mask],
        video_probs=padded.video_probs.cpu(),
    )


def join(parts: Sequence[Parsed]) -> Parsed:
    """Return the videos of several batches one after another."""
    lengths, timelines, probs, video_probs, found = zip(*parts, strict=True)
    joined = Parsed(torch.cat(lengths), torch.cat(timelines), torch.cat(probs), torch.cat(video_probs))
    detections = [one for one in found if one is not None]
    if len(detections) < len(found):
        return joined
    return joined._replace(detections=Detections.join(detections, map(len, lengths)))


def in_order(parsed: Parsed, order: Int[Tensor, " N"]) -> Parsed:
    """Return the videos in another order."""

    def segments(flat: Tensor) -> Tensor:
        videos = parsed.videos(flat)
        return torch.cat([videos[row] for row in order.tolist()])

    return Parsed(
        parsed.lengths[order],
        segments(parsed.timelines),
        segments(parsed.probs),
        parsed.video_probs[order],
        None if parsed.detections is None else _in_order(parsed.detections, order),
    )


def _in_order(detections: Detections, order: Int[Tensor, " N"]) -> Detections:
    """Return the detections by the new row of their video; in one video, their order stays."""
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    videos = place[detections.videos]
    by_video = videos.argsort(stable=True)
    return Detections(*(column[by_video] for column in (videos, *detections[1:])))
