"""Which epoch of a training is tested: what a checkpoint, ``scores.json`` and a report say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

ROW, TAUGHT, VALIDATED, NOTES = "row", "taught", "validated", "notes"  # entries of a checkpoint


class Videos(NamedTuple):
    """How many of a split's videos were scored, and how many there are."""

    scored: int
    all: int

    def __str__(self) -> str:
        return f"{self.scored} of {self.all} validation videos"


class EpochTested(NamedTuple):
    """An epoch of a training, counted from 0.

    ``monitor`` is the validation score by which it was selected, and ``score`` its value; both are None if it is the
    last epoch, and ``score`` also if it is not known. ``taught`` says whether pseudo labels had taught anything by the
    end of the epoch; None if the labeling makes none. ``part`` is given where the score is of only some of the
    validation videos (``trainer.limit_val_batches``). ``notes`` say what is to be known about the files from which it
    learned, such as that annotated validation videos were used.
    """

    epoch: int
    monitor: str | None
    score: float | None
    taught: bool | None
    part: Videos | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        some = "" if self.part is None else f" of {self.part}"
        score = "" if self.score is None else f" ({self.monitor} {self.score:.4g}{some})"
        return f"epoch {self.epoch}{score}"

    def as_dict(self) -> dict[str, Any]:
        """Return the entry ``tested`` of ``scores.json``."""
        part = {} if self.part is None else {"validation_videos": self.part._asdict()}
        return {
            "epoch": self.epoch,
            "monitor": self.monitor,
            "score": self.score,
            "pseudo_labels": self.taught,
            **part,
            **({"notes": list(self.notes)} if self.notes else {}),
        }


def from_dict(entry: Mapping[str, Any] | None) -> EpochTested | None:
    """Return what :meth:`EpochTested.as_dict` wrote; None where the entry is missing, as in the files of others."""
    if entry is None:
        return None
    monitor, score, taught = entry["monitor"], entry["score"], entry["pseudo_labels"]
    part = entry.get("validation_videos")
    return EpochTested(
        int(entry["epoch"]),
        None if monitor is None else str(monitor),
        None if score is None else float(score),
        None if taught is None else bool(taught),
        None if part is None else Videos(int(part["scored"]), int(part["all"])),
        _notes_of(entry.get("notes")),
    )


def of_checkpoint(checkpoint: Mapping[str, Any]) -> EpochTested:
    """Return what a checkpoint says of its epoch."""
    settings: Any = checkpoint.get("config", {})
    for key in ("protocol", "selection", "monitor"):
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    monitor = settings if isinstance(settings, str) else None
    score = row_of(checkpoint).get(str(monitor))
    taught = checkpoint.get(TAUGHT)
    part = None if score is None else _part_of(checkpoint.get(VALIDATED))
    taught = taught if isinstance(taught, bool) else None
    return EpochTested(checkpoint["epoch"], monitor, score, taught, part, _notes_of(checkpoint.get(NOTES)))


def _notes_of(notes: Any) -> tuple[str, ...]:
    return tuple(map(str, notes)) if isinstance(notes, list) else ()


def _part_of(validated: Any) -> Videos | None:
    """Return how many validation videos were scored, if not all."""
    if not isinstance(validated, list) or not all(isinstance(count, int) for count in validated) or len(validated) != 2:
        return None
    return Videos(*validated) if validated[0] < validated[1] else None


def row_of(checkpoint: Mapping[str, Any]) -> dict[str, float]:
    """Return what was logged in the epoch of a checkpoint before it was saved; nothing if it does not say."""
    row = checkpoint.get(ROW)
    if not isinstance(row, Mapping):
        return {}
    return {str(name): float(value) for name, value in row.items() if isinstance(value, int | float)}


def remark(tested: Sequence[EpochTested | None]) -> str:
    """Return what a row of results has to say after its name, if some of its runs are not what one would expect.

    These never learned from pseudo labels, their epoch was selected by only some of the validation videos, or there is
    something to be known about the files from which they learned.

    >>> untaught, taught = EpochTested(0, None, None, False), EpochTested(3, None, None, True)
    >>> remark([untaught]), remark([untaught, taught]), remark([taught, None])
    (' (tested before any pseudo labels)', ' (1 of 2 runs tested before any pseudo labels)', '')
    >>> remark([EpochTested(3, "val/average", 50.0, True, Videos(8, 16))])
    ' (selected by 8 of 16 validation videos)'
    """
    found = [epoch for epoch in tested if epoch is not None]
    counts = {"tested before any pseudo labels": sum(epoch.taught is False for epoch in found)}
    for part in dict.fromkeys(epoch.part for epoch in found if epoch.part is not None):
        counts[f"selected by {part}"] = sum(epoch.part == part for epoch in found)
    for note in dict.fromkeys(note for epoch in found for note in epoch.notes):
        counts[note] = sum(note in epoch.notes for epoch in found)
    said = [f"{count} of {len(tested)} runs " * (count < len(tested)) + what for what, count in counts.items() if count]
    return f" ({'; '.join(said)})" if said else ""
