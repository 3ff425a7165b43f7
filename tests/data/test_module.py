from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from avvp_pl.data.module import ParsingData
from avvp_pl.data.synthetic import generate
from avvp_pl.errors import InputError


def data_of(processes: int, **sizes: int) -> ParsingData:
    modalities = {"audio": ["vggish"], "visual": ["res152"]}
    data = ParsingData(generate(sizes, {"vggish": 2, "res152": 2}, modalities, seed=0), 4, 4, seed=0)
    trainer: Any = SimpleNamespace(world_size=processes, strategy=SimpleNamespace(root_device=torch.device("cpu")))
    data.trainer = trainer
    return data


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_process_without_a_video_to_score_is_refused(split: str) -> None:
    sizes = {"train": 9, "val": 3, "test": 3}
    data_of(3, **sizes).setup("fit")
    with pytest.raises(InputError, match=f"3 processes are too many for 2 {split} videos"):
        data_of(3, **{**sizes, split: 2}).setup("fit")


def test_processes_may_share_a_training_video() -> None:
    data_of(3, train=1, val=3, test=3).setup("fit")
