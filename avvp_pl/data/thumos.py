"""THUMOS14, or other long videos with annotated instances: ActivityNet's JSON, and features in the public layouts.

THUMOS14 (Idrees et al. 2017) has 200 training videos (its *validation* set) and 213 test videos of 20 actions. The
features that weakly supervised methods share are those of I3D on RGB and on optical flow, 1,024 numbers each for every
16 frames at 25 frames a second: a segment is 0.64 s long.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from avvp_pl.data.activitynet import Interval, read_annotation, read_subsets
from avvp_pl.data.annotations import Oddities, read_list
from avvp_pl.data.features import FeatureFiles, is_pickled, spelled
from avvp_pl.data.known import THUMOS14_EVENTS
from avvp_pl.data.names import composed
from avvp_pl.data.store import Index, PackedStore
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError, quote
from avvp_pl.types import Instances

SEGMENT_SECONDS = 0.64  # 16 frames at 25 frames a second
SUBSETS = {"train": ("train", "validation"), "test": ("test",)}  # the first that an annotation has is the split
# Test videos whose annotation is wrong or empty. Some public feature folders have no files of them
WRONG = frozenset({"video_test_0000270", "video_test_0001292", "video_test_0001496"})
STREAMS = ("rgb", "flow")  # in a file with both, the columns of one after those of the other
LONGEST = 10**6  # segments of a video; more than a week
HALF = 0.5 - 1e-9  # bounds are decimal fractions, which sums of seconds meet only nearly

LAYOUTS = (
    "features are expected in features/{train,test}/{rgb,flow}/VIDEO.npy [T, 1024], in {train,test}/VIDEO.npy "
    "[T, 2048], or in the same folders without features/ or without train/ and test/"
)
CONVERSION = """\
import numpy as np, os

features = np.load("Thumos14reduced-I3D-JOINTFeatures.npy", allow_pickle=True, encoding="bytes")
names = np.load("Thumos14reduced-Annotations/videoname.npy", allow_pickle=True)
for name, rows in zip(names, features, strict=True):
    name = name.decode() if isinstance(name, bytes) else str(name)
    folder = "test" if name.startswith("video_test") else "train"
    os.makedirs(folder, exist_ok=True)
    np.save(f"{folder}/{name}.npy", np.asarray(rows, dtype=np.float32))
"""

log = logging.getLogger(__name__)


def load_thumos(
    root: str | Path,
    modalities: Mapping[str, Sequence[str]],
    annotation: str | Path | None = None,
    segment_seconds: float = SEGMENT_SECONDS,
    splits: Collection[str] = ("train", "test"),
    truth_required: bool = True,
    packed: str | Path | None = None,
    dtype: str = "float32",
    events: Sequence[str] | None = None,
    names: str | Path | None = None,
) -> ParsingSet:
    """Read the annotation and the features of the wanted ``splits``, of which there are ``train`` and ``test``.

    ``annotation`` is a file in ActivityNet's layout (None: ``gt.json`` in ``root``), whose subset ``train``, or else
    ``validation``, is the training split. The weak labels of a video are all labels of its instances; see
    :func:`covered` for the truth of segments. The events are THUMOS14's if the annotation has no others, else all that
    it has.

    ``modalities`` maps each modality to its streams. The layout of the features is found out: a file for each stream,
    or one that has the columns of ``rgb`` and then those of ``flow``. A row is a segment of ``segment_seconds``. The
    streams of a video may differ by one row and are then cut to the shortest. They are mapped from the packed store in
    the folder ``packed``, which is made when it is first needed and renewed when files change; without it they are read
    into memory. Raises :class:`InputError` on anything missing or broken.

    Videos to parse (``truth_required`` is false) need no annotation: those in the list ``names`` are read, or those of
    the annotation that have features, or all that have. Their events are ``events`` if the annotation has no others.
    """
    wanted = [split for split in splits if split in SUBSETS]
    if not wanted:
        raise InputError(f"data=thumos14 has no {' and no '.join(splits)} videos; its splits are train and test")
    store = None if packed is None else Path(packed)
    folder = ThumosFolder(Path(root), modalities, store, dtype, annotation, names)
    oddities = Oddities()
    listed = {split: folder.videos(split, truth_required, oddities) for split in wanted}
    if folder.annotated and names is None:
        folder.note_unused(oddities)
    found = folder.vocabulary(events, oddities)
    lengths, streams = folder.features({split: tuple(videos) for split, videos in listed.items()})
    read = {}
    for split, intervals in listed.items():
        own = {name: lengths[name] for name in intervals}
        known = None if any(of is None for of in intervals.values()) else {n: of or () for n, of in intervals.items()}
        read[split] = localized(own, streams[split], known, found, len(modalities), segment_seconds)
        note_late(known or {}, own, segment_seconds, folder.annotation, oddities)
    oddities.report(log)
    parsing = ParsingSet(
        events=found,
        modalities={name: tuple(names) for name, names in modalities.items()},
        train=read.get("train"),
        val=None,
        test=read.get("test"),
        segment_seconds=segment_seconds,
    )
    sizes = ", ".join(f"{len(videos)} {split}" for split, videos in read.items())
    length = spelled([length for videos in read.values() for length in videos.lengths.tolist()])
    log.info(
        "%s: %s videos, %d events, of %s segments, streams %s", root, sizes, len(found), length, parsing.stream_dims
    )
    return parsing


def localized(
    lengths: Mapping[str, int],
    streams: dict[str, Tensor],
    intervals: Mapping[str, Sequence[Interval]] | None,
    events: Sequence[str],
    num_modalities: int,
    segment_seconds: float,
) -> VideoSet:
    """Return videos with these lengths, in their order, and with these annotated intervals of each, if they are known.

    All modalities have the same truth.
    """
    rows = {name: row for row, name in enumerate(lengths)}
    numbers = {event: number for number, event in enumerate(events)}
    weak_labels = torch.zeros(len(rows), len(numbers))
    instances = truth = None
    if intervals is not None:
        found = [(rows[name], numbers[one.event], one.start, one.end) for name in rows for one in intervals[name]]
        of = torch.tensor([one[:2] for one in found], dtype=torch.int64).reshape(-1, 2)
        bounds = torch.tensor([one[2:] for one in found], dtype=torch.float64).reshape(-1, 2)
        instances = Instances(of[:, 0], of[:, 1], bounds)
        weak_labels[of[:, 0], of[:, 1]] = 1
        truth = covered([*lengths.values()], instances, len(numbers), segment_seconds)
        truth = truth[:, None].repeat(1, num_modalities, 1)
    return VideoSet(
        names=tuple(rows),
        lengths=torch.tensor([*lengths.values()], dtype=torch.int64),
        streams=streams,
        weak_labels=weak_labels,
        truth=truth,
        instances=instances,
    )


def covered(
    lengths: Sequence[int], instances: Instances, num_events: int, segment_seconds: float
) -> Bool[Tensor, "S C"]:
    """Return which segments have which event: those of which its instances together cover at least half.

    So an instance that is shorter than half a segment may have no segment, and neither has one after the last segment.
    """
    starts = np.cumsum([0, *lengths])
    share = np.zeros((starts[-1], num_events))
    of: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for row, event, (start, end) in zip(
        instances.videos.tolist(), instances.events.tolist(), instances.bounds.tolist(), strict=True
    ):
        of.setdefault((row, event), []).append((start / segment_seconds, end / segment_seconds))
    for (row, event), intervals in of.items():
        reached = 0.0  # what overlaps an earlier interval is counted once
        for start, end in sorted(intervals):
            first, last = max(start, reached), min(end, float(lengths[row]))
            reached = max(reached, end)
            if first < last:
                steps = np.arange(int(first), int(np.ceil(last)))
                share[starts[row] + steps, event] += np.minimum(last, steps + 1) - np.maximum(first, steps)
    return torch.from_numpy(share >= HALF)


def note_late(
    intervals: Mapping[str, Sequence[Interval]],
    lengths: Mapping[str, int],
    segment_seconds: float,
    annotation: Path,
    oddities: Oddities,
) -> None:
    """Count the instances that begin after the end of their video."""
    for name, of in intervals.items():
        late = [one for one in of if one.start >= lengths[name] * segment_seconds]
        if late:
            kind = f"{annotation}: instances that begin after the last segment of their video (kept, and never found)"
            oddities.note(kind, f"{late[0].place}, at {late[0].start:g} s", len(late))


class Place(NamedTuple):
    """A folder with feature files: of which split (None: of all), and whether a file has all streams."""

    folder: Path
    subset: str | None
    joint: bool


class ThumosFolder:
    """A folder of features and its annotation: where everything is, and how it is read and checked."""

    def __init__(
        self,
        root: Path,
        modalities: Mapping[str, Sequence[str]],
        packed: Path | None,
        dtype: str,
        annotation: str | Path | None = None,
        listed: str | Path | None = None,
    ) -> None:
        self.root, self.modalities = root, modalities
        self.listed = None if listed is None else Path(listed)
        self.annotation = root / "gt.json" if annotation is None else Path(annotation)
        self.subsets = read_subsets(self.annotation) if self.annotation.exists() else Counter[str]()
        annotated = [split for split in SUBSETS if _subset(split, self.subsets) is not None]
        self.annotated = read_splits(self.annotation, annotated) if annotated else {}
        self._splits = {name: split for split, videos in self.annotated.items() for name in videos}
        self.places = self._places()
        joint = self.places[0].joint
        if joint and (other := next((stream for stream in self.streams if stream not in STREAMS), None)) is not None:
            raise InputError(
                f"data.modalities: {quote(other)} is not a stream of {self.places[0].folder}, whose files have the "
                f"columns of {' and '.join(STREAMS)}"
            )
        self._found = {stream: self._files_of(stream) for stream in self.streams}
        parts = {stream: (number, len(STREAMS)) for number, stream in enumerate(STREAMS)} if joint else {}
        self.files = FeatureFiles(self.feature_path, LONGEST, {}, dtype, parts, spare_rows=1)
        self.store = None if packed is None else PackedStore(packed, self.files)

    @property
    def streams(self) -> list[str]:
        """All streams of all modalities, each once."""
        return list(dict.fromkeys(stream for streams in self.modalities.values() for stream in streams))

    @property
    def with_features(self) -> list[str]:
        """The videos that have a file of any stream, by name."""
        return sorted({name for files in self._found.values() for name in files})

    def videos(self, split: str, required: bool, oddities: Oddities) -> dict[str, Sequence[Interval] | None]:
        """Return the videos of a split with their annotated intervals, which are None where they are unknown."""
        if self.listed is not None:
            intervals = {name: of for videos in self.annotated.values() for name, of in videos.items()}
            return {name: intervals.get(name) for name in read_list(self.listed)}
        if split in self.annotated:
            return dict(self._annotated_videos(split, required, oddities))
        if required:
            raise self._not_annotated(split)
        places = [place for place in self.places if place.subset is None or place.subset in SUBSETS[split]]
        here = {place.folder for place in places}
        names = [name for name in self.with_features if self._folder_of(name) in here]
        if not names:
            raise InputError(f"{self.root.absolute()}: there are no features of {split} videos; {LAYOUTS}")
        return dict.fromkeys(names)

    def vocabulary(self, events: Sequence[str] | None, oddities: Oddities) -> tuple[str, ...]:
        """Return the events: ``events`` or THUMOS14's if the annotation has no others, else all that it has."""
        of = {
            split: {one.event for intervals in videos.values() for one in intervals}
            for split, videos in self.annotated.items()
        }
        labels = set().union(*of.values())
        if "train" in of and (unseen := sorted(of.get("test", set()) - of["train"])):
            kind = f"{self.annotation}: events of test videos that no training video has (they cannot be learned)"
            oddities.note(kind, quote(unseen[0]), len(unseen))
        for known in (events, THUMOS14_EVENTS):
            if known is not None and labels <= set(known):
                return tuple(known)
        return tuple(sorted(labels))

    def features(self, wanted: Mapping[str, Sequence[str]]) -> tuple[dict[str, int], dict[str, dict[str, Tensor]]]:
        """Return the lengths of videos and the streams of each split: mapped from the store, or read."""
        if self.store is not None and self.listed is None:
            packed = self.store.open(wanted, self.streams, self._all_names, create=True)
            if packed is not None:
                return packed.lengths, packed.streams
        names = [name for split in wanted.values() for name in split]
        survey = self.files.survey(self.streams, names)
        for _, problem in sorted(survey.problems.items()):
            raise InputError(problem)
        lengths = dict(zip(names, survey.lengths, strict=True))
        return lengths, self.files.read_splits(self.streams, wanted, survey)

    def pack(self) -> Index:
        """Check the annotation and every feature file, and pack them; all problems of files are one InputError."""
        assert self.store is not None
        oddities = Oddities()
        listed = {split: self._annotated_videos(split, True, oddities) for split in SUBSETS}
        self.note_unused(oddities)
        events = self.vocabulary(None, oddities)
        sizes = ", ".join(f"{len(videos)} {split}" for split, videos in listed.items())
        log.info("%s: %s videos, %d events", self.root, sizes, len(events))
        names = [name for videos in listed.values() for name in videos]
        index = self.store.pack(names, self.streams, every_file=True)
        oddities.report(log)
        return index

    def feature_path(self, stream: str, name: str) -> Path:
        """Return the file of a video's stream: the one that is there, or else the one that is expected."""
        found = self._found.get(stream, {}).get(name)
        if found is not None:
            return found
        if name in {".", ".."} or re.search(r"[/\\\0]", name):
            raise InputError(f"{quote(name)} is not a possible name of a video, as it must not contain a path")
        subsets = SUBSETS.get(self._splits.get(name, ""), ())
        place = next((place for place in self.places if place.subset in subsets), self.places[0])
        return (place.folder if place.joint else place.folder / stream) / f"{name}.npy"

    def _annotated_videos(self, split: str, required: bool, oddities: Oddities) -> dict[str, list[Interval]]:
        """Return the annotated videos of a split that have features.

        Raises :class:`InputError` if others have none, unless they are not required or known to be left out.
        """
        if split not in self.annotated:
            raise self._not_annotated(split)
        annotated, there = self.annotated[split], set(self.with_features)
        missing = [name for name in annotated if name not in there]
        kept = {name: intervals for name, intervals in annotated.items() if name in there}
        other = next((name for name in self.with_features if name not in self._splits), None)
        beside = "" if other is None else f", and {self._file_of(other)} is of no annotated video"
        serious = [name for name in missing if name not in WRONG]
        if not kept or (required and serious):
            first = (serious or missing)[0]
            raise InputError(
                f"{self.annotation}: {len(missing)} of its {len(annotated)} {split} videos have no features: "
                f"there is no {self.feature_path(self.streams[0], first)}{beside}. Extract or rename the missing "
                "files, or remove the videos from the annotation"
            )
        if missing:
            kind = f"{self.annotation}: annotated {split} videos without features (left out)"
            oddities.note(kind, quote(missing[0]), len(missing))
        empty = [name for name, intervals in kept.items() if not intervals]
        if empty and split == "train":
            oddities.note(f"{self.annotation}: training videos without any event", quote(empty[0]), len(empty))
        return kept

    def note_unused(self, oddities: Oddities) -> None:
        """Count the videos that have features and no annotation, or are of a subset that is no split."""
        others = [name for name in self.with_features if name not in self._splits]
        if others:
            kind = f"{self.root}: features of videos that are not annotated (ignored)"
            oddities.note(kind, str(self._file_of(others[0])), len(others))
        first, second = SUBSETS["train"]
        if first in self.subsets and second in self.subsets:
            kind = f"{self.annotation}: videos of the subset {second!r} beside {first!r} (ignored)"
            oddities.note(kind, quote(second), self.subsets[second])

    def _not_annotated(self, split: str) -> InputError:
        if self.annotation.exists():
            return _without_subset(self.annotation, split, self.subsets)
        return InputError(
            f"{self.annotation}: there is no annotation; put it there, or give another file (data.annotation=FILE)"
        )

    def _all_names(self) -> list[str]:
        """Return the videos of the packed store: those of all splits that have features."""
        names: dict[str, None] = {}
        for split in SUBSETS:
            with suppress(InputError):  # a split that is not wanted may have no videos
                names |= dict.fromkeys(self.videos(split, False, Oddities()))
        return [*names]

    def _places(self) -> list[Place]:
        """Return the folders with features, which must be of one layout."""
        if self.root.is_file() and is_pickled(self.root):
            raise _refusal(self.root)
        groups: dict[tuple[Path, bool, bool], list[Place]] = {}
        pickled = []
        for base in (self.root / "features", self.root):
            for subset in (None, *(name for names in SUBSETS.values() for name in names)):
                folder = base if subset is None else base / subset
                if any(_npy_files(folder / stream) for stream in self.streams):
                    groups.setdefault((base, subset is None, False), []).append(Place(folder, subset, False))
                files = [*_npy_files(folder).values()]
                if not all(map(is_pickled, files)):
                    groups.setdefault((base, subset is None, True), []).append(Place(folder, subset, True))
                elif files:
                    pickled.append(files[0])
        found = [*groups.values()]
        if not found and pickled:
            raise _refusal(pickled[0])
        if not found:
            raise InputError(f"{self.root.absolute()}: there are no features; {LAYOUTS}. Set data.root")
        if len(found) > 1:
            raise InputError(
                f"{self.root}: there are features in {found[0][0].folder} and, in another layout, in "
                f"{found[1][0].folder}; set data.root to a folder that has only one of them"
            )
        return found[0]

    def _files_of(self, stream: str) -> dict[str, Path]:
        """Return the files of a stream by video; raises if two splits have the same video."""
        found: dict[str, Path] = {}
        for place in self.places:
            folder = place.folder if place.joint else place.folder / stream
            for name, path in _npy_files(folder).items():
                if found.setdefault(name, path) != path:
                    raise InputError(f"{path}: {found[name]} is of the same video, which belongs to one split")
        return found

    def _file_of(self, name: str) -> Path:
        """Return a file of a video that has features."""
        return next(files[name] for files in self._found.values() if name in files)

    def _folder_of(self, name: str) -> Path:
        """Return the folder of the place that has the features of a video."""
        parent = self._file_of(name).parent
        return parent if self.places[0].joint else parent.parent


def read_splits(path: Path, splits: Sequence[str]) -> dict[str, dict[str, list[Interval]]]:
    """Read the videos of some splits, each with its instances; raises :class:`InputError` if a split has none."""
    subsets, found = read_subsets(path), {}
    for split in splits:
        subset = _subset(split, subsets)
        if subset is None:
            raise _without_subset(path, split, subsets)
        annotation = read_annotation([path], subset)
        videos: dict[str, list[Interval]] = {name: [] for name in annotation.videos}
        for instance in annotation.instances:
            videos[instance.video].append(instance)
        found[split] = videos
    return found


def _subset(split: str, subsets: Collection[str]) -> str | None:
    return next((name for name in SUBSETS[split] if name in subsets), None)


def _without_subset(path: Path, split: str, subsets: Mapping[str, int]) -> InputError:
    wanted = " or ".join(map(repr, SUBSETS[split]))
    there = ", ".join(f"{name!r} ({count} videos)" for name, count in subsets.items()) or "none"
    return InputError(f"{path}: no video is of the subset {wanted}, as {split} videos are; the subsets are {there}")


def _npy_files(folder: Path) -> dict[str, Path]:
    """Return the .npy files in a folder by the names of their videos; none if there is no such folder."""
    found: dict[str, Path] = {}
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".npy" and path.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return found
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from None
    for path in paths:
        if found.setdefault(composed(path.stem), path) != path:
            raise InputError(
                f"{folder}: two files are of the video {quote(composed(path.stem))}, one in composed and one in "
                "decomposed Unicode; remove one of them"
            )
    return found


def _refusal(path: Path) -> InputError:
    return InputError(
        f"{path}: contains pickled objects, which could run any program when they are loaded, so it is never read. "
        "Convert it once, where nothing can be lost (a virtual machine or a container without network), with this "
        f"script beside it, and copy the folders train and test from there:\n\n{CONVERSION}"
    )
