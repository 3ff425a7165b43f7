"""L_CL against a double loop over anchors and others."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avvp_pl.losses import contrastive, contrastive_loss
from avvp_pl.losses.contrastive import half_labeled_sample

SHAPES = [(1, 2, 1, 1, 2), (2, 3, 2, 3, 4), (3, 4, 1, 2, 5), (2, 2, 3, 4, 3)]


def random_case(shape: tuple[int, int, int, int, int], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features [B, T, M, D], pseudo labels [B, T, M, C] and a mask for ``shape`` B, T, M, C, D."""
    generator = torch.Generator().manual_seed(seed)
    videos, segments, modalities, events, dim = shape
    features = torch.randn(videos, segments, modalities, dim, generator=generator, dtype=torch.float64)
    labels = torch.rand(videos, segments, modalities, events, generator=generator, dtype=torch.float64) ** 2
    mask = torch.rand(videos, segments, generator=generator) < 0.7
    mask[0] = True
    return features, labels, mask


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, of)
    return found


def all_real(features: Tensor) -> Tensor:
    return torch.ones(features.shape[:2], dtype=torch.bool)


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def slow_loss(features: Tensor, labels: Tensor, mask: Tensor, tau: float, include_self: bool, normalize: bool) -> float:
    videos, segments, modalities = features.shape[:3]
    vectors: list[list[float]] = []
    events: list[set[int]] = []
    for b in range(videos):
        for t in range(segments):
            if not mask[b, t]:
                continue
            for m in range(modalities):
                vector = [float(x) for x in features[b, t, m]]
                norm = math.sqrt(dot(vector, vector)) if normalize else 1.0
                vectors.append([x / norm for x in vector])
                events.append({c for c, y in enumerate(labels[b, t, m]) if float(y) >= 0.5})
    losses = []
    for i, anchor in enumerate(vectors):
        similar, everything = 0.0, 0.0
        for j, other in enumerate(vectors):
            if i == j and not include_self:
                continue
            closeness = math.exp(dot(anchor, other) / tau)
            everything += closeness
            if events[i] & events[j]:
                similar += closeness
        if similar:
            losses.append(-math.log(similar / everything))
    return math.fsum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_it_equals_the_double_loop(
    shape: tuple[int, int, int, int, int], include_self: bool, normalize: bool, masked: bool
) -> None:
    for seed in range(3):
        features, labels, mask = random_case(shape, seed)
        mask = mask if masked else all_real(features)
        for tau in (0.2, 1.0):
            loss = contrastive_loss(features, labels, mask, tau, include_self, normalize)
            expected = slow_loss(features, labels, mask, tau, include_self, normalize)
            assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def plain_loss(features: Tensor, labels: Tensor, mask: Tensor, tau: float, include_self: bool) -> Tensor:
    """The real segments taken out, the whole matrix at once, and left to autograd."""
    anchors = torch.nn.functional.normalize(features[mask].flatten(0, 1), dim=-1)
    events = labels[mask].flatten(0, 1) >= 0.5
    closeness = (anchors @ anchors.T / tau).exp()
    if not include_self:
        closeness = closeness * (1 - torch.eye(len(anchors), dtype=closeness.dtype))
    similar = (events[:, None] & events).any(-1)
    pulled = (closeness * similar).sum(1)
    has_similar = pulled > 0
    return -(pulled[has_similar] / closeness.sum(1)[has_similar]).log().mean()


@pytest.mark.parametrize("block", [1, 24 * 5, 24 * 7, 24 * 23, 2**22])
@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("tau", [0.2, 1.0])
def test_blocks_of_any_size_give_the_loss_and_the_gradient_of_autograd(
    monkeypatch: pytest.MonkeyPatch, block: int, include_self: bool, tau: float
) -> None:
    """Of 24 segments: 1, 5, 7, 23 or all of them at a time."""
    monkeypatch.setattr(contrastive, "BLOCK", block)
    features, labels, mask = random_case((3, 4, 2, 3, 4))
    assert not mask.all()
    features.requires_grad_()
    loss = contrastive_loss(features, labels, mask, tau, include_self)
    expected = plain_loss(features, labels, mask, tau, include_self)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient(3 * loss, features), gradient(3 * expected, features))


def test_the_gradient_can_not_itself_be_differentiated() -> None:
    features, labels, mask = random_case((2, 3, 2, 3, 4))
    features.requires_grad_()
    loss = contrastive_loss(features, labels, mask).square()
    (slope,) = torch.autograd.grad(loss, features, create_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        torch.autograd.backward(slope.sum())


def three_segments() -> tuple[Tensor, Tensor]:
    """Two equal segments of one event and a third, at a right angle, of another."""
    features = torch.tensor([[3.0, 0.0], [5.0, 0.0], [0.0, 7.0]], dtype=torch.float64).reshape(1, 3, 1, 2)
    labels = torch.tensor([[0.5, 0.0], [0.9, 0.1], [0.49, 1.0]], dtype=torch.float64).reshape(1, 3, 1, 2)
    return features, labels


def test_three_segments_by_hand() -> None:
    """Tau 1: for the first two -log(2e / (2e + 1)), for the third -log(e / (e + 2))."""
    features, labels = three_segments()
    loss = contrastive_loss(features, labels, all_real(features), tau_contrastive=1.0)
    expected = (2 * math.log(1 + math.exp(-1) / 2) + math.log(1 + 2 * math.exp(-1))) / 3
    assert loss.item() == pytest.approx(expected)


def test_three_segments_by_hand_without_the_anchor_itself() -> None:
    """Tau 1: for the first two -log(e / (e + 1)); the third has nobody and does not count."""
    features, labels = three_segments()
    loss = contrastive_loss(features, labels, all_real(features), tau_contrastive=1.0, include_self=False)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_a_segment_without_any_label_has_nobody_similar_not_even_itself() -> None:
    features, labels = three_segments()
    labels[0, 2] = 0.49
    loss = contrastive_loss(features, labels, all_real(features), tau_contrastive=1.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1) / 2))


@pytest.mark.parametrize("include_self", [False, True])
def test_without_a_similar_segment_anywhere_it_is_zero_with_a_zero_gradient(include_self: bool) -> None:
    features, labels, mask = random_case((2, 3, 2, 3, 4))
    features.requires_grad_()
    loss = contrastive_loss(features, torch.zeros_like(labels), mask, include_self=include_self)
    assert loss.item() == 0
    assert (gradient(loss, features) == 0).all()


def test_an_event_of_each_segment_alone_is_no_similarity() -> None:
    features = torch.randn(1, 4, 1, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = contrastive_loss(features, torch.eye(4).reshape(1, 4, 1, 4), all_real(features), include_self=False)
    assert loss.item() == 0
    assert (gradient(loss, features) == 0).all()


@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("real", [0, 1])
def test_a_batch_of_at_most_one_segment_costs_nothing(include_self: bool, real: int) -> None:
    features = torch.ones(1, 2, 1, 3, requires_grad=True)
    mask = torch.arange(2)[None] < real
    loss = contrastive_loss(features, torch.ones(1, 2, 1, 2), mask, include_self=include_self)
    assert loss.item() == 0
    assert (gradient(loss, features) == 0).all()


@pytest.mark.parametrize("include_self", [False, True])
def test_large_unnormalized_features_stay_finite_in_float32(include_self: bool) -> None:
    """A hundred times what HAN's last LayerNorm gives; labels with and without similar segments."""
    generator = torch.Generator().manual_seed(0)
    features = torch.nn.functional.layer_norm(torch.randn(3, 4, 2, 512, generator=generator), (512,)) * 100
    labels = (torch.rand(3, 4, 2, 9, generator=generator) < 0.1).float()
    features.requires_grad_()
    loss = contrastive_loss(features, labels, all_real(features), 0.2, include_self, normalize_features=False)
    assert loss.isfinite()
    assert gradient(loss, features).isfinite().all()


def test_what_is_in_the_padding_changes_nothing() -> None:
    features, labels, mask = random_case((3, 4, 1, 2, 5))
    assert not mask.all()
    expected = contrastive_loss(features, labels, mask).item()
    features[~mask], labels[~mask] = 1e3, 1.0
    features.requires_grad_()
    loss = contrastive_loss(features, labels, mask)
    assert loss.item() == expected
    assert (gradient(loss, features)[~mask] == 0).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), orders=st.tuples(*(st.permutations(range(n)) for n in (4, 3, 2, 3))))
def test_the_order_of_videos_segments_modalities_and_events_does_not_matter(
    seed: int, orders: tuple[list[int], list[int], list[int], list[int]]
) -> None:
    features, labels, mask = random_case((4, 3, 2, 3, 4), seed)
    videos, segments, modalities, events = orders
    expected = contrastive_loss(features, labels, mask).item()
    permuted = contrastive_loss(
        features[videos][:, segments][:, :, modalities],
        labels[videos][:, segments][:, :, modalities][..., events],
        mask[videos][:, segments],
    )
    assert permuted.item() == pytest.approx(expected, rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), padding=st.integers(1, 5), include_self=st.booleans())
def test_longer_padding_changes_nothing(seed: int, padding: int, include_self: bool) -> None:
    features, labels, mask = random_case((3, 4, 2, 2, 5), seed)
    longer = [
        torch.cat([x, torch.full_like(x[:, :1], 0.9).repeat(1, padding, 1, 1)], dim=1) for x in (features, labels)
    ]
    longer_mask = torch.cat([mask, torch.zeros(3, padding, dtype=torch.bool)], dim=1)
    expected = contrastive_loss(features, labels, mask, include_self=include_self).item()
    loss = contrastive_loss(longer[0], longer[1], longer_mask, include_self=include_self)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    scale=st.floats(1e-3, 1e4),
    include_self=st.booleans(),
    normalize_features=st.booleans(),
)
def test_features_of_any_scale_give_a_number(
    seed: int, scale: float, include_self: bool, normalize_features: bool
) -> None:
    features, labels, mask = random_case((3, 4, 2, 2, 16), seed)
    scaled = (scale * features).float().requires_grad_()
    loss = contrastive_loss(scaled, labels.float(), mask, 0.2, include_self, normalize_features)
    assert loss.isfinite()
    assert loss.item() >= 0
    assert gradient(loss, scaled).isfinite().all()


def test_only_directions_matter_when_normalized() -> None:
    features, labels, mask = random_case((2, 3, 2, 3, 4))
    lengths = torch.rand(2, 3, 2, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    expected = contrastive_loss(features, labels, mask).item()
    assert contrastive_loss(features * lengths, labels, mask).item() == pytest.approx(expected, rel=1e-12)
    raw = contrastive_loss(features, labels, mask, normalize_features=False).item()
    assert raw != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("include_self", "steps"), [(True, 200), (False, 20)])
def test_descent_brings_segments_of_an_event_together(include_self: bool, steps: int) -> None:
    """Slower where a segment is most similar to itself."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 6, 2, 8, generator=generator).requires_grad_()
    events = torch.randint(3, (2, 6, 2), generator=generator)
    labels = torch.nn.functional.one_hot(events, 3).float()
    losses = []
    for _ in range(steps + 1):
        loss = contrastive_loss(features, labels, all_real(features), include_self=include_self)
        features = (features - 2 * gradient(loss, features)).detach().requires_grad_()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    directions = torch.nn.functional.normalize(features.detach(), dim=-1).flatten(0, 2)
    same = events.flatten()[:, None] == events.flatten()
    closeness = directions @ directions.T
    assert closeness[same].mean() > closeness[~same].mean() + 0.3


@pytest.mark.parametrize(("labeled", "others", "expected"), [(30, 30, 5), (3, 30, 3), (30, 2, 8), (0, 30, 0)])
def test_half_of_a_sample_has_a_label(labeled: int, others: int, expected: int) -> None:
    """Of ten; more of one kind where the other has too few, and no padding while there is anything else."""
    kinds = torch.tensor([True] * labeled + [False] * others + [True] * 7)
    real = torch.tensor([True] * (labeled + others) + [False] * 7)
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        drawn = half_labeled_sample(kinds, real, 10)
        assert len(set(drawn.tolist())) == 10
        assert real[drawn].all()
        assert kinds[drawn].sum() == expected
        seen |= set(drawn.tolist())
    assert len(seen) > 20


def test_a_sample_of_a_batch_is_compared() -> None:
    """The loss of the sample, and not that of the batch; a batch that is small enough is compared as a whole."""
    features, labels, mask = torch.randn(2, 9, 2, 4), torch.rand(2, 9, 2, 3), torch.ones(2, 9, dtype=torch.bool)
    torch.manual_seed(0)
    sampled = contrastive_loss(features, labels, mask, max_segments=12)
    torch.manual_seed(0)
    rows = half_labeled_sample((labels.flatten(0, 2) >= 0.5).any(1), torch.ones(36, dtype=torch.bool), 12)
    own, of_rows = features.flatten(0, 2)[rows], labels.flatten(0, 2)[rows]
    expected = contrastive_loss(own[None, :, None], of_rows[None, :, None], torch.ones(1, 12, dtype=torch.bool))
    torch.testing.assert_close(sampled, expected)
    whole = contrastive_loss(features, labels, mask)
    assert not torch.isclose(sampled, whole)
    assert torch.equal(contrastive_loss(features, labels, mask, max_segments=36), whole)
