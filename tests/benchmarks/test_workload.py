"""The files that benchmarks read have the videos of which they were written."""

from __future__ import annotations

from pathlib import Path

import torch

from avvp_pl.data.llp import load_llp
from avvp_pl.data.synthetic import generate
from benchmarks.workload import write_llp_layout

STREAMS = {"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"]}


def test_a_folder_in_llp_layout_is_read_as_it_was_made(tmp_path: Path) -> None:
    made = generate({"train": 9, "val": 4, "test": 5}, {"vggish": 3, "res152": 4, "r2plus1d_18": 2}, STREAMS, seed=0)
    read = load_llp(write_llp_layout(made, tmp_path), STREAMS)
    assert read.events == made.events
    for split, own in made.splits.items():
        same = read.splits[split]
        assert same.names == own.names
        assert torch.equal(same.weak_labels, own.weak_labels)
        assert all(torch.equal(same.streams[name], rows) for name, rows in own.streams.items())
        if split == "train":
            assert same.truth is None
        else:
            assert same.truth is not None
            assert own.truth is not None
            assert torch.equal(same.truth, own.truth)
