"""Confidence intervals of the differences between settings, by resampling the test videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.metrics.avvp import LEVELS, track_names, video_f1
from avvp_pl.reporting.videos import TestVideos
from avvp_pl.runs.names import SCORES
from avvp_pl.runs.reading import Setting

CONFIDENCE = 0.95
DRAWN_AT_ONCE = 1 << 20  # videos; a limit, so that memory does not grow with the number of resamples


class Interval(NamedTuple):
    """The bounds of each column."""

    low: Float[Tensor, " S"]
    high: Float[Tensor, " S"]


class Difference(NamedTuple):
    """A score of a setting minus that of the baseline, in points, and the bounds of its interval."""

    mean: float
    low: float
    high: float


Differences = Mapping[str, Mapping[str, Difference]]
"""Differences by the label of a setting and the name of a score; the baseline has none."""


def score_names(modalities: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the scores in the order of the columns in this file: ``segment/audio``, ..., ``average``."""
    names = (*track_names(modalities), "type_av", "event_av")
    return (*(f"{level}/{name}" for level in LEVELS for name in names), "average")


def video_scores(prediction: Bool[Tensor, "N T M C"], videos: TestVideos) -> Float[Tensor, "N S"]:
    """Compute every score of every video alone, in percent; the columns are :func:`score_names`.

    All scores are linear in the F1 of a video, so their means over the videos are the scores in ``scores.json``.
    """
    f1 = 100 * video_f1(prediction, videos.truth, videos.mask, videos.modalities)  # [N, levels, K + 1]
    tracks, event_av = f1[..., :-1], f1[..., -1:]
    scores = torch.cat([tracks, tracks.mean(2, keepdim=True), event_av], dim=2).flatten(1)
    return torch.cat([scores, scores.mean(1, keepdim=True)], dim=1)


def setting_scores(
    setting: Setting, videos: TestVideos, predictions: Iterable[Bool[Tensor, "N T M C"]]
) -> Float[Tensor, "N S"]:
    """Average the :func:`video_scores` of a setting's runs; only one run's predictions need be in memory at a time.

    Raises :class:`InputError` where the result differs from the runs' ``scores.json``: the truth was another one when
    they were tested, or the predictions have changed since.
    """
    total = torch.stack([video_scores(prediction, videos) for prediction in predictions]).mean(0)
    check_scores(setting, dict(zip(score_names(videos.modalities), total.mean(0).tolist(), strict=True)))
    return total


def paired_bootstrap(
    difference: Float[Tensor, "N S"], resamples: int = 10_000, seed: int = 0, level: float = CONFIDENCE
) -> Interval:
    """Compute the percentile interval of the mean of each column over N videos, resampled with replacement.

    Each row has the differences between two systems on the same video (hence *paired*). All columns use the same
    resamples. The interval says how much the result depends on the choice of the test videos, for these very networks.
    It says nothing about other seeds; the standard deviation over seeds does.
    """
    number = len(difference)
    if number == 0:
        raise ValueError("an interval needs at least one video")
    values = difference.double().numpy()
    random = np.random.default_rng(seed)
    rows = max(1, DRAWN_AT_ONCE // number)
    means = [
        times_drawn(random.integers(number, size=(min(rows, resamples - start), number))) @ values / number
        for start in range(0, resamples, rows)
    ]
    return percentiles(np.concatenate(means), level)


def percentiles(resampled: npt.NDArray[np.float64], level: float = CONFIDENCE) -> Interval:
    """Return the interval of each column of a table that has a row for every resample."""
    bounds = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Interval(*torch.from_numpy(bounds).unbind(0))


def compare(scores: Mapping[str, Float[Tensor, "N S"]], baseline: str, modalities: Sequence[str]) -> Differences:
    """Return the difference of every other setting to the ``baseline``, with its interval.

    ``scores`` are those of :func:`setting_scores`, by the label of the setting.
    """
    others = [label for label in scores if label != baseline]
    if not others:
        return {}
    differences = torch.stack([scores[label] - scores[baseline] for label in others], dim=1)  # [N, settings, S]
    bounds = paired_bootstrap(differences.flatten(1))  # all settings use the same resamples
    table = torch.stack([differences.mean(0), *(bound.reshape(len(others), -1) for bound in bounds)], dim=2)
    return {
        label: {name: Difference(*cells) for name, cells in zip(score_names(modalities), rows, strict=True)}
        for label, rows in zip(others, table.tolist(), strict=True)
    }


def times_drawn(drawn: np.ndarray) -> np.ndarray:
    """Count how often each of N videos is in each of R resamples, which are given as numbers of videos, [R, N]."""
    resamples, number = drawn.shape
    flat = (drawn + number * np.arange(resamples)[:, None]).ravel()
    return np.bincount(flat, minlength=drawn.size).reshape(resamples, number).astype(np.float64)


def check_scores(setting: Setting, scores: Mapping[str, float]) -> None:
    """Raise :class:`InputError` where scores of the predictions are not those of the runs."""
    folders = ", ".join(str(run.folder) for run in setting.runs)
    if setting.mean.keys() != scores.keys():
        raise InputError(f"{folders}: the scores are of other modalities than the data has; give data=...")
    for name, score in scores.items():
        if abs(score - setting.mean[name]) > 1e-4:
            raise InputError(
                f"{folders}: {name} of the predictions is {score:.4f} on the test videos, but "
                f"{setting.mean[name]:.4f} in {SCORES}, so one of them has changed since; evaluate again, or "
                "give the data of the run: data=..."
            )
