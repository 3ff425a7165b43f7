"""A folder of clips with their annotation, in LLP layout: ``videos/NAME.mp4``, and the tables in ``data/``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avvp_pl.data.annotations import read_classes, write_timelines, write_weak_labels
from avvp_pl.data.known import TABLES
from avvp_pl.errors import InputError
from avvp_pl.files import atomic_write, atomic_write_bytes, remove_stale, remove_unfinished
from avvp_pl.processes.workers import work_on
from avvp_pl.video.demo.clips import encoded, pictures_of, sound_of
from avvp_pl.video.demo.events import EVENTS
from avvp_pl.video.demo.plans import Plan, draw_plan

VIDEOS = "videos"
MODALITIES = ("audio", "visual")
NAMES = tuple(event.name for event in EVENTS)
CLIP = re.compile(rf"demo_({'|'.join(TABLES)})_\d+\.mp4")


class Clip(NamedTuple):
    """Which clip: its split and its number in it."""

    split: str
    number: int


class Kind(NamedTuple):
    """What all clips of a folder have in common: seconds, pixels on a side of the pictures, and their seed."""

    seconds: int
    side: int
    seed: int


def write_clips(folder: Path, sizes: Mapping[str, int], kind: Kind, workers: int) -> Iterator[Clip]:
    """Write ``sizes[split]`` clips of each split, then their tables; yield each clip once it is written.

    The training clips have only weak labels; which events are heard and seen in each second stands in the tables of the
    validation and test clips. ``SPLIT.txt`` lists the files of a split. The same arguments give the same bytes, with
    any number of ``workers`` (processes; 0: this one). Clips of an earlier call are replaced, and there are no tables
    until all clips are there. Raises :class:`InputError` for an odd side, and if the folder has other data.
    """
    if kind.side % 2:
        raise InputError(f"side={kind.side}: it must be even, because two by two pixels share a color in H.264")
    _check_own(folder)
    names = {split: [name_of(Clip(split, number)) for number in range(size)] for split, size in sizes.items()}
    for table in (*TABLES.values(), *map(_timeline_table, MODALITIES)):
        (folder / "data" / table).unlink(missing_ok=True)
    remove_unfinished(folder / VIDEOS)
    remove_stale(folder / VIDEOS, CLIP, [f"{name}.mp4" for of_split in names.values() for name in of_split])
    clips = [Clip(split, number) for split, size in sizes.items() for number in range(size)]
    for done in work_on(clips, prepare, (folder, kind), workers):
        if done.error is not None:
            raise done.error
        yield done.item
    for split, of_split in names.items():
        with atomic_write(folder / f"{split}.txt") as file:
            file.writelines(f"{VIDEOS}/{name}.mp4\n" for name in of_split)
    _write_tables(folder / "data", {split: _plans(split, size, kind) for split, size in sizes.items()})


def prepare(folder: Path, kind: Kind) -> Callable[[Clip], None]:
    """Return what writes one clip."""

    def write(clip: Clip) -> None:
        plan, rng = plan_of(clip, kind)
        content = encoded(sound_of(plan, rng), pictures_of(plan, rng, kind.side))
        with atomic_write_bytes(folder / VIDEOS / f"{name_of(clip)}.mp4") as file:
            file.write(content)

    return write


def name_of(clip: Clip) -> str:
    """Return the name of a clip.

    >>> name_of(Clip("test", 7))
    'demo_test_0007'
    """
    return f"demo_{clip.split}_{clip.number:04d}"


def plan_of(clip: Clip, kind: Kind) -> tuple[Plan, np.random.Generator]:
    """Return the plan of a clip, and the generator that draws all else in it. No clip depends on the others."""
    rng = np.random.default_rng([kind.seed, list(TABLES).index(clip.split), clip.number])
    return draw_plan(rng, kind.seconds, len(EVENTS)), rng


def _check_own(folder: Path) -> None:
    """Raise :class:`InputError` for a folder with data of another kind, which the tables would overwrite."""
    data, classes = folder / "data", folder / "data" / "classes.txt"
    has_data = data.is_dir() and any(data.iterdir())
    if has_data and not (classes.is_file() and read_classes(classes) == NAMES):
        raise InputError(f"{data}: there are other data in this folder; give the clips one of their own (output=DIR)")


def _plans(split: str, size: int, kind: Kind) -> dict[str, Plan]:
    clips = [Clip(split, number) for number in range(size)]
    return {name_of(clip): plan_of(clip, kind)[0] for clip in clips}


def _timeline_table(modality: str) -> str:
    return f"AVVP_eval_{modality}.csv"


def _write_tables(folder: Path, tables: Mapping[str, Mapping[str, Plan]]) -> None:
    """Write the events, the weak labels of each split, and the timelines of those that are evaluated."""
    with atomic_write(folder / "classes.txt") as file:
        file.writelines(f"{name}\n" for name in NAMES)
    evaluated = {name: plan for split, plans in tables.items() if split != "train" for name, plan in plans.items()}
    for number, modality in enumerate(MODALITIES):
        timelines = [_timelines(plan)[:, number] for plan in evaluated.values()]
        write_timelines(folder / _timeline_table(modality), evaluated, timelines, NAMES)
    for split, plans in tables.items():
        labels = {name: [planned.event for planned in plan.events] for name, plan in plans.items()}
        write_weak_labels(folder / TABLES[split], labels, NAMES)


def _timelines(plan: Plan) -> npt.NDArray[np.bool_]:
    """Return which events are heard and seen in each second, [T, M, C]."""
    truth = np.zeros((plan.seconds, 2, len(EVENTS)), dtype=bool)
    for planned in plan.events:
        truth[:, 0, planned.event], truth[:, 1, planned.event] = planned.heard, planned.seen
    return truth
