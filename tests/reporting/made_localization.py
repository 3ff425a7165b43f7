"""Runs of localization made for tests: test videos of any length with instances, and what runs found in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.settings.conf import ConfigFiles
from avvp_pl.tasks.localization import LocalizationTask
from avvp_pl.tasks.parsed import Parsed
from avvp_pl.tasks.scoring import Scored, Scoring
from avvp_pl.types import Detections, Instances
from tests.reporting.made import edit

EVENTS = ("Diving", "Jump", "Throw")
LENGTHS = (13, 300, 40, 700)  # segments
SECONDS = 0.64
# video, event, start, end
TRUTH = ((0, 0, 1.0, 3.0), (0, 0, 4.0, 8.0), (1, 1, 10.0, 30.0), (1, 0, 50.0, 60.0), (3, 1, 100.0, 300.0))
SOURCE = {"_target_": "tests.reporting.made_localization.read"}
TRUST = ["tests"]
CLASSIFIER = {"classifier": {"_target_": "avvp_pl.inference.classifier.Classifier"}}
PROTOTYPE = {"prototype": {"_target_": "avvp_pl.inference.prototype.PrototypeInference", "labels": "soft"}}


def read(**_: Any) -> ParsingSet:
    """The data set of the runs; video 2 has no instance."""
    lengths = torch.tensor(LENGTHS)
    starts = (lengths.cumsum(0) - lengths).tolist()
    truth = torch.zeros(int(lengths.sum()), 1, len(EVENTS), dtype=torch.bool)
    for video, event, start, end in TRUTH:
        truth[starts[video] + int(start / SECONDS) : starts[video] + round(end / SECONDS), 0, event] = True
    columns = list(zip(*TRUTH, strict=True))
    instances = Instances(
        torch.tensor(columns[0]), torch.tensor(columns[1]), torch.tensor([columns[2], columns[3]]).T.double()
    )
    names = tuple(f"video {length}" for length in LENGTHS)
    streams = {name: torch.zeros(len(truth), 2) for name in ("rgb", "flow")}
    weak = torch.ones(len(LENGTHS), len(EVENTS))
    videos = VideoSet(names, lengths, streams, weak, truth, instances=instances)
    return ParsingSet(EVENTS, {"fused": ("rgb", "flow")}, None, None, videos, segment_seconds=SECONDS)


def detections(rows: Sequence[tuple[int, int, float, float, float]]) -> Detections:
    """Detections of (video, event, start, end, score)."""
    columns = torch.tensor(rows, dtype=torch.float64).reshape(-1, 5).unbind(1)
    return Detections(columns[0].long(), columns[1].long(), torch.stack(columns[2:4], 1), columns[4])


def random_detections(seed: int, count: int = 40) -> Detections:
    """Detections near the instances and elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for number in range(count):
        video, event, start, end = TRUTH[number % len(TRUTH)]
        shift = (torch.rand(2, generator=generator) - 0.5) * (end - start)
        low = max(0.0, start + float(shift[0]))
        score = float(torch.rand(1, generator=generator))
        rows.append((video, event if number % 7 else 2, low, max(low + 0.5, end + float(shift[1])), score))
    return detections(rows)


def parsed(found: Detections, seed: int = 0) -> Parsed:
    """Results with these detections, and probabilities at random."""
    lengths, generator = torch.tensor(LENGTHS), torch.Generator().manual_seed(seed)
    probs = torch.rand(int(lengths.sum()), 1, len(EVENTS), generator=generator)
    order = (found.videos * len(EVENTS) + found.events).argsort(stable=True)
    in_order = Detections(*(column[order] for column in found))
    likely = torch.rand(len(LENGTHS), 1, len(EVENTS), generator=generator)
    return Parsed(lengths, probs > 0.9, probs, likely, in_order)


def scoring(**settings: Any) -> Scoring:
    """A protocol for these videos."""
    return Scoring(**{**scoring_settings(), **settings})


def scoring_settings() -> dict[str, Any]:
    settings: Any = ConfigFiles().settings("scoring", "seconds_210")
    return {str(name): value for name, value in settings.items() if name != "_target_"}


def run_folder(
    folder: Path,
    name: str = "tal_mil",
    seed: int = 0,
    found: Detections | None = None,
    protocol: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """A run folder of the experiment of this name, whose files of the test are those that a test writes."""
    data, changed = read(), {**scoring_settings(), **(protocol or {})}
    task = {
        "_target_": "avvp_pl.tasks.localization.LocalizationTask",
        "ambiguous": None,
        "scoring": {"_target_": "avvp_pl.tasks.scoring.Scoring", **changed},
    }
    config = {
        "name": name,
        "seed": seed,
        "data": {"name": "small", "source": SOURCE, "modalities": {"fused": ["rgb", "flow"]}},
        "trainer": {"max_epochs": 3, "devices": 1},
        "protocol": {"name": "localization", "task": task},
        "inference": PROTOTYPE if name.startswith("tal_ppl") else CLASSIFIER,
        "paths": {"run_dir": str(folder)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    edit(folder, **settings)
    results = parsed(random_detections(seed) if found is None else found, seed)
    localization = LocalizationTask(Scoring(**changed))
    assert data.test is not None
    localization.write(folder, data.test.names, results, scores_of(results, localization), data, "localization")
    (folder / "metrics.csv").write_text("epoch,train/loss\n0,1.5\n1,1.2\n2,1.1\n")
    return folder


def scores_of(results: Parsed, task: LocalizationTask) -> Scored:
    data = read()
    assert data.test is not None
    assert data.test.instances is not None
    assert results.detections is not None
    return task.score_found(data.test.names, data.events, results.detections, data.test.instances)
