"""Where detections are that were found among samples of a video, of which some segments have several."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from avvp_pl.errors import InputError
from avvp_pl.inference.asm_loc import SampledCurves, axis_of, sampled_curves
from avvp_pl.inference.detections import Levels, Pipeline, find_intervals
from avvp_pl.labeling.none import NoLabels
from avvp_pl.models import HAN
from avvp_pl.pseudo_labels.proposals import Samples, even_places, sampling_weights, warp_of
from tests.models.networks import EVENTS, ONE_STREAM_EACH, STREAM_DIMS, make_batch, randomized
from tests.models.test_asm_loc import LENGTHS, make, whole
from tests.pseudo_labels.test_proposals import mask_of, proposals_of

CENTER = Pipeline(levels=(Levels((0.5,)),), upsampling=40)


def samples_of(limit: int | None = None, exact: bool = True) -> Samples:
    """Of 30 segments, of which 12 to 16 have 2.4 outputs each."""
    mask = mask_of(30)
    weights = sampling_weights(proposals_of([(0, 0.9, 13.0, 15.0), (0, 0.8, 20.0, 29.0)]), mask)
    assert weights[0, 12:17].tolist() == [2.4] * 5
    warp = warp_of(weights, mask)
    return Samples(*even_places(warp.counts, limit), warp, exact)


def found(samples: Samples, pipeline: Pipeline, shown: range) -> tuple[float, float]:
    """The bounds, in segments, of what is found of an event that exactly the segments ``shown`` have."""
    segments = torch.zeros(1, 30, 1, dtype=torch.float64)
    segments[:, list(shown)] = 1.0
    curve = samples.read(segments)[0, samples.mask[0]]
    bounds = (
        find_intervals(curve, torch.ones(1), pipeline, 2.0, None, partial(axis_of(samples).to_segments, 0), 30).bounds
        / 2.0
    )
    assert len(bounds) == 1
    start, end = bounds[0].tolist()
    return start, end


@pytest.mark.parametrize("limit", [None, 25])
@pytest.mark.parametrize("shown", [range(13, 16), range(4, 7), range(10, 20), range(27, 30), range(3)])
def test_an_event_is_found_where_it_is(shown: range, limit: int | None) -> None:
    """Also with fewer samples than outputs, to the nearest one, and at both ends of the video."""
    start, end = found(samples_of(limit), CENTER, shown)
    near = 0.06 if limit is None else 0.8
    assert start == pytest.approx(shown.start, abs=near)
    assert end == pytest.approx(shown.stop, abs=near)


def test_values_at_starts_stay_half_a_segment_early_everywhere() -> None:
    for shown in (range(13, 16), range(4, 7)):
        start, end = found(samples_of(), replace(CENTER, at="start"), shown)
        assert (start, end) == pytest.approx((shown.start - 0.5, shown.stop - 0.5), abs=0.06)


def test_the_public_code_is_late_among_segments_with_several_outputs() -> None:
    """By 1 - 1 / g segments, at starts; elsewhere it is as early as it always is."""
    samples, pipeline = samples_of(exact=False), replace(CENTER, at="start")
    late = 1 - 1 / 2.4 - 0.5
    assert found(samples, pipeline, range(13, 16)) == pytest.approx((13 + late, 16 + late), abs=0.06)
    assert found(samples, pipeline, range(4, 7)) == pytest.approx((3.5, 6.5), abs=0.06)


def test_what_is_before_the_first_segment_is_cut_off() -> None:
    mask = mask_of(8)
    warp = warp_of(torch.tensor([[3.0, 3.0, 1, 1, 1, 1, 1, 1]]).double(), mask)
    samples = Samples(*even_places(warp.counts, None), warp)
    curve = torch.zeros(12, 1, dtype=torch.float64)
    curve[:1], curve[4:6] = 1.0, 1.0  # the first output is 2/3 of a segment before the first one
    bounds = find_intervals(
        curve,
        torch.ones(1),
        replace(CENTER, at="start"),
        1.0,
        None,
        partial(axis_of(samples).to_segments, 0),
        8,
    ).bounds
    assert len(bounds) == 1
    assert (bounds >= 0).all()


@torch.no_grad()
def test_the_evidence_is_what_the_network_says() -> None:
    net, batch = randomized(make()), whole()
    output = net(batch)
    evidence = SampledCurves()(net, batch, output, NoLabels())
    assert evidence.curves is not None
    assert evidence.axis is not None
    torch.testing.assert_close(evidence.curves, (output.attention[:, :, None] * output.logits).softmax(2)[..., :-1])
    assert torch.equal(evidence.video_probs, output.foreground[:, None, :-1])
    assert evidence.attention is output.attention
    assert evidence.axis.lengths.tolist() == output.samples.mask.sum(1).tolist() != list(LENGTHS)
    places = torch.arange(int(evidence.axis.lengths[1])).double()
    expected = output.samples.warp.to_segments(output.samples.places)[1, : len(places)]
    torch.testing.assert_close(evidence.axis.to_segments(1, places, 0.0), expected)


def test_another_network_is_named() -> None:
    net, batch = HAN(ONE_STREAM_EACH, STREAM_DIMS, EVENTS, dim=8, feedforward_dim=8), make_batch(LENGTHS)
    with pytest.raises(InputError, match="network=asm_loc"):
        sampled_curves(net(batch))
