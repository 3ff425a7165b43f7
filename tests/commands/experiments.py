"""The experiments of ``conf/experiment`` on a small synthetic data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from avvp_pl.commands.build import build_videos
from avvp_pl.data.products import Kind, Product, write_product
from avvp_pl.settings.conf import config_dir
from tests.small import SMALL_NETWORK

SETTINGS = (
    "data.sizes.train=70",
    "data.sizes.val=16",
    "data.sizes.test=16",
    *SMALL_NETWORK,
    "data.batch_size=16",
    "trainer.max_epochs=4",
    "optimizer.learning_rate=0.003",
    "threads=1",
    "logger=csv",
    "resume=auto",
)


def settings_of(experiment: str) -> dict[str, Any]:
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        cfg: Any = OmegaConf.to_container(compose("train", [f"+experiment={experiment}"]), resolve=False)
    return dict(cfg)


def settings_for(experiment: str, folder: Path, *more: str) -> list[str]:
    """The settings of an experiment, with a file where it learns from an earlier stage: some labels are removed."""
    method = settings_of(experiment)["method"]
    needing = [part for part in ("targets", "segments") if method.get(part, {}).get("file") == "???"]
    if not needing:
        return [f"+experiment={experiment}"]
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        videos = build_videos(compose("train", [*SETTINGS[:-1], *more]), ("train",))
    train = videos.train
    assert train is not None
    of_kind: dict[Kind, int] = {"rates": 1, "modality_labels": len(train), "labels": train.num_segments}
    settings = [f"+experiment={experiment}"]
    for part in needing:
        kind: Kind = "labels" if part == "segments" else "rates" if "ramp" in method[part] else "modality_labels"
        drawn = torch.rand(of_kind[kind], 2, len(videos.events), generator=torch.Generator().manual_seed(0))
        weak_labels = train.weak_labels[:, None]
        if kind == "labels":
            weak_labels = weak_labels.repeat_interleave(train.lengths, dim=0)
        values = 0.5 * drawn[0] if kind == "rates" else weak_labels * (drawn < 0.8)
        path = folder / f"{experiment}_{part}_{len(train)}.npz"
        modalities, lengths = tuple(videos.modalities), train.lengths.numpy()
        write_product(path, Product(kind, train.names, lengths, modalities, videos.events, values.numpy()))
        settings.append(f"method.{part}.file={path}")
    return settings
