"""The embedded twin of THUMOS14: its annotation, or one with its statistics, and invented features that are hard.

What was measured on the 410 videos of the public annotation (200 training, 210 test), and what is generated:

======================================  ==============================  ==============================================
quantity                                THUMOS14                        generated
======================================  ==============================  ==============================================
segments of a video (0.64 s)            13 to 2,614, median 242         log-normal around the median of the event: 232
share of action of a video              median 23 %, mean 29 %          the same: median 24 %
seconds of an instance                  0.2 to 118.1, median 3.0        the same: median 2.4
instances of a video                    1 to 218, median 8, mean 15     as many as the share of action needs: median 10
events of a video                       1: 349, 2: 60, 3: 1             CliffDiving is always Diving, too, with the same
                                                                        bounds; of videos of cricket, 81 % have both
                                                                        events; 2 % of the others have a second event
background                              72 % of all training segments   follows from the above: 67 %
======================================  ==============================  ==============================================

The features are what makes weak supervision fail. The middle of an action is strong and like no other event. Its
beginning and its end are weaker, and mostly those of its family of events; and some actions lack the strong middle. The
context of an event surrounds its actions and fills other parts of its videos, and hardly occurs in other videos, so
that a video's label says as much about it as about the action. Both streams show all this: ``flow`` has less context.
Every video has a background of its own, and every segment noise.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avvp_pl.data.activitynet import Interval, read_durations
from avvp_pl.data.known import THUMOS14_EVENTS
from avvp_pl.data.thumos import SEGMENT_SECONDS, STREAMS, SUBSETS, localized, read_splits
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError

# By event, in the order of THUMOS14_EVENTS, the medians over its videos: the share of the video that it takes (84 % of
# what was measured, as cricket and diving add a second event), the seconds of the video, and those of an instance
SHARES = (7, 20, 12, 35, 25, 12, 8, 25, 29, 18, 25, 27, 18, 27, 31, 21, 14, 14, 28, 24)  # percent
DURATIONS = (103, 238, 168, 171, 163, 120, 113, 172, 52, 129, 291, 246, 357, 307, 295, 124, 76, 110, 116, 103)
SECONDS = (3.0, 1.5, 2.2, 8.7, 2.7, 1.2, 1.1, 2.5, 2.3, 4.2, 7.1, 4.5, 6.3, 7.1, 6.4, 4.7, 2.9, 1.5, 4.3, 1.7)
# Standard deviations of the logarithms of these, of instances between videos and within a video
SHARE_SPREAD, DURATION_SPREAD, BETWEEN, WITHIN = 0.6, 0.75, 0.35, 0.48
SHORTEST, LONGEST = 13, 2614  # segments of a video
MOST_INSTANCES = 218
BOTH_CRICKET, SECOND_EVENT = 0.81, 0.02  # shares of videos
DIVING, CLIFF_DIVING, BOWLING, SHOT = (
    THUMOS14_EVENTS.index(event) for event in ("Diving", "CliffDiving", "CricketBowling", "CricketShot")
)

LATENT_DIM = 48
SIGNAL = 0.35  # root mean square of the features of a unit vector, beside noise
FAMILIES = 5
BACKGROUNDS = 24
# An action: how long each part is, how strong it is, and how much of it is common to the family
PARTS = (0.35, 0.3, 0.35)
STRENGTHS = (0.75, 1.5, 0.65)
COMMON = (1.2, 0.3, 0.9)
FAINT = 0.3  # share of actions whose middle is no stronger than their end
CONTEXT_IN = {"rgb": 1.0, "flow": 0.5}  # strength of context in a stream
AROUND = 3.0  # seconds, on average, that context lasts before and after an action
ELSEWHERE = 0.12  # share of the other time of a video that has the context of its event
ASTRAY = 0.04  # share of the time of a video that has the context of any event


def generate(
    sizes: Mapping[str, int],
    streams: Mapping[str, int],
    modalities: Mapping[str, Sequence[str]],
    seed: int,
    annotation: str | Path | None = None,
    segment_seconds: float = SEGMENT_SECONDS,
    noise: float = 0.6,
    context: float = 1.0,
    splits: Sequence[str] = ("train", "test"),
    truth_required: bool = True,
) -> ParsingSet:
    """Generate features of the given dimensions for annotated videos.

    The videos are those of the file ``annotation``; without it ``sizes[split]`` videos are generated, each with its
    instances. Real videos have their real lengths: those of THUMOS14 are known (a file that has ``duration`` is wrong
    about 13 of them, as it takes 24 or 25 frames a second for 30), and others last as long as the file says, or until
    the end of their last instance. ``noise`` is the standard deviation of the noise in every stream, and ``context``
    the strength of what co-occurs with actions.

    The same arguments give the same bits, and the first videos of a split depend on no size. ``truth_required`` is
    accepted because readers of real data have it; the truth is always known here.
    """
    wanted = [split for split in splits if split in SUBSETS]
    if not wanted:
        raise InputError(f"data=thumos14_synthetic has no {' and no '.join(splits)} videos; it has train and test")
    if list(dict.fromkeys(name for names in modalities.values() for name in names)) != [*streams]:
        raise InputError(f"data.modalities: they must have each of data.streams, in order: {', '.join(streams)}")
    if (other := next((name for name in streams if name not in STREAMS), None)) is not None:
        raise InputError(f"data.streams: {other!r} is not possible; synthetic streams are {' and '.join(STREAMS)}")
    if annotation is None:
        events: tuple[str, ...] = THUMOS14_EVENTS
        made = {split: _annotate(split, sizes[split], seed, segment_seconds) for split in wanted}
    else:
        events, made = _read(Path(annotation), wanted, segment_seconds)
    worlds = {name: _World(name, dim, len(events), seed, noise, context) for name, dim in streams.items()}
    numbers = {event: number for number, event in enumerate(events)}
    found = {}
    for split, videos in made.items():
        lengths = {name: length for name, (length, _) in videos.items()}
        intervals = {name: own for name, (_, own) in videos.items()}
        place = [*SUBSETS].index(split)
        features: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in streams}
        for row, (length, own) in enumerate(videos.values()):
            plan = _Plan(np.random.default_rng([seed, 3, place, row]), length, own, numbers, segment_seconds)
            for name, world in worlds.items():
                rng = np.random.default_rng([seed, 4 + STREAMS.index(name), place, row])
                features[name].append(world.features(rng, plan))
        tensors: dict[str, Tensor] = {name: torch.from_numpy(np.concatenate(parts)) for name, parts in features.items()}
        found[split] = localized(lengths, tensors, intervals, events, len(modalities), segment_seconds)
    return ParsingSet(
        events=events,
        modalities={name: tuple(names) for name, names in modalities.items()},
        train=found.get("train"),
        val=None,
        test=found.get("test"),
        segment_seconds=segment_seconds,
    )


Videos = dict[str, tuple[int, list[Interval]]]
"""The number of segments of each video, and its instances."""


def _read(path: Path, splits: Sequence[str], segment_seconds: float) -> tuple[tuple[str, ...], dict[str, Videos]]:
    """Read the events, and the videos of some splits, of an annotation."""
    known, given = _seconds(), read_durations(path)
    annotated = read_splits(path, splits)
    labels = {one.event for videos in annotated.values() for own in videos.values() for one in own}
    made: dict[str, Videos] = {split: {} for split in splits}
    for split, videos in annotated.items():
        for name, own in videos.items():
            seconds = known.get(name, given.get(name))
            if seconds is not None:
                length = int(seconds / segment_seconds)
            elif own:
                length = ceil(max(one.end for one in own) / segment_seconds)
            else:
                raise InputError(
                    f"{path}: database[{name!r}] has neither an instance nor a 'duration'; add one of them"
                )
            made[split][name] = max(1, length), own
    return THUMOS14_EVENTS if labels <= set(THUMOS14_EVENTS) else tuple(sorted(labels)), made


@cache
def _seconds() -> Mapping[str, float]:
    """Return the durations of THUMOS14's videos."""
    with (Path(__file__).parent / "thumos14_seconds.csv").open(encoding="utf-8") as file:
        return {row["video"]: float(row["seconds"]) for row in csv.DictReader(file)}


def _annotate(split: str, count: int, seed: int, segment_seconds: float) -> Videos:
    """Draw the lengths and instances of videos; of every 20 videos, each event is the main event of one."""
    place, made = [*SUBSETS].index(split), Videos()
    for row in range(count):
        block, number = divmod(row, len(THUMOS14_EVENTS))
        event = int(np.random.default_rng([seed, 1, place, block]).permutation(len(THUMOS14_EVENTS))[number])
        rng, name = np.random.default_rng([seed, 2, place, row]), f"synthetic_{split}_{row:06d}"
        made[name] = _instances(rng, event, name, segment_seconds)
    return made


def _instances(rng: np.random.Generator, event: int, name: str, segment_seconds: float) -> tuple[int, list[Interval]]:
    """Draw one video: its number of segments, and its instances by their start."""
    duration = DURATIONS[event] * rng.lognormal(0, DURATION_SPREAD)
    length = int(np.clip(duration / segment_seconds, SHORTEST, LONGEST))
    share = min(0.9, SHARES[event] / 100 * rng.lognormal(0, SHARE_SPREAD))
    both = event in {BOWLING, SHOT} and rng.random() < BOTH_CRICKET  # a shot after each bowling
    typical = SECONDS[event] * rng.lognormal(0, BETWEEN)
    count = int(np.clip(round(share * length * segment_seconds / typical), 1, MOST_INSTANCES))
    seconds = np.clip(typical * rng.lognormal(0, WITHIN, count), 0.2, 118.1)
    played = np.clip(SECONDS[SHOT] * rng.lognormal(0, WITHIN, count), 0.2, 118.1) * both
    most = 0.95 * length * segment_seconds
    count = max(1, int((np.cumsum(seconds + played) <= most).sum()))
    seconds, played = np.minimum(seconds[:count], 0.8 * most), played[:count]
    free = length * segment_seconds - (seconds + played).sum()
    gaps = np.maximum(0, free) * rng.dirichlet(np.full(count + 1, 0.6))
    other = int(rng.integers(len(THUMOS14_EVENTS))) if rng.random() < SECOND_EVENT else event
    made, end = [], 0.0
    for gap, first, second in zip(gaps[:-1], seconds, played, strict=True):
        start = end + gap
        end = start + first + second
        if both:
            of = [(BOWLING, start, start + first), (SHOT, start + first, end)]
        else:
            label = other if rng.random() < 0.5 else event
            of = [(label, start, end)] + [(DIVING, start, end)] * (label == CLIFF_DIVING)
        latest = int(10 * length * segment_seconds)
        made += [_interval(name, THUMOS14_EVENTS[label], one, last, latest) for label, one, last in of]
    return length, made


def _interval(video: str, event: str, start: float, end: float, latest: int) -> Interval:
    """Return an interval whose bounds are tenths of a second, as in THUMOS14, and at most the tenth ``latest``."""
    first = min(round(10 * start), latest - 2)
    last = min(max(round(10 * end), first + 2), latest)
    return Interval(video, event, first / 10, last / 10, 1.0, "")


class _Plan:
    """What happens in the segments of a video, in all streams: a list of (kind, event, part, strength of each [T])."""

    def __init__(
        self,
        rng: np.random.Generator,
        length: int,
        intervals: Sequence[Interval],
        numbers: Mapping[str, int],
        segment_seconds: float,
    ) -> None:
        self.length = length
        present = sorted({numbers[one.event] for one in intervals})
        self.actions = np.zeros((length, len(numbers), len(PARTS)))
        self.context = np.zeros((length, len(numbers)))
        for interval in intervals:
            start, end = interval.start / segment_seconds, interval.end / segment_seconds
            event, faint = numbers[interval.event], rng.random() < FAINT
            inside = _overlap(length, start, end)
            if not inside.any():
                continue
            bounds = start + (end - start) * np.cumsum([0, *PARTS])
            strengths = np.array(STRENGTHS) * rng.lognormal(0, 0.2, len(PARTS))
            if faint:
                strengths[1] = strengths[2]
            for part, strength in enumerate(strengths):
                over = strength * _overlap(length, bounds[part], bounds[part + 1])
                self.actions[:, event, part] = np.maximum(self.actions[:, event, part], over)
            before, after = rng.exponential(AROUND / segment_seconds, 2)
            around = _overlap(length, start - before, end + after) * rng.uniform(0.6, 1.2)
            self.context[:, event] = np.maximum(self.context[:, event], around)
        astray = int(rng.integers(len(numbers)))
        for of, share in [*((event, ELSEWHERE) for event in present), (astray, ASTRAY)]:
            while share > 0 and length > 0:
                width = min(share * length, rng.exponential(12 / segment_seconds) + 1)
                start = rng.uniform(-width / 2, length - width / 2)
                here = _overlap(length, start, start + width) * rng.uniform(0.6, 1.2)
                self.context[:, of] = np.maximum(self.context[:, of], here)
                share -= width / length
        self.scene = rng.integers(BACKGROUNDS, size=2)
        self.blend = np.linspace(0, 1, length)[:, None]


class _World:
    """What all videos share in a stream: the features of actions, contexts and backgrounds, and the projection."""

    def __init__(self, stream: str, dim: int, events: int, seed: int, noise: float, context: float) -> None:
        rng = np.random.default_rng([seed, 0, STREAMS.index(stream)])
        family = _unit(rng.standard_normal((FAMILIES, len(PARTS), LATENT_DIM)))[np.arange(events) % FAMILIES]
        own = _unit(rng.standard_normal((events, len(PARTS), LATENT_DIM)))
        self.actions = _unit(own + np.array(COMMON)[:, None] * family)  # [C, parts, latent]
        self.contexts = _unit(rng.standard_normal((events, LATENT_DIM))) * context * CONTEXT_IN[stream]
        self.backgrounds = _unit(rng.standard_normal((BACKGROUNDS, LATENT_DIM)))
        self.projection = rng.standard_normal((LATENT_DIM, dim)) * SIGNAL
        self.noise = noise

    def features(self, rng: np.random.Generator, plan: _Plan) -> npt.NDArray[np.float32]:
        """Return the features of a video, [T, dim]."""
        first, second = self.backgrounds[plan.scene]
        latent = 0.6 * ((1 - plan.blend) * first + plan.blend * second)
        latent = latent + 0.4 * _unit(rng.standard_normal(LATENT_DIM))  # what only this video has
        latent = latent + plan.context @ self.contexts
        latent = latent + np.einsum("tcp,cpl->tl", plan.actions, self.actions)
        noise = self.noise * rng.standard_normal((plan.length, self.projection.shape[1]))
        features: npt.NDArray[np.float32] = (latent @ self.projection + noise).astype(np.float32)
        return features


def _overlap(length: int, start: float, end: float) -> npt.NDArray[np.float64]:
    """Return which share of each segment, [T], lies between two times in segments."""
    steps = np.arange(length)
    covered: npt.NDArray[np.float64] = np.clip(np.minimum(end, steps + 1) - np.maximum(start, steps), 0, None)
    return covered


def _unit(vectors: Any) -> npt.NDArray[np.float64]:
    normalized: npt.NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return normalized
