"""The experiments of ``conf/experiment`` on a small synthetic data set."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from avvp_pl.commands.build import build_videos
from avvp_pl.data.products import Kind, Product, write_product
from avvp_pl.data.videos import ParsingSet
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


@cache  # composing takes a third of a second
def settings_of(experiment: str) -> dict[str, Any]:
    with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
        cfg: Any = OmegaConf.to_container(compose("train", [f"+experiment={experiment}"]), resolve=False)
    return dict(cfg)


def settings_for(experiment: str, folder: Path, *more: str) -> list[str]:
    """The settings of an experiment, with the streams that it needs, and a file of labels if it learns from one."""

    def videos() -> ParsingSet:
        with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
            return build_videos(compose("train", [*SETTINGS[:-1], *more]), ("train",))

    data = settings_of(experiment)["data"]
    named = {name for names in data["modalities"].values() for name in names}
    streams = [f"+data.streams.{name}=64" for name in sorted(named - set(data["streams"]))]
    return [f"+experiment={experiment}", *streams, *files_for(experiment, folder, videos)]


def files_for(experiment: str, folder: Path, videos: Callable[[], ParsingSet]) -> list[str]:
    """The settings by which an experiment that learns from files finds them."""
    cfg, settings = settings_of(experiment), []
    targets, labeling = cfg["method"].get("targets", {}), cfg["labeling"]
    if targets.get("file") == "???":
        kind: Kind = "rates" if "ramp" in targets else "modality_labels"
        settings.append(f"method.targets.file={labels_file(kind, folder, videos())}")
    for key, part in (("labeling", labeling), ("method.segments", cfg["method"].get("segments", {}))):
        if part.get("file") == "???":
            settings.append(f"{key}.file={labels_file('labels', folder, videos())}")
    return settings


def labels_file(kind: Kind, folder: Path, videos: ParsingSet) -> Path:
    """A file of the training videos: some of their weak labels are removed."""
    train = videos.train
    assert train is not None
    path = folder / f"{kind}_{len(train)}.npz"
    generator, shape = torch.Generator().manual_seed(0), (2, len(videos.events))
    if kind == "labels":
        values = train.segment_weak_labels[:, None] * torch.rand(train.num_segments, *shape, generator=generator)
    else:
        drawn = torch.rand(len(train), *shape, generator=generator)
        values = 0.5 * drawn[0] if kind == "rates" else train.weak_labels[:, None] * (drawn < 0.8)
    names, lengths = train.names, train.lengths.numpy()
    write_product(path, Product(kind, names, lengths, tuple(videos.modalities), videos.events, values.numpy()))
    return path
