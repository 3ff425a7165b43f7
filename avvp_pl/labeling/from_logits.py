"""Labels made of logits: of CLIP and CLAP as in VALOR, or of a network that was trained on other data as in UWAV."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Float32, Float64

from avvp_pl.data.names import composed
from avvp_pl.data.products import Missing, columns_of, impossible_logits, one_note, read_product
from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError, brief, nearest, quote
from avvp_pl.labeling.from_file import labels_from, segments_of
from avvp_pl.labeling.from_folder import paths_of, read_folders
from avvp_pl.parts import Conversion, Converted

log = logging.getLogger(__name__)

VALIDATION = "validation"
Logits = Float32[np.ndarray, "S M C"]


class Given(NamedTuple):
    """The logits of some videos, which of these have any, where they are from, and what is to be known about them."""

    logits: Logits
    known: Bool[np.ndarray, " N"]
    path: Path
    note: str | None


class Thresholds(NamedTuple):
    """A threshold for each modality and event, and what is to be known about them."""

    values: Float64[np.ndarray, "M C"]
    note: str | None = None


class FromLogits(Conversion):
    """z = w [l > theta], or (``soft``) z = w sigmoid((l - theta) / temperature), of logits l and weak labels w.

    ``logits`` is a product of kind ``logits``, or a mapping from modalities to folders of one .npy file for each video
    (:func:`~avvp_pl.labeling.from_folder.read_folders`). theta is a threshold for each modality and event.
    ``event_thresholds`` has them (:func:`thresholds_of`), or is ``validation``: then they are F1-optimal on the truth
    of the validation videos, which a warning and the note of the labels say. The labels also have the notes of the
    files that they are made of, and ``note``.

    A threshold of -inf, by which every logit counts, becomes the lowest finite logit of the event among all training
    segments, minus 1: then soft labels are defined, too. (UWAV's code takes the lowest one of each batch.) The label of
    a logit of -inf is 0. Videos without logits are an error, or (``missing="weak"``) have their weak label everywhere.
    """

    kind = "labels"

    def __init__(
        self,
        modalities: Sequence[str],
        events: Sequence[str],
        logits: str | Mapping[str, str],
        event_thresholds: Any,
        soft: bool,
        temperature: float,
        missing: Missing,
        note: str | None = None,
    ) -> None:
        self.modalities, self.events = tuple(modalities), tuple(events)
        self.logits, self.missing = logits, missing
        self.soft, self.temperature = soft, temperature
        self.note, self.fitted = note, event_thresholds == VALIDATION
        self.thresholds = None if self.fitted else thresholds_of(event_thresholds, self.modalities, self.events)

    def needs(self) -> tuple[str, ...]:
        """Return ``val`` if the thresholds are fitted to it."""
        return ("val",) if self.fitted else ()

    def __call__(self, splits: Mapping[str, VideoSet]) -> Converted:
        """Return the labels of the training videos."""
        videos = splits["train"]
        logits, known, path, note = self._read(videos, self.missing)
        given = self._fit(splits["val"]) if self.thresholds is None else self.thresholds
        thresholds = finite_thresholds(given.values, logits[known[videos.rows.numpy()]])
        weak_labels = videos.segment_weak_labels.double().numpy()[:, None]
        if self.soft:
            labels = weak_labels * _sigmoid((logits.astype(np.float64) - thresholds) / self.temperature)
        else:
            labels = weak_labels * (logits > thresholds)
        made = labels_from(labels.astype(np.float32), known, videos, self.modalities, self.events, path)
        return Converted(torch.from_numpy(made), one_note([note, self.note, given.note]), torch.from_numpy(thresholds))

    def _read(self, videos: VideoSet, missing: Missing, split: str = "training") -> Given:
        """Return the logits of these videos."""
        if isinstance(self.logits, Mapping):
            folders = paths_of(self.logits, self.modalities)
            logits, known = read_folders(folders, videos, self.events, missing, split)
            if len(wrong := np.argwhere(impossible_logits(logits))):
                where = wrong[0]
                file = folders[self.modalities[where[1]]] / f"{videos.file_stems[videos.rows[where[0]]]}.npy"
                raise InputError(f"{file}: has {logits[tuple(where)]:g}; a logit is a finite number, or -inf")
            return Given(logits, known, next(iter(folders.values())).parent, None)
        path = Path(self.logits)
        if path.is_dir():
            raise InputError(
                f"logits={path}: this is a folder; give one for each modality: "
                f"'logits={{{', '.join(f'{name}: DIR' for name in self.modalities)}}}'"
            )
        product = read_product(path, "logits")
        logits, known = segments_of(product, videos, self.modalities, self.events, path, missing, split)
        return Given(logits, known, path, product.note)

    def _fit(self, videos: VideoSet) -> Thresholds:
        """Return the thresholds with the highest F1 on these videos, and say so."""
        assert videos.truth is not None
        log.warning(
            "thresholds=validation: the thresholds are F1-optimal on the annotated segments of the %d validation "
            "videos. Methods that learn from weak labels alone do not see these; say so beside your scores",
            len(videos),
        )
        logits, _, path, _ = self._read(videos, "error", "validation")
        log.info("%s: covers all %d validation videos", path, len(videos))
        truth, has_event = videos.truth.numpy(), videos.segment_weak_labels.numpy()[:, None] > 0
        logits = np.where(has_event, logits, -np.inf)
        found = np.array(
            [
                [best_threshold(logits[:, m, c], truth[:, m, c]) for c in range(len(self.events))]
                for m in range(len(self.modalities))
            ]
        )
        for m, modality in enumerate(self.modalities):
            if never := [event for c, event in enumerate(self.events) if not truth[:, m, c].any()]:
                log.warning(
                    "no validation video has %s (%s), so that every threshold is as good, and all training segments "
                    "with this weak label are positive",
                    ", ".join(never),
                    modality,
                )
        note = f"its thresholds are F1-optimal on the annotated segments of {len(videos)} validation videos"
        return Thresholds(found, note)


def best_threshold(logits: Float[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]) -> float:
    """Return the threshold theta for which [logits > theta] has the highest F1; of equally good ones the lowest.

    It lies in the middle between two neighboring logits, and is -inf if all finite logits are best taken for positive.

    >>> best_threshold(np.array([1.0, 2.0, 4.0, 5.0]), np.array([True, False, True, True]))
    -inf
    >>> best_threshold(np.array([1.0, 2.0, 4.0, 5.0]), np.array([False, False, True, True]))
    3.0
    """
    if not len(logits):
        return float("-inf")
    values, place = np.unique(logits.astype(np.float64), return_inverse=True)
    found = np.bincount(place)[::-1].cumsum()[::-1]  # from this value up
    hits = np.bincount(place, weights=truth)[::-1].cumsum()[::-1]
    best = int(np.argmax(2 * hits / (found + truth.sum())))
    return float("-inf") if best == 0 else float((values[best - 1] + values[best]) / 2)


def finite_thresholds(
    thresholds: Float64[np.ndarray, "*axes"], logits: Float32[np.ndarray, "S ..."]
) -> Float64[np.ndarray, "*axes"]:
    """Return the thresholds with the lowest finite logit of an event, minus 1, in the place of -inf.

    ``logits`` are those of S segments for each threshold. An event without any finite logit has no positive segment at
    any threshold, and gets 0.
    """
    lowest = np.where(np.isfinite(logits), logits, np.inf).min(axis=0, initial=np.inf).astype(np.float64) - 1
    return np.where(np.isneginf(thresholds), np.where(np.isfinite(lowest), lowest, 0.0), thresholds)


def thresholds_of(given: Any, modalities: Sequence[str], events: Sequence[str]) -> Thresholds:
    """Return a threshold for each modality and event.

    ``given`` is a number, a list of one number for each event, or a mapping from all events to numbers, for all
    modalities; or a mapping from the modalities to any of these, or to an .npy file of one number for each event; or a
    file: .csv with the columns ``event`` and each modality, or .npz of labels that were made with thresholds. Numbers
    may be -inf. Raises :class:`InputError` for anything else, and for NaN and inf.
    """
    if isinstance(given, Mapping) and set(given) == set(modalities):
        return Thresholds(np.stack([_of_modality(given[name], f"thresholds.{name}", events) for name in modalities]))
    if isinstance(given, str):
        path = Path(given)
        if path.suffix == ".npz":
            product = read_product(path, "labels")
            if product.thresholds is None:
                raise InputError(f"{path}: has no thresholds, because its labels were not made of logits")
            columns = np.ix_(*columns_of(product, modalities, events, path))
            return Thresholds(product.thresholds[columns], product.note)
        if path.suffix == ".csv":
            return Thresholds(_of_table(path, modalities, events))
        raise InputError(
            f"thresholds={given}: it must be numbers, validation, or a file: .csv with the columns event, "
            f"{', '.join(modalities)}, or .npz of labels that refine=from_logits has made"
        )
    return Thresholds(np.tile(_of_modality(given, "thresholds", events), (len(modalities), 1)))


def _of_modality(given: Any, key: str, events: Sequence[str]) -> Float64[np.ndarray, " C"]:
    """Return a threshold for each event."""
    if isinstance(given, str):
        return _checked(_of_array(Path(given)), key, events)
    if isinstance(given, Mapping):
        named = {composed(str(name)): number for name, number in given.items()}
        for name in [*named, *events]:
            if name not in events or name not in named:
                said = "is no event of the data" if name not in events else "has no threshold; give one for every event"
                raise InputError(f"{key}: {quote(name)} {said}.{nearest(name, events)}")
        given = [named[event] for event in events]
    return _checked(given, key, events)


def _checked(given: Any, key: str, events: Sequence[str]) -> Float64[np.ndarray, " C"]:
    """Return numbers, or one number for all events."""
    try:
        numbers = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{key}={brief(given)}: it must be a number for each event") from None
    if numbers.shape not in {(), (len(events),)} or not (numbers < np.inf).all():
        raise InputError(f"{key}={brief(given)}: it must be a number, or a list of {len(events)} numbers, one an event")
    return np.broadcast_to(numbers, len(events))


def _of_array(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # numpy raises many kinds on a damaged file
        raise InputError(f"{path}: is no .npy file of numbers ({brief(error)})") from None


def _of_table(path: Path, modalities: Sequence[str], events: Sequence[str]) -> Float64[np.ndarray, "M C"]:
    """Read a table with a row for each event."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: this is not UTF-8 text; save the file as UTF-8") from None
    table = csv.DictReader(io.StringIO(text))
    for column in ("event", *modalities):
        if column not in (table.fieldnames or ()):
            raise InputError(f"{path}: has no column {column!r}; needed are event, {', '.join(modalities)}")
    rows = [(str(row["event"]), row) for row in table]
    if len({event for event, _ in rows}) < len(rows):
        raise InputError(f"{path}: has an event twice; every event must have one row")
    return np.stack(
        [_of_modality({event: row[name] for event, row in rows}, f"{path}, {name}", events) for name in modalities]
    )


def _sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return torch.from_numpy(x).sigmoid().numpy()
