"""What a checkpoint carries beside weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from omegaconf import OmegaConf

from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.training.callbacks.checkpoint_contents import CheckpointContents


def test_everything_that_an_evaluation_needs_in_plain_containers() -> None:
    cfg = OmegaConf.create({"seed": 3, "labeling": {"seed": "${seed}", "attending": ["audio"]}})
    train = VideoSet(("a", "b"), torch.tensor([3, 1]), {"vggish": torch.zeros(4, 128)}, torch.zeros(2, 2))
    made = {"vggish": {"identity": {"extractor": "vggish", "version": 1}}}
    videos = ParsingSet(("bell", "dog"), {"audio": ("vggish",)}, train, None, None, extractors=made)
    callback, checkpoint = CheckpointContents(cfg, videos), {"epoch": 2}
    trainer: Any = SimpleNamespace(loggers=[])
    callback.on_save_checkpoint(trainer, None, checkpoint)  # type: ignore[arg-type]
    assert checkpoint == {
        "epoch": 2,
        "config": {"seed": 3, "labeling": {"seed": 3, "attending": ["audio"]}},
        "events": ["bell", "dog"],
        "streams": [["audio", ["vggish", 128]]],
        "lengths": [1, 3],
        "extractors": made,
        "wandb_id": None,
    }
    assert not OmegaConf.is_config(checkpoint["config"])
