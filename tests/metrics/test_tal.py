"""The mAP of detections against a slow reference, numbers worked by hand, laws, two processes, and THUMOS14."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.multiprocessing import get_context

from avvp_pl.metrics import CollectedIntervals, Detections, Instances, LocalizationScores, TALMetric, score_detections
from avvp_pl.metrics.tal import BLOCK, THRESHOLDS, tiou
from tests.metrics.reference_tal import Found, Truth, reference

EVENTS, VIDEOS = 3, 3


def instances(truth: Sequence[Truth]) -> Instances:
    return Instances(
        torch.tensor([one.video for one in truth], dtype=torch.int64),
        torch.tensor([one.event for one in truth], dtype=torch.int64),
        torch.tensor([(one.start, one.end) for one in truth], dtype=torch.float64).reshape(-1, 2),
    )


def detections(found: Sequence[Found]) -> Detections:
    return Detections(*instances(found), torch.tensor([one.score for one in found], dtype=torch.float64))  # type: ignore[arg-type]


def scored(
    found: Sequence[Found], truth: Sequence[Truth], events: int = EVENTS, videos: int = VIDEOS
) -> LocalizationScores:
    return score_detections(detections(found), instances(truth), events, videos)


def at(scores: LocalizationScores) -> list[float]:
    return [scores.map[f"{threshold:g}"] for threshold in THRESHOLDS]


# Agreement with the reference. Bounds and scores are of a few values, so that ties of both are common


def bounds() -> st.SearchStrategy[tuple[float, float]]:
    """In tenths of a second, as annotations are: tIoUs of exactly a threshold occur."""
    return st.tuples(st.integers(0, 30), st.integers(1, 12)).map(lambda pair: (pair[0] / 10, (pair[0] + pair[1]) / 10))


TRUTHS = st.lists(
    st.builds(
        lambda v, c, b: Truth(v, c, b[0], b[1]), st.integers(0, VIDEOS - 1), st.integers(0, EVENTS - 1), bounds()
    ),
    max_size=14,
)
# one video more than is listed
FOUNDS = st.lists(
    st.builds(
        lambda v, c, b, s: Found(v, c, b[0], b[1], s / 4),
        st.integers(0, VIDEOS),
        st.integers(0, EVENTS - 1),
        bounds(),
        st.integers(-2, 6),
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(FOUNDS, TRUTHS)
def test_random_detections_agree_with_the_reference(found: list[Found], truth: list[Truth]) -> None:
    expected = reference(found, truth, list(THRESHOLDS))
    scores = scored(found, truth)
    assert at(scores) == pytest.approx(list(expected.values()), abs=1e-9)
    assert [value is None for value in scores.per_event["0.1"]] == [
        all(one.event != event for one in truth) for event in range(EVENTS)
    ]
    assert scores.with_predictions == len({one.video for one in found if one.video < VIDEOS})


def crowded(seed: int, count: int, truths: int) -> tuple[list[Found], list[Truth]]:
    """One event of one video, with many instances for every detection: the longest chains of displaced detections."""
    draw = torch.Generator().manual_seed(seed)
    starts = torch.rand(count + truths, generator=draw) * 4
    ends = starts + 1 + torch.rand(count + truths, generator=draw) * 3
    pairs = list(zip(starts.tolist(), ends.tolist(), strict=True))
    scores = torch.randint(0, count // 2, (count,), generator=draw).tolist()
    found = [Found(0, 0, *pair, score) for pair, score in zip(pairs[:count], scores, strict=True)]
    return found, [Truth(0, 0, *pair) for pair in pairs[count:]]


@pytest.mark.parametrize("seed", range(3))
def test_several_instances_for_every_detection(seed: int) -> None:
    found, truth = crowded(seed, 120, 60)
    assert at(scored(found, truth)) == pytest.approx(list(reference(found, truth, list(THRESHOLDS)).values()), abs=1e-9)


def test_more_detections_than_are_compared_at_once() -> None:
    """The second block is like the first one, at the end of the ranking, so all of it is too much."""
    found = [Found(0, 0, 0.0, 1.0, 1.0)] * BLOCK + [Found(0, 0, 5.0, 6.0, 0.5)] * 3
    truth = [Truth(0, 0, 0.0, 1.0), Truth(0, 0, 5.0, 6.0)]
    expected = 100 * (1 / 2 + 1 / 2 * 2 / (BLOCK + 1))
    assert at(scored(found, truth, 1, 1)) == pytest.approx([expected] * 7)


# Numbers worked by hand


def test_a_taken_instance_leaves_the_next_one() -> None:
    truth = [Truth(0, 0, 0, 10), Truth(0, 0, 10, 20)]
    found = [Found(0, 0, 0, 10, 0.9), Found(0, 0, 2, 14, 0.8)]  # the second: 8/14 taken, 4/18 free
    scores = scored(found, truth, 1, 1)
    assert at(scores) == [100, 100, 50, 50, 50, 50, 50]
    assert scores.map["average_0.1_0.5"] == pytest.approx(70)
    assert scores.map["average_0.3_0.7"] == 50
    assert scores.average == scores.map["average_0.1_0.7"] == pytest.approx(450 / 7)
    assert set(scores.flat()) == {f"map/{name}" for name in scores.map}


def test_a_better_detection_displaces_along_a_chain() -> None:
    """Each of three detections likes an instance best that a better one takes."""
    truth = [Truth(0, 0, 0, 10), Truth(0, 0, 4, 14), Truth(0, 0, 8, 18)]
    # the third detection overlaps the first instance best, then the second, then the third
    found = [Found(0, 0, 1, 11, 0.7), Found(0, 0, 0, 10, 0.9), Found(0, 0, 0.5, 10.5, 0.8)]
    assert at(scored(found, truth, 1, 1)) == pytest.approx(
        list(reference(found, truth, list(THRESHOLDS)).values()), abs=1e-9
    )
    assert at(scored(found, truth, 1, 1))[0] == 100


@pytest.mark.parametrize(("first", "expected"), [(True, 100), (False, 50)])
def test_equal_scores_keep_the_order_of_the_file(first: bool, expected: float) -> None:
    good, bad = Found(0, 0, 0, 1, 0.5), Found(0, 0, 5, 6, 0.5)
    assert at(scored([good, bad] if first else [bad, good], [Truth(0, 0, 0, 1)], 1, 1)) == [expected] * 7


def test_many_equal_scores_stay_in_order() -> None:
    """A sort that is not stable reorders them once there are more than sixteen."""
    found = [Found(0, 0, 0, 1, 0.5)] + [Found(0, 0, 5, 6, 0.5)] * 5000
    assert at(scored(found, [Truth(0, 0, 0, 1)], 1, 1)) == [100] * 7
    assert at(scored(found[::-1], [Truth(0, 0, 0, 1)], 1, 1)) == pytest.approx([100 / 5001] * 7)


def test_an_overlap_of_exactly_a_threshold_is_enough() -> None:
    """Of 3 in 10, which `3 * 0.1` would refuse."""
    truth = [Truth(0, 0, 0, 10)]
    for tenths in range(1, 8):
        hits = [score == 100 for score in at(scored([Found(0, 0, 0, tenths, 1.0)], truth, 1, 1))]
        assert hits == [tenths >= k for k in range(1, 8)]


def test_false_positives_and_what_does_not_count() -> None:
    truth = [Truth(0, 0, 0, 1), Truth(1, 1, 0, 1)]
    right = [Found(0, 0, 0, 1, 0.5), Found(1, 1, 0, 1, 0.5)]
    assert at(scored(right, truth)) == [100] * 7
    wrong = {
        "a duplicate": (Found(0, 0, 0, 1, 0.9), 100),  # the duplicate is then the one with the lower score
        "in a video without the event": (Found(1, 0, 0, 1, 0.9), 75),
        "in a video that is not listed": (Found(7, 0, 0, 1, 0.9), 75),
        "of an event without instances": (Found(0, 2, 0, 1, 0.9), 100),
        "elsewhere": (Found(0, 0, 5, 6, 0.9), 75),
        "elsewhere, with a lower score": (Found(0, 0, 5, 6, 0.1), 100),
    }
    for why, (one, expected) in wrong.items():
        assert at(scored([*right, one], truth)) == [expected] * 7, why


def test_nothing_found_and_nothing_true() -> None:
    nothing = scored([], [Truth(0, 0, 0, 1)])
    assert (at(nothing), nothing.with_predictions, nothing.listed) == ([0] * 7, 0, VIDEOS)
    assert nothing.per_event["0.5"] == [0, None, None]
    assert at(scored([Found(0, 0, 0, 1, 1.0)], [])) == [0] * 7
    # a true interval that became empty when it was rounded can be found by nothing
    assert at(scored([Found(0, 0, 0, 1, 1.0)], [Truth(0, 0, 1, 1)])) == [0] * 7


def test_float64_whatever_is_given() -> None:
    """In float32 the tIoU of these two is just below 0.7."""
    one, other = torch.tensor([[0.0, 10.0]], dtype=torch.float64), torch.tensor([[0.1, 7.1]], dtype=torch.float64)
    assert tiou(one, other).item() >= 0.7
    found = Detections(torch.zeros(1).long(), torch.zeros(1).long(), other, torch.ones(1))
    assert score_detections(found, Instances(*found[:2], one), 1, 1).map["0.7"] == 100
    assert tiou(one, torch.tensor([[20.0, 30.0]], dtype=torch.float64)).item() == 0
    # 10 + 1, 7 + 1, and 7 + 1 of both
    assert tiou(one, other, added=1.0).item() == pytest.approx(8 / 11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bounds": torch.tensor([[1.0, 1.0]])}, "a detection must end after its start"),
        ({"bounds": torch.tensor([[2.0, 1.0]])}, "a detection must end after its start"),
        ({"bounds": torch.tensor([[0.0, torch.nan]])}, "bounds and scores must be finite"),
        ({"bounds": torch.tensor([[0.0, torch.inf]])}, "bounds and scores must be finite"),
        ({"scores": torch.tensor([torch.nan])}, "bounds and scores must be finite"),
        ({"events": torch.tensor([1])}, "the events of the detections must be numbers from 0 to 0"),
        ({"events": torch.tensor([-1])}, "the events of the detections must be numbers from 0 to 0"),
        ({"videos": torch.tensor([-1])}, "the videos of the detections must be numbers from 0"),
        ({"videos": torch.tensor([0, 0])}, "the columns of the detections have the shapes"),
    ],
)
@pytest.mark.usefixtures("_unchecked_signatures")
def test_wrong_detections(change: dict[str, Tensor], message: str) -> None:
    good = detections([Found(0, 0, 0, 1, 1.0)])
    with pytest.raises(ValueError, match=message):
        score_detections(good._replace(**change), instances([Truth(0, 0, 0, 1)]), 1, 1)


@pytest.mark.parametrize("thresholds", [(), (0.5, 0.3), (0.0, 0.5), (0.5, 0.5), (0.5, 1.5)])
def test_wrong_truth_and_thresholds(thresholds: tuple[float, ...]) -> None:
    found, truth = detections([Found(0, 0, 0, 1, 1.0)]), instances([Truth(0, 0, 0, 1)])
    with pytest.raises(ValueError, match="they must rise, above 0 and up to 1"):
        score_detections(found, truth, 1, 1, thresholds)
    with pytest.raises(ValueError, match="an instance is in video 0, but 0 videos are listed"):
        score_detections(found, truth, 1, 0)
    with pytest.raises(ValueError, match="an instance must not end before its start"):
        score_detections(found, instances([Truth(0, 0, 2, 1)]), 1, 1)


def test_other_thresholds_have_the_averages_that_they_allow() -> None:
    found, truth = detections([Found(0, 0, 0, 1, 1.0)]), instances([Truth(0, 0, 0, 1)])
    assert set(score_detections(found, truth, 1, 1, (0.5, 0.75, 0.95)).map) == {"0.5", "0.75", "0.95"}


# Laws


@settings(max_examples=60, deadline=None)
@given(FOUNDS, TRUTHS, st.randoms(use_true_random=False))
def test_the_order_of_the_truth_and_a_rising_change_of_scores_do_not_matter(
    found: list[Found], truth: list[Truth], random: Any
) -> None:
    distinct = list({(one.video, one.event, one.start, one.end): one for one in truth}.values())
    by_score = sorted(found, key=lambda one: -one.score)
    cubed = [one._replace(score=one.score**3 + 5) for one in by_score]
    assert at(scored(by_score, distinct)) == at(scored(cubed, distinct))
    # shifting everything by the same time changes no tIoU, except for rounding: whole seconds have none
    whole = [one._replace(start=round(10 * one.start), end=round(10 * one.end)) for one in found]
    true = [one._replace(start=round(10 * one.start), end=round(10 * one.end)) for one in truth]
    later = [one._replace(start=one.start + 1000, end=one.end + 1000) for one in whole]
    true_later = [one._replace(start=one.start + 1000, end=one.end + 1000) for one in true]
    assert at(scored(whole, true)) == at(scored(later, true_later))


@settings(max_examples=60, deadline=None)
@given(FOUNDS, TRUTHS, st.lists(st.integers(0, VIDEOS), max_size=3), st.permutations(range(VIDEOS)))
def test_batches_and_the_order_of_videos_do_not_matter(
    found: list[Found], truth: list[Truth], cuts: list[int], order: list[int]
) -> None:
    listed = sorted((one for one in found if one.video < VIDEOS), key=lambda one: one.video)
    metric = TALMetric(EVENTS)
    edges = sorted(cuts)
    for start, end in zip([0, *edges], [*edges, VIDEOS], strict=True):
        videos = order[start:end]
        metric.update(
            detections([one for video in videos for one in listed if one.video == video]),
            instances([one for video in videos for one in truth if one.video == video]),
            torch.tensor(videos, dtype=torch.int64),
        )
    scores = metric.compute()
    expected = scored(listed, sorted(truth, key=lambda one: one.video))
    assert scores == expected


def test_a_metric_without_videos_and_one_that_is_given_what_does_not_fit() -> None:
    metric = TALMetric(2)
    assert metric.compute().flat() == dict.fromkeys(scored([], [Truth(0, 0, 0, 1)]).flat(), 0.0)
    with pytest.raises(ValueError, match="some detections are in videos that are not among those given"):
        metric.update(detections([Found(0, 0, 0, 1, 1.0)]), instances([]), torch.tensor([1]))
    with pytest.raises(ValueError, match="some instances are in videos that are not among those given"):
        metric.update(detections([]), instances([Truth(0, 0, 0, 1)]), torch.tensor([1]))
    assert metric.compute().listed == 0
    with pytest.raises(ValueError, match="num_events is 0; it must be 1 or more"):
        TALMetric(0)


# Two processes

SPLITS = (1, 3)
"""How many of the three videos the first process has; the second one has the others, or none and so no update."""


def scores_of_own_share(
    rank: int, rendezvous: Path, found: list[Found], truth: list[Truth]
) -> list[LocalizationScores]:
    """What each process runs: add its videos and compute with the other one, for every split."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2, timeout=timedelta(minutes=1)
    )
    computed = []
    for split in SPLITS:
        metric = TALMetric(EVENTS)
        for video in range(split) if rank == 0 else range(split, VIDEOS):
            metric.update(
                detections([one for one in found if one.video == video]),
                instances([one for one in truth if one.video == video]),
                torch.tensor([video]),
            )
        computed.append(metric.compute())
    torch.distributed.destroy_process_group()
    return computed


def test_two_processes_compute_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    monkeypatch.syspath_prepend(pytestconfig.rootpath)  # where the processes import this module from
    found, truth = crowded(0, 60, 30)
    found = [one._replace(video=number % VIDEOS) for number, one in enumerate(found)]
    truth = [one._replace(video=number % VIDEOS) for number, one in enumerate(truth)]
    expected = scored(sorted(found, key=lambda one: one.video), sorted(truth, key=lambda one: one.video))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(scores_of_own_share, rank, tmp_path / "rendezvous", found, truth) for rank in range(2)]
        for future in futures:
            assert future.result() == [expected] * len(SPLITS)


# THUMOS14

SECONDS = 0.64  # of a segment


@pytest.fixture
def thumos(shared: Path) -> list[tuple[str, str, float, float]]:
    """The instances of the 210 test videos: video, event, start and end, in the order of the file."""
    database = json.loads((shared / "thumos14" / "gt.json").read_text())["database"]
    return [
        (video, one["label"], *map(float, one["segment"]))
        for video, entry in database.items()
        if entry["subset"] == "test"
        for one in entry["annotations"]
    ]


def of_rows(
    rows: Sequence[tuple[str, str, float, float]], thumos: Sequence[tuple[str, str, float, float]]
) -> list[Truth]:
    videos = {name: number for number, name in enumerate(sorted({row[0] for row in thumos}))}
    events = {name: number for number, name in enumerate(sorted({row[1] for row in thumos}))}
    return [Truth(videos[video], events[event], start, end) for video, event, start, end in rows]


def fixture_of(kind: str, thumos: Sequence[tuple[str, str, float, float]], shared: Path) -> list[Any]:
    if kind == "the instances":
        return list(thumos)
    if kind == "first 55 %":
        return [(video, event, start, start + 0.55 * (end - start)) for video, event, start, end in thumos]
    if kind == "rounded":
        rounded = [(v, c, round(s / SECONDS) * SECONDS, round(e / SECONDS) * SECONDS) for v, c, s, e in thumos]
        return [row for row in rounded if row[3] > row[2]]
    with (shared / "thumos14" / "videos.csv").open(newline="") as file:
        durations = {row["video"]: float(row["duration"]) for row in csv.DictReader(file)}
    labels: dict[str, set[str]] = {}
    for video, event, *_ in thumos:
        labels.setdefault(video, set()).add(event)
    return [(video, event, 0.0, durations[video]) for video, of in labels.items() for event in sorted(of)]


@pytest.mark.parametrize(
    ("kind", "count", "expected"),
    [
        ("the instances", 3311, [100, 100, 100, 100, 100, 100, 100, 100]),
        ("first 55 %", 3311, [100, 100, 100, 100, 100, 0, 0, 71.43]),
        ("rounded", 3295, [99.47, 99.47, 99.47, 99.22, 97.84, 95.47, 88.99, 97.13]),
        ("whole videos", 245, [1.43, 0.35, 0.17, 0.12, 0.12, 0.08, 0.08, 0.34]),
    ],
)
def test_detections_made_of_the_truth_of_thumos(
    shared: Path, thumos: list[tuple[str, str, float, float]], kind: str, count: int, expected: list[float]
) -> None:
    rows = of_rows(fixture_of(kind, thumos, shared), thumos)
    assert len(rows) == count
    found = [Found(*row, round(1 - number / count, 6)) for number, row in enumerate(rows)]
    scores = scored(found, of_rows(thumos, thumos), 20, 210)
    assert [round(value, 2) for value in [*at(scores), scores.average]] == expected


def test_thirty_thousand_detections_take_less_than_a_second(shared: Path, thumos: Any) -> None:
    results = json.loads((shared / "thumos14" / "detections_real.json").read_text())["results"]
    listed = {row[0] for row in thumos}
    rows = [(video, one["label"], *one["segment"]) for video, of in results.items() if video in listed for one in of]
    scores = [one["score"] for video, of in results.items() if video in listed for one in of]
    found = [Found(*row, score) for row, score in zip(of_rows(rows, thumos), scores, strict=True)]
    given = detections(found), instances(of_rows(thumos, thumos)), 20, 210
    assert len(found) > 30_000
    seconds = []
    for _ in range(3):
        start = time.process_time()  # of this process, as if the machine were idle; torch has one thread in tests
        result = score_detections(*given)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1
    assert [round(value, 2) for value in at(result)] == [69.68, 63.74, 54.63, 44.89, 34.10, 23.39, 12.47]


def test_what_is_collected_keeps_its_shape_whatever_there_is_of_it() -> None:
    """Also where there is one detection in one video, and then nothing at all."""
    metric, one = CollectedIntervals(2), torch.tensor([0])
    bounds = torch.tensor([[0.0, 1.0]])
    metric.update(Detections(one, one, bounds, torch.tensor([0.5])), Instances(one, one + 1, bounds), one)
    found = metric.collected()
    assert found.videos.tolist() == [0]
    assert [column.tolist() for column in found.detections] == [[0], [0], [[0, 1]], [0.5]]
    assert [column.tolist() for column in found.instances] == [[0], [1], [[0, 1]]]
    assert [tuple(column.shape) for column in metric.collected().detections] == [(0,), (0,), (0, 2), (0,)]
