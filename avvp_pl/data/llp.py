"""Folders in LLP layout: annotation tables under ``data/``, features under ``feats/STREAM/KEY.npy``.

LLP (Look, Listen and Parse; Tian et al. 2020) is 10,000 training, 649 validation and 1,200 test videos.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avvp_pl.data.annotations import (
    Oddities,
    Timelines,
    read_classes,
    read_events,
    read_timelines,
    read_weak_labels,
    stack_timelines,
)
from avvp_pl.data.features import DTYPES, decode, in_parallel, read_bytes
from avvp_pl.data.store import Index, PackedStore
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError, nearest, quote

LLP_EVENTS = (
    "Speech", "Car", "Cheering", "Dog", "Cat", "Frying_(food)", "Basketball_bounce", "Fire_alarm", "Chainsaw",
    "Cello", "Banjo", "Singing", "Chicken_rooster", "Violin_fiddle", "Vacuum_cleaner", "Baby_laughter",
    "Accordion", "Lawn_mower", "Motorcycle", "Helicopter", "Acoustic_guitar", "Telephone_bell_ringing",
    "Baby_cry_infant_cry", "Blender", "Clapping",
)  # fmt: skip

TABLES = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}

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
) -> ParsingSet:
    """Read annotations and features of the wanted ``splits``.

    ``modalities`` maps each modality to its streams. A stream with n * ``segments`` rows a video is averaged
    over each n rows. Features come from the packed store in the folder ``packed`` where there is one, else they are
    read from their files into memory; they are held as ``dtype`` (float32, float16 or bfloat16). The training truth
    is read where ``data/AVVP_train_hidden_MODALITY.csv`` exist; that of the other splits must exist unless
    ``truth_required`` is false. Oddities of the tables are logged once. Raises :class:`InputError` on anything
    missing or broken.
    """
    store = None if packed is None else Path(packed)
    folder = LLPFolder(Path(root), modalities, segments, segment_seconds, store, dtype)
    oddities = Oddities()
    listed = {split: folder.weak_labels(split, oddities) for split in splits}
    folder.check_keys(listed)
    truth = folder.evaluation_truth(listed, truth_required, oddities)
    features = folder.features(listed)
    videos = {}
    for split, labels in listed.items():
        known = folder.hidden_truth(labels, oddities) if split == "train" else truth
        videos[split] = folder.videos(labels, known, features[split])
    oddities.report(log)
    parsing = ParsingSet(
        events=folder.events,
        modalities={name: tuple(streams) for name, streams in modalities.items()},
        train=videos.get("train"),
        val=videos.get("val"),
        test=videos.get("test"),
        segment_seconds=segment_seconds,
    )
    log.info("%s: %s, streams %s", folder.root, folder.describe(listed), parsing.stream_dims)
    return parsing


class LLPFolder:
    """Where things are in such a folder, and how each is read and checked."""

    def __init__(
        self,
        root: Path,
        modalities: Mapping[str, Sequence[str]],
        segments: int,
        segment_seconds: float,
        packed: Path | None,
        dtype: str,
    ) -> None:
        self.root, self.modalities = root, modalities
        self.segments, self.segment_seconds, self.dtype = segments, segment_seconds, dtype
        self.store = None if packed is None else PackedStore(packed, self.feature_path, segments, dtype)
        if not (root / "data").is_dir():
            raise InputError(f"{root.absolute()}: no LLP folder (it has no data/ in it); set data.root")
        classes = root / "data" / "classes.txt"
        self.events = read_classes(classes) if classes.exists() else LLP_EVENTS

    @property
    def streams(self) -> list[str]:
        """All streams, of whichever modality, each once."""
        return list(dict.fromkeys(stream for streams in self.modalities.values() for stream in streams))

    def weak_labels(self, split: str, oddities: Oddities) -> dict[str, list[int]]:
        """Event numbers of every video of a split."""
        return read_weak_labels(self._table(split), self.events, oddities)

    def check_keys(self, listed: Mapping[str, Collection[str]]) -> None:
        """Raise if two videos, of one split or two, would share their features."""
        owner: dict[str, tuple[str, str]] = {}
        for split, names in listed.items():
            for name in names:
                try:
                    key = feature_key(name)
                except InputError as error:
                    raise InputError(f"{self._table(split)}: {error}") from None
                if key in owner:
                    other, table = owner[key]
                    mend = "rename one" if name != other else "a video belongs to one split"
                    raise InputError(
                        f"{self._table(split)}: {quote(name)} and {quote(other)} are both stored as {key}.npy "
                        f"(the other is listed in {table}); {mend}"
                    )
                owner[key] = name, TABLES[split]

    def evaluation_truth(
        self, listed: Mapping[str, Mapping[str, list[int]]], required: bool, oddities: Oddities
    ) -> dict[str, Timelines] | None:
        """The dense annotation of validation and test videos; None if it is not there and not required."""
        evaluated = {
            name: labels for split, table in listed.items() if split != "train" for name, labels in table.items()
        }
        if not evaluated or not (required or self._have_timelines("eval_", oddities)):
            return None
        truth = self._timelines("eval_", oddities)
        if set(listed) >= {"val", "test"}:
            everywhere = set().union(*(set(timelines) for timelines in truth.values()))
            oddities["annotated videos that are in no split (ignored)"] += len(everywhere - set(evaluated))
        for name, labels in evaluated.items():
            annotated = [t[name].any(axis=0) for t in truth.values() if name in t]
            dense = set(np.flatnonzero(np.any(annotated, axis=0)).tolist()) if annotated else set()
            oddities["evaluated videos whose weak labels differ from their annotation (both kept)"] += dense != set(
                labels
            )
        return truth

    def hidden_truth(self, names: Collection[str], oddities: Oddities) -> dict[str, Timelines] | None:
        """The dense annotation of training videos, where known: to measure pseudo labels, never to train on."""
        if not self._have_timelines("train_hidden_", oddities):
            return None
        truth = self._timelines("train_hidden_", oddities)
        annotated = set().union(*truth.values())
        oddities["videos with hidden annotation that are not for training (ignored)"] += len(annotated - set(names))
        return truth

    def _table(self, split: str) -> Path:
        return self.root / "data" / TABLES[split]

    def _timeline_tables(self, prefix: str) -> dict[str, Path]:
        return {modality: self.root / "data" / f"AVVP_{prefix}{modality}.csv" for modality in self.modalities}

    def _have_timelines(self, prefix: str, oddities: Oddities) -> bool:
        """Whether there is a table for every modality; less is as good as none, and worth a word."""
        found = [path.name for path in self._timeline_tables(prefix).values() if path.exists()]
        if 0 < len(found) < len(self.modalities):
            oddities[f"{', '.join(found)}: annotation without that of the other modalities (ignored)"] += 1
        return len(found) == len(self.modalities)

    def _timelines(self, prefix: str, oddities: Oddities) -> dict[str, Timelines]:
        return {
            modality: read_timelines(path, self.events, self.segments, oddities, self.segment_seconds)
            for modality, path in self._timeline_tables(prefix).items()
        }

    def videos(
        self, labels: Mapping[str, list[int]], truth: Mapping[str, Timelines] | None, features_in: dict[str, Tensor]
    ) -> VideoSet:
        """The videos of one split."""
        names = tuple(labels)
        weak_labels = torch.zeros(len(names), len(self.events))
        for row, numbers in enumerate(labels.values()):
            weak_labels[row, numbers] = 1
        dense = None
        if truth is not None:
            dense = torch.from_numpy(stack_timelines(names, truth, self.segments, len(self.events)))
        return VideoSet(
            names=names,
            lengths=torch.full((len(names),), self.segments),
            streams={name: stream.flatten(0, 1) for name, stream in features_in.items()},
            weak_labels=weak_labels,
            truth=None if dense is None else dense.flatten(0, 1),
            keys=tuple(map(feature_key, names)),
        )

    def features(self, listed: Mapping[str, Mapping[str, list[int]]]) -> dict[str, dict[str, Tensor]]:
        """All streams of the videos of every listed split, [N, T, D]: from the packed store, or read from the files."""
        wanted = {split: tuple(labels) for split, labels in listed.items()}
        if self.store is not None:
            packed = self.store.open(wanted, self.streams, lambda: self._all_names(listed))
            if packed is not None:
                return packed
        names = [name for split in wanted.values() for name in split]
        sizes = [len(split) for split in wanted.values()]
        streams = {stream: torch.split(self._stream(stream, names), sizes) for stream in self.streams}
        return {split: {stream: parts[i] for stream, parts in streams.items()} for i, split in enumerate(wanted)}

    def pack(self) -> Index:
        """Check the tables and every feature file, and pack them. All that is wrong is raised as one InputError."""
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
            self.evaluation_truth(listed, True, oddities)
        with noting_problems():
            self.hidden_truth(listed.get("train", {}), oddities)
        oddities.report(log)
        log.info("%s: %s", self.root, self.describe(listed))
        owners: dict[str, str] = {}
        for name in (name for labels in listed.values() for name in labels):
            with suppress(InputError):  # noted above
                owners.setdefault(feature_key(name), name)
        return self.store.pack(tuple(owners.values()), self.streams, problems)

    def describe(self, listed: Mapping[str, Sized]) -> str:
        """How many videos and events there are, in words."""
        sizes = ", ".join(f"{len(names)} {split}" for split, names in listed.items())
        return f"{sizes} videos, {len(self.events)} events"

    def _all_names(self, listed: Mapping[str, Mapping[str, list[int]]]) -> tuple[str, ...]:
        """The videos of all tables, in their order: the rows of the packed store."""
        tables = {split: listed.get(split) or self.weak_labels(split, Oddities()) for split in TABLES}
        self.check_keys(tables)
        return tuple(name for labels in tables.values() for name in labels)

    def _stream(self, stream: str, names: Sequence[str]) -> Tensor:
        """One stream of all videos, [N, T, D], read into one array."""
        dim = self._read(stream, names[0], None).shape[1]
        features = torch.empty(len(names), self.segments, dim, dtype=DTYPES[self.dtype])

        def read(row: int) -> None:
            features[row] = self._read(stream, names[row], dim)

        in_parallel(read, range(len(names)), stream)
        return features

    def _read(self, stream: str, name: str, dim: int | None) -> Tensor:
        path = self.feature_path(stream, name)
        return decode(path, read_bytes(path, name)[1], self.segments, self.dtype, dim)

    def feature_path(self, stream: str, name: str) -> Path:
        """Where a video's stream is."""
        return self.root / "feats" / stream / f"{feature_key(name)}.npy"


def vocabulary(
    classes: str | None, videos: Path, truth: Sequence[Path], predictions: Sequence[Path] = ()
) -> tuple[str, ...]:
    """The events to score: of ``classes`` or classes.txt beside ``videos``; else LLP's, where the truth has no others.

    Else all that the truth and the predictions name; those that only predictions name are warned of.
    """
    beside = videos.parent / "classes.txt"
    if classes is not None or beside.exists():
        return read_classes(Path(classes) if classes is not None else beside)
    true = set().union(*map(read_events, truth))
    if true <= set(LLP_EVENTS):
        return LLP_EVENTS
    events = true.union(*map(read_events, predictions))
    for event in sorted(events - true):
        log.warning("the annotation never has %s, which is predicted.%s", quote(event), nearest(event, true))
    return tuple(sorted(events))


def feature_key(name: str) -> str:
    """The file stem of a video's features: the id of an LLP-style name (``ID_start_end``), else the whole name.

    >>> feature_key("BjCEufrlXm4_20_30"), feature_key("AP0061o0Nvk_101.8_111.8"), feature_key("holiday_video_1")
    ('BjCEufrlXm4', 'AP0061o0Nvk', 'holiday_video_1')
    """
    if name in {".", ".."} or re.search(r"[/\\\0]", name):
        raise InputError(f"{quote(name)} is no name of a video: it must not contain a path")
    llp_style = re.fullmatch(r"(.{11})_[\d.]+_[\d.]+", name)
    return llp_style.group(1) if llp_style else name
