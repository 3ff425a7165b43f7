"""Parsed timelines as files: LLP-format tables, probabilities, one JSON, and pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avvp_pl.data.annotations import intervals, write_timelines
from avvp_pl.data.llp import feature_key
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.figures import draw_timelines, png
from avvp_pl.files import atomic_write, atomic_write_bytes
from avvp_pl.training.module import Parsed


def write_predictions(folder: Path, names: Sequence[str], parsed: Parsed, videos: ParsingSet) -> None:
    """``MODALITY.csv`` for each modality, and ``probabilities.npz`` with what they were decided by."""
    for m, modality in enumerate(videos.modalities):
        path = folder / f"{modality}.csv"
        write_timelines(path, names, parsed.timelines[:, :, m].numpy(), videos.events, videos.segment_seconds)
    _write_probabilities(folder / "probabilities.npz", names, parsed, videos)


def _write_probabilities(path: Path, names: Sequence[str], parsed: Parsed, videos: ParsingSet) -> None:
    """Names, and probabilities before any threshold as float16: ``segment`` [N, T, M, C] and ``video`` [N, C].

    The same content gives the same bytes: numpy gives the parts of the archive no time of their own.
    """
    content = io.BytesIO()
    np.savez_compressed(
        content,
        names=np.array(names, dtype=np.str_),
        events=np.array(videos.events, dtype=np.str_),
        modalities=np.array(tuple(videos.modalities), dtype=np.str_),
        segment=parsed.probs.half().numpy(),
        video=parsed.video_probs.half().numpy(),
    )
    atomic_write_bytes(path, content.getbuffer())


def write_parsed(folder: Path, names: Sequence[str], parsed: Parsed, videos: ParsingSet) -> None:
    """The predictions, and ``timelines.json`` with the mean probability of every found event."""
    timelines, probs = parsed.timelines.numpy(), parsed.probs.numpy()
    write_predictions(folder, names, parsed, videos)
    entries: Mapping[str, Any] = {
        name: {
            modality: [
                {
                    "event": videos.events[event],
                    "onset": onset * videos.segment_seconds,
                    "offset": offset * videos.segment_seconds,
                    "probability": round(float(prob[onset:offset, m, event].mean()), 4),
                }
                for event, onset, offset in intervals(timeline[:, m])
            ]
            for m, modality in enumerate(videos.modalities)
        }
        for name, timeline, prob in zip(names, timelines, probs, strict=True)
    }
    content = {
        "events": videos.events,
        "segments": timelines.shape[1],
        "segment_seconds": videos.segment_seconds,
        "videos": entries,
    }
    with atomic_write(folder / "timelines.json") as file:
        json.dump(content, file, indent=1)
        file.write("\n")


def write_pictures(folder: Path, split: VideoSet, parsed: Parsed, videos: ParsingSet, count: int) -> None:
    """``pictures/KEY.png`` of the first ``count`` videos: what was found, below the truth where it is known.

    They are called as the videos' feature files are, which no name can lead out of the folder.
    """
    for row in range(min(count, len(split))):
        name = split.names[row]
        sources = {"prediction": parsed.timelines[row].numpy()}
        if split.truth is not None:
            sources = {"truth": split.truth[row].cpu().numpy(), **sources}
        figure = draw_timelines(name, sources, list(videos.modalities), videos.events, videos.segment_seconds)
        atomic_write_bytes(folder / "pictures" / f"{feature_key(name)}.png", png(figure, dpi=120))
