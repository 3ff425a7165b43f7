"""Batches of pairs: what is in them, on what they depend, and how a run gets them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avvp_pl.data.module import ParsingData
from avvp_pl.data.order import PairedBatches
from avvp_pl.data.sampling import Bins, Picks
from avvp_pl.data.videos import ParsingSet, VideoBatches, VideoSet
from avvp_pl.errors import InputError

# event 0 has 4 videos, event 1 has 2, event 2 has 1, event 3 has none
WEAK = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]).float()
LENGTHS = torch.tensor([5, 3, 8, 1, 4, 9])


def test_a_batch_begins_with_pairs_of_different_videos_of_an_event() -> None:
    batches = PairedBatches(pairs=2, batches=40)(WEAK, 7, seed=1, epoch=2, process=0)
    assert batches.shape == (40, 7)
    for batch in batches:
        for one, other in ((batch[0], batch[1]), (batch[2], batch[3])):
            assert one != other
            assert (WEAK[one] * WEAK[other]).any()


def test_everything_is_drawn_uniformly() -> None:
    """Events, and not videos with events; both orders of a pair; and all other videos, also those without events."""
    batches = PairedBatches(pairs=1, batches=6000)(WEAK, 4, seed=0, epoch=0, process=0)
    drawn = Counter(map(tuple, batches[:, :2].tolist()))
    assert len(drawn) == 4 * 3 + 2  # of events 0 and 1; the others have no pair
    assert sum(drawn[pair] for pair in ((1, 4), (4, 1))) == pytest.approx(3000, abs=200)
    assert drawn[1, 4] == pytest.approx(1500, abs=150)
    assert drawn[0, 3] == pytest.approx(250, abs=70)
    others = Counter(batches[:, 2:].flatten().tolist())
    assert [others[row] for row in range(6)] == pytest.approx([2000] * 6, abs=200)
    assert any(one == other for one, other in batches[:, 2:].tolist())  # with replacement


def test_batches_depend_on_seed_epoch_and_process_alone() -> None:
    def batches(seed: int, epoch: int, process: int) -> Tensor:
        torch.manual_seed(seed + 7)
        return PairedBatches(pairs=2, batches=5)(WEAK, 6, seed, epoch, process)

    keys = [(seed, epoch, process) for seed in range(3) for epoch in range(3) for process in range(3)]
    seen = {key: batches(*key) for key in keys}
    assert all(torch.equal(batches(*key), seen[key]) for key in reversed(keys))
    assert len({tuple(found.flatten().tolist()) for found in seen.values()}) == len(keys)


def test_labels_without_pairs_are_refused() -> None:
    PairedBatches(2, 1).check(WEAK, 4)
    with pytest.raises(InputError, match=r"data.batch_size=3: a batch with data.order.pairs=2 needs at least 4 videos"):
        PairedBatches(2, 1).check(WEAK, 3)
    with pytest.raises(InputError, match=r"data.order.pairs=1: no event is in two training videos"):
        PairedBatches(1, 1).check(WEAK[3:5], 4)
    PairedBatches(0, 1).check(WEAK[3:5], 4)
    assert PairedBatches(0, 2)(WEAK[3:5], 4, 0, 0, 0).shape == (2, 4)


# In the batches of a run


def made(sampling: Bins | None, rank: int = 0, world_size: int = 1, epoch: int = 0, **options: Any) -> VideoBatches:
    order = PairedBatches(pairs=1, batches=6)
    given: dict[str, Any] = {"lengths": LENGTHS, **options}
    batches = VideoBatches(6, 4, 3, True, rank, world_size, sampling=sampling, order=order, weak_labels=WEAK, **given)
    batches.set_epoch(epoch)
    return batches


def content(batch: Any) -> list[Any]:
    return [part.tolist() if isinstance(part, Tensor) else part for part in batch]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 5), st.integers(0, 2), st.sampled_from([None, Bins(4), Bins(4, repeat=True)]))
def test_a_run_that_was_stopped_goes_on_with_the_same_batches(first: int, epoch: int, sampling: Bins | None) -> None:
    whole = list(made(sampling, epoch=epoch))
    assert len(whole) == len(made(sampling)) == 6
    resumed = made(sampling, epoch=epoch)
    resumed.skip(epoch, first)
    assert [content(batch) for batch in resumed] == [content(batch) for batch in whole[first:]]
    resumed.set_epoch(epoch + 1)
    assert len(list(resumed)) == 6


def test_every_process_has_its_own_batches_of_the_same_width() -> None:
    order = PairedBatches(pairs=1, batches=6)
    for sampling in (None, Bins(6)):
        one, other = (list(made(sampling, rank, 2)) for rank in range(2))
        for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            for process, batch in enumerate((mine, theirs)):
                assert torch.equal(batch[0], order(WEAK, 4, 3, 0, process)[number])
            assert content(mine[:1]) != content(theirs[:1]) or number > 0
            longest = int(LENGTHS[torch.cat([mine[0], theirs[0]])].max())
            width = [batch.segment.shape[1] if isinstance(batch, Picks) else batch[1] for batch in (mine, theirs)]
            assert width == ([longest] * 2 if sampling is None else [min(6, longest)] * 2)


def test_without_lengths_batches_are_rows() -> None:
    rows = list(made(None, lengths=None))
    assert torch.equal(torch.stack(rows), PairedBatches(1, 6)(WEAK, 4, 3, 0, 0))


def test_a_video_that_comes_twice_is_sampled_twice() -> None:
    """Also within a batch, in other batches, and by another process; from its own segments."""
    picks = [batch for rank in range(2) for batch in made(Bins(4, repeat=True, inclusive=True), rank, 2)]
    starts = LENGTHS.cumsum(0) - LENGTHS
    found: dict[int, list[tuple[int, ...]]] = {}
    for batch in picks:
        assert batch.mask.all()
        for row, segment in zip(batch.rows.tolist(), batch.segment, strict=True):
            position = segment - starts[row]
            assert (position >= 0).all()
            assert (position < LENGTHS[row]).all()
            found.setdefault(row, []).append(tuple(position.tolist()))
    assert sum(map(len, found.values())) == 2 * 6 * 4
    for row in (2, 5):  # of 8 and of 9 segments in 4 bins
        assert len(set(found[row])) == len(found[row]) > 2


def test_a_permutation_is_sampled_as_before() -> None:
    plain = VideoBatches(6, 4, 3, True, lengths=LENGTHS, sampling=Bins(4))
    for batch in plain:
        position, mask = Bins(4)(LENGTHS[batch.rows], batch.rows, 3, 0, int(LENGTHS[batch.rows].max()))
        assert torch.equal(batch.segment - (LENGTHS.cumsum(0) - LENGTHS)[batch.rows][:, None], position)
        assert torch.equal(batch.mask, mask)


def data_of(order: PairedBatches, batch_size: int = 4) -> ParsingData:
    def split(lengths: Tensor) -> VideoSet:
        stream = torch.arange(float(lengths.sum()))[:, None]
        return VideoSet(tuple(f"v{n}" for n in range(len(lengths))), lengths, {"sound": stream}, WEAK[: len(lengths)])

    videos = ParsingSet(("a", "b", "c", "d"), {"audio": ("sound",)}, split(LENGTHS), None, split(LENGTHS))
    return ParsingData(videos, batch_size, 4, seed=3, order=order)


def test_only_training_has_an_order() -> None:
    data = data_of(PairedBatches(pairs=2, batches=7))
    train = list(data.train_dataloader())
    assert len(train) == len(data.train_dataloader()) == 7
    assert [batch.index.tolist() for batch in train] == PairedBatches(2, 7)(WEAK, 4, 3, 0, 0).tolist()
    assert [batch.index.tolist() for batch in data.test_dataloader()] == [[0, 1, 2, 3], [4, 5]]


def test_a_batch_that_is_too_small_is_refused_at_once() -> None:
    with pytest.raises(InputError, match=r"data.order.pairs=2 needs at least 4"):
        data_of(PairedBatches(pairs=2, batches=7), batch_size=3)
