"""The scores against a slow reference, numbers worked by hand, laws, two processes and the LLP test split."""

import csv
import random
import re
from collections.abc import Callable, Sequence
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

from avvp_pl.metrics import AVVPMetric, ParsingScores, score_timelines, video_f1
from avvp_pl.metrics.avvp import exclusive, with_exclusive
from tests.metrics.reference_avvp import LEVELS, SCORES, Timelines, reference

TOLERANCE = 1e-9
MODALITIES = ("audio", "visual")


def empty(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.bool)


def close(actual: float | None, expected: float | None) -> bool:
    if actual is None or expected is None:
        return actual is expected
    return abs(actual - expected) <= TOLERANCE


def assert_equals_reference(actual: ParsingScores, prediction: Timelines, truth: Timelines) -> None:
    for level, scores in zip(LEVELS, (actual.segment, actual.event), strict=True):
        expected = reference(prediction, truth, level)
        assert scores.keys() == expected.scores.keys()
        for name, score in scores.items():
            assert close(score, expected.scores[name]), (level, name, prediction, truth)
        assert actual.per_event[level].keys() == expected.per_event.keys()
        for track, of_events in actual.per_event[level].items():
            pairs = zip(of_events, expected.per_event[track], strict=True)
            assert all(close(*pair) for pair in pairs), (level, track, prediction, truth)


def assert_same(actual: ParsingScores, expected: ParsingScores) -> None:
    assert actual.flat() == pytest.approx(expected.flat(), rel=0, abs=TOLERANCE)
    assert actual.per_event == expected.per_event
    assert actual.listed == expected.listed
    assert actual.with_predictions == expected.with_predictions


# Agreement with the reference


def random_line(rng: random.Random, segments: int, density: float) -> list[bool]:
    """One event over time, either each segment by itself or in runs of up to five segments."""
    longest = rng.choice((1, 5))
    line: list[bool] = []
    while len(line) < segments:
        line += [rng.random() < density] * rng.randint(1, longest)
    return line[:segments]


def predicted_line(rng: random.Random, true: list[bool], density: float) -> list[bool]:
    """The truth, the truth one segment late, the truth with one segment flipped, or something unrelated."""
    kind = rng.choice(("same", "late", "flipped", "unrelated", "unrelated"))
    if kind == "unrelated":
        return random_line(rng, len(true), density)
    if kind == "late":
        return [False, *true[:-1]]
    line = list(true)
    if kind == "flipped":
        where = rng.randrange(len(line))
        line[where] = not line[where]
    return line


def random_videos(rng: random.Random, videos: int, segments: int, events: int) -> tuple[Timelines, Timelines]:
    """Prediction and truth; those of each video are somewhere between empty and full."""
    densities = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    prediction, truth = (
        [[[[False] * events for _ in MODALITIES] for _ in range(segments)] for _ in range(videos)] for _ in range(2)
    )
    for video in range(videos):
        density_predicted, density_true = rng.choice(densities), rng.choice(densities)
        for modality in range(len(MODALITIES)):
            for event in range(events):
                true = random_line(rng, segments, density_true)
                predicted = predicted_line(rng, true, density_predicted)
                for segment in range(segments):
                    prediction[video][segment][modality][event] = predicted[segment]
                    truth[video][segment][modality][event] = true[segment]
    return prediction, truth


@pytest.mark.parametrize("segments", range(1, 13))
def test_random_videos_agree_with_the_reference(segments: int) -> None:
    rng = random.Random(segments)
    for _ in range(60):
        prediction, truth = random_videos(rng, rng.randint(1, 8), segments, rng.randint(1, 6))
        scores = score_timelines(torch.tensor(prediction), torch.tensor(truth))
        assert_equals_reference(scores, prediction, truth)


@pytest.mark.parametrize(("videos", "segments"), [(1, 1), (1, 10), (3, 1), (3, 10)])
@pytest.mark.parametrize("predicted", ["nothing", "everything", "something"])
@pytest.mark.parametrize("true", ["nothing", "everything", "something"])
def test_degenerate_videos_agree_with_the_reference(videos: int, segments: int, predicted: str, true: str) -> None:
    some, others = random_videos(random.Random(0), videos, segments, events=4)
    nothing = empty(videos, segments, 2, 4)
    prediction = {"nothing": nothing, "everything": ~nothing, "something": torch.tensor(some)}[predicted]
    truth = {"nothing": nothing, "everything": ~nothing, "something": torch.tensor(others)}[true]
    assert_equals_reference(score_timelines(prediction, truth), prediction.tolist(), truth.tolist())


def only(timelines: Timelines) -> Timelines:
    """What is in one modality and not in the other, one segment and event at a time."""
    return [
        [
            [
                [heard and not seen for heard, seen in zip(audio, visual, strict=True)],
                [seen and not heard for heard, seen in zip(audio, visual, strict=True)],
            ]
            for audio, visual in video
        ]
        for video in timelines
    ]


@pytest.mark.parametrize("segments", [1, 4, 10])
def test_scores_of_what_is_in_one_modality_only(segments: int) -> None:
    rng = random.Random(segments)
    for _ in range(20):
        prediction, truth = random_videos(rng, rng.randint(1, 6), segments, rng.randint(1, 4))
        predicted, true = torch.tensor(prediction), torch.tensor(truth)
        alone = score_timelines(exclusive(predicted), exclusive(true))
        found = with_exclusive(score_timelines(predicted, true), alone, MODALITIES)
        expected: list[float] = []
        for level, scores in zip(LEVELS, (found.segment, found.event), strict=True):
            usual, of_only = (
                reference(*pair, level).scores for pair in ((prediction, truth), (only(prediction), only(truth)))
            )
            three = {"audio": of_only["audio"], "visual": of_only["visual"], "audio_visual": usual["audio_visual"]}
            wanted = {**three, "type_av": sum(three.values()) / 3, "event_av": of_only["event_av"]}
            assert scores == pytest.approx(wanted, abs=TOLERANCE)
            expected += wanted.values()
        assert found.average == pytest.approx(sum(expected) / 10)


def test_what_is_in_one_modality_only_with_one_and_three_of_them() -> None:
    assert exclusive(torch.tensor([[[[True, False]]]])).tolist() == [[[[True, False]]]]
    three = torch.tensor([[[[True, True, True, False], [False, True, True, False], [False, False, True, True]]]])
    assert exclusive(three)[0, 0].tolist() == [
        [True, False, False, False],
        [False, False, False, False],
        [False, False, False, True],
    ]
    alone = score_timelines(exclusive(three), exclusive(three), modalities=("a", "b", "c"))
    usual = score_timelines(three, three, modalities=("a", "b", "c"))
    assert with_exclusive(usual, alone, ("a", "b", "c")).average == 100


# Numbers worked by hand


def drawn(audio: str, visual: str) -> Tensor:
    """One video with one event, [1, T, 2, 1], drawn with # where it is active and . where it is not."""
    rows = [[character == "#" for character in row] for row in (audio, visual)]
    return torch.tensor(rows).T[None, ..., None]


@pytest.mark.parametrize(
    ("predicted", "true", "segment", "event"),
    [
        # IoU 2/4 is a match.                  segments: TP 2, FN 2        runs: TP 1
        ("##..", "####", 100 * 4 / 6, 100),
        # IoU 2/5 is none.                     segments: TP 2, FN 3        runs: FP 1, FN 1
        ("##...", "#####", 100 * 4 / 7, 0),
        # One segment late, IoU 2/4.           segments: TP 2, FP 1, FN 1  runs: TP 1
        (".###", "###.", 100 * 4 / 6, 100),
        # One segment late, IoU 1/3.           segments: TP 1, FP 1, FN 1  runs: FP 1, FN 1
        (".##", "##.", 100 * 2 / 4, 0),
        # A true run broken in two: IoU 2/4 and 1/4. The true run has a match.
        #                                      segments: TP 3, FN 1        runs: TP 1, FP 1
        ("##.#", "####", 100 * 6 / 7, 100 * 2 / 3),
        # Two true runs bridged, IoU 1/3 each. segments: TP 2, FP 1        runs: FP 1, FN 2
        ("###", "#.#", 100 * 4 / 5, 0),
        # Two true runs bridged, IoU 3/5, 1/5. segments: TP 4, FP 1        runs: TP 1, FN 1
        ("#####", "###.#", 100 * 8 / 9, 100 * 2 / 3),
        # Nothing to find and nothing found is perfect; one false alarm costs everything.
        ("....", "....", 100, 100),
        ("#...", "....", 0, 0),
    ],
)
def test_segments_and_runs_of_one_event(predicted: str, true: str, segment: float, event: float) -> None:
    silence = "." * len(true)
    for prediction, truth, track in (
        (drawn(predicted, silence), drawn(true, silence), "audio"),
        (drawn(silence, predicted), drawn(silence, true), "visual"),
        (drawn(predicted, predicted), drawn(true, true), "audio_visual"),
    ):
        scores = score_timelines(prediction, truth)
        assert scores.segment[track] == pytest.approx(segment)
        assert scores.event[track] == pytest.approx(event)


def test_event_av_pools_counts_before_f() -> None:
    # audio: one segment, found (TP 1, F 1); visual: three segments found that are not there (FP 3, F 0)
    scores = score_timelines(drawn(audio="#...", visual="###."), drawn(audio="#...", visual="...."))
    assert (scores.segment["audio"], scores.segment["visual"]) == (100, 0)
    # both together TP 1, FP 3: 2 / (2 + 3), not the mean of 100 and 0
    assert scores.segment["event_av"] == pytest.approx(40)
    # and one run right, one wrong: 2 / (2 + 1)
    assert scores.event["event_av"] == pytest.approx(100 * 2 / 3)


def test_audio_visual_is_where_both_are() -> None:
    # both tracks together: predicted .##.., true .#...: TP 1, FP 1 -> 2 / 3 and IoU 1/2, a match
    scores = score_timelines(drawn(audio="###..", visual=".####"), drawn(audio="##...", visual=".####"))
    assert scores.segment["audio_visual"] == pytest.approx(100 * 2 / 3)
    assert scores.event["audio_visual"] == 100
    # audio: TP 2, FP 1 -> 4 / 5; visual all right; the mean of 80, 100 and 66.67
    assert scores.segment["type_av"] == pytest.approx((80 + 100 + 100 * 2 / 3) / 3)
    # heard and seen but never at once, neither in the truth nor in the prediction: nothing to find
    apart = score_timelines(drawn(audio="##..", visual="..##"), drawn(audio="#...", visual="...#"))
    assert apart.segment["audio_visual"] == 100
    assert apart.per_event["segment"]["audio_visual"] == [None]


def test_events_without_prediction_and_truth_do_not_count() -> None:
    # event 0 found, event 1 missed, event 2 never there: the mean of 1 and 0
    there, silent = drawn(audio="##..", visual="...."), drawn(audio="....", visual="....")
    scores = score_timelines(torch.cat([there, silent, silent], 3), torch.cat([there, there, silent], 3))
    assert scores.segment["audio"] == scores.event["audio"] == 50
    assert scores.per_event["segment"]["audio"] == [100, 0, None]
    assert scores.per_event["event"]["visual"] == [None, None, None]


def test_videos_are_averaged_and_per_event_pools_them() -> None:
    # video 0: TP 1, F 1; video 1: TP 1, FN 3, F 2/5, and IoU 1/4 is no match
    prediction = torch.cat([drawn(audio="#...", visual="....")] * 2)
    truth = torch.cat([drawn(audio="#...", visual="...."), drawn(audio="####", visual="....")])
    scores = score_timelines(prediction, truth)
    assert scores.segment["audio"] == pytest.approx((100 + 40) / 2)
    assert scores.event["audio"] == pytest.approx((100 + 0) / 2)
    # all videos together: TP 2, FN 3 -> 4 / 7; runs: TP 1, FP 1, FN 1 -> 2 / 4
    assert scores.per_event["segment"]["audio"] == pytest.approx([100 * 4 / 7])
    assert scores.per_event["event"]["audio"] == pytest.approx([50])


def test_masked_segments_end_the_video() -> None:
    # the last two segments do not exist: predicted ##, true ##
    mask = torch.tensor([[True, True, False, False]])
    prediction, truth = drawn(audio="####", visual="..##"), drawn(audio="##.#", visual="....")
    assert set(score_timelines(prediction, truth, mask).flat().values()) == {100}


def test_names_and_average_of_the_scores() -> None:
    scores = score_timelines(drawn(audio="##", visual="#."), drawn(audio="##", visual=".."))
    flat = scores.flat()
    assert set(flat) == {f"{level}/{name}" for level in LEVELS for name in SCORES} | {"average"}
    assert scores.average == flat["average"] == pytest.approx(sum([*flat.values()][:10]) / 10)


def test_everything_is_made_where_the_timelines_are() -> None:
    """What is made elsewhere is without numbers here, and can not be computed with."""
    prediction, truth = drawn(audio="##.#", visual="#..."), drawn(audio="####", visual="##..")
    metric = AVVPMetric(MODALITIES, num_events=1)
    with torch.device("meta"):
        metric.update(prediction, truth)
        scores = metric.compute()
        f1 = video_f1(prediction, truth)
    assert_same(scores, score_timelines(prediction, truth))
    assert torch.equal(f1, video_f1(prediction, truth))


def test_one_modality_has_one_track() -> None:
    prediction, truth = drawn(audio="##.#", visual="...."), drawn(audio="####", visual="....")
    scores = score_timelines(prediction[:, :, :1], truth[:, :, :1], modalities=("audio",))
    of_both = score_timelines(prediction, truth)
    assert scores.segment == dict.fromkeys(("audio", "type_av", "event_av"), of_both.segment["audio"])
    assert scores.event == dict.fromkeys(("audio", "type_av", "event_av"), of_both.event["audio"])


# Laws

law = settings(deadline=None, max_examples=50)


@st.composite
def videos_to_score(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Prediction and truth [N, T, 2, C]; each event of each track is drawn as the bits of a whole number."""
    videos, segments, events = draw(st.integers(1, 4)), draw(st.integers(1, 8)), draw(st.integers(1, 3))
    everywhere = 2**segments - 1
    line = st.sampled_from([0, everywhere]) | st.integers(0, everywhere)
    lines = 2 * videos * 2 * events
    numbers = torch.tensor(draw(st.lists(line, min_size=lines, max_size=lines)))
    bits = numbers.reshape(2, videos, 1, 2, events) >> torch.arange(segments)[:, None, None] & 1
    prediction, truth = bits.bool()
    return prediction, truth


@law
@given(videos_to_score(), st.data())
def test_order_of_videos_does_not_matter(videos: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    prediction, truth = videos
    order = data.draw(st.permutations(range(len(truth))))
    assert_same(score_timelines(prediction[order], truth[order]), score_timelines(prediction, truth))


@law
@given(videos_to_score(), st.data())
def test_order_of_events_only_permutes_per_event(videos: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    prediction, truth = videos
    order = data.draw(st.permutations(range(truth.shape[3])))
    scores = score_timelines(prediction, truth)
    per_event = {
        level: {track: [of_events[event] for event in order] for track, of_events in tracks.items()}
        for level, tracks in scores.per_event.items()
    }
    permuted = score_timelines(prediction[..., order], truth[..., order])
    assert_same(permuted, scores._replace(per_event=per_event))


@law
@given(videos_to_score(), st.data())
def test_order_of_segments_does_not_matter_at_the_segment_level(
    videos: tuple[Tensor, Tensor], data: st.DataObject
) -> None:
    prediction, truth = videos
    order = data.draw(st.permutations(range(truth.shape[1])))
    scores, permuted = score_timelines(prediction, truth), score_timelines(prediction[:, order], truth[:, order])
    assert permuted.segment == pytest.approx(scores.segment, rel=0, abs=TOLERANCE)
    assert permuted.per_event["segment"] == scores.per_event["segment"]


@law
@given(videos_to_score())
def test_swapped_modalities_swap_their_tracks(videos: tuple[Tensor, Tensor]) -> None:
    prediction, truth = videos
    scores, swapped = score_timelines(prediction, truth), score_timelines(prediction.flip(2), truth.flip(2))
    other = {"audio": "visual", "visual": "audio"}
    for actual, before in ((swapped.segment, scores.segment), (swapped.event, scores.event)):
        expected = {name: before[other.get(name, name)] for name in before}
        assert actual == pytest.approx(expected, rel=0, abs=TOLERANCE)
    for level, tracks in scores.per_event.items():
        assert swapped.per_event[level] == {name: tracks[other.get(name, name)] for name in tracks}


@law
@given(videos_to_score())
def test_time_has_no_direction(videos: tuple[Tensor, Tensor]) -> None:
    prediction, truth = videos
    assert_same(score_timelines(prediction.flip(1), truth.flip(1)), score_timelines(prediction, truth))


@law
@given(videos_to_score())
def test_the_truth_scores_100(videos: tuple[Tensor, Tensor]) -> None:
    _, truth = videos
    scores = score_timelines(truth, truth)
    assert set(scores.flat().values()) == {100}
    for tracks in scores.per_event.values():
        for of_events in tracks.values():
            assert set(of_events) <= {100, None}


@law
@given(videos_to_score(), st.data(), st.integers(0, 2**32))
def test_masked_padding_does_not_count(videos: tuple[Tensor, Tensor], data: st.DataObject, seed: int) -> None:
    prediction, truth = videos
    number, segments, modalities, events = truth.shape
    mask = empty(number, segments + 4)
    for row in mask:
        start = data.draw(st.integers(0, 4))
        row[start : start + segments] = True
    garbage = torch.rand(2, *mask.shape, modalities, events, generator=torch.Generator().manual_seed(seed)) > 0.5
    padded_prediction, padded_truth = garbage
    padded_prediction[mask], padded_truth[mask] = prediction.flatten(0, 1), truth.flatten(0, 1)
    assert_same(score_timelines(padded_prediction, padded_truth, mask), score_timelines(prediction, truth))


@law
@given(videos_to_score(), st.data())
def test_videos_of_unequal_length_agree_with_the_reference(videos: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    prediction, truth = videos
    number, segments = truth.shape[:2]
    lengths = data.draw(st.lists(st.integers(1, segments), min_size=number, max_size=number))
    mask = torch.arange(segments) < torch.tensor(lengths)[:, None]
    assert_equals_reference(
        score_timelines(prediction, truth, mask),
        [video[:length] for video, length in zip(prediction.tolist(), lengths, strict=True)],
        [video[:length] for video, length in zip(truth.tolist(), lengths, strict=True)],
    )


@law
@given(videos_to_score(), st.data())
def test_batches_do_not_matter(videos: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    prediction, truth = videos
    cuts = sorted(data.draw(st.lists(st.integers(0, len(truth)), max_size=3)))
    metric = AVVPMetric(MODALITIES, truth.shape[3])
    for start, end in zip([0, *cuts], [*cuts, len(truth)], strict=True):
        metric.update(prediction[start:end], truth[start:end])
    assert_same(metric.compute(), score_timelines(prediction, truth))


@law
@given(videos_to_score(), st.data())
def test_metrics_of_parts_merge_into_that_of_the_whole(videos: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    """As processes do, and each with a mask of its own."""
    prediction, truth = videos
    number, segments = truth.shape[:2]
    real = data.draw(st.lists(st.booleans(), min_size=number * segments, max_size=number * segments))
    mask = torch.tensor(real).reshape(number, segments)
    cut = data.draw(st.integers(0, len(truth)))
    one, other = AVVPMetric(MODALITIES, truth.shape[3]), AVVPMetric(MODALITIES, truth.shape[3])
    one.update(prediction[:cut], truth[:cut], mask[:cut])
    other.update(prediction[cut:], truth[cut:], mask[cut:])
    one.merge_state(other)
    assert_same(one.compute(), score_timelines(prediction, truth, mask))


# Each video by itself


@law
@given(videos_to_score(), st.data())
def test_each_video_has_the_scores_it_has_alone(videos: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    prediction, truth = videos
    number, segments = truth.shape[:2]
    real = data.draw(st.lists(st.booleans(), min_size=number * segments, max_size=number * segments))
    mask = torch.tensor(real).reshape(number, segments)
    f1 = video_f1(prediction, truth, mask)
    assert f1.shape == (number, 2, 4)
    for video in range(number):
        own = slice(video, video + 1)
        alone = score_timelines(prediction[own], truth[own], mask[own])
        for level, scores in enumerate((alone.segment, alone.event)):
            audio, visual, both, event_av = (100 * f1[video, level]).tolist()
            assert (scores["audio"], scores["visual"], scores["audio_visual"]) == (audio, visual, both)
            assert scores["event_av"] == event_av


def test_the_mean_over_videos_is_the_score() -> None:
    prediction, truth = (torch.tensor(part) for part in random_videos(random.Random(3), 70, 10, 5))
    scores = score_timelines(prediction, truth)
    means = (100 * video_f1(prediction, truth).sum(0) / 70).tolist()
    for of_level, (*tracks, event_av) in zip((scores.segment, scores.event), means, strict=True):
        assert list(of_level.values()) == [*tracks, sum(tracks) / 3, event_av]


def test_a_video_worked_by_hand_among_others() -> None:
    # nothing there and nothing found; then TP 1, FN 3 (2/5, and IoU 1/4) heard, and one false alarm seen
    prediction = torch.cat([drawn(audio="....", visual="...."), drawn(audio="#...", visual="...#")])
    truth = torch.cat([drawn(audio="....", visual="...."), drawn(audio="####", visual="....")])
    segment, event = video_f1(prediction, truth).unbind(1)
    assert segment.dtype == torch.float64
    assert segment.tolist() == [[1, 1, 1, 1], [pytest.approx(2 / 5), 0, 1, pytest.approx(2 / 6)]]
    assert event.tolist() == [[1, 1, 1, 1], [0, 0, 1, 0]]


def test_a_video_of_one_modality_has_one_track() -> None:
    prediction, truth = drawn(audio="##.#", visual="...."), drawn(audio="####", visual="....")
    f1 = video_f1(prediction[:, :, :1], truth[:, :, :1], modalities=("audio",))
    assert torch.equal(f1, video_f1(prediction, truth)[:, :, [0, 0]])


# Two processes

SPLITS = (5, 13)
"""How many of the 13 videos the first process has; the second one has 8, or none and so no update."""


def scores_of_own_share(rank: int, rendezvous: Path, prediction: Timelines, truth: Timelines) -> list[ParsingScores]:
    """What each process runs: add its videos and compute with the other one, for every split."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2, timeout=timedelta(minutes=1)
    )
    computed = []
    for split in SPLITS:
        own = range(split) if rank == 0 else range(split, len(truth))
        metric = AVVPMetric(MODALITIES, num_events=3)
        for start in own[::4]:
            batch = slice(start, min(start + 4, own.stop))
            metric.update(torch.tensor(prediction[batch]), torch.tensor(truth[batch]))
        computed.append(metric.compute())
    torch.distributed.destroy_process_group()
    return computed


def test_two_processes_compute_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    monkeypatch.syspath_prepend(pytestconfig.rootpath)  # where the processes import this module from
    prediction, truth = random_videos(random.Random(0), videos=13, segments=10, events=3)
    expected = score_timelines(torch.tensor(prediction), torch.tensor(truth))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        futures = [
            pool.submit(scores_of_own_share, rank, tmp_path / "rendezvous", prediction, truth) for rank in range(2)
        ]
        for future in futures:
            computed = future.result()
            assert len(computed) == len(SPLITS)
            for scores in computed:
                assert_same(scores, expected)


# The LLP test split

LLP = Path(__file__).resolve().parents[3] / "shared" / "llp"
LLP_SEGMENTS = 10


def rows_of(name: str) -> list[dict[str, str]]:
    with (LLP / f"AVVP_{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(scope="module")
def llp_test() -> tuple[Tensor, Tensor]:
    """Weak labels in every segment of both modalities, and the annotated truth: [N, 10, 2, 25]."""
    if not LLP.is_dir():
        pytest.skip(f"no annotations of LLP in {LLP}")
    listed = rows_of("test_pd")
    videos = {row["filename"]: number for number, row in enumerate(listed)}
    names = sorted({event for row in listed for event in row["event_labels"].split(",")})
    events = {name: number for number, name in enumerate(names)}
    weak = empty(len(videos), LLP_SEGMENTS, len(MODALITIES), len(events))
    truth = weak.clone()
    for row in listed:
        weak[videos[row["filename"]], :, :, [events[name] for name in row["event_labels"].split(",")]] = True
    for number, modality in enumerate(MODALITIES):
        for row in rows_of(f"eval_{modality}"):
            if row["filename"] not in videos:  # the validation videos are annotated in the same files
                continue
            when = slice(int(row["onset"]), int(row["offset"]))
            truth[videos[row["filename"]], when, number, events[row["event_labels"]]] = True
    return weak, truth


def rounded(scores: dict[str, float]) -> list[float]:
    return [round(scores[name], 1) for name in SCORES]


def test_nothing_predicted_on_llp(llp_test: tuple[Tensor, Tensor]) -> None:
    weak, truth = llp_test
    scores = score_timelines(torch.zeros_like(weak), truth)
    assert rounded(scores.segment) == rounded(scores.event) == [0.5, 10.1, 14.5, 8.4, 0.0]
    assert (scores.listed, scores.with_predictions) == (1200, 0)


def test_weak_labels_everywhere_on_llp(llp_test: tuple[Tensor, Tensor]) -> None:
    weak, truth = llp_test
    scores = score_timelines(weak, truth)
    assert rounded(scores.segment) == [76.1, 60.3, 52.6, 63.0, 71.7]
    assert rounded(scores.event) == [63.0, 55.8, 44.7, 54.5, 61.6]
    assert (scores.listed, scores.with_predictions) == (1200, 1200)


# Shapes and coverage


@pytest.mark.usefixtures("_unchecked_signatures")
@pytest.mark.parametrize(
    ("prediction", "truth", "mask"),
    [
        pytest.param((2, 5, 2, 3), (3, 5, 2, 3), None, id="videos"),
        pytest.param((2, 5, 2, 3), (2, 4, 2, 3), None, id="segments"),
        pytest.param((2, 5, 2, 3), (2, 5, 2, 4), None, id="events"),
        pytest.param((2, 5, 2, 3), (1, 5, 2, 3), None, id="videos-broadcast"),
        pytest.param((2, 5, 2, 3), (2, 5, 2, 1), None, id="events-broadcast"),
        pytest.param((2, 5, 1, 3), (2, 5, 1, 3), None, id="one-modality"),
        pytest.param((2, 5, 3, 3), (2, 5, 3, 3), None, id="three-modalities"),
        pytest.param((5, 2, 3), (5, 2, 3), None, id="no-videos-axis"),
        pytest.param((5, 3), (5, 3), None, id="two-axes"),
        pytest.param((2, 5, 2, 3), (2, 5, 2, 3), (2, 4), id="mask-segments"),
        pytest.param((2, 5, 2, 3), (2, 5, 2, 3), (1, 5), id="mask-videos-broadcast"),
        pytest.param((2, 5, 2, 3), (2, 5, 2, 3), (2, 1), id="mask-segments-broadcast"),
        pytest.param((2, 5, 2, 3), (2, 5, 2, 3), (5,), id="mask-one-axis"),
    ],
)
def test_wrong_shapes_raise(prediction: Sequence[int], truth: Sequence[int], mask: Sequence[int] | None) -> None:
    with pytest.raises(ValueError):
        score_timelines(empty(*prediction), empty(*truth), None if mask is None else empty(*mask))
    with pytest.raises(ValueError):
        video_f1(empty(*prediction), empty(*truth), None if mask is None else empty(*mask))


@pytest.mark.usefixtures("_unchecked_signatures")
@pytest.mark.parametrize("mask", [None, [2, 4]])
def test_the_error_says_which_shapes_there_are(mask: list[int] | None) -> None:
    given = None if mask is None else empty(*mask)
    with pytest.raises(ValueError, match=re.escape("truth [2, 5, 2, 1] must be [N, T, M, C]")) as error:
        score_timelines(empty(2, 5, 2, 3), empty(2, 5, 2, 1), given)
    assert str(error.value).endswith(f"M, C = (2, 3), and the mask {mask} must be [N, T] or None")


@pytest.mark.usefixtures("_unchecked_signatures")
@pytest.mark.parametrize("events", [1, 4])
def test_another_number_of_events_raises_and_counts_nothing(events: int) -> None:
    metric = AVVPMetric(MODALITIES, num_events=3)
    with pytest.raises(ValueError):
        metric.update(~empty(2, 5, 2, events), ~empty(2, 5, 2, events))
    metric.update(empty(1, 5, 2, 3), empty(1, 5, 2, 3))
    assert_same(metric.compute(), score_timelines(empty(1, 5, 2, 3), empty(1, 5, 2, 3)))


@pytest.mark.usefixtures("_unchecked_signatures")
@pytest.mark.parametrize("change", [Tensor.float, Tensor.numpy, Tensor.tolist, Tensor.byte])
@pytest.mark.parametrize("argument", ["prediction", "truth", "mask"])
def test_what_is_no_tensor_of_booleans_raises(argument: str, change: Callable[[Tensor], Any]) -> None:
    given: dict[str, Any] = {"prediction": empty(2, 5, 2, 3), "truth": empty(2, 5, 2, 3), "mask": ~empty(2, 5)}
    given[argument] = change(given[argument])
    for score in (score_timelines, video_f1, AVVPMetric(MODALITIES, num_events=3).update):
        with pytest.raises(ValueError, match=rf"^{argument} has \S+ values; it must be a tensor of booleans$"):
            score(**given)


@pytest.mark.parametrize(
    "modalities",
    [["a", "a"], ["a", "b", "a"], "audio", [], ["type_av"], ["event_av", "a"], ["a", "b", "a_b_a"]],
)
def test_two_scores_of_one_name_raise(modalities: Sequence[str]) -> None:
    timelines = empty(2, 5, len(modalities), 3)
    if modalities == ["a", "b", "a_b_a"]:  # all of these differ
        assert len(score_timelines(timelines, timelines, modalities=modalities).segment) == 6
        return
    said = re.escape(f"modalities are {modalities!r}; they must be different names, and none of them that of another")
    for score in (score_timelines, video_f1):
        with pytest.raises(ValueError, match=f"^{said}"):
            score(timelines, timelines, modalities=modalities)
    with pytest.raises(ValueError, match=f"^{said}"):
        AVVPMetric(modalities, num_events=3)


@pytest.mark.parametrize("num_events", [0, -1])
def test_a_metric_has_events(num_events: int) -> None:
    with pytest.raises(ValueError, match=f"^num_events is {num_events}; it must be 1 or more$"):
        AVVPMetric(MODALITIES, num_events)


def test_coverage_counts_videos_and_those_with_a_prediction() -> None:
    heard, silent = drawn(audio="..##", visual="#..."), drawn(audio="....", visual="....")
    metric = AVVPMetric(MODALITIES, num_events=1)
    metric.update(torch.cat([heard, silent, heard]), torch.cat([silent, heard, heard]))
    metric.update(silent, heard)
    scores = metric.compute()
    assert (scores.listed, scores.with_predictions) == (4, 2)


def test_coverage_ignores_masked_segments() -> None:
    heard = drawn(audio="...#", visual="....")
    scores = score_timelines(heard, heard, torch.tensor([[True, True, True, False]]))
    assert (scores.listed, scores.with_predictions) == (1, 0)
