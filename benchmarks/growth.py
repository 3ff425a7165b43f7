"""Growth: labeling and a step of ``ppl_soft`` with LLP's videos and with ten times as many, in turns.

More videos are the same ones over again, so that memory is that of the method and not of the data.
``python -m benchmarks.growth VIDEOS STORED TIMES TURNS`` measures in a process of its own, and prints the seconds. The
speed of a machine drifts in the minute that the labeling of many videos takes; so the few are labeled before and after.
"""

from __future__ import annotations

import copy
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch

from avvp_pl.parts import Team
from benchmarks.measure import THREADS, Row, Scale, run_module, seconds, threads
from benchmarks.step import EPOCH, TrainingStep
from benchmarks.workload import BATCH_SIZE, RepeatedVideos

STORED = 1_000
STEPS, PARTS = 50, 16  # so many steps of the few, then of the many, and so on


def measure(scale: Scale) -> Iterator[Row]:
    """Ten times the videos, against ten times the time of labeling, and the same time of a step."""
    videos, times = scale.llp_videos, scale.grown
    numbers = (videos, min(STORED, videos), times, 2 if videos > STORED else 1)
    found = json.loads(run_module("benchmarks.growth", *map(str, numbers)).printed.splitlines()[-1])
    grown = f"{videos} to {times * videos} videos"
    for what, more, unit, factor in (("labeling", times, "s", 1.0), ("step of `ppl_soft`", 1, "ms", 1e3 / STEPS)):
        few, many = found[what]
        ratios = [of / (more * (before + after) / 2) for before, of, after in zip(few, many, few[1:], strict=False)]
        shown = " to ".join(f"{factor * statistics.median(of):.3g} {unit}" for of in (few, many))
        yield Row(f"{what}, {grown}", shown, "", f"{statistics.median(ratios):.2f} of linear", "at most 1.05")


def in_turns(few: Callable[[], object], many: Callable[[], object], turns: int) -> tuple[list[float], list[float]]:
    """Time the few before and after every time of the many."""
    found: tuple[list[float], list[float]] = [seconds(few)], []
    for _ in range(turns):
        found[1].append(seconds(many))
        found[0].append(seconds(few))
    return found


def main(videos: int, stored: int, times: int, turns: int) -> None:
    """Train, then label and train, and print the seconds of each turn."""
    with threads(THREADS):
        learned = TrainingStep("ppl_soft", stored)
        for _ in range(PARTS):  # for a network that has learned nothing, nearly all segments are negative key segments
            _train(learned)
        learned.model.keep_best()  # which labels
        few, many = (copy.deepcopy(learned) for _ in range(2))
        few.videos, many.videos = (RepeatedVideos.of(learned.videos, n * videos // stored) for n in (1, times))
        found = {
            "labeling": in_turns(partial(_label, few), partial(_label, many), turns),
            "step of `ppl_soft`": in_turns(partial(_train, few), partial(_train, many), PARTS),
        }
    print(json.dumps(found))


def _label(step: TrainingStep) -> None:
    step.model.labeling.refresh(step.videos, EPOCH, Team())


def _train(step: TrainingStep) -> None:
    for _ in range(STEPS):
        step.rows = torch.randint(len(step.videos), (BATCH_SIZE,))
        step.run()


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
