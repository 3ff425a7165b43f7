"""The embedded data set: generated from a seed in seconds, with LLP's label statistics and known segment labels.

Which events occur, in which modality, when and for how long follows the counts of the LLP tables (measured on the
published CSV files). The features are invented, but behave like real ones: each event has several modes in each
modality, which can be confused with those of its family; its strength varies, and it is sometimes faint; every video
has a background of its own; and the streams are random projections of all this, with noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from avvp_pl.data.llp import LLP_EVENTS
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError

# The number of LLP training videos with each event, in the order of LLP_EVENTS.
EVENT_COUNTS = (
    4988, 624, 528, 761, 192, 343, 455, 218, 299, 602, 186, 1172, 437, 1457, 495, 146, 445, 224, 411, 587, 503, 99,
    430, 291, 164,
)  # fmt: skip
LABELS_A_VIDEO = (0.403, 0.588, 0.009)  # share of training videos with 1, 2, 3 events
# The percentages of the (video, event) pairs of the eval tables that are only heard and only seen; the rest is both.
HEARD_ONLY = (77, 1, 59, 8, 5, 6, 5, 17, 2, 19, 18, 31, 7, 17, 6, 22, 25, 7, 5, 9, 8, 42, 17, 0, 43)
SEEN_ONLY = (0, 22, 4, 13, 31, 2, 18, 0, 0, 6, 5, 0, 5, 3, 1, 0, 1, 2, 11, 2, 10, 0, 1, 2, 4)
# The numbers of pairs that are active for 1 to 10 seconds, and in 1, 2, 3, or at least 4 intervals.
SECONDS_HEARD = (186, 235, 206, 243, 203, 210, 219, 203, 205, 1324)
SECONDS_SEEN = (64, 93, 101, 102, 89, 115, 93, 103, 78, 1371)
INTERVALS_HEARD = (2539, 553, 123, 19)
INTERVALS_SEEN = (1969, 203, 32, 5)
LLP_SECONDS = 10
SEEN_WHILE_HEARD = (
    0.85  # how often the time an event is seen extends the time it is heard, instead of being independent
)

LATENT_DIM = 64
MODES = 4
FAMILIES = 6
BACKGROUNDS = 24


def generate(
    sizes: Mapping[str, int],
    streams: Mapping[str, int],
    modalities: Mapping[str, Sequence[str]],
    seed: int,
    segments: int = LLP_SECONDS,
    noise: float = 0.4,
    noise_ratio: float = 1.0,
    splits: Sequence[str] = ("train", "val", "test"),
    truth_required: bool = True,
    shortest: int | None = None,
) -> ParsingSet:
    """Generate ``sizes[split]`` videos for each split, with streams of the given dimensions.

    ``modalities`` must be ``audio`` and ``visual``, each with its streams. ``noise`` is the standard deviation of the
    noise in every stream. ``noise_ratio`` makes one modality harder and the other one easier: it is the noise of audio
    divided by that of visual streams, and their geometric mean remains ``noise``. Every video has ``segments``
    segments; with ``shortest``, it is cut to a random length from ``shortest`` to ``segments``, and keeps the events
    that occur in what is left. The same arguments give the same bits, and a split does not depend on the sizes of the
    others. ``truth_required`` is accepted because readers of real data have it; the truth is always known here.
    """
    if list(modalities) != ["audio", "visual"]:
        raise InputError(f"data.modalities: synthetic data has audio and visual, in this order, not {list(modalities)}")
    for name in (name for names in modalities.values() for name in names):
        if name not in streams:
            raise InputError(f"data.modalities: {name!r} is not one of data.streams: {', '.join(streams)}")
    if shortest is not None and not 1 <= shortest <= segments:
        raise InputError(f"data.shortest: {shortest} is not possible; it must be from 1 to data.segments, {segments}")
    noises = {"audio": noise * math.sqrt(noise_ratio), "visual": noise / math.sqrt(noise_ratio)}
    world = _World(np.random.default_rng([seed, 0]), streams, modalities, noises)
    made = {}
    for number, split in enumerate(("train", "val", "test")):
        if split in splits:
            videos = world.videos(np.random.default_rng([seed, 1 + number]), split, sizes[split], segments)
            if shortest is not None:  # lengths have a generator of their own, so nothing else depends on them
                lengths = np.random.default_rng([seed, 4 + number])
                videos = _cut(videos, lengths.integers(shortest, segments + 1, size=len(videos)))
            made[split] = videos
    return ParsingSet(
        events=LLP_EVENTS,
        modalities={name: tuple(names) for name, names in modalities.items()},
        train=made.get("train"),
        val=made.get("val"),
        test=made.get("test"),
    )


class _World:
    """What all videos share: the features of events and backgrounds, and the projection of each stream."""

    def __init__(
        self,
        rng: np.random.Generator,
        streams: Mapping[str, int],
        modalities: Mapping[str, Sequence[str]],
        noises: Mapping[str, float],
    ) -> None:
        self.modalities, self.noises = modalities, noises
        events = len(LLP_EVENTS)
        family = _unit(rng.standard_normal((2, FAMILIES, MODES, LATENT_DIM)))[:, np.arange(events) % FAMILIES]
        own = _unit(rng.standard_normal((2, events, MODES, LATENT_DIM)))
        self.modes = _unit(own + 0.8 * family)  # [M, C, modes, latent]
        self.backgrounds = _unit(rng.standard_normal((2, BACKGROUNDS, LATENT_DIM)))
        self.projections = {
            name: (rng.standard_normal((LATENT_DIM, dim)) / np.sqrt(LATENT_DIM)).astype(np.float32)
            for name, dim in streams.items()
        }

    def videos(self, rng: np.random.Generator, split: str, count: int, segments: int) -> VideoSet:
        """Draw the labels of videos, then the features of their segments."""
        labels = [_draw_events(rng) for _ in range(count)]
        weak_labels = np.zeros((count, len(LLP_EVENTS)), dtype=np.float32)
        truth = np.zeros((count, segments, 2, len(LLP_EVENTS)), dtype=bool)
        latent = self._background(rng, count, segments)  # [N, T, M, latent]
        for video, events in enumerate(labels):
            weak_labels[video, events] = 1
            for event in events:
                timeline = _draw_timeline(rng, event, segments)  # [T, M]
                truth[video, :, :, event] = timeline
                mode = rng.integers(MODES, size=2)
                strength = rng.lognormal(0.0, 0.25, size=(segments, 2)) * rng.choice(
                    (1.0, 0.4), (segments, 2), p=(0.75, 0.25)
                )
                looks = self.modes[[0, 1], event, mode]  # [M, latent]
                latent[video] += (timeline * strength)[..., None] * looks
        found = {}
        for index, (modality, names) in enumerate(self.modalities.items()):
            for name in names:
                projection = self.projections[name]
                stream = rng.standard_normal((count, segments, projection.shape[1]), dtype=np.float32)
                stream *= self.noises[modality]
                for start in range(0, count, 512):  # in parts, as a stream of LLP's size takes 800 MB
                    part = slice(start, start + 512)
                    stream[part] += latent[part, :, index].astype(np.float32) @ projection
                found[name] = torch.from_numpy(stream).flatten(0, 1)  # [S, D]
        return VideoSet(
            names=tuple(f"synthetic_{split}_{video:06d}" for video in range(count)),
            lengths=torch.full((count,), segments),
            streams=found,
            weak_labels=torch.from_numpy(weak_labels),
            truth=torch.from_numpy(truth).flatten(0, 1),
        )

    def _background(self, rng: np.random.Generator, count: int, segments: int) -> npt.NDArray[np.float64]:
        """Draw two backgrounds for each video and modality, with a gradual transition from one to the other."""
        picks = rng.integers(BACKGROUNDS, size=(2, count, 2))
        first, second = (self.backgrounds[[0, 1], pick] for pick in picks)  # each [N, M, latent]
        blend = np.linspace(0, 1, segments)[:, None, None]
        return 0.6 * ((1 - blend) * first[:, None] + blend * second[:, None])


def _cut(videos: VideoSet, lengths: npt.NDArray[np.int64]) -> VideoSet:
    """Cut each video to its length: to its beginning, or to a later window if no event occurs at the beginning."""
    assert videos.truth is not None
    active = videos.padded(videos.truth).flatten(2).any(dim=2).numpy()  # [N, T]
    onsets = active.argmax(axis=1)
    starts = np.where(onsets < lengths, 0, np.minimum(onsets, active.shape[1] - lengths))
    steps = np.arange(active.shape[1])
    kept = torch.from_numpy((steps >= starts[:, None]) & (steps < (starts + lengths)[:, None])).flatten()
    truth = videos.truth[kept]
    cut = replace(
        videos,
        lengths=torch.from_numpy(lengths),
        streams={name: stream[kept] for name, stream in videos.streams.items()},
        truth=truth,
    )
    return replace(cut, weak_labels=cut.padded(truth).any(dim=1).any(dim=1).to(videos.weak_labels))


def _draw_events(rng: np.random.Generator) -> list[int]:
    """Draw the events of one video; nearly all videos of LLP with two events have Speech and another event."""
    count = 1 + int(rng.choice(3, p=LABELS_A_VIDEO))
    weights = np.array(EVENT_COUNTS, dtype=float)
    if count == 1:
        weights[0] *= 0.06
        return [int(rng.choice(len(weights), p=weights / weights.sum()))]
    with_speech = rng.random() < 0.83
    weights[0] = 0
    others = rng.choice(len(weights), count - with_speech, replace=False, p=weights / weights.sum())
    return [0] * with_speech + [int(event) for event in others]


def _draw_timeline(rng: np.random.Generator, event: int, segments: int) -> npt.NDArray[np.bool_]:
    """Draw when an event is heard and when it is seen, [T, 2]; it is active in at least one segment."""
    heard, seen = HEARD_ONLY[event] / 100, SEEN_ONLY[event] / 100
    kind = rng.choice(3, p=(heard, seen, 1 - heard - seen))
    timeline = np.zeros((segments, 2), dtype=bool)
    quantile = rng.random()  # an event that is heard for a long time is also seen for a long time
    if kind != 1:
        timeline[:, 0] = _draw_intervals(rng, _length(SECONDS_HEARD, quantile, segments), INTERVALS_HEARD, segments)
    if kind != 0:
        length = _length(SECONDS_SEEN, quantile, segments)
        if kind == 2 and rng.random() < SEEN_WHILE_HEARD:
            timeline[:, 1] = _grow(rng, timeline[:, 0], length)
        else:
            timeline[:, 1] = _draw_intervals(rng, length, INTERVALS_SEEN, segments)
    return timeline


def _grow(rng: np.random.Generator, active: npt.NDArray[np.bool_], length: int) -> npt.NDArray[np.bool_]:
    """Extend intervals at random edges until ``length`` segments are active."""
    grown = active.copy()
    while grown.sum() < length:
        before, after = np.append(False, grown[:-1]), np.append(grown[1:], False)
        grown[rng.choice(np.flatnonzero(~grown & (before | after)))] = True
    return grown


def _length(seconds: Sequence[int], quantile: float, segments: int) -> int:
    """Return for how many segments an event is active: a quantile of LLP's seconds, scaled to the video's length."""
    drawn = 1 + int(np.searchsorted(np.cumsum(seconds) / sum(seconds), quantile))
    return max(1, round(min(drawn, len(seconds)) * segments / LLP_SECONDS))


def _draw_intervals(
    rng: np.random.Generator, total: int, interval_counts: Sequence[int], segments: int
) -> npt.NDArray[np.bool_]:
    """Draw the activity of one modality, [T]: ``total`` segments, in as many intervals as LLP has, if they fit."""
    free = segments - total
    wanted = 1 + int(rng.choice(len(interval_counts), p=np.array(interval_counts) / sum(interval_counts)))
    number = min(wanted, total, free + 1)
    cuts = np.sort(rng.choice(total - 1, number - 1, replace=False)) + 1 if number > 1 else np.array([], dtype=int)
    lengths = np.diff(np.concatenate([[0], cuts, [total]]))
    # gaps have at least one segment between intervals; the others are spread at random before, between and after
    spare = np.bincount(rng.integers(number + 1, size=free - (number - 1)), minlength=number + 1)
    gaps = spare + np.array([0] + [1] * (number - 1) + [0])
    timeline = np.zeros(segments, dtype=bool)
    position = 0
    for gap, length in zip(gaps[:-1], lengths, strict=True):
        position += gap
        timeline[position : position + length] = True
        position += length
    return timeline


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    normalized: npt.NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return normalized
