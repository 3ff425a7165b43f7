"""The test videos of a report: their truth, and what each run found in them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from hydra.errors import InstantiationException
from jaxtyping import Bool, Float
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from avvp_pl.commands.build import build_videos
from avvp_pl.data.annotations import Oddities, join_timelines, read_timelines
from avvp_pl.data.names import feature_key, spellings
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError, brief
from avvp_pl.files import atomic_copy
from avvp_pl.runs.names import CONFIG, PREDICTIONS, PROBABILITIES, predictions_of
from avvp_pl.runs.reading import Run
from avvp_pl.runs.trust import check_built


@dataclass(frozen=True)
class TestVideos:
    """N test videos, padded to T segments, and what truly occurs in them.

    ``mask`` is true for the segments that a video has; they come first.
    """

    __test__ = False  # pytest would take the class for a test

    names: tuple[str, ...]
    events: tuple[str, ...]
    modalities: tuple[str, ...]
    truth: Bool[Tensor, "N T M C"]
    mask: Bool[Tensor, "N T"]
    segment_seconds: float

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """The number of segments of each video."""
        return tuple(self.mask.sum(1).tolist())

    def padded(self, flat: Tensor) -> Tensor:
        """Return values of all segments, one video after another, as [N, T, ...] with zeros at padding."""
        if len(flat) == self.mask.numel():  # videos of equal length need no copy
            return flat.view(*self.mask.shape, *flat.shape[1:])
        rectangle = flat.new_zeros(*self.mask.shape, *flat.shape[1:])
        rectangle[self.mask] = flat
        return rectangle


@dataclass(frozen=True)
class Probabilities:
    """The probabilities that a run's network gave the test videos, before any threshold.

    Those of segments are 0 at padding. Those of a whole video are for each modality, and may be above 1.
    """

    segment: Float[Tensor, "N T M C"]
    video: Float[Tensor, "N M C"]


def data_of(run: Run, trust: Sequence[str] = ()) -> DictConfig:
    """Return the group of the configuration with the data that a run was tested on.

    Raises :class:`InputError` where it would build anything but a data set of this package or of one in ``trust``.
    """
    plain = OmegaConf.to_container(run.config.data)
    check_built({"data": plain}, run.folder / CONFIG, trust)
    return OmegaConf.create({"data": plain}).data  # type: ignore[no-any-return]


def read_test_split(data: DictConfig) -> ParsingSet:
    """Read the test split of a data set, which ``data``, a group of the configuration, describes."""
    try:
        return build_videos(OmegaConf.create({"data": data}), splits=("test",))
    except InstantiationException as error:  # Hydra wraps the errors of what it builds
        raise (error.__cause__ if isinstance(error.__cause__, InputError) else error) from None


def read_test_videos(data: DictConfig) -> TestVideos:
    """Read the test split of a data set for a report of parsing."""
    return of_test_split(read_test_split(data))


def of_test_split(videos: ParsingSet) -> TestVideos:
    """Return the test split of a data set whose truth is known."""
    test = videos.test
    assert test is not None
    assert test.truth is not None
    truth = test.padded(test.truth)
    return TestVideos(test.names, videos.events, tuple(videos.modalities), truth, test.mask, videos.segment_seconds)


def read_predictions(run: Run, videos: TestVideos) -> Bool[Tensor, "N T M C"]:
    """Read what a run found in the test videos from ``predictions/MODALITY.csv`` of its folder.

    Raises :class:`InputError` where a table names a video that is not in the test split: the run was tested on others.
    """
    lengths = dict(zip(videos.names, videos.lengths, strict=True))
    longest, tables = videos.mask.shape[1], {}
    for modality in videos.modalities:
        path = predictions_of(run.folder / PREDICTIONS, modality)
        tables[modality] = read_timelines(path, videos.events, longest, Oddities(), videos.segment_seconds, lengths)
        if unknown := set(tables[modality]) - set(videos.names):
            raise InputError(
                f"{path}: {min(unknown)} is no test video of the data, so the run was tested on others; give data=..."
            )
    if run.listed != len(videos.names):
        raise InputError(
            f"{run.folder}: tested on {run.listed} videos, but the data has {len(videos.names)}; give the data of the "
            "run: data=..."
        )
    return videos.padded(torch.from_numpy(join_timelines(lengths, tables, len(videos.events))))


class Described(Protocol):
    """Test videos, as far as a file of probabilities has to fit them."""

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        ...

    @property
    def events(self) -> tuple[str, ...]:
        """The events of the data."""
        ...

    @property
    def modalities(self) -> tuple[str, ...]:
        """Its modalities."""
        ...

    @property
    def lengths(self) -> tuple[int, ...]:
        """The number of segments of each video."""
        ...


def read_probabilities(run: Run, videos: TestVideos) -> Probabilities | None:
    """Return what :func:`read_flat_probabilities` reads, video by video."""
    flat = read_flat_probabilities(run, videos)
    return None if flat is None else Probabilities(videos.padded(flat[0]), flat[1])


def read_flat_probabilities(
    run: Run, videos: Described
) -> tuple[Float[Tensor, "S M C"], Float[Tensor, "N M C"]] | None:
    """Read the probabilities of a run from ``predictions/probabilities.npz`` of its folder; None without that file.

    They are those of all segments, one video after another, and those of videos. Raises :class:`InputError` where the
    file is damaged or of other videos.
    """
    path = run.folder / PREDICTIONS / PROBABILITIES
    if not path.exists():
        return None
    wanted = {
        "names": videos.names,
        "events": videos.events,
        "modalities": videos.modalities,
        "lengths": videos.lengths,
    }
    try:
        # from memory, because numpy leaves a damaged file open
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            content = {name: np.asarray(file[name]) for name in (*wanted, "segment", "video")}
        if not all(np.isfinite(content[name]).all() for name in ("segment", "video")):
            raise ValueError("a probability that is not a number")
    except Exception as error:  # numpy and zipfile raise half a dozen kinds
        raise InputError(f"{path}: damaged ({brief(error)}); evaluate the checkpoint of the run again") from None
    for name, values in wanted.items():
        if content[name].tolist() != list(values):
            raise InputError(f"{path}: its {name} are not those of the test videos; give the data of the run: data=...")
    axes = (len(videos.modalities), len(videos.events))
    shapes = {"segment": (sum(videos.lengths), *axes), "video": (len(videos.names), *axes)}
    for name, shape in shapes.items():
        if content[name].shape != shape:
            raise InputError(f"{path}: {name} has the shape {content[name].shape}; the test videos need {shape}")
    segment, video = (torch.from_numpy(content[name].astype(np.float32)) for name in ("segment", "video"))
    return segment, video


def media_of(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """Return the media files by video: ``NAME.mp4`` (or webm, mkv, mov), or the same with the stem of its features.

    Raises :class:`InputError` where there is no such folder, or no file of any video in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder.absolute()}: no such folder; media= takes the folder with the videos' files")
    found: dict[str, Path] = {}
    on_disk = spellings(folder)
    for name in names:
        for stem in dict.fromkeys((name, feature_key(name))):
            for suffix in (".mp4", ".webm", ".mkv", ".mov"):
                file = f"{stem}{suffix}"
                if (path := folder / on_disk.get(file, file)).is_file():
                    found.setdefault(name, path)
    if names and not found:
        raise InputError(
            f"{folder.absolute()}: has no file of any of the {len(names)} test videos, such as {names[0]}.mp4; media= "
            "takes the folder with the videos' files"
        )
    return found


def copy_media(media: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """Copy the media file of each video into ``folder``, which may be where they are; return the copies by video."""
    copies = {}
    for name, source in media.items():
        copies[name] = folder / source.name
        if not (copies[name].exists() and copies[name].samefile(source)):
            atomic_copy(source, copies[name])
    return copies
