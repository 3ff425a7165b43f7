"""Files of proposals: the intervals that one network has found, and that the next one is told.

A file has ActivityNet's layout of detections (:mod:`avvp_pl.data.activitynet`), so that it can be scored, and the
detections of any system can be proposals. It lists every video of the data, also those without proposals. Bounds are
seconds.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from avvp_pl.data.activitynet import Interval, read_detections, write_detections
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError, nearest, quote
from avvp_pl.types import Detections, Proposals

ADVICE = "write the file with python -m avvp_pl.refine +refine=asm_loc and the data of this run"


def write_proposals(path: Path, videos: ParsingSet, found: Mapping[str, Detections], checkpoint: str) -> None:
    """Write what was found in the videos of each split; ``checkpoint`` is the SHA-256 of that of the network.

    Raises :class:`InputError` where two splits have a video of the same name.
    """
    names = [name for split in found for name in videos.splits[split].names]
    if len(set(names)) < len(names):
        name = next(name for name, count in Counter(names).items() if count > 1)
        raise InputError(
            f"the video {quote(name)} is in two splits of the data, and a file of proposals has one entry for each "
            "video; remove it from one of the tables of the data"
        )
    joined = Detections.join(found.values(), (len(videos.splits[split]) for split in found))
    write_detections(path, names, videos.events, joined, checkpoint_sha256=checkpoint)


def with_proposals(videos: ParsingSet, path: Path) -> ParsingSet:
    """Return the data with the proposals of a file; :class:`InputError` says what is wrong with it."""
    results = read_detections(path)
    of_video: dict[str, list[Interval]] = {name: [] for name in results.videos}
    for interval in results.detections:
        of_video[interval.video].append(interval)
    splits = {
        name: replace(split, proposals=_of_split(videos, name, split, of_video, path).to(device=split.device))
        for name, split in videos.splits.items()
    }
    return replace(videos, **splits)  # type: ignore[arg-type]


def digest(proposals: Proposals) -> bytes:
    """Return a checksum by which a resumed run knows that it has read the same proposals."""
    content = hashlib.blake2b(digest_size=16)
    for column in proposals:
        content.update(repr(tuple(column.shape)).encode() + column.cpu().numpy().tobytes())
    return content.digest()


def _of_split(
    videos: ParsingSet, name: str, split: VideoSet, of_video: Mapping[str, list[Interval]], path: Path
) -> Proposals:
    numbers = {event: number for number, event in enumerate(videos.events)}
    missing = [video for video in split.names if video not in of_video]
    if missing:
        more = f", and {len(missing) - 1} more {name} videos are missing" if len(missing) > 1 else ""
        raise InputError(
            f"{path}: does not list the {name} video {quote(missing[0])}{more}; {ADVICE}."
            f"{nearest(missing[0], of_video)}"
        )
    weak_labels, rows = split.weak_labels.cpu(), []
    for row, (video, length) in enumerate(zip(split.names, split.lengths.tolist(), strict=True)):
        found = []
        for interval in of_video[video]:
            place = f"{path}: {interval.place}"
            if interval.event not in numbers:
                raise InputError(
                    f"{place}['label'] is {quote(interval.event)}, which is no event of the data."
                    f"{nearest(interval.event, numbers)}"
                )
            event, seconds = numbers[interval.event], length * videos.segment_seconds
            if interval.end > seconds + videos.segment_seconds:
                raise InputError(
                    f"{place}['segment'] ends at {interval.end:g} s, but the video has {length} segments, which end at "
                    f"{seconds:g} s; {ADVICE}"
                )
            if name == "train" and not weak_labels[row, event]:
                raise InputError(
                    f"{place}['label'] is {quote(interval.event)}, which is not in the weak label of this training "
                    f"video; {ADVICE}"
                )
            found.append((event, -interval.score, interval.start, min(interval.end, seconds)))
        rows.append([entry for entry in sorted(found, key=lambda entry: entry[:2]) if entry[3] > entry[2]])
    return _padded(rows, videos.segment_seconds)


def _padded(rows: list[list[tuple[int, float, float, float]]], segment_seconds: float) -> Proposals:
    """Return the event, the negative score, the start and the end of all intervals of each video as one table."""
    widest = max([1, *map(len, rows)])
    table = torch.zeros(len(rows), widest, 4, dtype=torch.float64)
    mask: Tensor = torch.arange(widest) < torch.tensor([len(row) for row in rows], dtype=torch.int64)[:, None]
    table[mask] = torch.tensor([entry for row in rows for entry in row], dtype=torch.float64).reshape(-1, 4)
    events, scores, bounds = table[:, :, 0].long(), -table[:, :, 1], table[:, :, 2:] / segment_seconds
    return Proposals(bounds, events, scores, mask)
