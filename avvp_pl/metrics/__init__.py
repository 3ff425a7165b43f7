"""Scores, exactly as the field computes them: F1 of parsed videos (Tian et al., ECCV 2020), and mAP of detections."""

from avvp_pl.metrics.avvp import AVVPMetric, ParsingScores, score_timelines, video_f1
from avvp_pl.metrics.tal import CollectedIntervals, LocalizationScores, TALMetric, score_detections
from avvp_pl.types import Detections, Instances

__all__ = [
    "AVVPMetric",
    "CollectedIntervals",
    "Detections",
    "Instances",
    "LocalizationScores",
    "ParsingScores",
    "TALMetric",
    "score_detections",
    "score_timelines",
    "video_f1",
]
