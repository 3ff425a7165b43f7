"""Scores as people and programs read them: ``scores.json`` and a table on the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from avvp_pl.files import atomic_write
from avvp_pl.metrics import ParsingScores


def scores_as_dict(scores: ParsingScores, events: Sequence[str]) -> dict[str, Any]:
    """The content of ``scores.json``: percent, unrounded; events neither predicted nor true are null."""
    return {
        "segment": scores.segment,
        "event": scores.event,
        "videos": {"listed": scores.listed, "with_predictions": scores.with_predictions},
        "per_event": {
            level: {track: dict(zip(events, f1, strict=True)) for track, f1 in tracks.items()}
            for level, tracks in scores.per_event.items()
        },
    }


def write_scores(path: Path, scores: ParsingScores, events: Sequence[str]) -> None:
    """Write ``scores.json``."""
    with atomic_write(path) as file:
        json.dump(scores_as_dict(scores, events), file, indent=2)
        file.write("\n")


def print_scores(scores: ParsingScores, title: str) -> None:
    """Print the scores of both levels, their mean and the coverage."""
    print(title)
    table = Table("", *map(_heading, scores.segment))
    levels: dict[str, Mapping[str, float]] = {"segment": scores.segment, "event": scores.event}
    for level, values in levels.items():
        table.add_row(level, *(f"{value:.1f}" for value in values.values()))
    console = Console()
    # at a pipe there is no width to fit into; rich would assume 80 columns and fold
    console.print(table, width=None if console.is_terminal else 100)
    print(
        f"F1 in percent, average {scores.average:.1f}; "
        f"{scores.with_predictions} of {scores.listed} videos have predictions"
    )


def _heading(name: str) -> str:
    special = {"audio_visual": "Audio-visual", "type_av": "Type@AV", "event_av": "Event@AV"}
    return special.get(name, name.capitalize())
