"""CMPAE's inference: the mixture by hand, and thresholds against a search with the score of the evaluator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError
from avvp_pl.inference.cmpae import Mixture, TunedMixture, stretched
from avvp_pl.inference.gates import Gates
from avvp_pl.labeling.none import NoLabels
from avvp_pl.metrics import score_timelines
from avvp_pl.parts import Decision, Team
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput
from tests.stand_ins import some_videos

MODALITIES, EVENTS = ("audio", "visual"), ("bell", "dog", "saw")
LENGTHS = [3, 1, 4, 2, 3, 4, 2, 3]


class TwoWays(ParsingNetwork):
    """Random probabilities, which are others where modalities do not attend to one another."""

    feature_dim = 1

    def __init__(self, videos: VideoSet, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.zeros(()))
        self.segments = torch.rand(2, videos.num_segments, 2, 3, generator=generator)
        self.modalities = torch.rand(2, len(videos), 2, 3, generator=generator)

    def forward(self, batch: Batch) -> ParsingOutput:
        way = 1 if self.attending == () else 0
        segments, modalities = self.segments[way][batch.segment], self.modalities[way][batch.index]
        return ParsingOutput(segments[..., :1], segments, modalities.mean(1), modalities)


def validation() -> VideoSet:
    """Videos with a random annotation, in which only some events are seen at all."""
    videos = some_videos(LENGTHS, [[1.0] * 3] * len(LENGTHS))
    truth = torch.rand(videos.num_segments, 2, 3, generator=torch.Generator().manual_seed(5)) < 0.4
    return replace(videos, truth=truth)


def gates(segment: float = 0.25, video: float = 0.45, by: Any = "modality", gate: Any = "hard") -> Gates:
    return Gates(segment, video, gate, by)


def mixture(decision: Decision | None = None, **settings: Any) -> TunedMixture:
    usual = {"cross_share": 0.7, "tuned": ["visual"], "lowest": 0.25, "highest": 0.7, "candidates": 10}
    return TunedMixture(MODALITIES, EVENTS, decision or gates(), **{**usual, **settings})


def fitted(part: TunedMixture, network: ParsingNetwork, videos: VideoSet) -> TunedMixture:
    assert part.needs(NoLabels()) == ("val",)
    part.fit(network, {"val": videos}, NoLabels(), Team())
    assert part.needs(NoLabels()) == ()
    return part


def mixed(network: TwoWays, videos: VideoSet) -> tuple[Tensor, Tensor]:
    """Of all segments [S, M, C] and of all videos [N, M, C]."""
    return (
        0.7 * network.segments[0] + 0.3 * network.segments[1],
        0.7 * network.modalities[0] + 0.3 * network.modalities[1],
    )


def test_the_mixture_by_hand() -> None:
    videos = validation()
    network, batch = TwoWays(videos), videos[torch.tensor([2, 0])]
    network.attending = None
    part, output = mixture(), network(batch)
    found = part(network, batch, output, NoLabels())
    segments, of_videos = mixed(network, videos)
    assert torch.equal(found.segment_probs, segments[batch.segment])
    assert found.modality_probs is not None
    assert torch.equal(found.modality_probs, of_videos[batch.index])  # nothing is stretched yet
    assert torch.equal(found.video_probs[:, 1], output.video_probs)
    assert network.attending is None


def search(network: TwoWays, videos: VideoSet, m: int, lowest: float = 0.25) -> list[float]:
    """As the public code: one event and one threshold after the other, with the score of all videos."""
    batch = videos[torch.arange(len(videos))]
    segments, of_videos = mixed(network, videos)
    found, assert_truth = [], batch.truth
    assert assert_truth is not None
    for event in range(len(EVENTS)):
        best, best_score = 0.0, 0.0
        for number in range(10):
            thresholds = torch.full((3,), 0.45)
            thresholds[event] = lowest + number * (0.7 - lowest) / 9
            occurs = (of_videos[:, m] >= thresholds)[:, None]
            timelines = (segments[batch.segment][:, :, m] >= 0.25) & occurs & batch.mask[:, :, None]
            score = score_timelines(timelines[:, :, None], assert_truth[:, :, [m]], batch.mask, ["one"]).event["one"]
            if score >= best_score:
                best, best_score = thresholds[event].item(), score
        found.append(best)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_thresholds_are_those_of_a_search(seed: int) -> None:
    videos = validation()
    network = TwoWays(videos, seed)
    part = fitted(mixture(), network, videos)
    assert part.thresholds[1].tolist() == pytest.approx(search(network, videos, 1))
    assert len(set(part.thresholds[1].tolist())) > 1
    both = fitted(mixture(tuned=["visual", "audio"]), network, videos)
    assert both.thresholds.tolist() == [pytest.approx(search(network, videos, m)) for m in range(2)]


def test_of_equally_good_thresholds_the_largest_is_taken() -> None:
    """A video of which every threshold finds the event."""
    videos = replace(some_videos([2], [[1.0] * 3]), truth=torch.ones(2, 2, 3, dtype=torch.bool))
    network = TwoWays(videos)
    network.segments, network.modalities = torch.ones(2, 2, 2, 3), torch.ones(2, 1, 2, 3)
    assert fitted(mixture(), network, videos).thresholds[1].tolist() == pytest.approx([0.7] * 3)


@pytest.mark.parametrize("gate", ["hard", "soft"])
def test_what_is_found_is_found_by_the_thresholds(gate: str) -> None:
    """By the decision of the protocol, which knows nothing of them; audio has none."""
    videos, decision = validation(), gates(gate=gate)
    network = TwoWays(videos, 2)
    part = fitted(mixture(decision), network, videos)
    batch = videos[torch.arange(len(videos))]
    evidence = part(network, batch, network(batch), NoLabels())
    assert evidence.modality_probs is not None
    _, of_videos = mixed(network, videos)
    assert torch.equal(evidence.modality_probs[:, 0], of_videos[:, 0])
    occurs = evidence.modality_probs[:, 1] >= 0.45
    assert torch.equal(occurs, of_videos[:, 1] >= part.thresholds[1])
    assert not torch.equal(occurs, of_videos[:, 1] >= 0.45)


def test_another_decision_is_fitted_to_again_and_one_without_gates_of_modalities_never() -> None:
    videos = validation()
    network = TwoWays(videos)
    saved = fitted(mixture(), network, videos).state_dict()
    for decision, needed in (
        (gates(), ()),
        (gates(segment=0.3), ("val",)),
        (gates(video=0.5), ("val",)),
        (gates(gate="soft"), ("val",)),
        (gates(by="video"), ()),
    ):
        part = mixture(decision)
        part.load_state_dict(saved)
        assert part.needs(NoLabels()) == needed
    assert mixture(tuned=[]).needs(NoLabels()) == ()
    assert mixture(gates(by="video")).needs(NoLabels()) == ()


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_the_threshold_falls_exactly_onto_the_gate(seed: int, threshold: float, gate: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    at = torch.tensor(threshold)
    near = [at, torch.nextafter(at, at + 1), torch.nextafter(at, at - 1), torch.tensor(0.0), torch.tensor(1.0)]
    probs = torch.cat([torch.stack(near).clamp(0, 1), torch.rand(50, generator=generator)]).sort().values
    found = stretched(probs.view(1, 1, -1), at, gate).flatten()
    assert torch.equal(found >= gate, probs >= at)
    assert (found.diff() >= 0).all()
    assert found.max() <= 1
    assert found.min() > -1e-30  # below a gate of 0 there is nothing but this


def test_wrong_settings() -> None:
    class Everything(Decision):
        def forward(self, evidence: Any, batch: Batch) -> Any:
            return evidence.segment_probs > 0

    with pytest.raises(InputError, match=r"inference=cmpae finds thresholds for .*Gates, and .* is a Everything"):
        mixture(Everything())
    with pytest.raises(InputError, match=r"inference.cmpae.lowest=0.8: it must be at most inference.cmpae.highest=0.7"):
        mixture(lowest=0.8)
    assert mixture(candidates=1).candidates == [0.25]


@torch.no_grad()
def test_a_mixture_without_thresholds() -> None:
    videos = validation()
    network, part = TwoWays(videos), Mixture(0.7)
    assert part.needs(NoLabels()) == ()
    for batch in videos.batches(8):
        evidence = part(network, batch, network(batch), NoLabels())
        expected = 0.7 * network.modalities[0] + 0.3 * network.modalities[1]
        assert evidence.modality_probs is not None
        torch.testing.assert_close(evidence.modality_probs, expected[batch.index])
        segments = 0.7 * network.segments[0] + 0.3 * network.segments[1]
        torch.testing.assert_close(evidence.segment_probs, segments[batch.segment])
