"""The convolution over segments against torch's on single videos, for any padding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from avvp_pl.models.convolution import SegmentConvolution

SHAPES = [((5, 3, 1), 5), ((2, 0, 4), 6), ((4, 4), 4), ((0,), 1), ((9, 2), 9)]
WAYS = (SegmentConvolution.__call__, SegmentConvolution.of_segments, SegmentConvolution.of_whole)
Way = Callable[[SegmentConvolution, Tensor, Tensor], Tensor]


def padded(lengths: tuple[int, ...], longest: int) -> tuple[Tensor, Tensor]:
    """Return random videos with NaN at padding, and which segments are real."""
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    x = torch.randn(*mask.shape, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return x.masked_fill(~mask[:, :, None], torch.nan), mask


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize(("lengths", "longest"), SHAPES)
def test_it_equals_that_of_single_videos(way: Way, kernel_size: int, lengths: tuple[int, ...], longest: int) -> None:
    x, mask = padded(lengths, longest)
    ours = SegmentConvolution(4, 6, kernel_size).double()
    theirs = nn.Conv1d(4, 6, kernel_size, padding=kernel_size // 2).double()
    theirs.load_state_dict(ours.state_dict())
    x.requires_grad_()
    found = way(ours, x, mask)
    weights = torch.randn(found.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward((found * weights)[mask].sum())
    own, gradients = x.grad, [parameter.grad for parameter in ours.parameters()]
    x.grad = None
    total = x.new_zeros(())
    for row, length in enumerate(lengths):
        if length:
            expected = theirs(x[row : row + 1, :length].transpose(1, 2))[0].T
            torch.testing.assert_close(found[row, :length], expected)
            total = total + (expected * weights[row, :length]).sum()
    if any(lengths):
        torch.autograd.backward(total)
        torch.testing.assert_close(own, x.grad)
        torch.testing.assert_close(gradients, [parameter.grad for parameter in theirs.parameters()])


@pytest.mark.parametrize("way", WAYS)
def test_a_hole_in_a_video_is_a_zero(way: Way) -> None:
    x, _ = padded((7,), 7)
    mask = torch.tensor([[True, True, False, True, False, False, True]])
    ours = SegmentConvolution(4, 6, 5).double()
    filled = x.masked_fill(~mask[:, :, None], 0)
    expected = nn.functional.conv1d(filled.transpose(1, 2), ours.weight, ours.bias, padding=2).transpose(1, 2)
    found = way(ours, x.masked_fill(~mask[:, :, None], torch.nan), mask)
    torch.testing.assert_close(found[mask], expected[mask])


@pytest.mark.parametrize("way", WAYS)
def test_no_videos(way: Way) -> None:
    assert way(SegmentConvolution(4, 6), torch.zeros(0, 3, 4), torch.zeros(0, 3, dtype=torch.bool)).shape == (0, 3, 6)


def test_only_padded_batches_are_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    net, (x, mask) = SegmentConvolution(4, 6), padded((4, 2), 4)
    taken: list[str] = []

    def take(way: str) -> Callable[[Tensor, Tensor], Tensor]:
        def convolve(x: Tensor, mask: Tensor) -> Tensor:
            taken.append(way)
            return x.new_zeros(*mask.shape, 6)

        return convolve

    for way in ("of_segments", "of_whole"):
        monkeypatch.setattr(net, way, take(way))
    for given in ((x, mask), (x, torch.ones_like(mask)), (x.to("meta"), mask.to("meta"))):
        net(*given)
    assert taken == ["of_segments", "of_whole", "of_whole"]


def test_everything_is_made_where_the_segments_are() -> None:
    net, (x, mask) = SegmentConvolution(4, 6), padded((4, 2), 4)
    expected = net(x.float(), mask)
    with torch.device("meta"):
        assert torch.equal(net(x.float(), mask)[mask], expected[mask])


@pytest.mark.parametrize("kernel_size", [0, 2, -1])
def test_a_segment_is_in_the_middle(kernel_size: int) -> None:
    with pytest.raises(ValueError, match="must be odd"):
        SegmentConvolution(4, 6, kernel_size)


def test_autocast_computes_both_ways_in_the_same_type() -> None:
    net = SegmentConvolution(4, 6)
    x, mask = padded((4, 2), 4)
    with torch.autocast("cpu", torch.bfloat16):
        half, whole = net(x.float(), mask), net(x.float()[:1], mask[:1])
    assert half.dtype == whole.dtype == torch.bfloat16
    torch.testing.assert_close(half[:1], whole, rtol=2e-2, atol=2e-2)
