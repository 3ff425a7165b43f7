"""Folders in LLP layout: annotation tables in ``data/``, and features in ``feats/STREAM/KEY.npy``.

LLP (Look, Listen and Parse; Tian et al. 2020) has 10,000 training, 649 validation and 1,200 test videos.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from avvp_pl.data.annotations import (
    Oddities,
    Timelines,
    found_at,
    is_several,
    join_timelines,
    read_classes,
    read_events,
    read_list,
    read_names,
    read_timelines,
    read_weak_labels,
)
from avvp_pl.data.features import FeatureFiles, spelled
from avvp_pl.data.joins import check_annotated, check_names
from avvp_pl.data.known import TABLES
from avvp_pl.data.media import missing_modalities
from avvp_pl.data.names import composed, feature_key, spellings
from avvp_pl.data.store import Index, PackedStore
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError, nearest, quote
from avvp_pl.video.manifest import Manifest, check_same, read_manifest

LLP_EVENTS = (
    "Speech", "Car", "Cheering", "Dog", "Cat", "Frying_(food)", "Basketball_bounce", "Fire_alarm", "Chainsaw",
    "Cello", "Banjo", "Singing", "Chicken_rooster", "Violin_fiddle", "Vacuum_cleaner", "Baby_laughter",
    "Accordion", "Lawn_mower", "Motorcycle", "Helicopter", "Acoustic_guitar", "Telephone_bell_ringing",
    "Baby_cry_infant_cry", "Blender", "Clapping",
)  # fmt: skip

log = logging.getLogger(__name__)


def load_llp(
    root: str | Path,
    modalities: Mapping[str, Sequence[str]],
    segments: int = 10,
    segment_seconds: float = 1.0,
    splits: Collection[str] = ("train", "val", "test"),
    truth_required: bool = True,
    packed: str | Path | None = None,
    dtype: str = "float32",
    rows_per_segment: Mapping[str, int] | None = None,
    events: Sequence[str] | None = None,
    names: str | Path | None = None,
    extracted_as: str | Path | None = None,
) -> ParsingSet:
    """Read the annotations and features of the wanted ``splits``.

    ``modalities`` maps each modality to its streams. ``segments`` is the number of segments of the longest video. A
    stream with n x ``segments`` rows for a video is averaged over each n rows; with fewer rows than ``segments``, the
    video is shorter and has as many segments as rows. For a stream in ``rows_per_segment``, that many rows are
    averaged, so videos with several rows a segment can be shorter too. All streams of a video must agree on its length.

    Features come from the packed store in the folder ``packed`` if there is one; otherwise their files are read into
    memory. They are held as ``dtype`` (float32, float16 or bfloat16). The truth of the training videos is read if
    ``data/AVVP_train_hidden_MODALITY.csv`` exist; that of the other splits must exist unless ``truth_required`` is
    false. Oddities of the tables are logged, each kind once. Raises :class:`InputError` on anything missing or broken.

    Without ``data/classes.txt``, the events are ``events``, or LLP's if that is None. Videos to parse, whose truth is
    not required, need no labels and no tables: those in the list ``names`` are read, or those in the table of the
    split, or, in a folder without tables, all that have features.

    Features with a manifest (``feats/manifest.json``, which ``extract`` writes) say themselves how many rows a segment
    has, and videos to parse without tables may then have any length. The manifest also says which extractors have made
    the features, and which modalities a video lacks. Of features without a manifest, ``extracted_as`` says the
    extractors: it is a folder that ``extract`` has written, by the same ones.
    """
    store = None if packed is None else Path(packed)
    given = Path(root), modalities, segments, segment_seconds, store, dtype, rows_per_segment, events, names
    folder = LLPFolder(*given, any_length=not truth_required)
    oddities = Oddities()
    labels_of = folder.weak_labels if truth_required else folder.labels_if_any
    listed = {split: labels_of(split, oddities) for split in splits}
    folder.check_keys(listed)
    features = folder.features(listed)
    truth = folder.evaluation_truth(listed, features.lengths, truth_required, oddities)
    streams = features.read()
    read = {}
    for split, labels in listed.items():
        known = folder.hidden_truth(labels, features.lengths, oddities) if split == "train" else truth
        read[split] = folder.videos(labels, features.lengths, known, streams[split])
    oddities.report(log)
    parsing = ParsingSet(
        events=folder.events,
        modalities={name: tuple(names) for name, names in modalities.items()},
        train=read.get("train"),
        val=read.get("val"),
        test=read.get("test"),
        segment_seconds=segment_seconds,
        extractors=features.made,
    )
    if extracted_as is not None:
        parsing = replace(parsing, extractors=_declared(Path(extracted_as), parsing, folder.root))
    length = spelled(features.lengths.values())
    log.info("%s: %s of %s segments, streams %s", folder.root, folder.describe(listed), length, parsing.stream_dims)
    return parsing


def _declared(as_in: Path, parsing: ParsingSet, root: Path) -> dict[str, Mapping[str, Any]]:
    """Return what has made the features of the folder ``root``: also those of which only the manifest of another says.

    Raises :class:`InputError` where that manifest does not say it, and where it cannot be true.
    """
    manifest, setting = read_manifest(as_in / "feats"), f"data.extracted_as={as_in}"
    if manifest is None:
        raise InputError(f"{setting}: there is no feats/manifest.json in this folder, as extract writes it")
    declared: dict[str, Mapping[str, Any]] = {}
    for stream, dim in parsing.stream_dims.items():
        if stream not in manifest.streams:
            near = nearest(stream, manifest.streams)
            raise InputError(f"{setting}: it has no stream {quote(stream)}, only {', '.join(manifest.streams)}.{near}")
        declared[stream] = asdict(manifest.streams[stream])
        made = declared[stream]["identity"].get("dim")
        if made != dim:
            raise InputError(f"{setting}: its extractor of {quote(stream)} makes {made} columns, but {root} has {dim}")
    wanted, found = ({name: one["identity"] for name, one in all_.items()} for all_ in (declared, parsing.extractors))
    advice = "leave data.extracted_as out, as the features have a manifest of their own"
    check_same(wanted, found, setting, f"{root}/feats", advice)
    return {**declared, **parsing.extractors}


class Features(NamedTuple):
    """The length of each video, what reads the streams of the videos of each split, [S, D], and what has made them.

    ``made`` are the entries of a manifest, by stream; a stream of which nothing is known has none.
    """

    lengths: dict[str, int]
    read: Callable[[], dict[str, dict[str, Tensor]]]
    made: Mapping[str, Mapping[str, Any]]


class LLPFolder:
    """A folder in LLP layout: where everything is, and how it is read and checked."""

    def __init__(
        self,
        root: Path,
        modalities: Mapping[str, Sequence[str]],
        segments: int,
        segment_seconds: float,
        packed: Path | None,
        dtype: str,
        rows_per_segment: Mapping[str, int] | None = None,
        events: Sequence[str] | None = None,
        listed: str | Path | None = None,
        any_length: bool = False,
    ) -> None:
        self.root, self.modalities = root, modalities
        self.listed = None if listed is None else Path(listed)
        self.segments, self.segment_seconds = segments, segment_seconds
        rows = {stream: int(n) for stream, n in (rows_per_segment or {}).items() if n is not None}
        self.manifest = read_manifest(root / "feats") or Manifest({}, {})
        self.made = {name: asdict(one) for name, one in self.manifest.streams.items() if name in self.streams}
        own_rows = {name: int(one["rows_per_segment"]) for name, one in self.made.items()}
        any_length = any_length and not self._has_tables() and set(self.made) == set(self.streams)
        most = sys.maxsize if any_length else segments
        self.files = FeatureFiles(self.feature_path, most, {**own_rows, **rows}, dtype)
        self.store = None if packed is None else PackedStore(packed, self.files, self.made)
        self._spellings: dict[Path, dict[str, str]] = {}  # of the names in each folder that are not ASCII
        if not (root / "data").is_dir() and not (events is not None and (root / "feats").is_dir()):
            needed = "no folder data/" if events is None else "no folder data/ and no folder feats/"
            raise InputError(f"{root.absolute()}: this is not an LLP folder, as it has {needed} in it; set data.root")
        for stream, n in rows.items():
            if stream not in self.streams:
                raise InputError(
                    f"data.rows_per_segment: {quote(stream)} is not one of the streams {', '.join(self.streams)}."
                    f"{nearest(stream, self.streams)}"
                )
            if n < 1:
                raise InputError(f"data.rows_per_segment.{stream}: {n} is not possible; it must be at least 1")
        classes = root / "data" / "classes.txt"
        self.events = read_classes(classes) if classes.exists() else tuple(events or LLP_EVENTS)

    @property
    def streams(self) -> list[str]:
        """All streams of all modalities, each once."""
        return list(dict.fromkeys(stream for streams in self.modalities.values() for stream in streams))

    def weak_labels(self, split: str, oddities: Oddities) -> dict[str, list[int]]:
        """Read the event numbers of every video of a split."""
        return read_weak_labels(self._table(split), self.events, oddities)

    def labels_if_any(self, split: str, oddities: Oddities) -> dict[str, list[int]]:
        """Return the videos to parse, with the event numbers of those that have weak labels."""
        if self.listed is not None:
            return {name: [] for name in read_list(self.listed)}
        if self._has_tables():
            try:
                return self.weak_labels(split, oddities)
            except InputError:  # labels are not needed
                return {name: [] for name in read_names(self._table(split))}
        feats = self.root / "feats"
        names = sorted({composed(path.stem) for stream in self.streams for path in (feats / stream).glob("*.npy")})
        if not names:
            there = ", ".join(sorted(path.name for path in feats.iterdir())) if feats.is_dir() else ""
            raise InputError(
                f"{self.root.absolute()}: there is no list of videos ({TABLES[split]} in data/, or names=FILE), and "
                f"feats/ has {there or 'nothing'}, but no file of {', '.join(self.streams)}"
            )
        return {name: [] for name in names}

    def check_keys(self, listed: Mapping[str, Collection[str]]) -> None:
        """Raise if two videos, of the same split or of two, would have the same feature files."""
        owner: dict[str, tuple[str, str]] = {}
        for split, names in listed.items():
            for name in names:
                try:
                    key = feature_key(name)
                except InputError as error:
                    raise InputError(f"{self._table(split)}: {error}") from None
                if key in owner:
                    other, table = owner[key]
                    fix = "rename one of them" if name != other else "a video belongs to one split"
                    raise InputError(
                        f"{self._table(split)}: {quote(name)} and {quote(other)} are both stored as {key}.npy "
                        f"(the other is listed in {table}); {fix}"
                    )
                owner[key] = name, TABLES[split]

    def evaluation_truth(
        self,
        listed: Mapping[str, Mapping[str, list[int]]],
        lengths: Mapping[str, int],
        required: bool,
        oddities: Oddities,
    ) -> dict[str, Timelines] | None:
        """Read the annotation of the segments of validation and test videos, cut at the ``lengths`` of the videos.

        Returns None if the annotation is not required, and does not exist or is not that of the videos. Raises
        :class:`InputError` if it is required, but a table or the videos of a split have no names in common.
        """
        evaluated = {split: labels for split, labels in listed.items() if split != "train"}
        if not evaluated or not (required or self._have_timelines("eval_", oddities)):
            return None
        truth = self._timelines("eval_", lengths, oddities)
        try:
            self._check_joins("eval_", truth, evaluated, oddities)
        except InputError as error:
            if required:
                raise
            log.warning("the annotation is ignored: %s", error)
            return None
        for split, labels in evaluated.items():
            table, differing = self._table(split), []
            for name, numbers in labels.items():
                annotated = [timelines[name].any(axis=0) for timelines in truth.values() if name in timelines]
                dense = set(np.flatnonzero(np.any(annotated, axis=0)).tolist()) if annotated else set()
                if dense != set(numbers):
                    differing.append(name)
            if differing:
                kind = f"{table}: evaluated videos whose weak labels differ from their annotation (both kept)"
                oddities.note(kind, found_at(table, differing[0]), len(differing))
        return truth

    def hidden_truth(
        self, names: Collection[str], lengths: Mapping[str, int], oddities: Oddities
    ) -> dict[str, Timelines] | None:
        """Read the annotation of the segments of training videos, or None; it measures pseudo labels, never trains."""
        if not self._have_timelines("train_hidden_", oddities):
            return None
        truth = self._timelines("train_hidden_", lengths, oddities)
        self._check_joins("train_hidden_", truth, {"train": names}, oddities)
        return truth

    def _check_joins(
        self,
        prefix: str,
        truth: Mapping[str, Timelines],
        splits: Mapping[str, Collection[str]],
        oddities: Oddities,
    ) -> None:
        """Count the videos that only the lists or only the annotation have; raises where they have none in common."""
        tables = {self._timeline_tables(prefix)[modality]: timelines for modality, timelines in truth.items()}
        listed = {name: self._table(split) for split, names in splits.items() for name in names}
        for other in {"val", "test"} - set(splits) if "train" not in splits else ():
            with suppress(InputError):  # the same annotation has the videos of the other split, which is not needed
                listed |= dict.fromkeys(read_names(self._table(other)), self._table(other))
        for path, timelines in tables.items():
            check_names(path, timelines, listed, oddities)
        for split, names in splits.items():
            check_annotated(self._table(split), [*names], tables, oddities)

    def _table(self, split: str) -> Path:
        return self.listed or self.root / "data" / TABLES[split]

    def _has_tables(self) -> bool:
        return self.listed is None and any((self.root / "data" / table).exists() for table in TABLES.values())

    def _timeline_tables(self, prefix: str) -> dict[str, Path]:
        return {modality: self.root / "data" / f"AVVP_{prefix}{modality}.csv" for modality in self.modalities}

    def _have_timelines(self, prefix: str, oddities: Oddities) -> bool:
        """Return whether there is a table for every modality; tables for some of them are ignored and counted."""
        tables = self._timeline_tables(prefix).values()
        found = [path for path in tables if path.exists()]
        missing = [path for path in tables if path not in found]
        if found and missing:
            kind = f"{', '.join(map(str, found))}: annotation of some modalities only (ignored)"
            oddities.note(kind, f"{found[0].name} without {missing[0].name}")
        return not missing

    def _timelines(self, prefix: str, lengths: Mapping[str, int], oddities: Oddities) -> dict[str, Timelines]:
        return {
            modality: read_timelines(path, self.events, self.segments, oddities, self.segment_seconds, lengths)
            for modality, path in self._timeline_tables(prefix).items()
        }

    def videos(
        self,
        labels: Mapping[str, list[int]],
        lengths: Mapping[str, int],
        truth: Mapping[str, Timelines] | None,
        streams: dict[str, Tensor],
    ) -> VideoSet:
        """Return the videos of one split."""
        names = tuple(labels)
        own = {name: lengths[name] for name in names}
        weak_labels = torch.zeros(len(names), len(self.events))
        for row, numbers in enumerate(labels.values()):
            weak_labels[row, numbers] = 1
        dense = None
        if truth is not None:
            dense = torch.from_numpy(join_timelines(own, truth, len(self.events)))
        keys = tuple(map(feature_key, names))
        entries = ((name, self.manifest.videos.get(key)) for name, key in zip(names, keys, strict=True))
        lacking = {name: missing_modalities(self.modalities, self.made, one.missing) for name, one in entries if one}
        return VideoSet(
            names=names,
            lengths=torch.tensor(list(own.values())),
            streams=streams,
            weak_labels=weak_labels,
            truth=dense,
            keys=keys,
            missing={name: modalities for name, modalities in lacking.items() if modalities},
        )

    def features(self, listed: Mapping[str, Mapping[str, list[int]]]) -> Features:
        """Open the streams of the videos of every listed split: from the packed store, or else from the files."""
        wanted = {split: tuple(labels) for split, labels in listed.items()}
        if self.store is not None and self._has_tables():
            packed = self.store.open(wanted, self.streams, lambda: self._all_names(listed))
            if packed is not None:
                return Features(packed.lengths, lambda: packed.streams, packed.made)
        names = [name for split in wanted.values() for name in split]
        survey = self.files.survey(self.streams, names)
        for _, problem in sorted(survey.problems.items()):
            raise InputError(problem)
        return Features(
            dict(zip(names, survey.lengths, strict=True)),
            lambda: self.files.read_splits(self.streams, wanted, survey),
            self.made,
        )

    def pack(self) -> Index:
        """Check the tables and every feature file, and pack them; all problems are raised as one InputError."""
        assert self.store is not None
        problems: list[str] = []
        oddities = Oddities()

        @contextmanager
        def noting_problems() -> Iterator[None]:
            try:
                yield
            except InputError as error:
                problems.append(str(error))

        listed: dict[str, dict[str, list[int]]] = {}
        for split in TABLES:
            with noting_problems():
                listed[split] = self.weak_labels(split, oddities)
        with noting_problems():
            self.check_keys(listed)
        with noting_problems():
            self.evaluation_truth(listed, {}, True, Oddities())
        with noting_problems():
            if "train" in listed:
                self.hidden_truth(listed["train"], {}, Oddities())
        log.info("%s: %s", self.root, self.describe(listed))
        owners: dict[str, str] = {}
        for name in (name for labels in listed.values() for name in labels):
            with suppress(InputError):  # noted above
                owners.setdefault(feature_key(name), name)
        index = self.store.pack(tuple(owners.values()), self.streams, problems, every_file=True)
        # only now are the lengths known, at which the annotation is cut
        lengths = dict(zip(index.names, index.lengths, strict=True))
        self.evaluation_truth(listed, lengths, True, oddities)
        self.hidden_truth(listed["train"], lengths, oddities)
        oddities.report(log)
        return index

    def describe(self, listed: Mapping[str, Sized]) -> str:
        """Return the numbers of videos and events in words."""
        sizes = ", ".join(f"{len(names)} {split}" for split, names in listed.items())
        return f"{sizes} videos, {len(self.events)} events"

    def _all_names(self, listed: Mapping[str, Mapping[str, list[int]]]) -> tuple[str, ...]:
        """Return the videos of all tables in order, which are the videos of the packed store."""
        tables = {split: listed.get(split) or self.weak_labels(split, Oddities()) for split in TABLES}
        self.check_keys(tables)
        return tuple(name for labels in tables.values() for name in labels)

    def feature_path(self, stream: str, name: str) -> Path:
        """Return the file of a video's stream, as its name is spelled on the disk."""
        folder, name = self.root / "feats" / stream, f"{feature_key(name)}.npy"
        if name.isascii():
            return folder / name
        if folder not in self._spellings:
            self._spellings[folder] = spellings(folder)
        return folder / self._spellings[folder].get(name, name)


def vocabulary(
    classes: str | None, videos: Path, truth: Sequence[Path], predictions: Sequence[Path] = ()
) -> tuple[str, ...]:
    """Return the events to score.

    They are those of ``classes``, or of the file classes.txt beside ``videos``. Without both, they are LLP's if the
    truth has no others, else all events in the truth and the predictions, with a warning for every event that only
    predictions have.
    """
    beside = videos.parent / "classes.txt"
    if classes is not None or beside.exists():
        return read_classes(Path(classes) if classes is not None else beside)
    true = _first_places(truth)
    if set(true) <= set(LLP_EVENTS):
        return LLP_EVENTS
    events = {**_first_places(predictions), **true}
    for event, (path, line) in events.items():
        if is_several(event, {*events, *LLP_EVENTS} - {event}):
            raise InputError(
                f"{path}, line {line}: {quote(event)} reads like several events; write each event on a row of its own, "
                "or give classes=FILE with one event on each line"
            )
    for event in sorted(set(events) - set(true)):
        log.warning(
            "the annotation never has %s, but it is predicted.%s (first in %s, line %d)",
            quote(event),
            nearest(event, true),
            *events[event],
        )
    return tuple(sorted(events))


def _first_places(paths: Sequence[Path]) -> dict[str, tuple[Path, int]]:
    """Return all events of some tables, each with a table and a line in which it occurs."""
    return {event: (path, line) for path in paths for event, line in read_events(path).items()}
