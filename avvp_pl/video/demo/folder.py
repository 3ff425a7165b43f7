"""A folder of clips with their annotation, in LLP layout: ``videos/NAME.mp4``, and the tables in ``data/``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avvp_pl.data.annotations import read_classes, write_timelines, write_weak_labels
from avvp_pl.data.llp import TABLES
from avvp_pl.errors import InputError
from avvp_pl.files import atomic_write, atomic_write_bytes, remove_stale, remove_unfinished
from avvp_pl.video.demo.clips import encoded, pictures_of, sound_of
from avvp_pl.video.demo.events import EVENTS
from avvp_pl.video.demo.plans import Plan, draw_plan

VIDEOS = "videos"
NAMES = tuple(event.name for event in EVENTS)
CLIP = re.compile(rf"demo_({'|'.join(TABLES)})_\d+\.mp4")


def name_of(split: str, number: int) -> str:
    """Return the name of a clip.

    >>> name_of("test", 7)
    'demo_test_0007'
    """
    return f"demo_{split}_{number:04d}"


def plan_of(seed: int, split: str, number: int, seconds: int) -> tuple[Plan, np.random.Generator]:
    """Return the plan of a clip, and the generator that draws all else in it. No clip depends on the others."""
    rng = np.random.default_rng([seed, list(TABLES).index(split), number])
    return draw_plan(rng, seconds, len(EVENTS)), rng


def write_clips(
    folder: Path, sizes: Mapping[str, int], seconds: int, side: int, seed: int, workers: int
) -> Iterator[Path]:
    """Write ``sizes[split]`` clips of each split, then their tables; yield the file of each clip once it is written.

    Each has ``seconds`` seconds, and pictures of ``side`` x ``side`` pixels. The training clips have only weak labels;
    which events are heard and seen in each second stands in the tables of the validation and test clips. The same
    arguments give the same bytes, with any number of ``workers`` (threads). Clips of an earlier call are replaced, and
    there are no tables until all clips are there. Raises :class:`InputError` for an odd ``side``, and if the folder
    has other data.
    """
    if side % 2:
        raise InputError(f"side={side}: it must be even, because two by two pixels share a color in H.264")
    _check_own(folder)
    tables = _tables(sizes, seconds, seed)
    for table in (*TABLES.values(), *map(_timeline_table, ("audio", "visual"))):
        (folder / "data" / table).unlink(missing_ok=True)
    remove_unfinished(folder / VIDEOS)
    remove_stale(folder / VIDEOS, CLIP, [f"{name}.mp4" for plans in tables.values() for name in plans])

    def write(clip: tuple[str, int]) -> Path:
        plan, rng = plan_of(seed, *clip, seconds)
        content = encoded(sound_of(plan, rng), pictures_of(plan, rng, side))
        path = folder / VIDEOS / f"{name_of(*clip)}.mp4"
        atomic_write_bytes(path, memoryview(content))
        return path

    pool = ThreadPoolExecutor(workers)
    try:
        yield from pool.map(write, [(split, number) for split, size in sizes.items() for number in range(size)])
    finally:  # those that wait need not be written if this was stopped
        pool.shutdown(cancel_futures=True)
    _write_tables(folder / "data", tables)


def _check_own(folder: Path) -> None:
    """Raise :class:`InputError` for a folder with data of another kind, which the tables would overwrite."""
    data, classes = folder / "data", folder / "data" / "classes.txt"
    has_data = data.is_dir() and any(data.iterdir())
    if has_data and not (classes.is_file() and read_classes(classes) == NAMES):
        raise InputError(f"{data}: there are other data in this folder; give the clips one of their own (output=DIR)")


def _tables(sizes: Mapping[str, int], seconds: int, seed: int) -> dict[str, dict[str, Plan]]:
    return {
        split: {name_of(split, number): plan_of(seed, split, number, seconds)[0] for number in range(size)}
        for split, size in sizes.items()
    }


def _timeline_table(modality: str) -> str:
    return f"AVVP_eval_{modality}.csv"


def _write_tables(folder: Path, tables: Mapping[str, Mapping[str, Plan]]) -> None:
    """Write the events, the weak labels of each split, and the timelines of those that are evaluated."""
    with atomic_write(folder / "classes.txt") as file:
        file.writelines(f"{name}\n" for name in NAMES)
    evaluated = {name: plan for split, plans in tables.items() if split != "train" for name, plan in plans.items()}
    for number, modality in enumerate(("audio", "visual")):
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
