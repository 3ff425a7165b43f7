"""How sure a difference between two systems is, by the test videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.metrics.avvp import LEVELS, track_names, video_f1
from avvp_pl.reporting.videos import TestVideos
from avvp_pl.runs.reading import Setting

CONFIDENCE = 0.95
DRAWN_AT_ONCE = 1 << 20  # videos, so that memory does not grow with the number of resamples


class Interval(NamedTuple):
    """Bounds of the columns, each [S]."""

    low: Float[Tensor, " S"]
    high: Float[Tensor, " S"]


class Difference(NamedTuple):
    """A score of a setting less that of the baseline, in points, and the bounds of its interval."""

    mean: float
    low: float
    high: float


Differences = Mapping[str, Mapping[str, Difference]]
"""By the label of a setting and the name of a score; the baseline is not among them."""


def score_names(modalities: Sequence[str]) -> tuple[str, ...]:
    """The names of the scores in the order of the columns here: ``segment/audio``, ..., ``average``."""
    names = (*track_names(modalities), "type_av", "event_av")
    return (*(f"{level}/{name}" for level in LEVELS for name in names), "average")


def video_scores(prediction: Bool[Tensor, "N T M C"], videos: TestVideos) -> Float[Tensor, "N S"]:
    """Every score of every video by itself, in percent; columns are :func:`score_names`.

    All of them are linear in the F1 of a video, so their means over the videos are the scores of ``scores.json``.
    """
    f1 = 100 * video_f1(prediction, videos.truth, videos.mask, videos.modalities)  # [N, levels, K + 1]
    tracks, event_av = f1[..., :-1], f1[..., -1:]
    scores = torch.cat([tracks, tracks.mean(2, keepdim=True), event_av], dim=2).flatten(1)
    return torch.cat([scores, scores.mean(1, keepdim=True)], dim=1)


def setting_scores(
    setting: Setting, videos: TestVideos, predictions: Iterable[Bool[Tensor, "N T M C"]]
) -> Float[Tensor, "N S"]:
    """Mean of the :func:`video_scores` of what a setting's runs found, of which one need be in memory at a time.

    Raises :class:`InputError` where these are not the scores of the runs' ``scores.json``: the truth was another one
    then, or the predictions were changed since.
    """
    total = torch.stack([video_scores(prediction, videos) for prediction in predictions]).mean(0)
    _check_scores(setting, dict(zip(score_names(videos.modalities), total.mean(0).tolist(), strict=True)))
    return total


def paired_bootstrap(
    difference: Float[Tensor, "N S"], resamples: int = 10_000, seed: int = 0, level: float = CONFIDENCE
) -> Interval:
    """Percentile interval of the mean of each column over N videos that are drawn anew, with replacement.

    Rows are differences of two systems on the same video (hence *paired*), which the columns share, as they share
    the draw. The interval says what other test videos of the same kind might have given for these very networks; of
    what other seeds might have given it says nothing, which the standard deviation over seeds does.
    """
    number = len(difference)
    if number == 0:
        raise ValueError("an interval over no videos")
    values = difference.double().numpy()
    random = np.random.default_rng(seed)
    rows = max(1, DRAWN_AT_ONCE // number)
    means = [
        _times_drawn(random.integers(number, size=(min(rows, resamples - start), number))) @ values / number
        for start in range(0, resamples, rows)
    ]
    bounds = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Interval(*torch.from_numpy(bounds).unbind(0))


def compare(scores: Mapping[str, Float[Tensor, "N S"]], baseline: str, modalities: Sequence[str]) -> Differences:
    """The difference of every other setting to the ``baseline``, with its interval, by :func:`setting_scores`."""
    others = [label for label in scores if label != baseline]
    if not others:
        return {}
    differences = torch.stack([scores[label] - scores[baseline] for label in others], dim=1)  # [N, settings, S]
    bounds = paired_bootstrap(differences.flatten(1))  # all of them by the same draw
    table = torch.stack([differences.mean(0), *(bound.reshape(len(others), -1) for bound in bounds)], dim=2)
    return {
        label: {name: Difference(*cells) for name, cells in zip(score_names(modalities), rows, strict=True)}
        for label, rows in zip(others, table.tolist(), strict=True)
    }


def _times_drawn(drawn: np.ndarray) -> np.ndarray:
    """How often each of N videos is in each resample: [R, N] numbers of videos -> [R, N] counts."""
    resamples, number = drawn.shape
    flat = (drawn + number * np.arange(resamples)[:, None]).ravel()
    return np.bincount(flat, minlength=drawn.size).reshape(resamples, number).astype(np.float64)


def _check_scores(setting: Setting, scores: Mapping[str, float]) -> None:
    folders = ", ".join(str(run.folder) for run in setting.runs)
    if setting.mean.keys() != scores.keys():
        raise InputError(f"{folders}: scores of other modalities than the data has (give data=...)")
    for name, score in scores.items():
        if abs(score - setting.mean[name]) > 1e-4:
            raise InputError(
                f"{folders}: the predictions have {name} {score:.4f} on the test videos, scores.json says "
                f"{setting.mean[name]:.4f}; either was changed since: evaluate anew, or give the run's own data=..."
            )
