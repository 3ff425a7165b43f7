"""A data set in LLP layout whose videos have 5 to 40 segments and three modalities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from avvp_pl.data.annotations import Oddities, read_timelines

MODALITIES = {"audio": ("a", 6), "visual": ("v", 8), "touch": ("t", 4)}  # the stream of each, and its dimension
EVENTS = ("Dog", "Cat", "Bell", "Rain")
SPLITS = {"train": ("train", 32), "val": ("val_pd", 10), "test": ("test_pd", 12)}
SHORTEST, LONGEST = 5, 40


class Ragged:
    """A data set in LLP layout, with random labels and with features in which they can be seen."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lengths: dict[str, dict[str, int]] = {}
        self.truth: dict[str, np.ndarray[Any, Any]] = {}  # [T, M, C]
        rng = np.random.default_rng(0)
        looks = {name: rng.standard_normal((len(EVENTS), dim)) for name, (_, dim) in MODALITIES.items()}
        self.write("classes.txt", "\n".join(EVENTS) + "\n")
        for split, (table, count) in SPLITS.items():
            lengths = rng.integers(SHORTEST, LONGEST + 1, size=count)
            lengths[:2] = SHORTEST, LONGEST
            self.lengths[split] = {f"{split}{number:02d}": int(length) for number, length in enumerate(lengths)}
            lines = ["filename\tevent_labels"]
            for name, length in self.lengths[split].items():
                truth = np.zeros((length, len(MODALITIES), len(EVENTS)), dtype=bool)
                for event in rng.choice(len(EVENTS), size=2, replace=False):
                    for modality in rng.choice(len(MODALITIES), size=2, replace=False):
                        start = rng.integers(0, length - 2)
                        truth[start : start + rng.integers(2, length + 1), modality, event] = True
                self.truth[name] = truth
                labels = [EVENTS[event] for event in np.flatnonzero(truth.any((0, 1)))]
                lines.append(f"{name}\t{','.join(labels)}")
                for m, (modality, (stream, dim)) in enumerate(MODALITIES.items()):
                    x = 2 * truth[:, m] @ looks[modality] + 0.3 * rng.standard_normal((length, dim))
                    path = root / "feats" / stream / f"{name}.npy"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    np.save(path, x.astype(np.float32))
            self.write(f"AVVP_{table}.csv", "\n".join(lines) + "\n")
        for m, modality in enumerate(MODALITIES):
            lines = ["filename\tonset\toffset\tevent_labels"]
            for name in (*self.lengths["val"], *self.lengths["test"]):
                cells = np.argwhere(self.truth[name][:, m])
                lines += [f"{name}\t{t}\t{t + 1}\t{EVENTS[c]}" for t, c in cells.tolist()]
            self.write(f"AVVP_eval_{modality}.csv", "\n".join(lines) + "\n")

    def write(self, name: str, text: str) -> None:
        (self.root / "data").mkdir(parents=True, exist_ok=True)
        (self.root / "data" / name).write_text(text)

    @property
    def settings(self) -> list[str]:
        return self.of(*MODALITIES)

    def of(self, *modalities: str) -> list[str]:
        """The settings by which only these modalities are read."""
        streams = ", ".join(f"{modality}: [{MODALITIES[modality][0]}]" for modality in modalities)
        return ["data=llp", f"data.root={self.root}", f"+data.modalities={{{streams}}}", f"data.segments={LONGEST}"]

    def tables(self, folder: Path, name: str) -> str:
        return "{" + ", ".join(f"{modality}: {folder / name.format(modality)}" for modality in MODALITIES) + "}"

    def padded(self, folder: Path | None = None) -> torch.Tensor:
        """The truth of the test videos, or the predictions in a folder, [N, 40, M, C]."""
        padded = np.zeros((len(self.lengths["test"]), LONGEST, len(MODALITIES), len(EVENTS)), dtype=bool)
        found: dict[str, Any] = {}
        if folder is not None:
            found = {
                modality: read_timelines(folder / f"{modality}.csv", EVENTS, LONGEST, Oddities())
                for modality in MODALITIES
            }
        for row, (name, length) in enumerate(self.lengths["test"].items()):
            if folder is None:
                padded[row, :length] = self.truth[name]
            else:
                for m, modality in enumerate(MODALITIES):
                    padded[row, :, m] = found[modality].get(name, False)
        return torch.from_numpy(padded)
