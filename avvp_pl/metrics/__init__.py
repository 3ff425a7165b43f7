"""Scores, exactly as the field computes them (Tian et al., ECCV 2020)."""

from avvp_pl.metrics.avvp import AVVPMetric, ParsingScores, score_timelines, video_f1

__all__ = ["AVVPMetric", "ParsingScores", "score_timelines", "video_f1"]
