"""Videos in memory, and the order in which they are visited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avvp_pl.data.videos import ParsingSet, VideoBatches, VideoSet
from avvp_pl.types import Batch


@pytest.fixture(scope="module")
def videos() -> VideoSet:
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    return VideoSet(
        names=tuple("abcdefg"),
        features_in={"sound": rand(7, 4, 3), "frames": rand(7, 4, 5)},
        mask=rand(7, 4) < 0.7,
        weak_labels=(rand(7, 6) < 0.5).float(),
        truth=rand(7, 4, 2, 6) < 0.5,
    )


def visits(num_videos: int, batch_size: int, shuffle: bool, world_size: int, epoch: int = 0) -> list[list[int]]:
    """What each process visits."""
    shares = []
    for rank in range(world_size):
        order = VideoBatches(num_videos, batch_size, 3, shuffle, rank, world_size)
        order.set_epoch(epoch)
        batches = [batch.tolist() for batch in order]
        assert len(batches) == len(order)
        assert all(len(batch) == batch_size for batch in batches[:-1])
        assert all(0 < len(batch) <= batch_size for batch in batches)
        shares.append([row for batch in batches for row in batch])
    return shares


SIZES = {"num_videos": st.integers(6, 40), "batch_size": st.integers(1, 12), "world_size": st.integers(1, 6)}


@settings(max_examples=60, deadline=None)
@given(**SIZES)
def test_in_order_all_processes_together_visit_every_video_once(
    num_videos: int, batch_size: int, world_size: int
) -> None:
    shares = visits(num_videos, batch_size, False, world_size)
    assert sorted(row for share in shares for row in share) == list(range(num_videos))
    assert all(share == sorted(share) for share in shares)


@settings(max_examples=60, deadline=None)
@given(**SIZES)
def test_shuffled_shares_are_equally_long_and_cover_all(num_videos: int, batch_size: int, world_size: int) -> None:
    shares = visits(num_videos, batch_size, True, world_size, epoch=2)
    assert {len(share) for share in shares} == {-(-num_videos // world_size)}
    assert {row for share in shares for row in share} == set(range(num_videos))


@pytest.mark.parametrize("world_size", [2, 3, 5])
@pytest.mark.parametrize("shuffle", [True, False])
def test_fewer_videos_than_processes(shuffle: bool, world_size: int) -> None:
    assert visits(1, 4, shuffle, world_size) == [[0]] * world_size if shuffle else [[0]] + [[]] * (world_size - 1)


def test_one_process_visits_every_video_once_in_shuffled_order() -> None:
    [order] = visits(50, 16, True, 1)
    assert order != list(range(50))
    assert sorted(order) == list(range(50))


def test_processes_share_the_order_of_one() -> None:
    [alone] = visits(12, 4, True, 1, epoch=5)
    first, second = visits(12, 4, True, 2, epoch=5)
    assert [first[i // 2] if i % 2 == 0 else second[i // 2] for i in range(12)] == alone


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int, spoil: Callable[[], object]) -> list[int]:
        spoil()
        batches = VideoBatches(30, 7, seed, shuffle=True)
        batches.set_epoch(epoch)
        list(batches)
        return [row for batch in batches for row in batch.tolist()]

    seen = {(seed, epoch): order(seed, epoch, lambda: torch.manual_seed(1)) for seed in range(3) for epoch in range(3)}
    again = {key: order(*key, lambda: torch.rand(5)) for key in reversed(seen)}
    assert again == seen
    assert len({tuple(rows) for rows in seen.values()}) == 9


def test_unshuffled_order_is_that_of_the_videos_in_every_epoch() -> None:
    batches = VideoBatches(5, 2, 0, shuffle=False)
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        assert [batch.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("rows", [[0], [6, 0, 3], [2, 2], []])
def test_indexing_gathers_rows(videos: VideoSet, rows: list[int]) -> None:
    batch = videos[torch.tensor(rows, dtype=torch.long)]

    def gathered(of: torch.Tensor) -> torch.Tensor:
        return torch.stack([of[row] for row in rows]) if rows else of[:0]

    assert batch.index.tolist() == rows
    assert batch.features_in.keys() == videos.features_in.keys()
    for name, stream in batch.features_in.items():
        assert torch.equal(stream, gathered(videos.features_in[name]))
    assert torch.equal(batch.mask, gathered(videos.mask))
    assert torch.equal(batch.weak_labels, gathered(videos.weak_labels))
    assert videos.truth is not None
    assert batch.truth is not None
    assert torch.equal(batch.truth, gathered(videos.truth))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_batch_is_float32_whatever_is_held(videos: VideoSet, dtype: torch.dtype) -> None:
    held = replace(videos, features_in={name: stream.to(dtype) for name, stream in videos.features_in.items()})
    for name, stream in held[torch.tensor([3, 1])].features_in.items():
        assert stream.dtype == torch.float32
        assert torch.equal(stream, held.features_in[name][[3, 1]].float())


def test_unknown_truth_stays_unknown(videos: VideoSet) -> None:
    assert replace(videos, truth=None)[torch.tensor([1])].truth is None
    assert replace(videos, truth=None).to(torch.device("cpu")).truth is None


@pytest.mark.parametrize(("batch_size", "sizes"), [(3, [3, 3, 1]), (7, [7]), (100, [7]), (1, [1] * 7)])
def test_batches_are_all_videos_in_order(videos: VideoSet, batch_size: int, sizes: list[int]) -> None:
    batches = list(videos.batches(batch_size))
    assert [len(batch.index) for batch in batches] == sizes
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(len(videos)))
    for name, stream in videos.features_in.items():
        assert torch.equal(torch.cat([batch.features_in[name] for batch in batches]), stream)


def tensors(videos: VideoSet | Batch) -> list[torch.Tensor]:
    assert videos.truth is not None
    return [*videos.features_in.values(), videos.mask, videos.weak_labels, videos.truth]


def test_to_moves_everything(videos: VideoSet) -> None:
    moved = videos.to(torch.device("meta"))
    assert moved.names == videos.names
    assert [tensor.device.type for tensor in tensors(moved)] == ["meta"] * 5
    assert [tensor.shape for tensor in tensors(moved)] == [tensor.shape for tensor in tensors(videos)]
    batch = videos[torch.tensor([1])].to("meta")
    assert [tensor.device.type for tensor in [*tensors(batch), batch.index]] == ["meta"] * 6
    assert all(tensor.device.type == "cpu" for tensor in tensors(videos))


def test_splits_and_dims_of_a_set(videos: VideoSet) -> None:
    parsing = ParsingSet(("e",), {"audio": ("sound",), "visual": ("frames",)}, train=None, val=videos, test=videos)
    assert list(parsing.splits) == ["val", "test"]
    assert parsing.stream_dims == {"sound": 3, "frames": 5}
