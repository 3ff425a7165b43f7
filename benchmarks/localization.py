"""Localization: the mAP of 30,000 detections, on one thread, against loops over events, thresholds and detections.

As many videos, events and instances as the test set of THUMOS14 has, with detections near the instances and elsewhere.
The loops are those of public scorers: for each event and threshold, every detection looks for its best free instance.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from avvp_pl.metrics import Detections, Instances, score_detections
from avvp_pl.metrics.tal import THRESHOLDS
from benchmarks.measure import Row, Scale, alternate, threads

VIDEOS, EVENTS, INSTANCES = 210, 20, 3_311


def measure(scale: Scale) -> Iterator[Row]:
    """One row."""
    with threads(1):
        detections, truth = made(scale.detections)
        pair = alternate(
            lambda: score_detections(detections, truth, EVENTS, VIDEOS),
            lambda: by_loops(detections, truth),
            scale.repeats,
        )
        yield pair.row(f"mAP of {scale.detections} detections", "under 1 s")


def made(count: int) -> tuple[Detections, Instances]:
    """Detections and instances; a video has one event, as nearly all of THUMOS14 have."""
    draw = torch.Generator().manual_seed(0)
    event = torch.randint(EVENTS, (VIDEOS,), generator=draw)

    def intervals(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        videos = torch.randint(VIDEOS, (number,), generator=draw)
        starts = torch.rand(number, generator=draw, dtype=torch.float64) * 200
        lengths = 0.5 + torch.rand(number, generator=draw, dtype=torch.float64) * 8
        return videos, torch.stack([starts, starts + lengths], 1)

    videos, bounds = intervals(INSTANCES)
    truth = Instances(videos, event[videos], bounds)
    near = torch.randint(INSTANCES, (count // 2,), generator=draw)
    moved = bounds[near] + torch.rand(count // 2, 1, generator=draw, dtype=torch.float64)
    others, elsewhere = intervals(count - count // 2)
    of_videos = torch.cat([videos[near], others])
    scores = torch.rand(count, generator=draw, dtype=torch.float64)
    return Detections(of_videos, event[of_videos], torch.cat([moved, elsewhere]), scores), truth


def by_loops(detections: Detections, truth: Instances) -> float:
    """Return the mean over thresholds, in percent."""
    videos, events, bounds, scores = (column.numpy() for column in detections)
    true_videos, true_events, true_bounds = (column.numpy() for column in truth)
    values = np.zeros((len(THRESHOLDS), EVENTS))
    for event in range(EVENTS):
        rows = np.flatnonzero(events == event)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        true = np.flatnonzero(true_events == event)
        of_video = {video: true_bounds[true[true_videos[true] == video]] for video in np.unique(true_videos[true])}
        hits = np.zeros((len(THRESHOLDS), len(rows)))
        taken = {video: np.zeros((len(THRESHOLDS), len(own)), dtype=bool) for video, own in of_video.items()}
        for place, row in enumerate(rows):
            own = of_video.get(videos[row])
            if own is None:
                continue
            both = np.minimum(bounds[row, 1], own[:, 1]) - np.maximum(bounds[row, 0], own[:, 0])
            both = both.clip(0)
            overlaps = both / (bounds[row, 1] - bounds[row, 0] + own[:, 1] - own[:, 0] - both)
            order = np.argsort(-overlaps, kind="stable")
            for k, threshold in enumerate(THRESHOLDS):
                for instance in order:
                    if overlaps[instance] < threshold:
                        break
                    if not taken[videos[row]][k, instance]:
                        taken[videos[row]][k, instance] = True
                        hits[k, place] = 1
                        break
        precision = hits.cumsum(1) / np.arange(1, len(rows) + 1)
        best_after = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        values[:, event] = (best_after * hits).sum(1) / max(1, len(true))
    return float(100 * values.mean())
