"""Videos of any length, batches of them, and the order in which they are visited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avvp_pl.data.videos import ParsingSet, VideoBatches, VideoSet
from avvp_pl.types import Batch


def made(lengths: Sequence[int], dtype: torch.dtype = torch.float32) -> VideoSet:
    """Videos of these lengths, with random values."""
    generator = torch.Generator().manual_seed(0)
    videos, segments = len(lengths), sum(lengths)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    return VideoSet(
        names=tuple(f"v{number}" for number in range(videos)),
        lengths=torch.tensor(lengths, dtype=torch.long),
        streams={"sound": rand(segments, 3).to(dtype), "frames": rand(segments, 5).to(dtype)},
        weak_labels=(rand(videos, 6) < 0.5).float(),
        truth=rand(segments, 2, 6) < 0.5,
    )


EQUAL, RAGGED = [4] * 7, [4, 1, 6, 2, 6, 3, 5]


@pytest.fixture(params=[EQUAL, RAGGED], ids=["equal", "ragged"])
def videos(request: pytest.FixtureRequest) -> VideoSet:
    return made(request.param)


def segments_of(videos: VideoSet, flat: torch.Tensor, row: int) -> torch.Tensor:
    """By counting from the first video."""
    start = sum(videos.lengths.tolist()[:row])
    return flat[start : start + int(videos.lengths[row])]


def pad_slowly(videos: VideoSet, flat: torch.Tensor, rows: Sequence[int], longest: int) -> torch.Tensor:
    """One segment at a time, [B, longest, ...]."""
    padded = torch.zeros(len(rows), longest, *flat.shape[1:], dtype=flat.dtype)
    for place, row in enumerate(rows):
        for t, value in enumerate(segments_of(videos, flat, row)):
            padded[place, t] = value
    return padded


def check(videos: VideoSet, batch: Batch, rows: Sequence[int]) -> None:
    """Compare a batch of these rows with the slow one."""
    assert videos.truth is not None
    longest = max([1, *(int(videos.lengths[row]) for row in rows)])
    numbers = torch.arange(sum(videos.lengths.tolist()))
    assert batch.index.tolist() == list(rows)
    assert batch.features_in.keys() == videos.streams.keys()
    for name, stream in videos.streams.items():
        assert batch.features_in[name].dtype == torch.float32
        assert torch.equal(batch.features_in[name], pad_slowly(videos, stream, rows, longest).float())
    assert batch.truth is not None
    assert torch.equal(batch.truth, pad_slowly(videos, videos.truth, rows, longest))
    assert torch.equal(batch.mask, pad_slowly(videos, torch.ones_like(numbers, dtype=torch.bool), rows, longest))
    assert torch.equal(batch.weak_labels, torch.stack([videos.weak_labels[row] for row in rows]))
    for place, row in enumerate(rows):
        own = segments_of(videos, numbers, row).tolist()
        found = batch.segment[place].tolist()
        assert found[: len(own)] == own
        if own:
            assert found[len(own) :] == [own[-1]] * (longest - len(own))
        assert all(0 <= number < max(1, len(numbers)) for number in found)


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


@settings(max_examples=60, deadline=None)
@given(**SIZES, first=st.integers(0, 3))
def test_with_lengths_all_processes_pad_a_batch_as_one_process_does(
    num_videos: int, batch_size: int, world_size: int, first: int
) -> None:
    """Nothing else about the order changes, also if the first batches are skipped."""
    lengths = torch.randint(0, 50, (num_videos,), generator=torch.Generator().manual_seed(num_videos))

    def shares(known: torch.Tensor | None) -> list[Any]:
        orders = [
            VideoBatches(num_videos, batch_size, 3, True, r, world_size, lengths=known) for r in range(world_size)
        ]
        for order in orders:
            order.skip(epoch=0, batches=first)
        return [list(order) for order in orders]

    batches, plain = shares(lengths), shares(None)
    for of_ranks in zip(*batches, strict=True):
        rows = torch.cat([rows for rows, _ in of_ranks])
        assert {longest for _, longest in of_ranks} == {int(lengths[rows].max())}
    assert [[rows.tolist() for rows, _ in share] for share in batches] == [[x.tolist() for x in own] for own in plain]


def test_unshuffled_order_is_that_of_the_videos_in_every_epoch() -> None:
    batches = VideoBatches(5, 2, 0, shuffle=False)
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        assert [batch.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("rows", [[0], [6, 0, 3], [2, 2], [1], [0, 1, 2, 3, 4, 5, 6]])
def test_indexing_gathers_the_segments_of_rows(videos: VideoSet, rows: list[int]) -> None:
    check(videos, videos[torch.tensor(rows)], rows)


def test_indexing_pads_to_a_number_of_segments(videos: VideoSet) -> None:
    rows = torch.tensor([1, 0])
    longest = int(videos.lengths[rows].max())
    batch, wider = videos[rows], videos[rows, longest + 2]
    assert batch.mask.shape[1] == longest
    assert torch.equal(wider.mask[:, :longest], batch.mask)
    assert not wider.mask[:, longest:].any()
    for name, features in wider.features_in.items():
        assert torch.equal(features[:, :longest], batch.features_in[name])
        assert not features[:, longest:].any()


def test_indexing_with_no_rows(videos: VideoSet) -> None:
    batch = videos[torch.tensor([], dtype=torch.long)]
    assert batch.weak_labels.shape == (0, 6)
    assert batch.features_in["sound"].shape[::2] == (0, 3)
    assert len(batch.index) == len(batch.mask) == len(batch.segment) == 0


def test_a_batch_by_hand() -> None:
    """Segments 0 to 5 are those of video a (2), b (1) and c (3)."""
    values = torch.tensor([10.0, 11, 20, 30, 31, 32])
    videos = VideoSet(
        ("a", "b", "c"), torch.tensor([2, 1, 3]), {"sound": values[:, None]}, torch.eye(3), (values > 20)[:, None, None]
    )
    batch = videos[torch.tensor([1, 2])]
    assert batch.features_in["sound"].squeeze(2).tolist() == [[20, 0, 0], [30, 31, 32]]
    assert batch.segment.tolist() == [[2, 2, 2], [3, 4, 5]]
    assert batch.mask.tolist() == [[True, False, False], [True, True, True]]
    assert batch.truth is not None
    assert batch.truth.flatten(1).tolist() == [[False, False, False], [True, True, True]]
    batch = videos[torch.tensor([0, 1])]
    assert batch.features_in["sound"].squeeze(2).tolist() == [[10, 11], [20, 0]]
    assert batch.segment.tolist() == [[0, 1], [2, 2]]
    assert (videos.num_segments, videos.longest, videos.equal_length) == (6, 3, None)
    assert videos.starts.tolist() == [0, 2, 3]


LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(LENGTHS, st.data())
def test_any_lengths_and_any_rows(lengths: list[int], data: st.DataObject) -> None:
    videos = made(lengths)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=12))
    batch = videos[torch.tensor(rows)]
    check(videos, batch, rows)
    for name, stream in videos.streams.items():  # what makes a segment's number useful
        assert torch.equal(batch.features_in[name][batch.mask], stream[batch.segment[batch.mask]])
        assert not batch.features_in[name][~batch.mask].any()
    assert batch.truth is not None
    assert not batch.truth[~batch.mask].any()


@pytest.mark.parametrize("lengths", [[0], [0, 0], [0, 3], [3, 0], [2, 0, 2]])
def test_videos_without_segments_are_all_padding(lengths: list[int]) -> None:
    videos = made(lengths)
    assert videos.equal_length is None
    empty = [row for row, length in enumerate(lengths) if not length]
    for rows in (empty, list(range(len(lengths)))):
        batch = videos[torch.tensor(rows)]
        check(videos, batch, rows)
        assert not batch.mask[[rows.index(row) for row in empty]].any()
        assert batch.mask.shape[1] >= 1  # no network meets a time axis without a place


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("rows", [[0], [5, 0, 3], [2, 2]])
def test_the_fast_path_of_equal_lengths_gives_the_bits_of_the_general_one(rows: list[int], dtype: torch.dtype) -> None:
    equal, longer = made([4] * 6, dtype), made([4] * 6 + [5], dtype)
    assert (equal.equal_length, longer.equal_length) == (4, None)
    general = replace(
        longer,
        streams={name: torch.cat([x, longer.streams[name][24:]]) for name, x in equal.streams.items()},
        weak_labels=torch.cat([equal.weak_labels, longer.weak_labels[6:]]),
        truth=torch.cat([x for x in (equal.truth, longer.truth) if x is not None])[: longer.num_segments],
    )
    fast, slow = tensors(equal[torch.tensor(rows)]), tensors(general[torch.tensor(rows)])
    assert len(fast) == len(slow) == 7
    for one, other in zip(fast, slow, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.data())
def test_a_batch_of_any_choice_of_segments(lengths: list[int], data: st.DataObject) -> None:
    """As a sampler of segments chooses them: some of a video's, in any order, each as often as it likes."""
    videos = made([*lengths, 2])
    rows = data.draw(st.lists(st.sampled_from(videos.lengths.nonzero().flatten().tolist()), min_size=1, max_size=5))
    width = data.draw(st.integers(1, 6))
    starts = [sum(videos.lengths.tolist()[:row]) for row in rows]
    picks = [
        data.draw(st.lists(st.integers(0, int(videos.lengths[row]) - 1), min_size=width, max_size=width))
        for row in rows
    ]
    reals = [data.draw(st.lists(st.booleans(), min_size=width, max_size=width)) for _ in rows]
    segment = torch.tensor([[start + pick for pick in own] for start, own in zip(starts, picks, strict=True)])
    batch = videos.batch(torch.tensor(rows), segment, torch.tensor(reals))
    assert torch.equal(batch.segment, segment)
    assert batch.mask.tolist() == reals
    assert batch.index.tolist() == rows
    assert videos.truth is not None
    assert batch.truth is not None
    for b, (row, own, real) in enumerate(zip(rows, picks, reals, strict=True)):
        for t in range(width):
            for name, stream in videos.streams.items():
                expected = segments_of(videos, stream, row)[own[t]] * real[t]
                assert torch.equal(batch.features_in[name][b, t], expected)
            assert torch.equal(batch.truth[b, t], segments_of(videos, videos.truth, row)[own[t]] & real[t])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("lengths", [EQUAL, RAGGED])
def test_a_batch_is_float32_whatever_is_held(lengths: list[int], dtype: torch.dtype) -> None:
    held = made(lengths, dtype)
    check(held, held[torch.tensor([3, 1])], [3, 1])


def test_unknown_truth_stays_unknown(videos: VideoSet) -> None:
    assert replace(videos, truth=None)[torch.tensor([1])].truth is None
    assert replace(videos, truth=None).to(torch.device("cpu")).truth is None


@pytest.mark.parametrize(("batch_size", "sizes"), [(3, [3, 3, 1]), (7, [7]), (100, [7]), (1, [1] * 7)])
def test_batches_are_all_videos_in_order(videos: VideoSet, batch_size: int, sizes: list[int]) -> None:
    batches = list(videos.batches(batch_size))
    assert [len(batch.index) for batch in batches] == sizes
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(len(videos)))
    assert torch.cat([batch.segment[batch.mask] for batch in batches]).tolist() == list(range(videos.num_segments))
    for name, stream in videos.streams.items():
        assert torch.equal(torch.cat([batch.features_in[name][batch.mask] for batch in batches]), stream)


def test_a_batch_is_padded_to_its_own_longest_video() -> None:
    videos = made(RAGGED)
    assert [batch.mask.shape for batch in videos.batches(2)] == [(2, 4), (2, 6), (2, 6), (1, 5)]


@settings(max_examples=60, deadline=None)
@given(LENGTHS)
def test_a_rectangle_of_all_videos(lengths: list[int]) -> None:
    videos = made(lengths)
    rows, longest = range(len(lengths)), max(lengths)
    for flat in (*videos.streams.values(), videos.truth, torch.arange(sum(lengths))):
        assert flat is not None
        rectangle = videos.padded(flat)
        assert torch.equal(rectangle, pad_slowly(videos, flat, rows, longest))
        assert torch.equal(rectangle[videos.mask], flat)
    assert videos.mask.sum(dim=1).tolist() == lengths


def test_a_rectangle_of_equal_lengths_is_a_view() -> None:
    videos = made(EQUAL)
    stream = videos.streams["sound"]
    assert videos.padded(stream).data_ptr() == stream.data_ptr()


@pytest.mark.parametrize(
    ("lengths", "longest", "equal"), [([3, 3], 3, 3), ([3], 3, 3), ([3, 2], 3, None), ([0, 0], 0, None), ([], 0, None)]
)
def test_longest_and_equal_length(lengths: list[int], longest: int, equal: int | None) -> None:
    videos = made(lengths)
    assert (videos.longest, videos.equal_length) == (longest, equal)
    assert videos.num_segments == sum(lengths)
    assert videos.mask.shape == (len(lengths), longest)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lengths": torch.tensor([1, 2])}, "lengths has 2 rows; the videos need 7"),
        ({"lengths": torch.tensor([4] * 6 + [5])}, "truth has 28 rows; the videos need 29"),
        ({"weak_labels": torch.ones(6, 6)}, "weak_labels has 6 rows; the videos need 7"),
        ({"truth": torch.ones(7, 2, 6, dtype=torch.bool)}, "truth has 7 rows; the videos need 28"),
        ({"keys": ("v0",)}, "keys has 1 rows; the videos need 7"),
        ({"lengths": torch.tensor([4] * 7, device="meta")}, "lengths of videos must be on the CPU"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(made(EQUAL), **change)


def tensors(of: VideoSet | Batch) -> list[torch.Tensor]:
    assert of.truth is not None
    if isinstance(of, Batch):
        return [*of.features_in.values(), of.mask, of.weak_labels, of.index, of.segment, of.truth]
    return [*of.streams.values(), of.weak_labels, of.truth]


def test_to_moves_everything_but_the_lengths(videos: VideoSet) -> None:
    moved = videos.to(torch.device("meta"))
    assert moved.names == videos.names
    assert moved.lengths.device.type == "cpu"
    assert moved.device.type == moved.mask.device.type == "meta"
    assert moved.resident
    assert [tensor.device.type for tensor in tensors(moved)] == ["meta"] * 4
    assert [tensor.shape for tensor in tensors(moved)] == [tensor.shape for tensor in tensors(videos)]
    batch = videos[torch.tensor([1])].to("meta")
    assert [tensor.device.type for tensor in tensors(batch)] == ["meta"] * 7
    assert all(tensor.device.type == "cpu" for tensor in tensors(videos))


def test_streams_that_are_not_resident_stay_and_batches_are_sent(videos: VideoSet) -> None:
    moved = videos.to(torch.device("meta"), resident=False)
    assert not moved.resident
    assert moved.device.type == "meta"
    assert all(moved.streams[name] is stream for name, stream in videos.streams.items())
    batch = moved[torch.tensor([2, 0])]
    assert [tensor.device.type for tensor in tensors(batch)] == ["meta"] * 7
    assert [tensor.shape for tensor in tensors(batch)] == [x.shape for x in tensors(videos[torch.tensor([2, 0])])]


def test_resident_videos_of_equal_length_are_never_waited_for() -> None:
    """Nothing on the device is read: with the meta device, that would raise."""
    moved = made(EQUAL).to(torch.device("meta"))
    batch = moved[torch.tensor([2, 0], device="meta")]
    assert [tensor.device.type for tensor in tensors(batch)] == ["meta"] * 7
    assert batch.features_in["sound"].shape == (2, 4, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("lengths", [EQUAL, RAGGED])
def test_a_gpu_gets_the_batches_of_the_cpu(lengths: list[int], resident: bool) -> None:
    videos, device = made(lengths, torch.bfloat16), torch.device("cuda")
    moved = videos.to(device, resident)
    for where in ("cpu", "cuda"):
        batch = moved[torch.tensor([2, 0, 6], device=where)]
        for tensor, expected in zip(tensors(batch), tensors(videos[torch.tensor([2, 0, 6])]), strict=True):
            assert tensor.device.type == "cuda"
            assert torch.equal(tensor.cpu(), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_not_waited_for() -> None:
    moved = made(EQUAL).to(torch.device("cuda"))
    rows = torch.tensor([2, 0], device="cuda")
    assert moved[rows] is not None  # the numbers of the segments are made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        moved[rows]
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_splits_and_dims_of_a_set(videos: VideoSet) -> None:
    parsing = ParsingSet(("e",), {"audio": ("sound",), "visual": ("frames",)}, train=None, val=videos, test=videos)
    assert list(parsing.splits) == ["val", "test"]
    assert parsing.stream_dims == {"sound": 3, "frames": 5}
    assert parsing.streams == [["audio", ["sound", 3]], ["visual", ["frames", 5]]]


def test_names_and_events_are_composed(videos: VideoSet) -> None:
    names = ("Cafe\u0301", *videos.names[1:])
    accented = replace(videos, names=names)
    assert accented.names == ("Caf\xe9", *videos.names[1:])
    parsing = ParsingSet(("Ba\u0308r",), {"audio": ("sound",)}, train=None, val=accented, test=None)
    assert parsing.events == ("B\xe4r",)


def test_files_of_videos_cannot_lead_out_of_their_folder() -> None:
    names = ("../up", "a/b\\c", ".hidden", "ID_0.5_10.5", "ü =1")
    videos = VideoSet(names, torch.ones(5, dtype=torch.long), {}, torch.zeros(5, 1))
    assert videos.file_stems == ("_._up", "a_b_c", "_hidden", "ID_0.5_10.5", "ü_=1")
    assert replace(videos, keys=("k", "l", "m", "n", "o")).file_stems == ("k", "l", "m", "n", "o")


def test_which_modalities_videos_lack() -> None:
    none = VideoSet((), torch.zeros(0, dtype=torch.long), {}, torch.zeros(0, 1))
    assert none.lacks(["audio", "visual"]).shape == (0, 2)
    two = VideoSet(
        ("a", "b"), torch.tensor([1, 1]), {}, torch.zeros(2, 1), missing={"b": ("visual",), "other": ("audio",)}
    )
    assert two.lacks(["audio", "visual"]).tolist() == [[False, False], [False, True]]
