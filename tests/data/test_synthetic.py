"""The embedded data: the same bits from the same seed, the statistics of LLP, and something to learn."""

from __future__ import annotations

import csv
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from avvp_pl.data import synthetic
from avvp_pl.data.llp import LLP_EVENTS
from avvp_pl.data.synthetic import generate
from avvp_pl.data.videos import ParsingSet, VideoSet
from avvp_pl.errors import InputError

REAL_TABLES = Path(__file__).resolve().parents[3] / "shared" / "llp"
STREAMS = {"vggish": 64, "res152": 3, "r2plus1d_18": 2}
MODALITIES = {"audio": ["vggish"], "visual": ["res152", "r2plus1d_18"]}


def make(seed: int = 0, **options: Any) -> ParsingSet:
    sizes = {"train": 6, "val": 4, "test": 5}
    arguments: dict[str, Any] = {"sizes": sizes, "streams": STREAMS, "modalities": MODALITIES, "seed": seed}
    return generate(**arguments | options)


def tensors(videos: VideoSet | None) -> dict[str, torch.Tensor]:
    assert videos is not None
    assert videos.truth is not None
    return {
        "weak": videos.weak_labels,
        "mask": videos.mask,
        **{name: videos.padded(flat) for name, flat in {"truth": videos.truth, **videos.streams}.items()},
    }


def same(first: VideoSet | None, second: VideoSet | None) -> bool:
    others = tensors(second)
    return all(torch.equal(tensor, others[name]) for name, tensor in tensors(first).items())


@pytest.fixture(scope="module")
def many() -> VideoSet:
    videos = make(seed=5, sizes={"train": 4000}, splits=["train"]).train
    assert videos is not None
    return videos


@pytest.fixture(scope="module")
def truth(many: VideoSet) -> npt.NDArray[np.bool_]:
    """[N, T, M, C]."""
    assert many.truth is not None
    found: npt.NDArray[np.bool_] = many.padded(many.truth).numpy()
    return found


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_seed_decides_every_bit(split: str) -> None:
    torch.manual_seed(0)
    first = make(seed=3).splits[split]
    torch.manual_seed(1)
    assert same(first, make(seed=3).splits[split])
    other = tensors(make(seed=4).splits[split])
    assert not torch.equal(tensors(first)["vggish"], other["vggish"])
    assert not torch.equal(tensors(first)["truth"], other["truth"])


def test_a_split_does_not_depend_on_the_others() -> None:
    whole = make()
    larger = make(sizes={"train": 30, "val": 4, "test": 9})
    assert same(whole.val, larger.val)
    assert not torch.equal(tensors(whole.val)["vggish"], tensors(larger.test)["vggish"][:4])
    alone = make(sizes={"test": 5}, splits=["test"])
    assert same(whole.test, alone.test)
    assert list(alone.splits) == ["test"]


def test_splits_differ_and_names_are_unique() -> None:
    parsing = make(sizes={"train": 5, "val": 5, "test": 5})
    assert not torch.equal(tensors(parsing.train)["vggish"], tensors(parsing.val)["vggish"])
    assert not torch.equal(tensors(parsing.val)["vggish"], tensors(parsing.test)["vggish"])
    assert len(set(chain.from_iterable(videos.names for videos in parsing.splits.values()))) == 15


@pytest.mark.parametrize("segments", [1, 7, 10, 20])
def test_shapes_and_types(segments: int) -> None:
    parsing = make(segments=segments)
    assert parsing.events == LLP_EVENTS
    assert parsing.stream_dims == STREAMS
    assert parsing.modalities == {"audio": ("vggish",), "visual": ("res152", "r2plus1d_18")}
    assert {name: len(videos) for name, videos in parsing.splits.items()} == {"train": 6, "val": 4, "test": 5}
    found = tensors(parsing.test)
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        "weak": (5, 25),
        "truth": (5, segments, 2, 25),
        "mask": (5, segments),
        "vggish": (5, segments, 64),
        "res152": (5, segments, 3),
        "r2plus1d_18": (5, segments, 2),
    }
    assert all(found[name].dtype == torch.float32 for name in ("weak", *STREAMS))
    assert found["mask"].all()
    assert all(torch.isfinite(found[name]).all() for name in STREAMS)
    assert torch.equal(found["weak"], found["truth"].any(dim=1).any(dim=1).float())


@pytest.mark.parametrize("segments", [7, 20])
def test_the_share_of_active_time_does_not_depend_on_the_number_of_segments(
    truth: npt.NDArray[np.bool_], segments: int
) -> None:
    other = tensors(make(sizes={"train": 400}, splits=["train"], segments=segments).train)["truth"]
    assert float(other.float().mean()) == pytest.approx(truth.mean(), rel=0.08)


def test_a_weak_label_is_there_iff_some_segment_shows_the_event(many: VideoSet, truth: npt.NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(many.weak_labels.numpy().astype(bool), truth.any(axis=(1, 2)))


def test_labels_a_video(many: VideoSet) -> None:
    labels = many.weak_labels.sum(dim=1)
    assert labels.min() == 1
    assert labels.max() == 3
    assert float(labels.mean()) == pytest.approx(1.606, abs=0.03)
    assert float((labels == 1).float().mean()) == pytest.approx(0.403, abs=0.03)


def test_events_are_as_frequent_as_in_llp(many: VideoSet) -> None:
    shares = many.weak_labels.mean(dim=0).numpy()
    assert shares[LLP_EVENTS.index("Speech")] == pytest.approx(0.499, abs=0.03)
    counts = np.array(synthetic.EVENT_COUNTS)
    ranks, llp_ranks = shares.argsort().argsort(), counts.argsort().argsort()
    assert np.corrcoef(ranks, llp_ranks)[0, 1] > 0.95
    np.testing.assert_allclose(shares, counts / 10000, rtol=0.35, atol=0.003)


def test_where_events_are_heard_and_seen(truth: npt.NDArray[np.bool_]) -> None:
    heard, seen = truth[:, :, 0].any(axis=1), truth[:, :, 1].any(axis=1)
    pairs = (heard | seen).sum()
    assert (heard & ~seen).sum() / pairs == pytest.approx(0.34, abs=0.03)
    assert (seen & ~heard).sum() / pairs == pytest.approx(0.05, abs=0.03)
    assert (heard & seen).sum() / pairs == pytest.approx(0.61, abs=0.03)


@pytest.mark.parametrize(("modality", "share"), [(0, 0.41), (1, 0.62)])
def test_how_many_events_last_for_the_whole_video(truth: npt.NDArray[np.bool_], modality: int, share: float) -> None:
    seconds = truth[:, :, modality].sum(axis=1)
    assert (seconds == 10).sum() / (seconds > 0).sum() == pytest.approx(share, abs=0.04)


def test_a_linear_probe_hears_speech(many: VideoSet, truth: npt.NDArray[np.bool_]) -> None:
    """Least squares on the segments of half of the videos, tested on the other half; 0.5 is chance."""
    features = many.padded(many.streams["vggish"]).double().numpy()
    inputs = np.concatenate([features, np.ones((*features.shape[:2], 1))], axis=-1)

    def balanced_accuracy(speech: npt.NDArray[np.bool_]) -> float:
        fitted, tested = (inputs[part].reshape(-1, inputs.shape[-1]) for part in (np.s_[:2000], np.s_[2000:]))
        labels, hidden = speech[:2000].ravel(), speech[2000:].ravel()
        weights = np.where(labels, 1 / labels.sum(), 1 / (~labels).sum())[:, None]
        gram = fitted.T @ (weights * fitted) + 1e-6 * np.eye(fitted.shape[1])
        solution = np.linalg.solve(gram, fitted.T @ (weights[:, 0] * np.where(labels, 1.0, -1.0)))
        predicted = tested @ solution > 0
        return float((predicted[hidden].mean() + (~predicted[~hidden]).mean()) / 2)

    speech = truth[:, :, 0, LLP_EVENTS.index("Speech")]
    assert balanced_accuracy(speech) > 0.6
    shuffled = np.random.default_rng(0).permutation(speech.ravel()).reshape(speech.shape)
    assert balanced_accuracy(shuffled) == pytest.approx(0.5, abs=0.03)


def test_without_noise_only_active_segments_leave_the_blend_of_two_backgrounds() -> None:
    parsing = make(noise=0.0, sizes={"train": 200}, splits=["train"])
    found = tensors(parsing.train)
    for modality, streams in enumerate(parsing.modalities.values()):
        active = found["truth"][:, :, modality].any(dim=-1)
        near = active[:, 2:] | active[:, 1:-1] | active[:, :-2]
        assert not near.all()
        for stream in streams:
            bend = torch.diff(found[stream].double(), n=2, dim=1).norm(dim=-1)
            assert torch.equal(bend > 2e-6, near)


def test_noise_is_the_deviation_of_a_stream() -> None:
    quiet, noisy = (make(noise=noise, sizes={"train": 100}, splits=["train"]).train for noise in (0.0, 2.0))
    difference = tensors(noisy)["vggish"] - tensors(quiet)["vggish"]
    assert float(difference.std()) == pytest.approx(2.0, rel=0.02)
    assert float(difference.mean()) == pytest.approx(0.0, abs=0.05)


def test_the_ratio_moves_noise_from_one_modality_to_the_other() -> None:
    quiet, moved = (
        make(noise=noise, noise_ratio=16.0, sizes={"train": 100}, splits=["train"]).train for noise in (0.0, 2.0)
    )
    deviations = {
        name: float((stream - tensors(quiet)[name]).std()) for name, stream in tensors(moved).items() if name in STREAMS
    }
    assert deviations == pytest.approx({"vggish": 8.0, "res152": 0.5, "r2plus1d_18": 0.5}, rel=0.03)


def test_a_ratio_of_1_changes_no_bit() -> None:
    assert same(make().train, make(noise_ratio=1.0).train)


@pytest.fixture(scope="module")
def cut() -> tuple[VideoSet, VideoSet]:
    """The same videos whole and cut."""
    whole, short = (make(sizes={"train": 600}, splits=["train"], shortest=least).train for least in (None, 3))
    assert whole is not None
    assert short is not None
    return whole, short


def test_lengths_are_drawn_from_shortest_to_all(cut: tuple[VideoSet, VideoSet]) -> None:
    counts = np.bincount(cut[1].lengths, minlength=11)
    assert counts[:3].sum() == 0
    assert all(45 <= count <= 105 for count in counts[3:])  # 75 each, give or take 3.5 deviations
    assert cut[1].truth is not None
    assert len(cut[1].truth) == cut[1].num_segments == int(cut[1].lengths.sum())


def test_lengths_stay_the_same_from_version_to_version() -> None:
    """Scores of runs on synthetic data could not be compared otherwise."""
    made = make(sizes={"train": 8, "val": 8, "test": 8}, shortest=2, seed=0)
    assert {split: videos.lengths.tolist() for split, videos in made.splits.items()} == {
        "train": [6, 9, 6, 4, 9, 5, 7, 6],
        "val": [8, 5, 9, 6, 5, 5, 4, 5],
        "test": [6, 5, 6, 3, 10, 8, 8, 6],
    }


def test_a_cut_video_is_a_window_of_the_whole_one_with_an_event_in_it(cut: tuple[VideoSet, VideoSet]) -> None:
    whole, short = (tensors(videos) for videos in cut)
    later = 0
    for row, length in enumerate(cut[1].lengths.tolist()):
        happens = whole["truth"][row].flatten(1).any(dim=1).tolist()
        start = 0 if any(happens[:length]) else min(happens.index(True), 10 - length)
        later += start > 0
        for name in ("truth", *STREAMS):
            assert torch.equal(short[name][row, :length], whole[name][row, start : start + length])
            assert not short[name][row, length:].any()
        left = whole["truth"][row, start : start + length].any(dim=0).any(dim=0)
        assert torch.equal(short["weak"][row], left.float())
        assert left.any()
    assert later > 5


def test_shortest_leaves_all_other_draws_as_they_are(cut: tuple[VideoSet, VideoSet]) -> None:
    whole, _ = cut
    assert same(whole, make(sizes={"train": 600}, splits=["train"], shortest=10).train)
    assert whole.equal_length == 10
    parsing, other = make(shortest=2), make(sizes={"train": 9, "val": 4, "test": 5}, shortest=2)
    assert same(parsing.val, other.val)
    assert not same(make(shortest=2, seed=1).val, parsing.val)


@pytest.mark.parametrize("shortest", [0, -1, 11])
def test_an_impossible_shortest_is_refused(shortest: int) -> None:
    with pytest.raises(InputError, match=rf"data\.shortest: {shortest} .* from 1 to data\.segments, 10"):
        make(shortest=shortest)


@pytest.mark.parametrize(
    "modalities",
    [
        {"audio": ["vggish"]},
        {"visual": ["res152"], "audio": ["vggish"]},
        {"audio": ["vggish"], "video": ["res152"]},
        {"audio": ["vggish"], "visual": ["res152"], "touch": ["r2plus1d_18"]},
    ],
)
def test_other_modalities_are_refused(modalities: dict[str, list[str]]) -> None:
    with pytest.raises(InputError, match=r"data\.modalities: synthetic data has audio and visual, in this order"):
        make(modalities=modalities)


@pytest.mark.skipif(not REAL_TABLES.is_dir(), reason=f"needs the tables of LLP in {REAL_TABLES}")
def test_the_constants_are_those_of_the_tables() -> None:
    def rows_of(table: str) -> list[dict[str, str]]:
        with (REAL_TABLES / table).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t"))

    labels = [set(row["event_labels"].split(",")) for row in rows_of("AVVP_train.csv")]
    counts = Counter(chain.from_iterable(labels))
    assert tuple(counts[event] for event in LLP_EVENTS) == synthetic.EVENT_COUNTS
    sizes = Counter(map(len, labels))
    np.testing.assert_allclose([sizes[n] / len(labels) for n in (1, 2, 3)], synthetic.LABELS_A_VIDEO, atol=0.001)

    painted: list[dict[tuple[str, str], set[int]]] = []
    for table in ("AVVP_eval_audio.csv", "AVVP_eval_visual.csv"):
        seconds: dict[tuple[str, str], set[int]] = {}
        for row in rows_of(table):
            active = set(range(int(row["onset"]), min(10, int(row["offset"]))))
            if active:
                seconds.setdefault((row["filename"], row["event_labels"]), set()).update(active)
        painted.append(seconds)
    for seconds, lengths, interval_counts in zip(
        painted,
        (synthetic.SECONDS_HEARD, synthetic.SECONDS_SEEN),
        (synthetic.INTERVALS_HEARD, synthetic.INTERVALS_SEEN),
        strict=True,
    ):
        found = Counter(len(active) for active in seconds.values())
        assert tuple(found[n] for n in range(1, 11)) == lengths
        found = Counter(min(4, sum(t - 1 not in active for t in active)) for active in seconds.values())
        assert tuple(found[n] for n in range(1, 5)) == interval_counts
    heard, seen = (set(seconds) for seconds in painted)
    for number, event in enumerate(LLP_EVENTS):
        of_event = [
            {pair for pair in pairs if pair[1] == event} for pairs in (heard - seen, seen - heard, heard | seen)
        ]
        only_heard, only_seen, all_pairs = map(len, of_event)
        assert synthetic.HEARD_ONLY[number] == pytest.approx(100 * only_heard / all_pairs, abs=0.5)
        assert synthetic.SEEN_ONLY[number] == pytest.approx(100 * only_seen / all_pairs, abs=0.5)
