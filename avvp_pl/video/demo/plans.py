"""Plans: which events a clip has, in which seconds each is heard and seen, and what is there beside them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

EVENTS_A_CLIP = (0.4, 0.4, 0.2)  # share of the clips with 1, 2, 3 events
KINDS = (0.25, 0.25, 0.5)  # share of the events that are only heard, only seen, both
TOGETHER = 0.6  # share of those that are both, which are heard in the same seconds in which they are seen
INTERVALS = (0.7, 0.3)  # share of the events that occur once, twice
DISTRACTORS = (0.4, 0.4, 0.2)  # share of the clips with 0, 1, 2 sounds that are no event; and of shapes, the same


class Planned(NamedTuple):
    """One event of a clip: its number, and the seconds in which it is heard and seen, each [T]."""

    event: int
    heard: npt.NDArray[np.bool_]
    seen: npt.NDArray[np.bool_]


class Span(NamedTuple):
    """When a sound or shape that is no event is there, in seconds."""

    start: float
    end: float


class Plan(NamedTuple):
    """What a clip of ``seconds`` has in it."""

    seconds: int
    events: tuple[Planned, ...]
    other_sounds: tuple[Span, ...]
    other_shapes: tuple[Span, ...]


def draw_plan(rng: np.random.Generator, seconds: int, num_events: int) -> Plan:
    """Draw a plan. Every event in it is heard or seen in at least one second."""
    count = min(1 + int(rng.choice(3, p=EVENTS_A_CLIP)), num_events)
    events = []
    for event in rng.choice(num_events, count, replace=False):
        kind = rng.choice(3, p=KINDS)
        heard, seen = (_draw_seconds(rng, seconds) for _ in range(2))
        if rng.random() < TOGETHER:
            seen = heard
        nothing = np.zeros(seconds, dtype=bool)
        events.append(Planned(int(event), nothing if kind == 1 else heard, nothing if kind == 0 else seen))
    others = [tuple(_draw_span(rng, seconds) for _ in range(rng.choice(3, p=DISTRACTORS))) for _ in range(2)]
    return Plan(seconds, tuple(events), *others)


def _draw_seconds(rng: np.random.Generator, seconds: int) -> npt.NDArray[np.bool_]:
    """Draw the seconds in which an event occurs, [T]: at least one, in one interval or two, which may touch."""
    active = np.zeros(seconds, dtype=bool)
    for _ in range(1 + int(rng.choice(2, p=INTERVALS))):
        start, end = np.sort(rng.choice(seconds + 1, 2, replace=False))
        active[start:end] = True
    return active


def _draw_span(rng: np.random.Generator, seconds: int) -> Span:
    start = rng.uniform(0, max(seconds - 1.0, 0.5))
    return Span(start, min(start + rng.uniform(0.5, 3), seconds))
