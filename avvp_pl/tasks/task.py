"""What a task is to the rest: how results are scored, written and printed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.runs.tested import EpochTested
from avvp_pl.tasks.parsed import Parsed
from avvp_pl.types import Batch


class Scores(Protocol):
    """Scores of a set of videos, in percent."""

    @property
    def listed(self) -> int:
        """How many videos were scored."""
        ...

    @property
    def with_predictions(self) -> int:
        """How many of them have predictions."""
        ...

    def flat(self) -> dict[str, float]:
        """Return the scores by the names under which they are logged."""
        ...

    def by_event(self) -> dict[str, list[float | None]]:
        """Return the scores of every event by such names; None for an event that has none."""
        ...


class Task(ABC):
    """How the results of a run are scored, written and printed. ``score`` is the usual short word for its scores."""

    name: str
    score: str

    def check(self, videos: ParsingSet) -> None:  # noqa: B027 - most tasks can score whatever has a truth
        """Raise :class:`~avvp_pl.errors.InputError` where these videos cannot be scored."""

    @abstractmethod
    def metric(self, modalities: Sequence[str], num_events: int, validation: bool = False) -> nn.Module:
        """Return what collects the results of batches, over all processes, in a test or in a validation."""

    @abstractmethod
    def update(self, metric: Any, parsed: Parsed, batch: Batch, videos: VideoSet) -> None:
        """Add a batch of ``videos`` and what was found in it, in padded form."""

    @abstractmethod
    def scores(self, metric: Any, videos: VideoSet, events: Sequence[str]) -> Scores:
        """Return the scores of all that was added, and begin anew. All processes call it."""

    @abstractmethod
    def write(
        self,
        folder: Path,
        names: Sequence[str],
        parsed: Parsed,
        scores: Any,
        videos: ParsingSet,
        protocol: str,
        tested: EpochTested | None = None,
    ) -> None:
        """Write ``scores.json`` and ``predictions/`` of a split."""

    @abstractmethod
    def show(self, scores: Any, title: str) -> None:
        """Print the scores."""
