"""Per-video scores against those of single videos, and the bootstrap against a slow loop and its laws."""

from __future__ import annotations

import math
import random
import statistics
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.metrics import score_timelines
from avvp_pl.reporting import statistics as module
from avvp_pl.reporting.statistics import (
    Interval,
    compare,
    paired_bootstrap,
    score_names,
    setting_scores,
    video_scores,
)
from avvp_pl.reporting.videos import TestVideos
from avvp_pl.runs.reading import Run, Setting
from tests.reporting.made import made_run

VIDEOS, SEGMENTS, EVENTS = 30, 6, 3


def timelines(seed: int, modalities: int = 2) -> Tensor:
    return torch.rand(VIDEOS, SEGMENTS, modalities, EVENTS, generator=torch.Generator().manual_seed(seed)) < 0.3


@pytest.fixture
def videos() -> TestVideos:
    mask = torch.ones(VIDEOS, SEGMENTS, dtype=torch.bool)
    mask[::3, 4:] = False  # videos of 4 segments among those of 6
    names = tuple(f"video{number}" for number in range(VIDEOS))
    return TestVideos(names, ("a", "b", "c"), ("audio", "visual"), timelines(99), mask, 1.0)


def test_columns_are_named_as_scores_are(videos: TestVideos) -> None:
    scores = score_timelines(videos.truth, videos.truth)
    assert list(score_names(("audio", "visual"))) == list(scores.flat())
    alone = score_timelines(videos.truth[:, :, :1], videos.truth[:, :, :1], modalities=("audio",))
    assert list(score_names(("audio",))) == list(alone.flat())


def test_each_row_is_the_scores_of_that_video_and_their_means_the_scores(videos: TestVideos) -> None:
    prediction = timelines(1)
    values = video_scores(prediction, videos)
    for number in range(VIDEOS):
        own = slice(number, number + 1)
        alone = score_timelines(prediction[own], videos.truth[own], videos.mask[own])
        assert values[number].tolist() == pytest.approx(list(alone.flat().values()), abs=1e-9)
    scores = score_timelines(prediction, videos.truth, videos.mask)
    assert values.mean(0).tolist() == pytest.approx(list(scores.flat().values()), abs=1e-9)


def test_one_modality_has_its_columns() -> None:
    truth = timelines(99, modalities=1)
    of_sound = TestVideos(("x",) * VIDEOS, ("a", "b", "c"), ("audio",), truth, torch.ones(VIDEOS, SEGMENTS).bool(), 1.0)
    values = video_scores(timelines(1, modalities=1), of_sound)
    scores = score_timelines(timelines(1, modalities=1), truth, modalities=("audio",))
    assert values.mean(0).tolist() == pytest.approx(list(scores.flat().values()), abs=1e-9)


# The bootstrap


def looped(values: list[float], resamples: int, level: float) -> tuple[float, float]:
    """The same in plain Python, by a draw of its own."""
    rng = random.Random(0)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(resamples))
    outside = (1 - level) / 2
    return means[round(outside * resamples)], means[round((1 - outside) * resamples) - 1]


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_intervals_are_those_of_a_slow_loop(level: float) -> None:
    rng = random.Random(5)
    values = [rng.choice((-8.0, 0.0, 0.0, 3.0, 50.0)) + rng.random() for _ in range(40)]
    low, high = paired_bootstrap(torch.tensor(values)[:, None], level=level)
    expected = looped(values, 10_000, level)
    spread = statistics.pstdev(values) / math.sqrt(40)  # of the mean; what 10,000 draws leave to chance is far less
    assert low.item() == pytest.approx(expected[0], abs=0.07 * spread)
    assert high.item() == pytest.approx(expected[1], abs=0.07 * spread)


def test_many_videos_give_the_normal_interval() -> None:
    values = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = paired_bootstrap(values, level=0.9)
    error = values.std().item() / math.sqrt(2000)
    assert low.item() == pytest.approx(values.mean().item() - 1.645 * error, abs=0.05 * error)
    assert high.item() == pytest.approx(values.mean().item() + 1.645 * error, abs=0.05 * error)


def test_it_covers_the_true_mean_as_often_as_it_says() -> None:
    """300 samples of 60 videos each: a 90 % interval holds the mean of what they were drawn from in about 270."""
    samples = torch.randn(60, 300, generator=torch.Generator().manual_seed(3)) + 2
    low, high = paired_bootstrap(samples, resamples=1000, level=0.9)
    covered = int(((low <= 2) & (high >= 2)).sum())
    assert 252 <= covered <= 284  # 3 standard deviations, and percentile intervals are a little short


def test_identical_systems_have_no_difference() -> None:
    low, high = paired_bootstrap(torch.zeros(20, 3))
    assert low.tolist() == high.tolist() == [0, 0, 0]
    assert paired_bootstrap(torch.full((20, 1), 7.0)) == Interval(pytest.approx(7), pytest.approx(7))  # type: ignore[arg-type]


def test_it_holds_the_mean_and_turns_with_the_order() -> None:
    difference = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    low, high = paired_bootstrap(difference)
    assert bool(((low < difference.mean(0)) & (difference.mean(0) < high)).all())
    other_low, other_high = paired_bootstrap(-difference)
    assert torch.allclose(other_low, -high)
    assert torch.allclose(other_high, -low)
    wider = paired_bootstrap(difference, level=0.99)
    assert bool(((wider.low < low) & (wider.high > high)).all())


def test_columns_share_the_draw_and_seeds_do_not() -> None:
    difference = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    together, alone = paired_bootstrap(difference), paired_bootstrap(difference[:, 1:])
    assert together.low[1] == pytest.approx(alone.low[0].item())
    assert paired_bootstrap(difference, seed=1).low[0] != together.low[0]


def test_memory_does_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    difference = torch.randn(37, 2, generator=torch.Generator().manual_seed(1))
    expected = paired_bootstrap(difference, resamples=1001)
    monkeypatch.setattr(module, "DRAWN_AT_ONCE", 37 * 10 + 5)
    assert torch.equal(torch.stack(paired_bootstrap(difference, resamples=1001)), torch.stack(expected))
    monkeypatch.setattr(module, "DRAWN_AT_ONCE", 1)
    assert torch.equal(torch.stack(paired_bootstrap(difference, resamples=1001)), torch.stack(expected))


def test_no_videos_are_refused() -> None:
    with pytest.raises(ValueError):
        paired_bootstrap(torch.zeros(0, 3))


# Settings against a baseline


def scored(folder: Path, name: str, predictions: list[Tensor], videos: TestVideos) -> tuple[Setting, list[Run]]:
    runs = [
        made_run(
            folder / name / f"{seed}",
            name=name,
            seed=seed,
            score=score_timelines(prediction, videos.truth, videos.mask).flat(),
        )
        for seed, prediction in enumerate(predictions)
    ]
    return Setting(name, tuple(runs)), runs


def test_settings_are_compared_over_their_seeds(tmp_path: Path, videos: TestVideos) -> None:
    made = {
        "mil": [timelines(1), timelines(2)],
        "ppl": [videos.truth, timelines(3)],
        "same": [timelines(2), timelines(1)],
    }
    settings = [scored(tmp_path, name, predictions, videos)[0] for name, predictions in made.items()]
    scores = {setting.label: setting_scores(setting, videos, made[setting.name]) for setting in settings}
    seeds = [video_scores(prediction, videos) for prediction in made["mil"]]
    assert torch.allclose(scores["mil"], (seeds[0] + seeds[1]) / 2, rtol=0, atol=1e-9)
    found = compare(scores, "mil", videos.modalities)
    assert list(found) == ["ppl", "same"]
    for name, difference in found["ppl"].items():
        assert difference.mean == pytest.approx(settings[1].mean[name] - settings[0].mean[name])
        assert difference.low < difference.mean < difference.high
    expected = paired_bootstrap(scores["ppl"] - scores["mil"])
    assert [cell.low for cell in found["ppl"].values()] == pytest.approx(expected.low.tolist())
    assert [cell.high for cell in found["ppl"].values()] == pytest.approx(expected.high.tolist())
    assert {bound for cell in found["same"].values() for bound in cell} == {0.0}
    assert compare({"mil": scores["mil"]}, "mil", videos.modalities) == {}


def test_predictions_that_do_not_have_the_runs_scores_are_refused(tmp_path: Path, videos: TestVideos) -> None:
    setting = scored(tmp_path, "mil", [timelines(1)], videos)[0]
    with pytest.raises(InputError, match=r"mil/0: segment/audio of the predictions is .* but .* in scores.json, so"):
        setting_scores(setting, videos, [timelines(2)])
