"""What windows find, joined: against a slow reference, and as without windows where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from avvp_pl.data.thumos_synthetic import generate as generate_long
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.data.windows import Cutting, window_starts
from avvp_pl.inference.detections import find_intervals
from avvp_pl.inference.detector import Detector
from avvp_pl.inference.gates import Gates
from avvp_pl.parts import CurveAxis
from avvp_pl.tasks.parsed import Parsed
from avvp_pl.tasks.windows import majority, on_segments, weighted_mean, window_weights
from avvp_pl.training.module import ParsingModule
from tests.commands.experiments import files_for
from tests.conftest import Build

WINDOW, OVERLAP = 10, 6


def weight(position: int, window: int) -> int:
    return min(position + 1, window - position)


def videos_of(lengths: Sequence[int], like: ParsingSet, seed: int = 0) -> VideoSet:
    """Random videos with the streams and events of a data set."""
    generator = torch.Generator().manual_seed(seed)
    streams = {name: torch.randn(sum(lengths), dim, generator=generator) for name, dim in like.stream_dims.items()}
    names = tuple(f"video{row}" for row in range(len(lengths)))
    return VideoSet(names, torch.tensor(lengths), streams, torch.zeros(len(lengths), len(like.events)))


def piece(videos: VideoSet, row: int, start: int, length: int) -> VideoSet:
    """Some segments of a video as a video of its own."""
    first = int(videos.starts[row]) + start
    streams = {name: x[first : first + length] for name, x in videos.streams.items()}
    return VideoSet(("piece",), torch.tensor([length]), streams, videos.weak_labels[:1])


def test_means_and_votes_are_those_of_a_slow_reference() -> None:
    rng = np.random.default_rng(0)
    for length, window, overlap in ((23, 10, 5), (11, 10, 9), (7, 3, 0), (9, 4, 3), (10, 10, 5)):
        starts = window_starts(length, window, overlap)
        probs = rng.random((len(starts), window, 2, 3))
        found = rng.random((len(starts), window, 2, 3)) < 0.5
        means, votes = np.zeros((length, 2, 3)), np.zeros((length, 2, 3), dtype=bool)
        for t in range(length):
            seen = [(w, t - start) for w, start in enumerate(starts) if 0 <= t - start < window]
            weights = [weight(i, window) for _, i in seen]
            means[t] = sum(k * probs[w, i] for k, (w, i) in zip(weights, seen, strict=True)) / sum(weights)
            yes = sum(k * found[w, i].astype(int) for k, (w, i) in zip(weights, seen, strict=True))
            votes[t] = 2 * yes >= sum(weights)
        torch.testing.assert_close(weighted_mean(torch.tensor(probs), starts, length), torch.tensor(means))
        assert torch.equal(majority(torch.tensor(found), starts, length), torch.tensor(votes))


def test_one_window_changes_nothing_to_the_bit() -> None:
    values = torch.rand(1, 10, 2, 25)
    assert torch.equal(weighted_mean(values, [0], 10), values[0])
    assert torch.equal(majority(values > 0.5, [0], 10), values[0] > 0.5)


def test_the_joined_curve_is_continuous_where_windows_begin_and_end() -> None:
    """Two windows that say 0 and 1: nowhere is a step larger than the least weight's share."""
    values = torch.stack([torch.zeros(100), torch.ones(100)]).double()
    joined = weighted_mean(values, [0, 50], 150)
    assert joined[:50].eq(0).all()
    assert joined[100:].eq(1).all()
    assert joined.diff().abs().max() <= 0.03
    assert joined.diff().min() >= 0


def test_weights_are_whole_numbers_that_rise_to_the_middle() -> None:
    for window in range(1, 12):
        assert window_weights(window).tolist() == [weight(i, window) for i in range(window)]


def test_curves_with_other_points_are_read_at_the_centers_of_segments() -> None:
    """Two points for each segment of the first window; one for two segments of the second."""
    axis = CurveAxis.even(torch.tensor([8, 2]), torch.tensor([4, 4]))
    values = torch.zeros(2, 8)
    values[0] = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    values[1, :2] = torch.tensor([0.0, 1.0])
    expected = [[0.5, 2.5, 4.5, 6.5], [0.0, 0.25, 0.75, 1.0]]
    assert on_segments(values, axis, 4).tolist() == expected
    assert on_segments(values[:, :, None].expand(-1, -1, 3), axis, 4)[:, :, 2].tolist() == expected


def reference(module: ParsingModule, videos: VideoSet, row: int, window: int, overlap: int) -> Parsed:
    """A video, one window and one segment at a time, by what the windows find as videos of their own."""
    length = int(videos.lengths[row])
    starts = window_starts(length, window, overlap)
    pieces = [piece(videos, row, start, min(window, length)) for start in starts]
    seen = [module.parse_all(one) for one in pieces]
    shape = seen[0].probs.shape[1:]
    probs, timelines = torch.zeros(length, *shape), torch.zeros(length, *shape, dtype=torch.bool)
    gates = module.decision
    for t in range(length):
        inside = [(own, t - start) for own, start in zip(seen, starts, strict=True) if 0 <= t - start < window]
        weights = [weight(i, len(own.probs)) for own, i in inside]
        probs[t] = sum(k * own.probs[i] for k, (own, i) in zip(weights, inside, strict=True)) / sum(weights)
        votes = torch.zeros(shape, dtype=torch.long)
        for k, (own, _) in zip(weights, inside, strict=True):
            votes += k * _occurs(gates, probs[t], own.video_probs[0])
        timelines[t] = 2 * votes >= sum(weights)
    video_probs = torch.stack([own.video_probs[0] for own in seen]).amax(0, keepdim=True)
    return Parsed(torch.tensor([length]), timelines, probs, video_probs)


def _occurs(gates: torch.nn.Module, probs: Tensor, video_probs: Tensor) -> Tensor:
    if isinstance(gates, Detector):
        pipeline = gates.pipeline
        open_ = video_probs > pipeline.gate if pipeline.strict_gate else video_probs >= pipeline.gate
        return (probs >= gates.segment_threshold) & open_
    assert isinstance(gates, Gates)
    if gates.soft:
        return probs * video_probs >= gates.segment_threshold
    return (probs >= gates.segment_threshold) & (video_probs >= gates.video_threshold)


LENGTHS = (4, 27, 10, 33)


@pytest.mark.parametrize("experiment", ["han", "ppl_soft", "jomold", "cmpae"])
def test_windows_of_every_kind_of_gate_are_joined_as_by_the_reference(
    build: Build, tiny: ParsingSet, tmp_path: Path, experiment: str
) -> None:
    """At thresholds near which the probabilities of untrained networks are, some events are found and not all."""
    module, _ = build(experiment, *files_for(experiment, tmp_path, lambda: tiny))
    assert isinstance(module.decision, Gates)
    module.eval()
    module.decision.segment_threshold = 0.25 if module.decision.soft else 0.5
    videos = videos_of(LENGTHS, tiny)
    found = module.parse_all(videos, batch_size=3, cutting=Cutting(WINDOW, OVERLAP))
    assert found.lengths.tolist() == list(LENGTHS)
    parts = zip(found.videos(found.timelines), found.videos(found.probs), found.video_probs, strict=True)
    for row, (timelines, probs, video_probs) in enumerate(parts):
        expected = reference(module, videos, row, WINDOW, OVERLAP)
        torch.testing.assert_close(probs, expected.probs, atol=1e-5, rtol=0)
        torch.testing.assert_close(video_probs, expected.video_probs[0], atol=1e-5, rtol=0)
        assert (timelines != expected.timelines).float().mean() < 0.01  # rounding may carry one over a threshold
    assert 0 < found.timelines.float().mean() < 1


def test_videos_of_at_most_one_window_are_parsed_as_without_windows(build: Build, ragged: ParsingSet) -> None:
    module, _ = build("han")
    assert ragged.test is not None
    whole = module.parse_all(ragged.test)
    for same, other in zip(module.parse_all(ragged.test, cutting=Cutting(10, 5)), whole, strict=True):
        assert same is other is None or torch.equal(same, other)  # type: ignore[arg-type]
    # beside a longer video, to rounding
    longer = videos_of([10, 30, 7], ragged)
    found, whole = module.parse_all(longer, cutting=Cutting(10, 5)), module.parse_all(longer)
    for row in (0, 2):
        torch.testing.assert_close(found.videos(found.probs)[row], whole.videos(whole.probs)[row])
        assert torch.equal(found.videos(found.timelines)[row], whole.videos(whole.timelines)[row])
        torch.testing.assert_close(found.video_probs[row], whole.video_probs[row])
    assert not torch.allclose(found.videos(found.probs)[1], whole.videos(whole.probs)[1])


@pytest.fixture(scope="module")
def localized() -> ParsingSet:
    """Long videos, to train localization on."""
    return generate_long(
        sizes={"train": 8, "test": 2}, streams={"rgb": 6, "flow": 6}, modalities={"fused": ["rgb", "flow"]}, seed=0
    )


def detections_of(parsed: Parsed, row: int) -> list[tuple[float, ...]]:
    assert parsed.detections is not None
    here = parsed.detections.videos == row
    events, bounds, scores = (column[here].tolist() for column in parsed.detections[1:])
    return [(event, *bound, score) for event, bound, score in zip(events, bounds, scores, strict=True)]


def test_intervals_are_found_in_the_joined_curve(build: Build, localized: ParsingSet) -> None:
    module, _ = build("tal_mil", videos=localized)
    assert isinstance(module.decision, Detector)
    videos = videos_of(LENGTHS, localized)
    found = module.parse_all(videos, batch_size=3, cutting=Cutting(WINDOW, OVERLAP))
    for row, (probs, video_probs) in enumerate(zip(found.videos(found.probs), found.video_probs, strict=True)):
        expected = reference(module, videos, row, WINDOW, OVERLAP)
        torch.testing.assert_close(probs, expected.probs, atol=1e-5, rtol=0)
        torch.testing.assert_close(video_probs, expected.video_probs[0], atol=1e-5, rtol=0)
        curves = probs.mean(1).double()
        events, bounds, scores = find_intervals(
            curves, video_probs.mean(0).double(), module.decision.pipeline, module.decision.segment_seconds
        )
        expected_rows = [(e, *b, s) for e, b, s in zip(events.tolist(), bounds.tolist(), scores.tolist(), strict=True)]
        assert detections_of(found, row) == expected_rows


@pytest.mark.parametrize(
    ("experiment", "settings"),
    [
        ("um", ["inference.um.segments=8"]),
        ("um", ["inference.um.segments=null"]),
        ("bas_net", ["inference.bas_net.segments=25"]),
        ("asm_loc_base", []),
        ("em_mil", []),
        ("delu", ["data.order=null"]),
    ],
)
def test_every_inference_of_localization_sees_windows(
    build: Build, localized: ParsingSet, experiment: str, settings: list[str]
) -> None:
    """Also those whose curves have other points than the segments; videos of one window are as without windows."""
    module, _ = build(experiment, *settings, videos=localized)
    videos = videos_of(LENGTHS, localized)
    found = module.parse_all(videos, batch_size=3, cutting=Cutting(WINDOW, OVERLAP))
    whole = module.parse_all(videos, batch_size=1)
    assert found.detections is not None
    assert found.lengths.tolist() == list(LENGTHS)
    seconds = torch.tensor(LENGTHS)[found.detections.videos] * module.decision.segment_seconds  # type: ignore[operator]
    assert (found.detections.bounds[:, 0] >= 0).all()
    assert (found.detections.bounds[:, 1] <= seconds + 1e-6).all()
    assert found.probs.isfinite().all()
    for row in range(len(LENGTHS)):
        same = LENGTHS[row] <= WINDOW
        np.testing.assert_allclose(
            found.videos(found.probs)[row], whole.videos(whole.probs)[row], atol=1e-4 if same else 2
        )
        if same:
            pairs = zip(detections_of(found, row), detections_of(whole, row), strict=True)
            assert all(one == pytest.approx(other, abs=1e-3) for one, other in pairs)
        else:
            assert not torch.allclose(found.video_probs[row], whole.video_probs[row])
