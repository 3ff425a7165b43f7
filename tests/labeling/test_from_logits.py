"""Labels made of logits: VALOR's and UWAV's, with thresholds that are given or fitted to the validation videos."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avvp_pl.data.products import Product, read_product, write_product
from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError
from avvp_pl.labeling.from_logits import FromLogits, best_threshold, finite_thresholds, thresholds_of
from avvp_pl.parts import Converted

MODALITIES, EVENTS = ("audio", "visual"), ("bell", "dog", "cat")
LENGTHS = {"a": 2, "b": 3, "v": 4}
WEAK = {"a": [1.0, 0, 1], "b": [0.0, 1, 1], "v": [1.0, 1, 0]}


def videos_of(*names: str, truth: Any = None) -> VideoSet:
    lengths = torch.tensor([LENGTHS[name] for name in names])
    streams = {"sound": torch.zeros(int(lengths.sum()), 1)}
    known = None if truth is None else torch.tensor(truth)
    return VideoSet(names, lengths, streams, torch.tensor([WEAK[name] for name in names]), known)


def logits_of(*names: str) -> np.ndarray:
    """Whole numbers around 0, of which no two in a video, modality and event are equal."""
    return np.concatenate(
        [
            [
                [[(5 * t + 3 * m + 2 * c + ord(name)) % 11 - 5 for c in range(3)] for m in range(2)]
                for t in range(length)
            ]
            for name, length in ((name, LENGTHS[name]) for name in names)
        ]
    ).astype(np.float32)


def written(path: Path, *names: str, **others: Any) -> Path:
    lengths = np.array([LENGTHS[name] for name in names])
    write_product(path, replace(Product("logits", names, lengths, MODALITIES, EVENTS, logits_of(*names)), **others))
    return path


def folders(path: Path, *names: str) -> dict[str, str]:
    for m, modality in enumerate(MODALITIES):
        (path / modality).mkdir(parents=True, exist_ok=True)
        for name in names:
            np.save(path / modality / f"{name}.npy", logits_of(name)[:, m].astype(np.float64))
    return {modality: str(path / modality) for modality in MODALITIES}


def convert(logits: Any, thresholds: Any, splits: dict[str, VideoSet] | None = None, **others: Any) -> Converted:
    settings: dict[str, Any] = {"soft": False, "temperature": 2.0, "missing": "error"}
    conversion = FromLogits(MODALITIES, EVENTS, logits, thresholds, **(settings | others))
    assert conversion.kind == "labels"
    assert conversion.needs() == (("val",) if thresholds == "validation" else ())
    return conversion(splits or {"train": videos_of("a", "b")})


THETA = np.array([[0.0, 2, -1], [-3, 1, 0.5]])


@pytest.mark.parametrize("source", ["product", "folders"])
def test_hard_labels_are_logits_above_their_threshold_in_videos_with_the_event(tmp_path: Path, source: str) -> None:
    logits = str(written(tmp_path / "l.npz", "b", "a")) if source == "product" else folders(tmp_path, "a", "b")
    made = convert(logits, {name: row.tolist() for name, row in zip(MODALITIES, THETA, strict=True)})
    expected = np.zeros((5, 2, 3))
    for s, (name, t) in enumerate([("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2)]):
        for m in range(2):
            for c in range(3):
                expected[s, m, c] = float(logits_of(name)[t, m, c] > THETA[m, c]) * WEAK[name][c]
    assert 0 < expected.mean() < 0.6
    np.testing.assert_array_equal(made.values.numpy(), expected)
    assert made.thresholds is not None
    np.testing.assert_array_equal(made.thresholds.numpy(), THETA)
    assert made.note is None


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_soft_labels_are_sigmoids(tmp_path: Path, temperature: float) -> None:
    made = convert(str(written(tmp_path / "l.npz", "a", "b")), 1, soft=True, temperature=temperature)
    for s, (name, t) in enumerate([("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2)]):
        for m in range(2):
            for c in range(3):
                logit = float(logits_of(name)[t, m, c])
                z = WEAK[name][c] / (1 + math.exp((1 - logit) / temperature))
                assert made.values[s, m, c].item() == pytest.approx(z, abs=1e-6)
                if logit == 1 and WEAK[name][c]:
                    assert made.values[s, m, c].item() == 0.5  # neither above the threshold nor below it
    hard = convert(str(written(tmp_path / "l.npz", "a", "b")), 1)
    assert torch.equal((made.values > 0.5).float(), hard.values)


def test_a_logit_of_minus_infinity_has_the_label_0(tmp_path: Path) -> None:
    values = logits_of("a", "b")
    values[0, 0, 0] = -np.inf  # of an event that a has
    path = str(written(tmp_path / "l.npz", "a", "b", values=values))
    for soft in (False, True):
        made = convert(path, -100, soft=soft)
        assert made.values[0, 0, 0] == 0
        assert made.values[1, 0, 0] > 0.9


def test_thresholds_of_minus_infinity_are_below_the_lowest_finite_logit_of_training() -> None:
    """And do not depend on a batch. An event without any finite logit gets 0, at which nothing is positive."""
    logits = np.array([[[3.0, -np.inf, 7.0]], [[-2.0, -np.inf, -np.inf]]], dtype=np.float32)
    found = finite_thresholds(np.array([[-np.inf, -np.inf, -np.inf]]), logits)
    np.testing.assert_array_equal(found, [[-3.0, 0.0, 6.0]])
    np.testing.assert_array_equal(finite_thresholds(np.array([[1.5, 2.5, -np.inf]]), logits), [[1.5, 2.5, 6.0]])


# Thresholds that are fitted


def f1_at(logits: list[float], truth: list[bool], threshold: float) -> float:
    hits = sum(own and logit > threshold for logit, own in zip(logits, truth, strict=True))
    found = sum(logit > threshold for logit in logits)
    return 2 * hits / (found + sum(truth)) if found + sum(truth) else 0.0


@given(st.lists(st.tuples(st.sampled_from([-math.inf, -2.5, -1.0, 0.0, 0.5, 3.0, 9.0]), st.booleans()), max_size=12))
def test_the_best_threshold_is_that_of_brute_force(pairs: list[tuple[float, bool]]) -> None:
    """Among thresholds below, between and above all logits; of equally good ones it is the lowest."""
    pairs = [(logit, own and logit > -math.inf) for logit, own in pairs]  # no event where its weak label is missing
    logits, truth = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    found = best_threshold(np.array(logits), np.array(truth, dtype=bool))
    tried = [-math.inf, -5.0, -2.0, -0.5, 0.25, 1.75, 6.0, 10.0]
    scores = [f1_at(logits, truth, threshold) for threshold in tried]
    assert f1_at(logits, truth, found) == max(scores)
    lowest = tried[scores.index(max(scores))]
    assert sum(logit > found for logit in logits) == sum(logit > lowest for logit in logits)


def test_equal_logits_are_on_one_side_of_the_threshold() -> None:
    """The best cut by rank would be between two segments with the same logit, which no threshold can tell apart."""
    assert best_threshold(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True])) == 1.5
    assert best_threshold(np.array([5.0, 5.0]), np.array([True, False])) == -math.inf
    assert best_threshold(np.zeros(0), np.zeros(0, dtype=bool)) == -math.inf


TRUTH = np.zeros((4, 2, 3), dtype=bool)
TRUTH[:, 0, 0] = logits_of("v")[:, 0, 0] > 0
TRUTH[:, 1, 0] = True
TRUTH[:, 1, 1] = logits_of("v")[:, 1, 1] > -1


def test_thresholds_are_fitted_to_the_truth_of_the_validation_videos_and_this_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    splits = {"train": videos_of("a", "b"), "val": videos_of("v", truth=TRUTH)}
    path = str(written(tmp_path / "l.npz", "a", "v", "b"))
    with caplog.at_level(logging.WARNING):
        made = convert(path, "validation", splits)
    assert made.thresholds is not None
    logits, lowest = logits_of("v"), logits_of("a", "b").min(0) - 1
    for m, c in ((0, 0), (1, 1)):
        column = np.sort(logits[:, m, c])
        limit = 0 if m == 0 else -1
        below, above = column[column <= limit], column[column > limit]
        expected = (below[-1] + above[0]) / 2 if len(below) else lowest[m, c]
        assert made.thresholds[m, c] == expected
    for m, c in ((1, 0), (0, 1), (0, 2), (1, 2)):  # all are best positive, or none is true at all
        assert made.thresholds[m, c] == lowest[m, c]
    assert made.note == "its thresholds are F1-optimal on the annotated segments of 1 validation videos"
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "F1-optimal on the annotated segments of the 1 validation videos. Methods that learn from weak" in warned[0]
    assert [message.partition(",")[0] for message in warned[1:]] == [
        "no validation video has dog",
        "no validation video has cat (visual)",
    ]


def test_the_note_and_the_thresholds_stay_with_the_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    product = Product("labels", ("a",), np.array([2]), MODALITIES, EVENTS, np.zeros((2, 2, 3)))
    path = tmp_path / "labels.npz"
    write_product(path, replace(product, note="its thresholds are F1-optimal", thresholds=THETA))
    with caplog.at_level(logging.WARNING):
        found = read_product(path, "labels")
    assert caplog.messages == [f"{path}: its thresholds are F1-optimal"]
    np.testing.assert_array_equal(thresholds_of(str(path), MODALITIES, EVENTS).values, THETA)
    assert found.thresholds is not None
    turned = thresholds_of(str(path), MODALITIES[::-1], ("cat", "bell")).values
    np.testing.assert_array_equal(turned, THETA[::-1][:, [2, 0]])
    write_product(path, product)
    with pytest.raises(InputError, match="has no thresholds, because its labels were not made of logits"):
        thresholds_of(str(path), MODALITIES, EVENTS)


# Thresholds that are given


def test_thresholds_can_be_given_in_many_ways(tmp_path: Path) -> None:
    np.save(tmp_path / "visual.npy", THETA[1])
    table = tmp_path / "thresholds.csv"
    table.write_text("visual,event,audio\n0.5,cat,-1\n-3,bell,0\n1,dog,2\n", encoding="utf-8")
    by_event = {"dog": 2, "bell": 0.0, "cat": -1}
    for given_, expected in (
        (1.5, np.full((2, 3), 1.5)),
        ([0, 2, -1], THETA[[0, 0]]),
        (by_event, THETA[[0, 0]]),
        ({"audio": 4, "visual": [-3, 1, 0.5]}, np.stack([[4, 4, 4], THETA[1]])),
        ({"audio": [0, -math.inf, 1], "visual": -math.inf}, np.array([[0, -math.inf, 1], [-math.inf] * 3])),
        ({"visual": str(tmp_path / "visual.npy"), "audio": by_event}, THETA),
        (str(table), THETA),
    ):
        np.testing.assert_array_equal(thresholds_of(given_, MODALITIES, EVENTS).values, expected)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ([1, 2], "thresholds=[1, 2]: it must be a number, or a list of 3 numbers, one an event"),
        (math.nan, "thresholds=nan: it must be a number"),
        ([0, math.inf, 0], "it must be a number, or a list of 3 numbers, one an event"),
        ({"bell": 1, "dog": 2}, "thresholds: 'cat' has no threshold; give one for every event"),
        ({"bell": 1, "dog": 2, "cats": 3}, "thresholds: 'cats' is no event of the data. Did you mean 'cat'?"),
        ({"audio": [1, 2], "visual": 0}, "thresholds.audio=[1, 2]: it must be a number, or a list of 3"),
        ({"audio": "nowhere.npy", "visual": 0}, "nowhere.npy: cannot be read (No such file or directory)"),
        ("best", "thresholds=best: it must be numbers, validation, or a file: .csv with the columns event, audio"),
        ("nowhere.csv", "nowhere.csv: cannot be read (No such file or directory)"),
        ("nowhere.npz", "nowhere.npz: no such file"),
    ],
)
def test_thresholds_that_are_none(given_: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        thresholds_of(given_, MODALITIES, EVENTS)
    assert message in str(error.value)


def test_tables_of_thresholds_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.csv"
    for text, message in (
        ("event,audio\nbell,1\n", "has no column 'visual'; needed are event, audio, visual"),
        ("event,audio,visual\nbell,1,1\nbell,2,2\n", "has an event twice"),
        ("event,audio,visual\nbell,1,1\ndog,2,x\ncat,0,0\n", "visual=['1', 'x', '0']: it must be a number for each"),
        ("event,audio,visual\nbell,1,1\ndog,2,2\n", "audio: 'cat' has no threshold"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError) as error:
            thresholds_of(str(path), MODALITIES, EVENTS)
        assert str(error.value).startswith(str(path))
        assert message in str(error.value)
    np.save(tmp_path / "objects.npy", np.array([{}, {}, {}]), allow_pickle=True)
    with pytest.raises(InputError, match=r"objects\.npy: is no \.npy file of numbers"):
        thresholds_of({"audio": str(tmp_path / "objects.npy"), "visual": 0}, MODALITIES, EVENTS)


# What is missing or wrong


@pytest.mark.parametrize("source", ["product", "folders"])
def test_videos_without_logits_may_have_their_weak_label(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, source: str
) -> None:
    logits = str(written(tmp_path / "l.npz", "b")) if source == "product" else folders(tmp_path, "b")
    with pytest.raises(InputError, match="missing=weak"):
        convert(logits, 0)
    with caplog.at_level(logging.INFO):
        made = convert(logits, 0, missing="weak", soft=True)
    np.testing.assert_array_equal(made.values[:2].numpy(), np.tile(np.array(WEAK["a"], dtype=np.float32), (2, 2, 1)))
    assert (made.values[2:] < 1).all()
    assert "covers 1 of 2 training videos" in caplog.messages[-1]
    assert "the other 1 have their weak label everywhere" in caplog.messages[-1]


def test_logits_that_are_refused(tmp_path: Path) -> None:
    for value in (np.nan, np.inf):
        values = logits_of("a", "b")
        values[3, 1, 2] = value
        with pytest.raises(InputError, match=r"for cat \(visual\) in segment 1 of b; every value must be a finite"):
            written(tmp_path / "l.npz", "a", "b", values=values)
        given_ = folders(tmp_path / str(value), "a", "b")
        np.save(Path(given_["visual"]) / "b.npy", values[2:, 1])
        with pytest.raises(InputError) as error:
            convert(given_, 0)
        assert str(error.value) == f"{given_['visual']}/b.npy: has {value:g}; a logit is a finite number, or -inf"
    labels = written(tmp_path / "labels.npz", "a", "b", kind="labels", values=np.zeros((5, 2, 3)))
    with pytest.raises(InputError, match="holds labels, but logits are needed; give another file"):
        convert(str(labels), 0)
    with pytest.raises(InputError, match=r"this is a folder; give one for each modality: .logits=\{audio: DIR, visual"):
        convert(str(tmp_path), 0)
    splits = {"train": videos_of("a"), "val": videos_of("v", truth=TRUTH)}
    with pytest.raises(InputError, match="has no logits of the video 'v'"):
        convert(str(written(tmp_path / "train.npz", "a")), "validation", splits, missing="weak")
