"""Which epoch of a training is tested: what a checkpoint, ``scores.json`` and a report say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

ROW, TAUGHT = "row", "taught"  # entries of a checkpoint


class EpochTested(NamedTuple):
    """An epoch of a training, counted from 0.

    ``monitor`` is the validation score by which it was selected, and ``score`` its value; both are None if it is the
    last epoch, and ``score`` also if it is not known. ``taught`` says whether pseudo labels had taught anything by the
    end of the epoch; None if the labeling makes none.
    """

    epoch: int
    monitor: str | None
    score: float | None
    taught: bool | None

    def __str__(self) -> str:
        score = "" if self.score is None else f" ({self.monitor} {self.score:.4g})"
        return f"epoch {self.epoch}{score}"

    def as_dict(self) -> dict[str, Any]:
        """Return the entry ``tested`` of ``scores.json``."""
        return {"epoch": self.epoch, "monitor": self.monitor, "score": self.score, "pseudo_labels": self.taught}


def from_dict(entry: Mapping[str, Any] | None) -> EpochTested | None:
    """Return what :meth:`EpochTested.as_dict` wrote; None where the entry is missing, as in the files of others."""
    if entry is None:
        return None
    monitor, score, taught = entry["monitor"], entry["score"], entry["pseudo_labels"]
    return EpochTested(
        int(entry["epoch"]),
        None if monitor is None else str(monitor),
        None if score is None else float(score),
        None if taught is None else bool(taught),
    )


def of_checkpoint(checkpoint: Mapping[str, Any]) -> EpochTested:
    """Return what a checkpoint says of its epoch."""
    settings: Any = checkpoint.get("config", {})
    for key in ("protocol", "selection", "monitor"):
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    monitor = settings if isinstance(settings, str) else None
    score = row_of(checkpoint).get(str(monitor))
    taught = checkpoint.get(TAUGHT)
    return EpochTested(checkpoint["epoch"], monitor, score, taught if isinstance(taught, bool) else None)


def row_of(checkpoint: Mapping[str, Any]) -> dict[str, float]:
    """Return what was logged in the epoch of a checkpoint before it was saved; nothing if it does not say."""
    row = checkpoint.get(ROW)
    if not isinstance(row, Mapping):
        return {}
    return {str(name): float(value) for name, value in row.items() if isinstance(value, int | float)}


def remark(tested: Sequence[EpochTested | None]) -> str:
    """Return what a row of results has to say after its name, if some of its runs never learned from pseudo labels.

    >>> untaught, taught = EpochTested(0, None, None, False), EpochTested(3, None, None, True)
    >>> remark([untaught]), remark([untaught, taught]), remark([taught, None])
    (' (tested before any pseudo labels)', ' (1 of 2 runs tested before any pseudo labels)', '')
    """
    untaught = sum(epoch is not None and epoch.taught is False for epoch in tested)
    if not untaught:
        return ""
    some = f"{untaught} of {len(tested)} runs " * (untaught < len(tested))
    return f" ({some}tested before any pseudo labels)"
