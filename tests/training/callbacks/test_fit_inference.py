"""Prototypes for a test: built where they are needed and not there, or refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from avvp_pl.commands.build import build_data, build_method
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError
from avvp_pl.settings.conf import config_dir
from avvp_pl.training.callbacks.build_prototypes import BuildPrototypes


def start(videos: ParsingSet, *overrides: str) -> Any:
    """The method after the start of its test."""
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        cfg = compose("train", ["method=ppl", "network.dim=16", "network.feedforward_dim=16", *overrides])
    OmegaConf.set_struct(cfg, False)
    method = build_method(cfg, videos)
    trainer: Any = SimpleNamespace(datamodule=build_data(cfg, videos))
    BuildPrototypes().on_test_start(trainer, method)
    return method


@pytest.mark.parametrize("inference", ["prototype", "prototype_hard"])
def test_they_are_built_of_the_training_videos(tiny: ParsingSet, inference: str) -> None:
    method = start(tiny, f"method.inference={inference}")
    assert method.positive_mask.any()
    built = method.positive.clone()
    method.refresh = None  # and not again
    BuildPrototypes().on_test_start(SimpleNamespace(datamodule=SimpleNamespace(splits={"train": None})), method)  # type: ignore[arg-type]
    assert torch.equal(method.positive, built)


def test_nothing_is_built_that_is_not_needed_or_not_asked_for(tiny: ParsingSet) -> None:
    assert not start(tiny, "method.inference=classifier").positive_mask.any()
    assert not start(replace(tiny, train=None), "method.inference=prototype").positive_mask.any()


def test_videos_without_events_give_none(tiny: ParsingSet) -> None:
    assert tiny.train is not None
    without = replace(tiny.train, weak_labels=torch.zeros_like(tiny.train.weak_labels))
    with pytest.raises(InputError, match="no video of these has any event"):
        start(replace(tiny, train=without), "method.inference=prototype")
