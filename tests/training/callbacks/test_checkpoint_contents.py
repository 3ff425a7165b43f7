"""What a checkpoint carries beside weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from omegaconf import OmegaConf

from avvp_pl.training.callbacks.checkpoint_contents import CheckpointContents


def test_everything_that_an_evaluation_needs_in_plain_containers() -> None:
    cfg = OmegaConf.create({"seed": 3, "labeling": {"seed": "${seed}", "attending": ["audio"]}})
    streams: list[list[Any]] = [["audio", ["vggish", 128]]]
    callback, checkpoint = CheckpointContents(cfg, ("bell", "dog"), streams), {"epoch": 2}
    trainer: Any = SimpleNamespace(loggers=[])
    callback.on_save_checkpoint(trainer, None, checkpoint)  # type: ignore[arg-type]
    assert checkpoint == {
        "epoch": 2,
        "config": {"seed": 3, "labeling": {"seed": 3, "attending": ["audio"]}},
        "events": ["bell", "dog"],
        "streams": streams,
        "wandb_id": None,
    }
    assert not OmegaConf.is_config(checkpoint["config"])
