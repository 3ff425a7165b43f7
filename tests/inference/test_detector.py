"""The decision for localization: videos one by one, without padding, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from avvp_pl.errors import InputError
from avvp_pl.inference.detections import Levels, Pipeline, find_intervals
from avvp_pl.inference.detector import Detector
from avvp_pl.parts import CurveAxis, Evidence
from tests.stand_ins import some_videos

SETTINGS: dict[str, Any] = {
    "segment_seconds": 0.5,
    "segment_threshold": 0.5,
    "video_threshold": 0.4,
    "strict_gate": False,
    "without_events": "best",
    "curve_levels": {"lowest": 0.2, "highest": 0.6, "count": 3},
    "attention_levels": None,
    "zeroed": False,
    "upsampling": 4,
    "at": "center",
    "shortest": 1,
    "outer": 0.25,
    "video_weight": 0.2,
    "video_score_as_one": False,
    "unique": True,
    "suppression": "gaussian",
    "overlap": 0.5,
    "sigma": 0.3,
    "added_seconds": 0.0,
    "lowest": 1e-3,
}
LENGTHS = [5, 0, 9]


def evidence_of(modalities: int, **more: Any) -> Evidence:
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(3, 9, modalities, 4, generator=generator)
    return Evidence(probs, torch.rand(3, modalities, 4, generator=generator), **more)


def batch_of() -> Any:
    return some_videos(LENGTHS, [[1.0] * 4] * 3)[torch.arange(3)]


@pytest.mark.parametrize("modalities", [1, 2])
def test_each_video_is_searched_by_itself(modalities: int) -> None:
    evidence = evidence_of(modalities)
    found = Detector(**SETTINGS).detections(evidence, batch_of())
    pipeline = Pipeline(gate=0.4, levels=(Levels((0.2, 0.4, 0.6)),), upsampling=4)
    for row, length in enumerate(LENGTHS):
        own = found.videos == row
        if not length:
            assert not own.any()
            continue
        curves, scores = evidence.segment_probs[row, :length].mean(1), evidence.video_probs[row].mean(0)
        expected = find_intervals(curves.double(), scores.double(), pipeline, 0.5)
        assert len(expected.scores)
        assert torch.equal(found.events[own], expected.events)
        torch.testing.assert_close(found.bounds[own], expected.bounds)
        torch.testing.assert_close(found.scores[own], expected.scores)


def test_curves_and_attention_of_the_inference_take_the_place_of_probabilities() -> None:
    generator = torch.Generator().manual_seed(1)
    curves, attention = torch.randn(3, 9, 4, generator=generator), torch.rand(3, 9, generator=generator)
    evidence = evidence_of(1, curves=curves, attention=attention)
    levels = {"lowest": 0.5, "highest": 0.5, "count": 1}
    detector = Detector(**{**SETTINGS, "curve_levels": None, "attention_levels": levels})
    found = detector.detections(evidence, batch_of())
    pipeline = Pipeline(gate=0.4, levels=(Levels((0.5,), "attention"),), upsampling=4)
    own = found.videos == 2
    expected = find_intervals(
        curves[2].double(), evidence.video_probs[2, 0].double(), pipeline, 0.5, attention[2].double()
    )
    assert torch.equal(found.bounds[own], expected.bounds)
    assert torch.equal(found.scores[own], expected.scores)


def test_points_of_a_curve_divide_the_video_evenly() -> None:
    """Two segments of 0.5 s with four points, and nine segments with six: points of 0.25 s and 0.75 s."""
    generator = torch.Generator().manual_seed(1)
    curves, attention = torch.rand(3, 6, 4, generator=generator), torch.rand(3, 6, generator=generator)
    axis = CurveAxis.even(torch.tensor([4, 0, 6]), torch.tensor([2, 0, 9]))
    evidence = evidence_of(1, curves=curves, attention=attention, axis=axis)
    batch = some_videos([2, 0, 9], [[1.0] * 4] * 3)[torch.arange(3)]
    levels = {"lowest": 0.5, "highest": 0.5, "count": 1}
    found = Detector(**{**SETTINGS, "attention_levels": levels}).detections(evidence, batch)
    pipeline = Pipeline(gate=0.4, levels=(Levels((0.2, 0.4, 0.6)), Levels((0.5,), "attention")), upsampling=4)
    for row, number, seconds in ((0, 4, 0.25), (2, 6, 0.75)):
        scores = evidence.video_probs[row, 0].double()
        cut = attention[row, :number].double()
        expected = find_intervals(curves[row, :number].double(), scores, pipeline, seconds, cut)
        own = found.videos == row
        assert own.any()
        torch.testing.assert_close(found.bounds[own], expected.bounds)
        torch.testing.assert_close(found.scores[own], expected.scores)
    assert not (found.videos == 1).any()


@pytest.mark.parametrize(("strict", "expected"), [(False, [True, True, False]), (True, [False, True, False])])
def test_timelines_go_through_both_gates(strict: bool, expected: list[bool]) -> None:
    detector = Detector(**{**SETTINGS, "strict_gate": strict, "video_threshold": 0.5})
    batch = some_videos([1], [[1.0] * 3])[torch.tensor([0])]
    evidence = Evidence(torch.tensor([[[[0.5, 0.9, 0.4]]]]), torch.tensor([[[0.5, 0.6, 0.9]]]))
    assert detector(evidence, batch)[0, 0, 0].tolist() == expected


def test_no_video_has_any_segment() -> None:
    batch = some_videos([0], [[1.0] * 4])[torch.tensor([0])]
    found = Detector(**SETTINGS).detections(Evidence(torch.zeros(1, 1, 1, 4), torch.ones(1, 1, 4)), batch)
    assert [tuple(column.shape) for column in found] == [(0,), (0,), (0, 2), (0,)]


def test_levels_of_an_attention_need_one() -> None:
    detector = Detector(**{**SETTINGS, "attention_levels": {"lowest": 0.1, "highest": 0.9, "count": 2}})
    with pytest.raises(InputError, match="the inference has no attention"):
        detector.detections(evidence_of(1), batch_of())


@pytest.mark.parametrize(
    "levels", [{"lowest": 0.1}, {"lowest": 0.1, "highest": 0.2, "count": 1.5}, {"from": 1, "to": 2, "count": 3}]
)
def test_wrong_levels_are_refused(levels: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"^protocol\.decision\.curve_levels="):
        Detector(**{**SETTINGS, "curve_levels": levels})


def test_some_levels_must_be_given() -> None:
    with pytest.raises(InputError, match="give curve_levels or attention_levels"):
        Detector(**{**SETTINGS, "curve_levels": None})
