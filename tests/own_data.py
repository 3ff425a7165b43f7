"""A small data set of someone's own in LLP layout: any modalities, own events, and features in which events show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

EVENTS = ("Dog", "Cat", "Bell")
SPLITS = {"train": 24, "val": 8, "test": 8}
TABLES = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
FOUR = {"audio": "clap", "visual": "clip", "text": "bert", "touch": "skin"}  # modalities, each with its stream
DIMS = {"clap": 5, "clip": 6, "bert": 4, "skin": 3}


def write_own_data(root: Path, modalities: Mapping[str, str], seed: int = 0) -> Path:
    """Write the tables and the features of all splits, and return ``root``."""
    rng = np.random.default_rng(seed)
    (root / "data").mkdir(parents=True)
    (root / "data" / "classes.txt").write_text("\n".join(EVENTS) + "\n")
    timelines = {modality: ["filename\tonset\toffset\tevent_labels"] for modality in modalities}
    for split, count in SPLITS.items():
        weak = ["filename\tevent_labels"]
        for name in (f"{split}{number}" for number in range(count)):
            truth = np.zeros((10, len(modalities), len(EVENTS)), dtype=bool)
            for event in rng.choice(len(EVENTS), size=2, replace=False).tolist():
                m, onset = int(rng.integers(len(modalities))), int(rng.integers(0, 6))
                truth[onset : onset + 4, m, event] = True
                if split != "train":
                    timelines[[*modalities][m]].append(f"{name}\t{onset}\t{onset + 4}\t{EVENTS[event]}")
            weak.append(f"{name}\t{','.join(EVENTS[event] for event in np.flatnonzero(truth.any((0, 1))))}")
            for m, stream in enumerate(modalities.values()):
                features = 0.3 * rng.standard_normal((10, DIMS[stream]))
                features[:, : len(EVENTS)] += 2 * truth[:, m]
                path = root / "feats" / stream / f"{name}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, features.astype(np.float32))
        (root / "data" / TABLES[split]).write_text("\n".join(weak) + "\n")
    for modality, lines in timelines.items():
        (root / "data" / f"AVVP_eval_{modality}.csv").write_text("\n".join(lines) + "\n")
    return root
