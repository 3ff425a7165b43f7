"""Finished runs made for tests, on disk or in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from avvp_pl.metrics.avvp import LEVELS
from avvp_pl.runs.reading import INFERENCE, Run, read_run, shipped

NAMES = ("audio", "visual", "audio_visual", "type_av", "event_av")


def run_folder(
    folder: Path,
    name: str = "mil",
    seed: int = 0,
    score: float | Mapping[str, float] = 50.0,
    tags: Sequence[str] | None = None,
    data: str = "realmix",
    listed: int = 3,
    **settings: Any,
) -> Path:
    """A run folder; ``score`` is that of every column or those of some (others 0).

    ``settings`` are of the method, which is otherwise that of the experiment of this name, or PPL with a few settings.
    """
    folder.mkdir(parents=True)
    method = OmegaConf.create({"_target_": "avvp_pl.methods.ppl.PPL", "gamma": 0.5})
    if known := shipped(name):
        method = OmegaConf.create({})
        for key, value in known.items():
            if key.startswith("method.") and (key != INFERENCE or "method.gamma" in known):
                OmegaConf.update(method, key.removeprefix("method."), value)
    config: dict[str, Any] = {
        "name": name,
        "seed": seed,
        "data": {"name": data, "root": "realmix", "modalities": {"audio": ["a"], "visual": ["v"]}},
        "method": {**method, "seed": seed, **settings},
        "trainer": {"max_epochs": 10, "devices": 1},
        "paths": {"run_dir": str(folder)},
        "tags": tags,
    }
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    content: dict[str, Any] = {
        level: {name: score if isinstance(score, float) else score.get(f"{level}/{name}", 0.0) for name in NAMES}
        for level in LEVELS
    }
    content["videos"] = {"listed": listed, "with_predictions": listed}
    content["per_event"] = {level: {"audio": {"Dog": 10.0, "Cat": None}} for level in LEVELS}
    (folder / "scores.json").write_text(json.dumps(content))
    (folder / "metrics.csv").write_text("epoch,train/loss,val/average\n0,1.5,\n1,,40\n")
    return folder


def made_run(folder: Path, **given: Any) -> Run:
    """:func:`run_folder`, read."""
    return read_run(run_folder(folder, **given))
