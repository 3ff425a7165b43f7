"""Extraction of a set of videos: which are to do, processes that do it, a progress bar, and what is said in the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from avvp_pl.errors import InputError, printable
from avvp_pl.processes.workers import Done, number_of_workers, work_on
from avvp_pl.video.clip import extract_clip
from avvp_pl.video.decode import Damaged
from avvp_pl.video.extractor import Extractor
from avvp_pl.video.files import VideoFile, find_videos
from avvp_pl.video.folder import FAILED, FeatureFolder, plain, save_features
from avvp_pl.video.manifest import Video, stream_of

SHOWN = 20  # videos whose problems are printed; the manifest has all of them


class Settings(NamedTuple):
    """What a process needs to extract videos."""

    extractors: dict[str, dict[str, Any]]
    missing_track: Literal["refuse", "mask"]
    damaged: Damaged
    feats: Path


class Task(NamedTuple):
    """A video, and the streams that it does not have yet."""

    video: VideoFile
    streams: list[str]


class Extraction(NamedTuple):
    """What became of a set of videos: how many were ``extracted`` now, were ``there`` before, and ``failed``."""

    folder: FeatureFolder
    videos: list[VideoFile]
    extracted: int
    there: int

    @property
    def failed(self) -> int:
        """The number of videos that could not be used; the folder has the reasons."""
        return len(self.folder.failed)

    def check(self) -> None:
        """Raise :class:`InputError` if no video could be used."""
        if self.failed and not self.extracted + self.there:
            first = next(iter(self.folder.failed.values()))
            table = self.folder.root / FAILED
            raise InputError(f"none of {self.failed} videos could be used ({table}); the first one: {plain(first)}")

    def __str__(self) -> str:
        before = f", {self.there} were there before" if self.there else ""
        lost = f", {self.failed} failed ({self.folder.root / FAILED})" if self.failed else ""
        return f"{self.extracted} videos extracted{before}{lost}: {self.folder.feats}"


def extract_videos(cfg: DictConfig) -> None:
    """Extract the features of all videos of ``cfg.videos`` that are not there yet, and say what was done.

    Raises :class:`InputError` if no video could be used; exits with 1 if some could not.
    """
    settings = plain_settings(cfg.extractors)
    extraction = extract_into(cfg, Path(cfg.output), settings, build_extractors(settings))
    extraction.check()
    print(extraction)
    if extraction.failed:
        sys.exit(1)


def extract_into(
    cfg: DictConfig, output: Path, settings: dict[str, dict[str, Any]], extractors: Sequence[Extractor]
) -> Extraction:
    """Extract the features of all videos of ``cfg.videos`` that are not there yet into ``output``.

    ``settings`` are those of the ``extractors``, in the same order, with which every process builds them again. The
    other settings are those of ``conf/extract.yaml``.
    """
    found = find_videos(Path(cfg.videos))
    streams = {one.name: stream_of(one, settings[key]) for key, one in zip(settings, extractors, strict=True)}
    with _progress() as (progress, say), FeatureFolder(output, streams).open() as folder:
        for note in found.notes:
            say(note)
        for path, reason in found.impossible.items():
            folder.fail(path, reason)
            say(f"{path}: {reason}")
        tasks = list(_to_do(found.videos, folder, say))
        there = len(found.videos) + len(found.impossible) - len(tasks) - len(folder.failed)
        bar = progress.add_task("videos", total=len(tasks))
        passed = Settings(settings, cfg.missing_track, cfg.damaged, folder.feats)
        extracted = with_problems = 0
        with _one_thread_each(workers := number_of_workers(cfg.workers)):
            for done in work_on(tasks, prepare, (passed,), workers):
                error = _note(done, folder)
                if error:
                    say(error)
                elif done.result is not None:
                    extracted += 1
                    with_problems += bool(problems := _problems(done.result))
                    if problems and with_problems <= SHOWN:
                        say(f"{done.item.video.path}: {problems}")
                progress.advance(bar)
        if with_problems > SHOWN:
            say(f"{with_problems - SHOWN} more videos have problems, which {folder.feats}/manifest.json lists")
    return Extraction(folder, found.videos, extracted, there)


def _to_do(videos: Sequence[VideoFile], folder: FeatureFolder, say: Callable[[str], None]) -> Iterator[Task]:
    for video in videos:
        try:
            streams = folder.missing(video)
        except OSError as error:
            folder.fail(video.path, f"cannot be read ({error.strerror or error})")
        except InputError as error:
            folder.fail(video.path, str(error))
        else:
            if streams:
                yield Task(video, streams)
            continue
        say(f"{video.path}: {folder.failed[video.path].removeprefix(f'{video.path}: ')}")


def _note(done: Done[Task, Video], folder: FeatureFolder) -> str:
    """Note what was done; return what to say of a video that failed."""
    video = done.item.video
    if done.result is not None:
        folder.add(video, done.result)
        return ""
    reason = str(done.error).removeprefix(f"{video.path}: ")
    folder.fail(video.path, reason)
    return f"{video.path}: {reason}"


def _problems(entry: Video) -> str:
    masked = [f"{modality} is missing, and masked" for modality in entry.missing]
    return "; ".join([*masked, *entry.problems])


def prepare(settings: Settings) -> Callable[[Task], Video]:
    """Return what extracts one video, and writes its features."""
    extractors = build_extractors(settings.extractors)

    def extract(task: Task) -> Video:
        wanted = [one for one in extractors if one.name in task.streams]
        clip = extract_clip(task.video.path, wanted, settings.missing_track, settings.damaged)
        return save_features(settings.feats, task.video, clip)

    return extract


def plain_settings(extractors: DictConfig) -> dict[str, dict[str, Any]]:
    """Return the settings of extractors by their names."""
    content: Any = OmegaConf.to_container(extractors, resolve=True)
    return dict(content)


def build_extractors(settings: Mapping[str, Mapping[str, Any]]) -> list[Extractor]:
    """Build extractors, in order. Raises :class:`InputError` for what is no extractor, and for two of one name."""
    built: list[Extractor] = []
    for key, one in settings.items():
        extractor = instantiate(dict(one))
        if not isinstance(extractor, Extractor):
            raise InputError(f"extractors.{key}: {one.get('_target_')} is no Extractor (avvp_pl/video/extractor.py)")
        if extractor.name in [other.name for other in built]:
            raise InputError(f"extractors.{key}: another extractor has the name {extractor.name}, too")
        built.append(extractor)
    return built


@contextmanager
def _one_thread_each(workers: int) -> Iterator[None]:
    """Let libraries of several processes use one thread each: together they would use more than there are cores."""
    before = os.environ.get("OMP_NUM_THREADS")
    if workers > 1 and before is None:
        os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("OMP_NUM_THREADS", None)


@contextmanager
def _progress() -> Iterator[tuple[Progress, Callable[[str], None]]]:
    """Yield a bar, which only a terminal shows, and a function that prints a line above it."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

    def say(line: str) -> None:
        shown = printable(plain(line)).replace("\n", r"\n")  # a name can have a line break
        console.print(shown, markup=False, highlight=False, soft_wrap=True)

    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield progress, say
