"""The test videos of a report: their truth, and what each run found in them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hydra.errors import InstantiationException
from jaxtyping import Bool, Float
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from avvp_pl.commands.build import build_videos
from avvp_pl.data.annotations import Oddities, read_timelines, stack_timelines
from avvp_pl.data.llp import feature_key
from avvp_pl.errors import InputError, brief
from avvp_pl.runs.checkpoints import check_built
from avvp_pl.runs.reading import Run


@dataclass(frozen=True)
class TestVideos:
    """N test videos and what truly occurs in them."""

    __test__ = False  # for pytest, which takes it for a test

    names: tuple[str, ...]
    events: tuple[str, ...]
    modalities: tuple[str, ...]
    truth: Bool[Tensor, "N T M C"]
    mask: Bool[Tensor, "N T"]
    segment_seconds: float


@dataclass(frozen=True)
class Probabilities:
    """What a run's network said of the test videos, before any threshold; the video's own may be above 1."""

    segment: Float[Tensor, "N T M C"]
    video: Float[Tensor, "N C"]


def data_of(run: Run) -> DictConfig:
    """The data group that a run was tested on; :class:`InputError` where it would build anything but a data set."""
    plain = OmegaConf.to_container(run.config.data)
    check_built({"data": plain}, run.folder / "config.yaml")
    return OmegaConf.create({"data": plain}).data  # type: ignore[no-any-return]


def read_test_videos(data: DictConfig) -> TestVideos:
    """The test split of a data set, by its group of the configuration."""
    try:
        videos = build_videos(OmegaConf.create({"data": data}), splits=("test",))
    except InstantiationException as error:  # Hydra wraps what its target raises
        raise (error.__cause__ if isinstance(error.__cause__, InputError) else error) from None
    test = videos.test
    assert test is not None
    assert test.truth is not None
    return TestVideos(
        test.names, videos.events, tuple(videos.modalities), test.truth, test.mask, videos.segment_seconds
    )


def read_predictions(run: Run, videos: TestVideos) -> Bool[Tensor, "N T M C"]:
    """What a run found, by ``predictions/MODALITY.csv`` of its folder.

    Raises :class:`InputError` where these name a video that is not of the test split: the run was tested on others.
    """
    segments = videos.truth.shape[1]
    tables = {}
    for modality in videos.modalities:
        path = run.folder / "predictions" / f"{modality}.csv"
        tables[modality] = read_timelines(path, videos.events, segments, Oddities(), videos.segment_seconds)
        if strangers := set(tables[modality]) - set(videos.names):
            raise InputError(
                f"{path}: {min(strangers)} is no test video of the data; the run was tested on others (give data=...)"
            )
    if run.listed != len(videos.names):
        raise InputError(
            f"{run.folder}: tested on {run.listed} videos, the data has {len(videos.names)} (give data=...)"
        )
    return torch.from_numpy(stack_timelines(videos.names, tables, segments, len(videos.events)))


def read_probabilities(run: Run, videos: TestVideos) -> Probabilities | None:
    """What a run's network said, by ``predictions/probabilities.npz`` of its folder; None where there is no such file.

    Raises :class:`InputError` where it is damaged or of other videos.
    """
    path = run.folder / "predictions" / "probabilities.npz"
    if not path.exists():
        return None
    try:
        # by way of memory, for numpy leaves a damaged file open
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            content = {name: np.asarray(file[name]) for name in ("names", "events", "modalities", "segment", "video")}
        if not all(np.isfinite(content[name]).all() for name in ("segment", "video")):
            raise ValueError("a probability that is no number")
    except Exception as error:  # numpy and zipfile raise half a dozen kinds
        raise InputError(f"{path}: damaged ({brief(error)}); evaluate the run's checkpoint anew") from None
    wanted = {"names": videos.names, "events": videos.events, "modalities": videos.modalities}
    for name, words in wanted.items():
        if content[name].tolist() != list(words):
            raise InputError(f"{path}: its {name} are not those of the test videos; give the run's own data=...")
    shape = tuple(videos.truth.shape)
    if content["segment"].shape != shape or content["video"].shape != (shape[0], shape[3]):
        raise InputError(f"{path}: {content['segment'].shape} probabilities, the test videos need {shape}")
    segment, video = (torch.from_numpy(content[name].astype(np.float32)) for name in ("segment", "video"))
    return Probabilities(segment, video)


def media_of(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """The media file of each video that has one: ``NAME.mp4`` (or webm, mkv, mov) or that of its feature key."""
    if not folder.is_dir():
        raise InputError(f"{folder.absolute()}: no such folder; media= takes one with the videos' files")
    found: dict[str, Path] = {}
    for name in names:
        for stem in dict.fromkeys((name, feature_key(name))):
            for suffix in (".mp4", ".webm", ".mkv", ".mov"):
                if (path := folder / f"{stem}{suffix}").is_file():
                    found.setdefault(name, path)
    return found
