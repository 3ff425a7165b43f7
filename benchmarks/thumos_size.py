"""Localization at the size of THUMOS14: ``tal_ppl_soft`` as a user runs it, in a process of its own: time and memory.

``python -m benchmarks.thumos_size DIR [gt.json]`` only writes the videos, so that other runs can be made of them: 200
training and 210 test videos with as many features as those of I3D on RGB and on optical flow, in a public layout
(1.1 GB). Their lengths and instances are those of the annotation, or have its statistics if there is none.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from avvp_pl.data.thumos_synthetic import generate
from benchmarks.measure import Row, Scale
from benchmarks.workload import folder, refreshed

EPOCHS = 5


def measure(scale: Scale) -> Iterator[Row]:
    """Write the videos and train."""
    with folder() as made:
        data = made / "thumos"
        count = write(data, scale)
        settings = ["+experiment=tal_ppl_soft", "data=thumos14", f"data.root={data}", "labeling.start_epoch=1"]
        found = refreshed(made / "run", *settings, f"trainer.max_epochs={EPOCHS}")
    size = f"{scale.long_videos} videos as long as those of THUMOS14"
    yield Row(f"training epoch of `tal_ppl_soft`, {size}", f"{found.training:.1f} s")
    yield Row(f"labeling, {size}", f"{found.labeling:.1f} s", ratio=f"{found.share:.2f} of training")
    run_of = f"{EPOCHS} epochs and the test, {count} such videos"
    yield Row(f"peak memory of {run_of}", f"{found.peak / 1e9:.2f} GB", required="under 4 GB")


def write(root: Path, scale: Scale, annotation: str | None = None) -> int:
    """Write the embedded twin of THUMOS14; return the number of videos."""
    streams = {"rgb": scale.long_dim, "flow": scale.long_dim}
    videos = {"train": scale.long_videos, "test": scale.long_videos + scale.long_videos // 20}
    database: dict[str, dict[str, object]] = {}
    for split, count in videos.items():
        made = generate({split: count}, streams, {"fused": [*streams]}, 0, annotation, splits=[split])
        own = made.splits[split]
        assert own.instances is not None
        for stream, rows in own.streams.items():
            place = root / "features" / split / stream
            place.mkdir(parents=True)
            for name, values in zip(own.names, torch.split(rows, own.lengths.tolist()), strict=True):
                np.save(place / f"{name}.npy", values.numpy())
        annotations: dict[str, list[dict[str, object]]] = {name: [] for name in own.names}
        for video, event, bounds in zip(*(column.tolist() for column in own.instances), strict=True):
            annotations[own.names[video]].append({"segment": bounds, "label": made.events[event]})
        database |= {name: {"subset": split, "annotations": found} for name, found in annotations.items()}
    (root / "gt.json").write_text(json.dumps({"database": database}), encoding="utf-8")
    return len(database)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Scale(), *sys.argv[2:])
