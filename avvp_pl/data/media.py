"""Videos as features that extractors have made of video files: which modalities a file lacks, and a set of videos."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avvp_pl.data.features import pooled
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError


class Extracted(NamedTuple):
    """The features of one video file, [rows, D] of each stream, and the modalities of extractors that it ``lacks``."""

    name: str
    segments: int
    features: Mapping[str, npt.NDArray[np.float32]]
    lacks: Collection[str] = ()


def missing_modalities(
    modalities: Mapping[str, Sequence[str]], made: Mapping[str, Mapping[str, Any]], lacks: Collection[str]
) -> tuple[str, ...]:
    """Return the modalities of a model of which nothing is known in a video.

    These are those all of whose streams are made of what the video ``lacks``; ``made`` has the entry of each stream in
    the manifest. A model may call its modalities otherwise than the extractors, which say ``audio`` and ``visual``.

    >>> made = {"logmel": {"modality": "audio"}, "picture": {"modality": "visual"}}
    >>> missing_modalities({"heard": ["logmel"], "both": ["logmel", "picture"]}, made, ["audio"])
    ('heard',)
    """

    def is_missing(stream: str) -> bool:
        return stream in made and made[stream].get("modality") in lacks

    return tuple(name for name, streams in modalities.items() if all(map(is_missing, streams)))


def check_seconds(segment_seconds: float, path: Path) -> None:
    """Raise :class:`InputError` for a checkpoint whose segments are no seconds, as those of extractors are."""
    if segment_seconds != 1:
        raise InputError(
            f"{path}: it was trained on segments of {segment_seconds:g} s, and extractors make features of seconds; "
            "parse features instead (data.root=DIR)"
        )


def extracted_videos(videos: Sequence[Extracted], known: ParsingSet, dtype: str = "float32") -> VideoSet:
    """Return videos with the streams and events of ``known``, without labels; their rows are averaged over segments."""
    streams: dict[str, list[Tensor]] = {stream: [] for stream in known.stream_dims}
    for video in videos:
        for stream, parts in streams.items():
            parts.append(pooled(f"{stream} of {video.name}", video.features[stream], video.segments, dtype))
    missing = {video.name: missing_modalities(known.modalities, known.extractors, video.lacks) for video in videos}
    return VideoSet(
        tuple(video.name for video in videos),
        torch.tensor([video.segments for video in videos]),
        {stream: torch.cat(parts) for stream, parts in streams.items()},
        torch.zeros(len(videos), len(known.events)),
        missing={name: lacking for name, lacking in missing.items() if lacking},
    )
