"""Results of batches: without padding, one after another, and in another order."""

from __future__ import annotations

import torch

from avvp_pl.data.videos import ParsingSet
from avvp_pl.tasks.parsed import Parsed, flat, in_order, join
from avvp_pl.types import Detections
from tests.tasks.test_parsing import parsed_truth


def assert_equal(one: Parsed, other: Parsed) -> None:
    for mine, yours in zip(one[:4], other[:4], strict=True):
        assert torch.equal(mine, yours)
    assert (one.detections is None) == (other.detections is None)
    if one.detections is not None and other.detections is not None:
        for mine, yours in zip(one.detections, other.detections, strict=True):
            assert torch.equal(mine, yours)


def test_the_padding_of_a_batch_is_dropped(ragged: ParsingSet) -> None:
    assert ragged.test is not None
    batch = ragged.test[torch.tensor([3, 0, 5])]
    shape = (*batch.mask.shape, 2, 25)
    timelines, probs, videos = torch.rand(shape) > 0.5, torch.rand(shape), torch.rand(3, 2, 25)
    parsed = flat(Parsed(batch.mask.sum(1), timelines, probs, videos), batch.mask)
    assert parsed.lengths.tolist() == [int(ragged.test.lengths[row]) for row in (3, 0, 5)]
    for row, length in enumerate(parsed.lengths.tolist()):
        assert torch.equal(parsed.videos(parsed.timelines)[row], timelines[row, :length])
        assert torch.equal(parsed.videos(parsed.probs)[row], probs[row, :length])
    assert torch.equal(parsed.video_probs, videos)


def test_batches_are_joined_and_put_in_order(ragged: ParsingSet) -> None:
    assert ragged.test is not None
    whole = parsed_truth(ragged.test)
    rows = torch.randperm(len(ragged.test), generator=torch.Generator().manual_seed(0))
    shuffled = in_order(whole, rows)
    assert not torch.equal(shuffled.lengths, whole.lengths)
    firsts = [in_order(whole, rows[:5]), in_order(whole, rows[5:])]
    assert_equal(join(firsts), shuffled)
    assert_equal(in_order(shuffled, rows.argsort()), whole)


def with_detections(videos: list[int], scores: list[float], count: int) -> Parsed:
    """Videos of one segment, and these detections in them."""
    one = torch.zeros(count, 1, 1)
    found = Detections(
        torch.tensor(videos),
        torch.zeros(len(videos), dtype=torch.int64),
        torch.rand(len(videos), 2),
        torch.tensor(scores),
    )
    return Parsed(torch.ones(count, dtype=torch.int64), one > 0, one, one, found)


def test_detections_follow_their_videos() -> None:
    first, second = with_detections([1, 0, 1], [0.5, 0.6, 0.7], 2), with_detections([2, 2], [0.8, 0.9], 3)
    joined = join([first, second])
    assert joined.detections is not None
    assert joined.detections.videos.tolist() == [1, 0, 1, 4, 4]
    assert torch.equal(joined.detections.scores, torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9]))
    turned = in_order(joined, torch.tensor([4, 1, 0, 3, 2])).detections
    assert turned is not None
    assert turned.videos.tolist() == [0, 0, 1, 1, 2]
    assert torch.equal(turned.scores, torch.tensor([0.8, 0.9, 0.5, 0.7, 0.6]))


def test_where_a_part_has_no_detections_there_are_none() -> None:
    one = with_detections([0], [1.0], 1)
    assert join([one, one._replace(detections=None)]).detections is None


def test_nothing_is_said_about_a_missing_modality() -> None:
    """Videos of 2 and 1 segments; the first one has no second modality."""
    ones = torch.ones(3, 2, 1)
    parsed = Parsed(torch.tensor([2, 1]), ones > 0, ones, torch.ones(2, 2, 1))
    without = parsed.without(torch.tensor([[False, True], [False, False]]))
    assert without.timelines[:, :, 0].tolist() == [[True, False], [True, False], [True, True]]
    assert without.probs[:, :, 0].isnan().tolist() == [[False, True], [False, True], [False, False]]
    assert without.video_probs[:, :, 0].isnan().tolist() == [[False, True], [False, False]]
    assert parsed.without(torch.zeros(2, 2, dtype=torch.bool)) is parsed
