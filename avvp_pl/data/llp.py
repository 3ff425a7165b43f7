"""Folders in LLP layout: annotation tables under ``data/``, features under ``feats/STREAM/KEY.npy``.

LLP (Look, Listen and Parse; Tian et al. 2020) is 10,000 training, 649 validation and 1,200 test videos.
"""

from __future__ import annotations

import logging
import re
import tokenize
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
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
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError

LLP_EVENTS = (
    "Speech", "Car", "Cheering", "Dog", "Cat", "Frying_(food)", "Basketball_bounce", "Fire_alarm", "Chainsaw",
    "Cello", "Banjo", "Singing", "Chicken_rooster", "Violin_fiddle", "Vacuum_cleaner", "Baby_laughter",
    "Accordion", "Lawn_mower", "Motorcycle", "Helicopter", "Acoustic_guitar", "Telephone_bell_ringing",
    "Baby_cry_infant_cry", "Blender", "Clapping",
)  # fmt: skip

TABLES = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}

# What numpy raises for the many ways in which a file can be damaged, its header most of all
DAMAGE = (OSError, ValueError, TypeError, SyntaxError, MemoryError, OverflowError, tokenize.TokenError)

log = logging.getLogger(__name__)


def load_llp(
    root: str | Path,
    modalities: Mapping[str, Sequence[str]],
    segments: int = 10,
    segment_seconds: float = 1.0,
    splits: Collection[str] = ("train", "val", "test"),
    truth_required: bool = True,
) -> ParsingSet:
    """Read annotations and features of the wanted ``splits`` into memory.

    ``modalities`` maps each modality to its streams. A stream with n * ``segments`` rows a video is averaged
    over each n rows. The training truth is read where ``data/AVVP_train_hidden_MODALITY.csv`` exist; that of the
    other splits must exist unless ``truth_required`` is false. Oddities of the tables are logged once. Raises
    :class:`InputError` on anything missing or broken.
    """
    folder = LLPFolder(Path(root), modalities, segments, segment_seconds)
    oddities = Oddities()
    listed = {split: folder.weak_labels(split, oddities) for split in splits}
    folder.check_keys(listed)
    dims: dict[str, int] = {}
    truth = folder.evaluation_truth(listed, truth_required, oddities)
    videos = {}
    for split, labels in listed.items():
        known = folder.hidden_truth(oddities) if split == "train" else truth
        videos[split] = folder.load(labels, known, dims)
    oddities.report(log)
    sizes = ", ".join(f"{len(split)} {name}" for name, split in videos.items())
    log.info("%s: %s videos, %d events, streams %s", folder.root, sizes, len(folder.events), dims)
    return ParsingSet(
        events=folder.events,
        modalities={name: tuple(streams) for name, streams in modalities.items()},
        train=videos.get("train"),
        val=videos.get("val"),
        test=videos.get("test"),
        segment_seconds=segment_seconds,
    )


class LLPFolder:
    """Where things are in such a folder, and how each is read and checked."""

    def __init__(
        self, root: Path, modalities: Mapping[str, Sequence[str]], segments: int, segment_seconds: float
    ) -> None:
        self.root, self.modalities = root, modalities
        self.segments, self.segment_seconds = segments, segment_seconds
        if not (root / "data").is_dir():
            raise InputError(f"{root.absolute()}: no LLP folder (it has no data/ in it); set data.root")
        classes = root / "data" / "classes.txt"
        self.events = read_classes(classes) if classes.exists() else LLP_EVENTS

    @property
    def streams(self) -> list[str]:
        """All streams, of whichever modality."""
        return [stream for streams in self.modalities.values() for stream in streams]

    def weak_labels(self, split: str, oddities: Oddities) -> dict[str, list[int]]:
        """Event numbers of every video of a split."""
        return read_weak_labels(self.root / "data" / TABLES[split], self.events, oddities)

    def check_keys(self, listed: Mapping[str, Collection[str]]) -> None:
        """Raise if two videos, of one split or two, would share their features."""
        owner: dict[str, str] = {}
        for split, names in listed.items():
            for name in names:
                key = feature_key(name)
                if key in owner:
                    raise InputError(
                        f"{TABLES[split]}: {name!r} and {owner[key]!r} are both stored as {key}.npy; rename one"
                    )
                owner[key] = name

    def evaluation_truth(
        self, listed: Mapping[str, Mapping[str, list[int]]], required: bool, oddities: Oddities
    ) -> dict[str, Timelines] | None:
        """The dense annotation of validation and test videos; None if it is not there and not required."""
        evaluated = {
            name: labels for split, table in listed.items() if split != "train" for name, labels in table.items()
        }
        tables = [f"AVVP_eval_{modality}.csv" for modality in self.modalities]
        if not evaluated or not (required or all((self.root / "data" / table).exists() for table in tables)):
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

    def hidden_truth(self, oddities: Oddities) -> dict[str, Timelines] | None:
        """The dense annotation of training videos, where known: to measure pseudo labels, never to train on."""
        if not all((self.root / "data" / f"AVVP_train_hidden_{m}.csv").exists() for m in self.modalities):
            return None
        return self._timelines("train_hidden_", oddities)

    def _timelines(self, prefix: str, oddities: Oddities) -> dict[str, Timelines]:
        return {
            modality: read_timelines(
                self.root / "data" / f"AVVP_{prefix}{modality}.csv",
                self.events,
                self.segments,
                oddities,
                self.segment_seconds,
            )
            for modality in self.modalities
        }

    def load(
        self, labels: Mapping[str, list[int]], truth: Mapping[str, Timelines] | None, dims: dict[str, int]
    ) -> VideoSet:
        """The videos of one split; ``dims`` collects each stream's dimension, which must not change."""
        names = tuple(labels)
        weak_labels = torch.zeros(len(names), len(self.events))
        for row, numbers in enumerate(labels.values()):
            weak_labels[row, numbers] = 1
        dense = None
        if truth is not None:
            dense = torch.from_numpy(stack_timelines(names, truth, self.segments, len(self.events)))
        return VideoSet(
            names=names,
            features_in={stream: self._stream(stream, names, dims) for stream in self.streams},
            mask=torch.ones(len(names), self.segments, dtype=torch.bool),
            weak_labels=weak_labels,
            truth=dense,
        )

    def _stream(self, stream: str, names: Sequence[str], dims: dict[str, int]) -> Tensor:
        """One stream of all videos, [N, T, D], read into one array."""
        if stream not in dims:
            dims[stream] = self.read_feature(stream, names[0]).shape[1]
        dim = dims[stream]
        features = np.empty((len(names), self.segments, dim), dtype=np.float32)

        # not in threads: parsing .npy headers in several at once fails at times (SystemError, CPython 3.11's ast)
        for row, name in enumerate(names):
            features[row] = self.read_feature(stream, name, dim)
        return torch.from_numpy(features)

    def feature_path(self, stream: str, name: str) -> Path:
        """Where a video's stream is."""
        return self.root / "feats" / stream / f"{feature_key(name)}.npy"

    def read_feature(self, stream: str, name: str, dim: int | None = None) -> npt.NDArray[np.float32]:
        """One video's stream, [T, D], checked (also against ``dim``) and averaged over the rows of each segment.

        The average comes before the network's first layer, which is linear, so the two commute, and it is
        that many times cheaper.
        """
        path = self.feature_path(stream, name)
        try:
            with path.open("rb") as file:
                rows = np.lib.format.read_array(file, allow_pickle=False)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file, but {name!r} is listed; extract it or drop the row") from None
        except DAMAGE as error:
            raise InputError(f"{path}: not a whole .npy file of numbers ({error}); extract it again") from None
        if rows.dtype.kind != "f":
            raise InputError(f"{path}: holds {rows.dtype}; floating-point rows are needed")
        if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[0] % self.segments or rows.shape[1] == 0:
            raise InputError(
                f"{path}: has shape {list(rows.shape)}; needed is [n x {self.segments} rows, dimension], n >= 1"
            )
        if dim is not None and rows.shape[1] != dim:
            raise InputError(f"{path}: {rows.shape[1]} columns; other files of this stream have {dim}")
        pooled: npt.NDArray[np.float32] = rows.reshape(self.segments, -1, rows.shape[1]).mean(axis=1, dtype=np.float32)
        if not np.isfinite(pooled).all():
            raise InputError(f"{path}: holds NaN or infinite values; extract it again")
        return pooled


def vocabulary(
    classes: str | None, videos: Path, truth: Sequence[Path], predictions: Sequence[Path] = ()
) -> tuple[str, ...]:
    """The events to score: of ``classes`` or classes.txt beside ``videos``; else LLP's, where the truth has no others.

    Else all that the truth and the predictions name.
    """
    beside = videos.parent / "classes.txt"
    if classes is not None or beside.exists():
        return read_classes(Path(classes) if classes is not None else beside)
    true = set().union(*map(read_events, truth))
    return LLP_EVENTS if true <= set(LLP_EVENTS) else tuple(sorted(true.union(*map(read_events, predictions))))


def feature_key(name: str) -> str:
    """The file stem of a video's features: the id of an LLP-style name (``ID_start_end``), else the whole name.

    >>> feature_key("BjCEufrlXm4_20_30"), feature_key("AP0061o0Nvk_101.8_111.8"), feature_key("holiday_video_1")
    ('BjCEufrlXm4', 'AP0061o0Nvk', 'holiday_video_1')
    """
    if name in {".", ".."} or re.search(r"[/\\\0]", name):
        raise InputError(f"{name!r} is no name of a video: it must not contain a path")
    llp_style = re.fullmatch(r"(.{11})_[\d.]+_[\d.]+", name)
    return llp_style.group(1) if llp_style else name
