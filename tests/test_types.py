"""Batches, and how shapes are written."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import avvp_pl
from avvp_pl.data.videos import ParsingSet
from avvp_pl.types import Proposals


def test_a_batch_is_moved_as_a_whole(tiny: ParsingSet) -> None:
    """The meta device is another one than the CPU, on every machine."""
    assert tiny.train is not None
    one = torch.ones(len(tiny.train), 1)
    proposals = Proposals(one[:, :, None].expand(-1, -1, 2), one.long(), one, one > 0)
    batch = replace(tiny.train, proposals=proposals)[torch.arange(3)]
    moved = batch.to(torch.device("meta"))
    for name, value in vars(moved).items():
        for tensor in value.values() if isinstance(value, dict) else value if name == "proposals" else [value]:
            assert isinstance(tensor, Tensor), name
            assert tensor.device.type == "meta", name
    for name in ("weak_labels", "mask", "index", "segment", "truth"):
        assert getattr(moved, name).shape == getattr(batch, name).shape
    without = dataclasses.replace(batch, truth=None)
    assert without.to(torch.device("meta")).truth is None


def test_shapes_are_those_of_plain_arrays() -> None:
    """From numpy 2.5 on, NDArray is an alias that jaxtyping cannot take, so that a module may not be imported."""
    for file in Path(avvp_pl.__file__).parent.rglob("*.py"):
        assert not re.search(r"\[(np|npt)\.NDArray\[[^]]*\]+, [rf]?\"", file.read_text(encoding="utf-8")), file
