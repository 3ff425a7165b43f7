"""Loaders of whole batches: where features stay while a run lasts, and what each process gets."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch

from avvp_pl.data import module
from avvp_pl.data.module import ParsingData, free_memory
from avvp_pl.data.synthetic import generate
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from tests.data.test_videos import tensors

BYTES = 64 * 10 * (8 + 12 + 6) * 4  # of the features of the set called tiny


def attach(data: ParsingData, processes: int = 1, rank: int = 0, device: str = "cpu") -> ParsingData:
    """Let the loaders belong to a trainer."""
    strategy = SimpleNamespace(root_device=torch.device(device))
    trainer: Any = SimpleNamespace(world_size=processes, global_rank=rank, strategy=strategy)
    data.trainer = trainer
    return data


def data_of(processes: int, **sizes: int) -> ParsingData:
    modalities = {"audio": ["vggish"], "visual": ["res152"]}
    return attach(ParsingData(generate(sizes, {"vggish": 2, "res152": 2}, modalities, seed=0), 4, 4, seed=0), processes)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_process_without_a_video_to_score_is_refused(split: str) -> None:
    sizes = {"train": 9, "val": 3, "test": 3}
    data_of(3, **sizes).setup("fit")
    with pytest.raises(InputError, match=f"3 processes are too many for 2 {split} videos"):
        data_of(3, **{**sizes, split: 2}).setup("fit")


def test_processes_may_share_a_training_video() -> None:
    data_of(3, train=1, val=3, test=3).setup("fit")


@pytest.mark.parametrize("lengths", ["tiny", "ragged"])
@pytest.mark.parametrize("resident", ["auto", "device", "host"])
def test_loaders_give_the_batches_of_the_videos(
    lengths: str, resident: Literal["auto", "device", "host"], request: pytest.FixtureRequest
) -> None:
    videos: ParsingSet = request.getfixturevalue(lengths)
    data = attach(ParsingData(videos, 16, 5, seed=0, resident=resident))
    data.setup("fit")
    for split, loader, sizes in (
        ("train", data.train_dataloader(), [16, 16, 8]),
        ("val", data.val_dataloader(), [5, 5, 2]),
        ("test", data.test_dataloader(), [5, 5, 2]),
    ):
        batches = list(loader)
        assert [len(batch.index) for batch in batches] == sizes
        assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == list(range(sum(sizes)))
        for batch in batches:
            for one, other in zip(tensors(batch), tensors(videos.splits[split][batch.index]), strict=True):
                assert torch.equal(one, other)


def test_processes_share_videos_of_different_lengths(ragged: ParsingSet) -> None:
    visited = []
    for rank in range(2):
        data = attach(ParsingData(ragged, 16, 5, seed=0), processes=2, rank=rank)
        data.setup("fit")
        visited += [segment for batch in data.val_dataloader() for segment in batch.segment[batch.mask].tolist()]
    assert ragged.val is not None
    assert sorted(visited) == list(range(ragged.val.num_segments))


@pytest.mark.parametrize(
    ("resident", "free", "moved"),
    [
        ("auto", 2 * BYTES, True),
        ("auto", 2 * BYTES - 1, False),
        ("auto", None, True),
        ("device", 0, True),
        ("host", 10**12, False),
    ],
)
def test_where_features_stay(
    tiny: ParsingSet,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    resident: Literal["auto", "device", "host"],
    free: int | None,
    moved: bool,
) -> None:
    monkeypatch.setattr(module, "free_memory", lambda device: free)
    data = attach(ParsingData(tiny, 16, 5, seed=0, resident=resident), device="meta")
    with caplog.at_level(logging.INFO):
        data.setup("fit")
        monkeypatch.setattr(module, "free_memory", lambda device: 0)  # the network is there now
        data.setup("test")
    said = [message for message in caplog.messages if message.startswith("data.resident=auto: the features (0.00 GB)")]
    assert len(said) == (resident == "auto" and free is not None)
    for message in said:
        assert ("are moved there" if moved else "every batch is sent") in message
    for name, split in data.splits.items():
        assert split.device.type == "meta"
        assert {stream.device.type for stream in split.streams.values()} == {"meta" if moved else "cpu"}
        whole = tiny.splits[name].streams
        assert moved or all(stream is whole[stream_name] for stream_name, stream in split.streams.items())
    batch = next(iter(data.val_dataloader()))
    assert [tensor.device.type for tensor in tensors(batch)] == ["meta"] * 8
    assert batch.features_in["res152"].shape == (5, 10, 12)


@pytest.mark.parametrize(
    ("lengths", "resident", "device"),
    [("tiny", "device", "meta"), ("tiny", "host", "cpu"), ("ragged", "device", "cpu"), ("ragged", "host", "cpu")],
)
def test_row_numbers_are_where_they_are_looked_up(
    lengths: str, resident: Literal["device", "host"], device: str, request: pytest.FixtureRequest
) -> None:
    """On the device only if nothing on the CPU depends on them, for else every step would wait for the device."""
    data = attach(ParsingData(request.getfixturevalue(lengths), 16, 5, seed=0, resident=resident), device="meta")
    data.setup("fit")
    loader: Any = data.val_dataloader()
    assert [rows.device.type for rows in loader.sampler] == [device] * 3


def test_the_memory_of_a_cpu_is_not_asked_for() -> None:
    assert free_memory(torch.device("cpu")) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_free_memory_of_a_gpu() -> None:
    free = free_memory(torch.device("cuda"))
    assert free is not None
    assert 0 < free < 10**13
