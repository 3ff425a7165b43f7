"""The loops that the mAP is measured against compute the same."""

from __future__ import annotations

import pytest

from avvp_pl.metrics import score_detections
from benchmarks.localization import EVENTS, VIDEOS, by_loops, made


def test_loops_compute_the_same() -> None:
    detections, truth = made(2_000)
    assert by_loops(detections, truth) == pytest.approx(score_detections(detections, truth, EVENTS, VIDEOS).average)
