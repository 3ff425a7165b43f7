"""Folders with the features of videos that were generated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from avvp_pl.data.annotations import write_timelines
from avvp_pl.data.videos import ParsingSet, VideoSet

Arrays = dict[str, list[np.ndarray]]


def arrays(videos: VideoSet) -> Arrays:
    """The streams of each video."""
    lengths = videos.lengths.tolist()
    return {name: [part.numpy() for part in torch.split(stream, lengths)] for name, stream in videos.streams.items()}


def write_features(root: Path, names: tuple[str, ...], streams: Arrays) -> Path:
    """Write ``feats/STREAM/NAME.npy``."""
    for stream, parts in streams.items():
        (root / "feats" / stream).mkdir(parents=True)
        for name, part in zip(names, parts, strict=True):
            np.save(root / "feats" / stream / f"{name}.npy", part)
    return root


def write_llp(root: Path, data: ParsingSet) -> Path:
    """Write the test videos in LLP layout, with their annotation."""
    videos = data.test
    assert videos is not None
    assert videos.truth is not None
    write_features(root, videos.names, arrays(videos))
    (root / "data").mkdir()
    labels = [",".join(event for event, w in zip(data.events, row, strict=True) if w) for row in videos.weak_labels]
    rows = "".join(f"{name}\t{events}\n" for name, events in zip(videos.names, labels, strict=True))
    (root / "data" / "AVVP_test_pd.csv").write_text(f"filename\tevent_labels\n{rows}")
    truth = [part.numpy() for part in torch.split(videos.truth, videos.lengths.tolist())]
    for m, modality in enumerate(data.modalities):
        own = [timeline[:, m] for timeline in truth]
        write_timelines(root / "data" / f"AVVP_eval_{modality}.csv", videos.names, own, data.events)
    return root
