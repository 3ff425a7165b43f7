"""The contrast of two modalities against a slow sum, by hand, and with padding."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from avvp_pl.losses.nce import Form, nce_loss

FORMS: tuple[Form, ...] = ("cross_entropy", "log_mix")


def some(lengths: tuple[int, ...] = (4, 2, 3), seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features of two modalities with something in the padding, and the mask."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths), 5)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return *(torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)), mask  # type: ignore[return-value]


def slow(anchors: Tensor, others: Tensor, mask: Tensor, temperature: float, smoothing: float, form: Form) -> float:
    """One number at a time; a video of one segment has a loss of 0."""
    losses = []
    for u, v, real in zip(anchors.tolist(), others.tolist(), mask.tolist(), strict=True):
        times = [t for t, exists in enumerate(real) if exists]
        for t in times:
            cosines = [
                math.fsum(a * b for a, b in zip(u[t], v[j], strict=True)) / math.hypot(*u[t]) / math.hypot(*v[j])
                for j in times
            ]
            exponentials = [math.exp(cosine / temperature) for cosine in cosines]
            probs = [e / math.fsum(exponentials) for e in exponentials]
            target = (
                [1 - smoothing if j == t else smoothing / (len(times) - 1) for j in times] if len(times) > 1 else [1]
            )
            if form == "cross_entropy":
                losses.append(-math.fsum(q * math.log(p) for q, p in zip(target, probs, strict=True)))
            else:
                losses.append(-math.log(math.fsum(q * p for q, p in zip(target, probs, strict=True))))
    return math.fsum(losses) / len(losses)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("temperature", "smoothing"), [(0.2, 0.1), (1.0, 0.0), (0.5, 0.9)])
@pytest.mark.parametrize("lengths", [(4, 2, 3), (10, 10), (1, 3)])
def test_the_loss_by_a_slow_sum(lengths: tuple[int, ...], temperature: float, smoothing: float, form: Form) -> None:
    anchors, others, mask = some(lengths)
    found = nce_loss(anchors, others, mask, temperature, smoothing, form)
    assert found.item() == pytest.approx(slow(anchors, others, mask, temperature, smoothing, form), rel=1e-12)


def test_by_hand() -> None:
    """Two orthogonal segments: similarities 5 and 0, so probabilities a = e^5 / (e^5 + 1) and 1 - a."""
    features, real = torch.eye(2)[None], torch.ones(1, 2, dtype=torch.bool)
    a = math.exp(5) / (math.exp(5) + 1)
    expected = -(0.9 * math.log(a) + 0.1 * math.log(1 - a))
    assert nce_loss(features, features, real).item() == pytest.approx(expected, rel=1e-5)
    assert nce_loss(features, features, real, form="log_mix").item() == pytest.approx(
        -math.log(0.9 * a + 0.1 * (1 - a)), rel=1e-5
    )


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_videos(form: Form) -> None:
    """Each video has its weight, and the mean is still over all segments."""
    anchors, others, mask = some((4, 2, 3))
    weights = torch.tensor([0.5, 0.0, 2.0], dtype=torch.float64)
    alone = [slow(anchors[[b]], others[[b]], mask[[b]], 0.2, 0.1, form) for b in range(3)]
    expected = (0.5 * 4 * alone[0] + 2.0 * 3 * alone[2]) / 9
    assert nce_loss(anchors, others, mask, 0.2, 0.1, form, weights).item() == pytest.approx(expected, rel=1e-12)
    ones = torch.ones(3, dtype=torch.float64)
    plain, weighted = (nce_loss(anchors, others, mask, form=form, weights=w) for w in (None, ones))
    assert torch.equal(plain, weighted)


@pytest.mark.parametrize("form", FORMS)
def test_only_the_direction_of_features_matters_and_anchors_are_not_others(form: Form) -> None:
    anchors, others, mask = some()
    found = nce_loss(anchors, others, mask, form=form)
    torch.testing.assert_close(nce_loss(anchors * 7, others * 0.1, mask, form=form), found)
    assert not torch.isclose(nce_loss(others, anchors, mask, form=form), found)


@pytest.mark.parametrize("form", FORMS)
def test_padding_changes_neither_the_loss_nor_its_gradient(form: Form) -> None:
    anchors, others, mask = some((3, 2))
    more = [torch.cat([x, torch.full((2, 4, 5), 9.0, dtype=x.dtype)], 1).requires_grad_() for x in (anchors, others)]
    longer = torch.cat([mask, torch.zeros(2, 4, dtype=torch.bool)], 1)
    plain = [x.requires_grad_() for x in (anchors, others)]
    losses = [nce_loss(x, y, real, form=form) for (x, y), real in ((plain, mask), (more, longer))]
    torch.testing.assert_close(losses[0], losses[1])
    for loss in losses:
        torch.autograd.backward(loss)
    for x, padded in zip(plain, more, strict=True):
        assert padded.grad is not None
        torch.testing.assert_close(padded.grad[:, :3], x.grad)
        assert not padded.grad[:, 3:].any()
        assert not padded.grad[1, 2].any()


@pytest.mark.parametrize("form", FORMS)
def test_a_video_of_one_segment_and_a_batch_of_padding_teach_nothing(form: Form) -> None:
    anchors, others, mask = some((1, 1))
    anchors.requires_grad_()
    for real in (mask, mask & False):
        loss = nce_loss(anchors, others, real, form=form)
        (gradient,) = torch.autograd.grad(loss, anchors)
        assert loss == 0
        assert not gradient.any()


@pytest.mark.parametrize("form", FORMS)
def test_it_is_computed_in_full_precision_and_never_infinite(form: Form) -> None:
    anchors, others, mask = (x.float() if x.is_floating_point() else x for x in some())
    with torch.autocast("cpu", torch.bfloat16):
        inside = nce_loss(anchors, others, mask, form=form)
    torch.testing.assert_close(inside, nce_loss(anchors, others, mask, form=form))
    opposite = nce_loss(anchors, -anchors, mask, temperature=0.001, smoothing=0.0, form=form)
    assert opposite.isfinite()
