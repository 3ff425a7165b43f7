"""The decision for localization: which intervals show an event, from its curve in each video."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.inference.detections import Levels, Pipeline, find_intervals
from avvp_pl.parts import Decision, Evidence
from avvp_pl.types import Batch, Detections


class Detector(Decision):
    """Find intervals by a :class:`~avvp_pl.inference.detections.Pipeline`, which says what its settings mean.

    The curve is cut at ``curve_levels`` and the attention at ``attention_levels``: so many levels (``count``) from the
    ``lowest`` to the ``highest``; None: at no level. ``zeroed`` is that of the levels of the curve, and
    ``video_threshold`` is the gate.

    The curve of an event is that of the evidence, or else the mean over the modalities of its segment probabilities;
    the score of a video is the mean over the modalities of its probabilities. The timelines that go with it, for
    figures and for scores of segments, have an event where a segment of a modality has at least ``segment_threshold``
    and the event passes the gate of the pipeline.
    """

    def __init__(
        self,
        segment_seconds: float,
        segment_threshold: float,
        video_threshold: float,
        strict_gate: bool,
        without_events: Literal["best", "nothing"],
        curve_levels: Mapping[str, float] | None,
        attention_levels: Mapping[str, float] | None,
        zeroed: bool,
        upsampling: int,
        at: Literal["center", "start"],
        shortest: int,
        outer: float,
        video_weight: float,
        video_score_as_one: bool,
        unique: bool,
        suppression: Literal["hard", "gaussian"],
        overlap: float,
        sigma: float,
        added_seconds: float,
        lowest: float | None,
    ) -> None:
        super().__init__()
        self.segment_seconds, self.segment_threshold = segment_seconds, segment_threshold
        levels = []
        if curve_levels is not None:
            levels.append(Levels(_spread("curve_levels", curve_levels), "curve", zeroed))
        if attention_levels is not None:
            levels.append(Levels(_spread("attention_levels", attention_levels), "attention"))
        if not levels:
            raise InputError("protocol.decision: give curve_levels or attention_levels, or both")
        self.pipeline = Pipeline(
            gate=video_threshold,
            strict_gate=strict_gate,
            without_events=without_events,
            levels=tuple(levels),
            upsampling=upsampling,
            at=at,
            shortest=shortest,
            outer=outer,
            video_weight=video_weight,
            video_score_as_one=video_score_as_one,
            unique=unique,
            suppression=suppression,
            overlap=overlap,
            sigma=sigma,
            added_seconds=added_seconds,
            lowest=lowest,
        )

    def forward(self, evidence: Evidence, batch: Batch) -> Bool[Tensor, "B T M C"]:
        """Decide by thresholds, segment by segment."""
        pipeline, scores = self.pipeline, evidence.video_probs
        occurs = scores > pipeline.gate if pipeline.strict_gate else scores >= pipeline.gate
        return (evidence.segment_probs >= self.segment_threshold) & occurs[:, None] & batch.mask[:, :, None, None]

    def detections(self, evidence: Evidence, batch: Batch) -> Detections:
        """Return what the pipeline finds in each video."""
        curves = evidence.segment_probs.mean(2) if evidence.curves is None else evidence.curves
        curves, video_scores = curves.detach().cpu().double(), evidence.video_probs.detach().mean(1).cpu().double()
        attention = None if evidence.attention is None else evidence.attention.detach().cpu().double()
        if attention is None and any(levels.of == "attention" for levels in self.pipeline.levels):
            raise InputError(
                "protocol.decision.attention_levels: the inference has no attention that could be cut; give "
                "protocol.decision.attention_levels=null and curve_levels, as protocol=localization does"
            )
        videos, events, bounds, scores = [], [], [], []
        segments, axis = batch.mask.sum(1).tolist(), evidence.axis
        for row, length in enumerate(segments if axis is None else axis.lengths.tolist()):
            if not length:
                continue
            found = find_intervals(
                curves[row, :length],
                video_scores[row],
                self.pipeline,
                self.segment_seconds,
                None if attention is None else attention[row, :length],
                None if axis is None else partial(axis.to_segments, row),
                segments[row],
            )
            videos.append(torch.full_like(found.events, row))
            events.append(found.events)
            bounds.append(found.bounds)
            scores.append(found.scores)
        if not videos:
            nothing = torch.zeros(0, dtype=torch.int64)
            return Detections(nothing, nothing, torch.zeros(0, 2, dtype=torch.float64), torch.zeros(0).double())
        return Detections(*map(torch.cat, (videos, events, bounds, scores)))


def _spread(name: str, spread: Mapping[str, float]) -> tuple[float, ...]:
    """Return evenly spaced levels.

    >>> _spread("curve_levels", {"lowest": 0.0, "highest": 1.0, "count": 3})
    (0.0, 0.5, 1.0)
    """
    if set(spread) != {"lowest", "highest", "count"} or spread["count"] < 1 or spread["count"] % 1:
        raise InputError(
            f"protocol.decision.{name}={dict(spread)}: it must have lowest, highest and count, a whole number, such as "
            "{lowest: 0.1, highest: 0.9, count: 20}"
        )
    lowest, highest, count = spread["lowest"], spread["highest"], int(spread["count"])
    return tuple(lowest + (highest - lowest) * k / max(1, count - 1) for k in range(count))
