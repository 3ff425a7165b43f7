"""The decision for localization: which intervals show an event, from its curve in each video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.inference.detections import Levels, Pipeline, find_intervals
from avvp_pl.parts import Decision, Evidence
from avvp_pl.types import Batch, Detections


class Detector(Decision):
    """Find intervals by a :class:`~avvp_pl.inference.detections.Pipeline`, of which ``pipeline`` has the settings.

    The curve of an event is that of the evidence, or else the mean over the modalities of its segment probabilities;
    the score of a video is the mean over the modalities of its probabilities. The timelines that go with it, for
    figures and for scores of segments, have an event where a segment of a modality has at least ``segment_threshold``
    and the event passes the gate of the pipeline.
    """

    def __init__(
        self,
        segment_seconds: float,
        segment_threshold: float,
        levels: Sequence[Mapping[str, Any]],
        **pipeline: Any,
    ) -> None:
        super().__init__()
        self.segment_seconds, self.segment_threshold = segment_seconds, segment_threshold
        try:
            cuts = tuple(Levels(**{**of, "values": tuple(of["values"])}) for of in levels)
            self.pipeline = Pipeline(levels=cuts, **pipeline)
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"protocol.decision: {error}") from None

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
