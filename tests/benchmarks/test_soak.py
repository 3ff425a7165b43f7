"""The soak must notice what it looks for."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest

from benchmarks.soak import Sample, growth, sample, soak

MEGABYTE = 2**20
REFRESHES = 20


class Leak(pl.Callback):
    """Keep so much memory and so many descriptors at every epoch."""

    def __init__(self, megabytes: int, descriptors: int) -> None:
        self.megabytes, self.descriptors = megabytes, descriptors
        self.memory: list[bytes] = []
        self.open: list[int] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self.memory.append(b"x" * (self.megabytes * MEGABYTE))
        self.open += [os.open(os.devnull, os.O_RDONLY) for _ in range(self.descriptors)]


def leaking_soak(kmeans: str) -> list[Sample]:
    return soak(kmeans, REFRESHES, videos=16, more=[Leak(megabytes=8, descriptors=1)])


@pytest.mark.parametrize("kmeans", ["faiss", "torch"])
def test_a_leak_is_noticed(kmeans: str) -> None:
    """In a process of its own, as in the benchmark: what earlier tests leave behind would be freed meanwhile."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        seen = process.submit(leaking_soak, kmeans).result()
    assert len(seen) == REFRESHES
    memory, descriptors = zip(*seen, strict=True)
    assert growth(descriptors) == pytest.approx(100)
    assert growth(memory) == pytest.approx(800 * MEGABYTE, rel=0.2)


def test_growth_by_hand() -> None:
    """Of 20 values the first two do not count, and each third of the rest has six of them, 12 refreshes apart."""
    assert growth([0, 0, *range(3, 21)]) == 100
    assert growth([900, 700, *[5] * 18]) == 0
    assert growth([5] * 10 + [900] + [5] * 9) == 0  # one peak is no growth
    assert growth([5] * 8 + [6] * 12) == pytest.approx(100 / 12)  # a step is


def test_a_sample_is_of_this_process() -> None:
    before = sample()
    with Path(os.devnull).open():
        kept = b"x" * (80 * MEGABYTE)  # more than the allocator would take from memory that it has freed
        after = sample()
    assert after.descriptors == before.descriptors + 1
    assert after.memory - before.memory >= 0.9 * len(kept)
    assert isinstance(before, Sample)
