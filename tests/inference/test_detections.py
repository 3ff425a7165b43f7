"""From curves to detections: each step against naive loops and numbers worked by hand; the published pipelines."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avvp_pl.inference.detections import (
    FoundIntervals,
    Levels,
    Pipeline,
    Runs,
    contrast,
    find_intervals,
    find_runs,
    nms,
    occurring,
    soft_nms,
    upsample,
)
from avvp_pl.metrics import Detections, Instances, score_detections

ZEROED = Levels(tuple(k * 0.025 for k in range(10)), zeroed=True)
PUBLISHED = Pipeline(unique=False, lowest=None, at="start")
# the table of published pipelines; lengths grow by 1 in the unit of the public code: seconds, or segments of 0.64 s
PIPELINES = {
    "BaS-Net": replace(
        PUBLISHED, gate=0.25, without_events="nothing", levels=(ZEROED,), upsampling=24, video_score_as_one=True,
        suppression="hard", overlap=0.7, added_seconds=1.0,
    ),
    "UM": replace(
        PUBLISHED, gate=0.2, levels=(ZEROED, Levels(tuple(0.4 + k * 0.025 for k in range(9)), "attention")),
        upsampling=24, shortest=2, suppression="hard", overlap=0.6, added_seconds=1.0,
    ),
    "ASM-Loc": replace(
        PUBLISHED, gate=0.25, strict_gate=True,
        levels=(Levels((0.15, 0.2), zeroed=True), Levels(tuple(0.1 + k * 0.025 for k in range(33)), "attention")),
        upsampling=20, shortest=2, outer=0.2, video_weight=0.0, suppression="hard", overlap=0.45, added_seconds=1.0,
    ),
    "CO2-Net": replace(
        PUBLISHED, gate=0.2, levels=(Levels(tuple(0.1 + 0.8 * k / 9 for k in range(10)), "attention"),), upsampling=1,
        added_seconds=0.64,
    ),
    "DELU": replace(
        PUBLISHED, gate=0.2, levels=(Levels(tuple(0.1 + 0.8 * k / 19 for k in range(20)), "attention"),), upsampling=1,
        added_seconds=0.64,
    ),
    "ours": Pipeline(),
}  # fmt: skip


def doubles(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# Points


def test_centers_hold_their_values_and_the_ends() -> None:
    curve = doubles([[0.0, 4.0, 2.0]])
    points = upsample(curve, 3, "center")  # odd, so the middle point of a segment is its center
    assert points[0, 1::3].tolist() == [0, 4, 2]
    assert points[0, 0] == 0
    assert points[0, -1] == 2
    assert points[0, 2].item() == pytest.approx(4 / 3)
    assert upsample(curve, 4, "start")[0, ::4].tolist() == [0, 4, 2]
    assert upsample(curve, 4, "start")[0, -1].item() == 2 - 2 * 3 / 4  # in a straight line after the last start
    assert torch.equal(upsample(curve, 1, "start"), curve)
    assert upsample(doubles([[3.0]]), 4, "start").tolist() == [[3.0] * 4]


def test_values_at_starts_are_found_half_a_segment_early() -> None:
    """An action from the start of segment 20 to the end of segment 29, and a perfect curve."""
    curve = torch.zeros(60, 1, dtype=torch.float64)
    curve[20:30] = 1.0
    centered = Pipeline(levels=(Levels((0.5,)),), suppression="hard", upsampling=20)
    for pipeline, late in ((centered, 0.0), (replace(centered, at="start"), -0.5)):
        found = find_intervals(curve, doubles([1.0]), pipeline, segment_seconds=2.0)
        start, end = (found.bounds[0] / 2.0).tolist()
        assert start == pytest.approx(20 + late, abs=0.06)
        assert end == pytest.approx(30 + late, abs=0.06)


# Runs and contrast

LINES = st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=1, max_size=4)


def runs_by_loop(lines: list[list[bool]], shortest: int) -> list[tuple[int, int, int]]:
    found = []
    for number, line in enumerate(lines):
        start = None
        for place, inside in enumerate([*line, False]):
            if inside and start is None:
                start = place
            if not inside and start is not None:
                if place - start >= shortest:
                    found.append((number, start, place))
                start = None
    return found


@settings(deadline=None)
@given(LINES, st.integers(1, 3))
def test_runs_are_those_of_a_loop(lines: list[list[bool]], shortest: int) -> None:
    runs = find_runs(torch.tensor(lines), shortest)
    assert list(zip(*(column.tolist() for column in runs), strict=True)) == runs_by_loop(lines, shortest)


def contrast_by_loop(curve: list[float], start: int, end: int, outer: float) -> float:
    length = end - start
    before = curve[max(0, start - math.ceil(outer * length)) : start]
    after = curve[end : end + math.floor(outer * length)]
    around = [*before, *after]
    return sum(curve[start:end]) / length - (sum(around) / len(around) if around else 0.0)


@settings(deadline=None)
@given(LINES, st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]), st.integers(0, 1000))
def test_contrasts_are_those_of_a_loop(lines: list[list[bool]], outer: float, seed: int) -> None:
    curves = torch.randn(len(lines), 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    runs = find_runs(torch.tensor(lines))
    expected = [
        contrast_by_loop(curves[line].tolist(), start, end, outer) for line, start, end in runs_by_loop(lines, 1)
    ]
    assert contrast(curves, runs, outer).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_contrast_worked_by_hand() -> None:
    """Five points: ceil(1.25) = 2 before, and floor(1.25) = 1 after; a run at the edge has only one side."""
    curve = doubles([[0.1, 0.2, 0.3, 1, 1, 1, 1, 1, 0.4, 0.8]])
    run = Runs(*(torch.tensor([value]) for value in (0, 3, 8)))
    assert contrast(curve, run, 0.25).item() == pytest.approx(1 - (0.2 + 0.3 + 0.4) / 3)
    assert contrast(curve, run._replace(starts=torch.tensor([0])), 0.25).item() == pytest.approx(
        (0.6 + 5) / 8 - (0.4 + 0.8) / 2
    )
    assert contrast(curve, run, 0.0).item() == pytest.approx(1)  # nothing around it


# Suppression


def overlap_by_hand(one: Sequence[float], other: Sequence[float], added: float) -> float:
    both = max(0.0, min(one[1], other[1]) - max(one[0], other[0]) + added)
    return both / ((one[1] - one[0] + added) + (other[1] - other[0] + added) - both)


def nms_by_loop(
    bounds: list[list[float]], scores: list[float], groups: list[int], overlap: float, added: float
) -> list[int]:
    kept: list[int] = []
    for row in sorted(range(len(scores)), key=lambda row: (groups[row], -scores[row])):
        rivals = [other for other in kept if groups[other] == groups[row]]
        if all(overlap_by_hand(bounds[row], bounds[other], added) < overlap for other in rivals):
            kept.append(row)
    return kept


def soft_nms_by_loop(
    bounds: list[list[float]], scores: list[float], groups: list[int], sigma: float, lowest: float | None, added: float
) -> list[tuple[int, float]]:
    found = []
    for group in sorted(set(groups)):
        left = {row: score for row, score in enumerate(scores) if groups[row] == group}
        while left:
            left = {row: score for row, score in left.items() if lowest is None or score >= lowest}
            if not left:
                break
            best = max(left, key=lambda row: (left[row], -row))
            found.append((best, left.pop(best)))
            for row in left:
                left[row] *= math.exp(-(overlap_by_hand(bounds[row], bounds[best], added) ** 2) / sigma)
    return found


@st.composite
def candidates(draw: st.DrawFn) -> tuple[list[list[float]], list[float], list[int]]:
    """Of few starts, lengths and scores, so that ties and duplicates are common."""
    count = draw(st.integers(0, 25))
    bounds, scores, groups = [], [], []
    for _ in range(count):
        start = draw(st.integers(0, 12)) / 2
        bounds.append([start, start + draw(st.integers(1, 8)) / 2])
        scores.append(draw(st.integers(-2, 8)) / 8)
        groups.append(draw(st.sampled_from([0, 1, 5])))
    return bounds, scores, groups


def tensors(rows: tuple[list[list[float]], list[float], list[int]]) -> tuple[Tensor, Tensor, Tensor]:
    bounds, scores, groups = rows
    return doubles(bounds).reshape(-1, 2), doubles(scores), torch.tensor(groups, dtype=torch.int64)


@settings(max_examples=150, deadline=None)
@given(candidates(), st.sampled_from([0.25, 0.5, 0.7, 1.0]), st.sampled_from([0.0, 1.0]))
def test_hard_suppression_is_that_of_a_loop(
    rows: tuple[list[list[float]], list[float], list[int]], overlap: float, added: float
) -> None:
    assert nms(*tensors(rows), overlap, added).tolist() == nms_by_loop(*rows, overlap, added)


@settings(max_examples=150, deadline=None)
@given(candidates(), st.sampled_from([None, 1e-3, 0.3]), st.sampled_from([0.0, 1.0]))
def test_gaussian_suppression_is_that_of_a_loop(
    rows: tuple[list[list[float]], list[float], list[int]], lowest: float | None, added: float
) -> None:
    bounds, scores, groups = rows
    picked, final = soft_nms(*tensors(rows), 0.3, lowest, added)
    expected = soft_nms_by_loop(bounds, scores, groups, 0.3, lowest, added)
    assert sorted(picked.tolist()) == sorted(row for row, _ in expected)
    assert final.tolist() == pytest.approx([score for _, score in expected], abs=1e-12)


def test_suppression_worked_by_hand() -> None:
    bounds, groups = doubles([[0, 10], [2, 12], [20, 30], [0, 10]]), torch.tensor([0, 0, 0, 1])
    scores = doubles([0.9, 0.8, 0.7, 0.6])
    assert nms(bounds, scores, groups, 8 / 12).tolist() == [0, 2, 3]  # an overlap of exactly the limit is too much
    assert nms(bounds, scores, groups, 0.67).tolist() == [0, 1, 2, 3]
    picked, final = soft_nms(bounds, scores, groups, 0.3)
    assert picked.tolist() == [0, 2, 1, 3]
    assert final.tolist() == pytest.approx([0.9, 0.7, 0.8 * math.exp(-((8 / 12) ** 2) / 0.3), 0.6])
    # without a lowest score, a negative one rises; with one, it is dropped
    risen = soft_nms(bounds[:2], doubles([0.9, -0.8]), groups[:2], 0.3)[1]
    assert risen[1].item() == pytest.approx(-0.8 * math.exp(-((8 / 12) ** 2) / 0.3))
    assert soft_nms(bounds[:2], doubles([0.9, -0.8]), groups[:2], 0.3, lowest=1e-3)[0].tolist() == [0]


# The gate


def test_the_gate() -> None:
    scores = doubles([0.1, 0.25, 0.7])
    assert occurring(scores, Pipeline(gate=0.25)).tolist() == [1, 2]
    assert occurring(scores, Pipeline(gate=0.25, strict_gate=True)).tolist() == [2]
    assert occurring(scores, Pipeline(gate=0.9)).tolist() == [2]
    assert occurring(scores, Pipeline(gate=0.9, without_events="nothing")).tolist() == []


# Whole pipelines


def by_loop(
    curves: Tensor, video_scores: Tensor, pipeline: Pipeline, seconds: float, attention: Tensor
) -> list[tuple[int, float, float, float]]:
    """A pipeline with loops over events, levels and runs."""
    found: list[tuple[int, float, float, float]] = []
    for event in occurring(video_scores, pipeline).tolist():
        curve = upsample(curves[None, :, event], pipeline.upsampling, pipeline.at)[0].tolist()
        calm = upsample(attention[None], pipeline.upsampling, pipeline.at)[0].tolist()
        rows: dict[tuple[int, int], float] = {}
        several: list[tuple[int, int, float]] = []
        for levels in pipeline.levels:
            for level in levels.values:
                cut = curve if levels.of == "curve" else calm
                scored = [value if value >= level else 0.0 for value in curve] if levels.zeroed else curve
                inside = [value > 0 for value in scored] if levels.zeroed else [value > level for value in cut]
                for _, start, end in runs_by_loop([inside], pipeline.shortest):
                    weight = 1.0 if pipeline.video_score_as_one else float(video_scores[event])
                    score = contrast_by_loop(scored, start, end, pipeline.outer) + pipeline.video_weight * weight
                    several.append((start, end, score))
                    rows[start, end] = max(rows.get((start, end), -math.inf), score)
        if pipeline.unique:
            several = [(start, end, score) for (start, end), score in rows.items()]
        # in this order, because an overlap of exactly the limit is common
        bounds = [[point / pipeline.upsampling * seconds for point in points] for *points, _ in several]
        scores, groups = [score for *_, score in several], [0] * len(several)
        if pipeline.suppression == "hard":
            kept = nms_by_loop(bounds, scores, groups, pipeline.overlap, pipeline.added_seconds)
            final = [(row, scores[row]) for row in kept if pipeline.lowest is None or scores[row] >= pipeline.lowest]
        else:
            final = soft_nms_by_loop(bounds, scores, groups, pipeline.sigma, pipeline.lowest, pipeline.added_seconds)
        found += [(event, *bounds[row], score) for row, score in final]
    return found


def rows_of(found: FoundIntervals) -> list[tuple[int, float, float, float]]:
    columns = found.events.tolist(), *found.bounds.T.tolist(), found.scores.tolist()
    return sorted(zip(*columns, strict=True))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines_are_those_of_loops(name: str, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    # smooth, so that runs are longer than a point
    noise = torch.rand(1, 4, 40, generator=draw, dtype=torch.float64)
    curves = torch.nn.functional.avg_pool1d(noise, 5, 1, 2)[0].T * 1.5 - 0.3
    attention = (curves[:, 0] + 0.1 * torch.rand(40, generator=draw, dtype=torch.float64)).clamp(0, 1)
    video_scores = doubles([0.6, 0.26, 0.55, 0.1])
    found = find_intervals(curves, video_scores, PIPELINES[name], 0.64, attention)
    expected = sorted(by_loop(curves, video_scores, PIPELINES[name], 0.64, attention))
    assert len(found.scores) == len(expected) > 2
    for one, other in zip(rows_of(found), expected, strict=True):
        assert one == pytest.approx(other, abs=1e-9)


def test_one_run_at_all_levels_is_one_detection() -> None:
    curve = torch.zeros(30, 1, dtype=torch.float64)
    curve[10:15] = 1.0
    plain = Pipeline(upsampling=1)
    found = find_intervals(curve, doubles([1.0]), plain, 0.5)
    assert found.bounds.tolist() == [[5.0, 7.5]]
    assert found.scores.tolist() == pytest.approx([1.2])  # 1 inside, 0 around, and 0.2 of the video's score
    several = find_intervals(curve, doubles([1.0]), replace(plain, unique=False, lowest=None), 0.5)
    assert len(several.scores) == 20
    assert several.scores[1].item() == pytest.approx(1.2 * math.exp(-1 / 0.3))


def test_zeroing_before_the_contrast_takes_the_surroundings_away() -> None:
    """A peak of 1 on a plain of 0.5: its contrast is 0.5, and 1 once everything below the level is 0."""
    curve = torch.full((30, 1), 0.5, dtype=torch.float64)
    curve[10:14] = 1.0
    given = Pipeline(upsampling=1, video_weight=0.0, levels=(Levels((0.6,)),))
    assert find_intervals(curve, doubles([1.0]), given, 1.0).scores.tolist() == [0.5]
    zeroed = replace(given, levels=(Levels((0.6,), zeroed=True),))
    assert find_intervals(curve, doubles([1.0]), zeroed, 1.0).scores.tolist() == [1.0]


def test_attention_gives_runs_and_the_curves_their_scores() -> None:
    """So all events have the same runs."""
    attention = doubles([0, 0, 0.8, 0.8, 0.8, 0.8, 0, 0])
    curves = torch.stack([attention * 5, attention * 2 + 1], 1)
    given = Pipeline(upsampling=1, levels=(Levels((0.5,), "attention"),), lowest=None, video_weight=0.0)
    found = find_intervals(curves, doubles([0.9, 0.8]), given, 1.0, attention)
    assert [row[:3] for row in rows_of(found)] == [(0, 2.0, 6.0), (1, 2.0, 6.0)]
    assert found.scores.tolist() == pytest.approx([4.0, 1.6])


def test_nothing_above_any_level_and_no_event() -> None:
    without = Pipeline(without_events="nothing")
    for pipeline, curve in (
        (Pipeline(), torch.zeros(5, 2)),
        (without, torch.ones(5, 2)),
        (replace(without, levels=(ZEROED,)), torch.ones(5, 2)),
    ):
        found = find_intervals(curve, torch.zeros(2), pipeline, 1.0)
        assert [len(column) for column in found] == [0, 0, 0]
        assert found.bounds.shape == (0, 2)


def test_what_is_wrong_is_refused() -> None:
    curves, scores = torch.ones(5, 2), torch.ones(2)
    with pytest.raises(ValueError, match="curves has values that are not finite"):
        find_intervals(curves.fill_(torch.nan), scores, Pipeline(), 1.0)
    with pytest.raises(ValueError, match="the pipeline has levels of the attention, but no attention is given"):
        find_intervals(torch.ones(5, 2), scores, PIPELINES["DELU"], 1.0)
    with pytest.raises(ValueError, match="only levels of the curve can be zeroed"):
        Levels((0.5,), "attention", zeroed=True)


def test_points_at_centers_find_more_of_thumos(shared: Path) -> None:
    """Curves of the true share of each segment, cut at 0.5, all scores equal: centers gain, starts lose."""
    database = json.loads((shared / "thumos14" / "gt.json").read_text())["database"]
    entries = [entry["annotations"] for entry in database.values() if entry["subset"] == "test"]
    events = sorted({one["label"] for entry in entries for one in entry})
    rows = [
        (video, events.index(one["label"]), *map(float, one["segment"]))
        for video, entry in enumerate(entries)
        for one in entry
    ]
    videos, numbers = torch.tensor([row[:2] for row in rows]).unbind(1)
    truth = Instances(videos, numbers, doubles([row[2:] for row in rows]))
    results = {}
    for factor, at in ((1, "center"), (20, "start"), (20, "center")):
        found = []
        for video in range(len(entries)):
            own = truth.videos == video
            bounds = truth.bounds[own] / 0.64
            grid = torch.arange(math.ceil(float(bounds.max())) + 2, dtype=torch.float64)
            share = (torch.minimum(bounds[:, 1:], grid + 1) - torch.maximum(bounds[:, :1], grid)).clamp(min=0)
            curve = torch.zeros(20, len(grid), dtype=torch.float64).index_add(0, truth.events[own], share).clamp(max=1)
            runs = find_runs(upsample(curve, factor, at) > 0.5)  # type: ignore[arg-type]
            found.append((torch.full_like(runs.lines, video), runs.lines, torch.stack(runs[1:], 1) * 0.64 / factor))
        of_videos, of_events, of_bounds = (torch.cat(column) for column in zip(*found, strict=True))
        detections = Detections(of_videos, of_events, of_bounds, torch.ones(len(of_events), dtype=torch.float64))
        scores = score_detections(detections, truth, 20, len(entries))
        results[factor, at] = scores.average, scores.map["0.7"]
    as_they_are, starts, centers = results.values()
    assert starts[0] + 5 < as_they_are[0] < centers[0]
    assert starts[1] + 15 < as_they_are[1] < centers[1] - 5
