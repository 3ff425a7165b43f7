"""Finished runs made for tests, on disk or in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from avvp_pl.metrics.avvp import LEVELS
from avvp_pl.reporting.rows import trained_as
from avvp_pl.runs.reading import INFERENCE, VALIDATED_BY, Run, read_run, shipped

EVENTS = ("Dog", "Cat")
NAMES = ("audio", "visual", "audio_visual", "type_av", "event_av")


def run_folder(
    folder: Path,
    name: str = "mil",
    seed: int = 0,
    score: float | Mapping[str, float] = 50.0,
    tags: Sequence[str] | None = None,
    data: str = "realmix",
    listed: int = 3,
    protocol: str = "common",
    inference: str | Sequence[str] | None = None,
    events: Sequence[str] = EVENTS,
    test_videos: str | None = None,
    tested: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """A run folder; ``score`` is that of every column or those of some (others 0).

    The configuration is that of the experiment of this name, and of ``ppl_soft`` where there is none, with these
    ``settings``: full names, with __ for their dots. It was tested by the first of the inferences. An experiment of
    ``evaluate``, and what has a ``checkpoint`` among its settings, is an evaluation.
    """
    known = dict(shipped(name, trained_as=trained_as().get(name)) or shipped("ppl_soft") or {})
    first, validated_by = known.pop(INFERENCE), known.pop(VALIDATED_BY)
    inferences = [inference or first] if isinstance(inference or first, str) else list(inference or ())
    if name in trained_as() or "checkpoint" in settings:
        settings = {"checkpoint": "x/best.ckpt", "trained_inference": validated_by, **settings}
    config = OmegaConf.create(
        {
            "name": name,
            "seed": seed,
            "data": {"name": data, "root": "realmix", "modalities": {"audio": ["a"], "visual": ["v"]}},
            "trainer": {"max_epochs": 10, "devices": 1},
            "labeling": {"seed": seed},
            "paths": {"run_dir": str(folder)},
            "tags": tags,
        }
    )
    for key, value in known.items():
        OmegaConf.update(config, key, value)
    OmegaConf.update(config, "protocol.name", protocol)
    config.inference = {chosen: config.inference[chosen] for chosen in inferences}
    write_config(folder, config)
    edit(folder, **settings)
    write_scores(folder, score, listed, protocol, events, test_videos, tested)
    (folder / "metrics.csv").write_text("epoch,train/loss,val/average\n0,1.5,\n1,,40\n")
    return folder


def write_config(folder: Path, config: DictConfig) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config))


def edit(folder: Path, **changes: object) -> None:
    """Change ``config.yaml``: full names of settings, with __ for their dots, and values."""
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    for name, value in changes.items():
        OmegaConf.update(config, name.replace("__", "."), value, merge=False, force_add=True)
    write_config(folder, config)


def remove(folder: Path, *keys: str) -> None:
    """Remove settings from ``config.yaml``."""
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    for key in keys:
        group, _, name = key.rpartition(".")
        del (OmegaConf.select(config, group) if group else config)[name]
    write_config(folder, config)


def write_scores(
    folder: Path,
    score: float | Mapping[str, float] = 50.0,
    listed: int = 3,
    protocol: str = "common",
    events: Sequence[str] = EVENTS,
    test_videos: str | None = None,
    tested: Mapping[str, Any] | None = None,
) -> None:
    """Write ``scores.json``, also into the folder of a further inference."""
    content: dict[str, Any] = {"protocol": protocol, "test_videos": test_videos, "tested": tested}
    for level in LEVELS:
        content[level] = {
            name: score if isinstance(score, float) else score.get(f"{level}/{name}", 0.0) for name in NAMES
        }
    content["videos"] = {"listed": listed, "with_predictions": listed}
    content["per_event"] = {level: {"audio": {events[0]: 10.0, **dict.fromkeys(events[1:])}} for level in LEVELS}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.json").write_text(json.dumps(content))


def made_run(folder: Path, **given: Any) -> Run:
    """:func:`run_folder`, read."""
    return read_run(run_folder(folder, **given))
