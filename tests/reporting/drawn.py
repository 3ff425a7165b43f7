"""Runs and test videos made by hand, for figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from omegaconf import OmegaConf

from avvp_pl.reporting.videos import TestVideos
from avvp_pl.runs.reading import PerEvent, Run, Setting, by_setting

LESS = {"segment": 0, "event": 10}  # by how much scores are lower than those of segments


def a_run(
    name: str = "ppl",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    score: float = 50.0,
    epochs: Sequence[Mapping[str, float]] = (),
    per_event: PerEvent | None = None,
    test_videos: str | None = None,
) -> Run:
    """``score`` is Type@AV of segments. The mean of its five scores is one more, and those of events are 10 less."""
    of_segments = {"audio": score + 3, "visual": score - 1, "audio_visual": score + 1, "type_av": score}
    of_segments["event_av"] = score + 2
    return Run(
        folder=Path("nowhere"),
        name=name,
        seed=seed,
        config=OmegaConf.create({}),
        settings=settings or {},
        scores={
            **{f"{level}/{name}": x - less for level, less in LESS.items() for name, x in of_segments.items()},
            "average": score - 4,
        },
        per_event=per_event or {},
        listed=2,
        epochs=epochs,
        test_videos=test_videos,
    )


def settings_of(*runs: Run) -> list[Setting]:
    return by_setting(runs)


def the_videos(names: Sequence[str], events: Sequence[str] = ("Speech", "Dog", "Cat"), segments: int = 4) -> TestVideos:
    """Videos without any event; tests add some."""
    return TestVideos(
        names=tuple(names),
        events=tuple(events),
        modalities=("audio", "visual"),
        truth=torch.zeros(len(names), segments, 2, len(events), dtype=torch.bool),
        mask=torch.ones(len(names), segments, dtype=torch.bool),
        segment_seconds=1.0,
    )


def points(line: Line2D) -> list[tuple[float, float]]:
    """(x, y) of a line that was drawn."""
    x, y = (np.asarray(values, dtype=float).tolist() for values in (line.get_xdata(), line.get_ydata()))
    return list(zip(x, y, strict=True))


def boxes(panel: Axes) -> list[Rectangle]:
    """The bars that were drawn."""
    return [patch for patch in panel.patches if isinstance(patch, Rectangle)]
