"""Attentive pooling against loops, and numbers worked by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avvp_pl.models import attentive_mil_pooling, top_k_pooling

SHAPES = [(1, 1, 1, 1), (3, 4, 2, 5), (2, 6, 1, 3), (4, 3, 3, 2)]
Case = tuple[Tensor, Tensor, Tensor, Tensor]


def random_case(shape: tuple[int, int, int, int], seed: int = 0) -> Case:
    """Probabilities, logits of both attentions and a mask; the first video is complete."""
    generator = torch.Generator().manual_seed(seed)
    probs = torch.rand(shape, generator=generator, dtype=torch.float64)
    temporal, modality = 2 * torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    mask = torch.rand(shape[:2], generator=generator) < 0.6
    mask[0] = True
    return probs, temporal, modality, mask


def slow_softmax(logits: list[float]) -> list[float]:
    total = math.fsum(math.exp(x) for x in logits)
    return [math.exp(x) / total for x in logits]


def slow_pooling(probs: Tensor, temporal: Tensor, modality: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    videos, _, modalities, events = probs.shape
    video_probs = torch.zeros(videos, events, dtype=torch.float64)
    modality_probs = torch.zeros(videos, modalities, events, dtype=torch.float64)
    for b in range(videos):
        real = [t for t, exists in enumerate(mask[b]) if exists]
        for c in range(events):
            over_time = [slow_softmax([float(temporal[b, t, m, c]) for t in real]) for m in range(modalities)]
            for i, t in enumerate(real):
                over_modalities = slow_softmax([float(x) for x in modality[b, t, :, c]])
                for m in range(modalities):
                    share = over_time[m][i] * float(probs[b, t, m, c])
                    modality_probs[b, m, c] += share
                    video_probs[b, c] += over_modalities[m] * share
    return video_probs, modality_probs


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_it_equals_the_loops(shape: tuple[int, int, int, int], seed: int) -> None:
    case = random_case(shape, seed)
    pooled = attentive_mil_pooling(*case)
    video_probs, modality_probs = slow_pooling(*case)
    torch.testing.assert_close(pooled.video_probs, video_probs, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(pooled.modality_probs, modality_probs, atol=1e-12, rtol=1e-9)


def test_two_segments_by_hand() -> None:
    """Temporal 3/4 and 1/4 in the first modality, 1/2 each in the second; modality 2/3 and 1/3 throughout."""
    probs = torch.tensor([[0.8, 0.6], [0.4, 0.2]]).reshape(1, 2, 2, 1)
    temporal = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log().reshape(1, 2, 2, 1)
    modality = torch.tensor([[2.0, 1.0], [2.0, 1.0]]).log().reshape(1, 2, 2, 1)
    pooled = attentive_mil_pooling(probs, temporal, modality, torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(pooled.modality_probs.flatten(), torch.tensor([0.7, 0.4]))
    torch.testing.assert_close(pooled.video_probs.flatten(), torch.tensor([0.6]))


def test_video_probs_can_exceed_one() -> None:
    """Audio looks at the first segment, video at the second, and each segment belongs to who looks at it."""
    own_segment = torch.tensor([[50.0, -50.0], [-50.0, 50.0]]).reshape(1, 2, 2, 1)
    probs = torch.full((1, 2, 2, 1), 0.9)
    pooled = attentive_mil_pooling(probs, own_segment, own_segment, torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(pooled.video_probs, torch.tensor([[1.8]]))
    torch.testing.assert_close(pooled.modality_probs, torch.full((1, 2, 1), 0.9))


def test_what_is_in_the_padding_changes_nothing() -> None:
    probs, temporal, modality, mask = random_case((4, 5, 2, 3))
    expected = attentive_mil_pooling(probs, temporal, modality, mask)
    probs[~mask], temporal[~mask], modality[~mask] = 1.0, 1e4, -1e4
    given = [x.clone().requires_grad_() for x in (probs, temporal, modality)]
    pooled = attentive_mil_pooling(given[0], given[1], given[2], mask)
    assert torch.equal(pooled.video_probs, expected.video_probs)
    assert torch.equal(pooled.modality_probs, expected.modality_probs)
    slopes = torch.autograd.grad(pooled.video_probs.sum() + pooled.modality_probs.sum(), given)
    for slope in slopes:
        assert (slope[~mask] == 0).all()
    assert (slopes[0][mask] > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_video_that_is_all_padding_pools_to_zero(dtype: torch.dtype) -> None:
    probs, temporal, modality, mask = random_case((2, 4, 2, 3))
    mask[1] = False
    given = [x.to(dtype).requires_grad_() for x in (probs, temporal, modality)]
    pooled = attentive_mil_pooling(given[0], given[1], given[2], mask)
    assert (pooled.video_probs[1] == 0).all()
    assert (pooled.modality_probs[1] == 0).all()
    for slope in torch.autograd.grad(pooled.video_probs.sum() + pooled.modality_probs.sum(), given):
        assert slope.isfinite().all()
        assert (slope[1] == 0).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), orders=st.tuples(*(st.permutations(range(n)) for n in (4, 5, 3, 2))))
def test_permuting_videos_modalities_and_events_permutes_the_answer_and_segments_do_not_matter(
    seed: int, orders: tuple[list[int], list[int], list[int], list[int]]
) -> None:
    probs, temporal, modality, mask = random_case((4, 5, 3, 2), seed)
    videos, segments, modalities, events = orders
    expected = attentive_mil_pooling(probs, temporal, modality, mask)
    permuted = [x[videos][:, segments][:, :, modalities][..., events] for x in (probs, temporal, modality)]
    pooled = attentive_mil_pooling(permuted[0], permuted[1], permuted[2], mask[videos][:, segments])
    torch.testing.assert_close(pooled.video_probs, expected.video_probs[videos][:, events])
    torch.testing.assert_close(pooled.modality_probs, expected.modality_probs[videos][:, modalities][..., events])


def test_one_modality_needs_no_modality_attention() -> None:
    probs, temporal, modality, mask = random_case((3, 4, 1, 2))
    pooled = attentive_mil_pooling(probs, temporal, modality, mask)
    torch.testing.assert_close(pooled.video_probs, pooled.modality_probs[:, 0])


def test_pooling_of_one_modality_stays_between_its_extremes() -> None:
    probs, temporal, modality, _ = random_case((5, 6, 2, 3))
    pooled = attentive_mil_pooling(probs, temporal, modality, torch.ones(5, 6, dtype=torch.bool))
    assert (pooled.modality_probs < probs.amax(1)).all()
    assert (pooled.modality_probs > probs.amin(1)).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(1, 9), st.integers(0, 2**16))
def test_the_highest_logits_are_averaged(lengths: list[int], share: int, seed: int) -> None:
    logits = torch.randn(len(lengths), 9, 2, 3, generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    pooled = top_k_pooling(logits, mask, share)
    for b, length in enumerate(lengths):
        for m in range(2):
            for c in range(3):
                best = sorted(logits[b, :length, m, c].tolist(), reverse=True)[: max(1, length // share)]
                if length:
                    assert pooled[b, m, c].item() == pytest.approx(sum(best) / len(best), rel=1e-5, abs=1e-6)
                else:
                    assert pooled[b, m, c].sigmoid() == 0
