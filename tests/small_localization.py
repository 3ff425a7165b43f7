"""A small data set of localization, in whose features events show, and commands on it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.types import Instances

EVENTS = ("Diving", "Jump", "Throw")
SIZES = {"train": 12, "test": 6}
SECONDS, DIM = 0.64, 6
SMALL = (
    "+experiment=tal_mil", "data=small_localization", "logger=csv", "network.dim=16", "trainer.accelerator=cpu",
    "trainer.max_epochs=12", "optimizer.learning_rate=1e-2", "threads=1",
)  # fmt: skip
CONFIGURATION = """\
name: small
modalities: {fused: [rgb, flow]}
segment_seconds: 0.64
batch_size: 4
eval_batch_size: 2
resident: auto
max_epochs: 2
source: {_target_: tests.small_localization.read, modalities: "${data.modalities}"}
"""


def read(
    modalities: Mapping[str, Sequence[str]],
    splits: Collection[str] = ("train", "test"),
    truth_required: bool = True,
    events: Sequence[str] | None = None,
    names: str | None = None,
) -> ParsingSet:
    """Videos of 10 to 40 segments; every event occurs among the first three of each split."""
    read = {split: _split(split, seed) for seed, split in enumerate(SIZES) if split in splits}
    return ParsingSet(
        EVENTS, {name: tuple(of) for name, of in modalities.items()}, read.get("train"), None, read.get("test"), SECONDS
    )


def _split(name: str, seed: int) -> VideoSet:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(10, 41, (SIZES[name],), generator=generator)
    features = 0.2 * torch.randn(int(lengths.sum()), 2 * DIM, generator=generator)
    truth = torch.zeros(len(features), 1, len(EVENTS), dtype=torch.bool)
    rows: list[tuple[int, int, float, float]] = []
    start = 0
    for video, length in enumerate(lengths.tolist()):
        event, first = video % 3, int(torch.randint(0, length - 5, (1,), generator=generator))
        truth[start + first : start + first + 4, 0, event] = True
        rows.append((video, event, first * SECONDS, (first + 4) * SECONDS))
        start += length
    for event in range(len(EVENTS)):
        features[:, event] += 2.0 * truth[:, 0, event]
    weak = torch.nn.functional.one_hot(torch.arange(SIZES[name]) % 3, 3).float()
    videos, events, *bounds = (torch.tensor(column) for column in zip(*rows, strict=True))
    instances = Instances(videos, events, torch.stack(bounds, 1).double())
    names = tuple(f"{name}_{number}" for number in range(SIZES[name]))
    streams = {"rgb": features[:, :DIM].contiguous(), "flow": features[:, DIM:].contiguous()}
    return VideoSet(names, lengths, streams, weak, truth, instances=instances)


def settings(folder: Path) -> tuple[str, ...]:
    """Write the configuration of the data into a folder, and return the arguments of a training on it."""
    path = folder / "conf" / "data" / "small_localization.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CONFIGURATION)
    return ("--config-dir", str(folder / "conf"), *SMALL)


def annotation(path: Path) -> Path:
    """Write the truth of the test videos as ActivityNet's JSON."""
    test = read({"fused": ["rgb", "flow"]}).test
    assert test is not None
    assert test.instances is not None
    database: dict[str, Any] = {name: {"subset": "test", "annotations": []} for name in test.names}
    for video, event, segment in zip(*(column.tolist() for column in test.instances), strict=True):
        database[test.names[video]]["annotations"].append({"segment": segment, "label": EVENTS[event]})
    path.write_text(json.dumps({"database": database}))
    return path
