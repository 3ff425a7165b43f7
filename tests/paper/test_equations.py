"""The package's equations against a slow reference written from the paper's text alone.

Videos of a batch differ in length; what stands at their padding is drawn, too, and must not matter.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from avvp_pl.data.synthetic import generate
from avvp_pl.data.videos import VideoSet
from avvp_pl.labeling.prototype import Prototype
from avvp_pl.losses import contrastive_loss, inverse_frequency_weights, mil_loss, pseudo_label_loss
from avvp_pl.models.mil_pooling import attentive_mil_pooling
from avvp_pl.parts import Step, Team, Term, total
from avvp_pl.pseudo_labels import (
    KeySegments,
    KeySegmentSample,
    Lacking,
    build_prototypes,
    hard_labels,
    naive_hard_labels,
    naive_soft_labels,
    prototype_evidence,
    select_segments,
    soft_labels,
)
from avvp_pl.pseudo_labels.em import bound, e_step, expected_negative_log_joint, m_step_objective
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput, Prototypes
from tests.paper import reference

Video = list[list[list[float]]]
Draw = Callable[[Random], float]

TIGHT = {torch.float64: 1e-11, torch.float32: 2e-5}
"""By how much results may differ, relative to the larger of 1 and their size."""
BACKENDS: tuple[Literal["faiss", "torch"], ...] = ("faiss", "torch")


def cases(count: int, salt: int) -> Iterator[Random]:
    """Random numbers for each of some cases."""
    for number in range(count):
        yield Random(1_000_003 * salt + number)


def on_grid(rng: Random) -> float:
    """A probability of which many are equal; 0, 0.5 and 1 are among them, and float32 holds it exactly."""
    return rng.randrange(9) / 8


def anywhere(rng: Random) -> float:
    return rng.random()


def often_extreme(rng: Random) -> float:
    """A probability that is often saturated, or nearly."""
    return rng.choice([0.0, 1.0, 1e-9, 1 - 1e-9, 1e-7, 0.5, rng.random(), rng.random()])


def binary(rng: Random) -> float:
    return float(rng.random() < 0.6)


def normal(scale: float) -> Draw:
    return lambda rng: rng.gauss(0, scale)


def whole(rng: Random) -> float:
    """A coordinate of a feature; dot products of such features are exact, and often equal."""
    return float(rng.randrange(-1, 2))


def vector(rng: Random, size: int, draw: Draw) -> list[float]:
    return [draw(rng) for _ in range(size)]


def video(rng: Random, segments: int, modalities: int, size: int, draw: Draw) -> Video:
    return [[vector(rng, size, draw) for _ in range(modalities)] for _ in range(segments)]


def rounded(videos: Sequence[Video], dtype: torch.dtype) -> list[Video]:
    """The same videos, rounded to ``dtype``."""
    return [torch.tensor(own, dtype=dtype).tolist() for own in videos]


def lengths_of(rng: Random, most: int = 3, longest: int = 4) -> list[int]:
    return [rng.randint(1, longest) for _ in range(rng.randint(1, most))]


def padded(rng: Random, videos: Sequence[Video], dtype: torch.dtype, garbage: Draw, longest: int) -> Tensor:
    """A batch [B, longest, M, ...] of videos, with garbage after their ends."""
    modalities, size = len(videos[0][0]), len(videos[0][0][0])
    rows = [own + video(rng, longest - len(own), modalities, size, garbage) for own in videos]
    return torch.tensor(rows, dtype=dtype).reshape(len(videos), longest, modalities, size)


def mask_of(videos: Sequence[Video], longest: int) -> Tensor:
    return torch.tensor([[t < len(own) for t in range(longest)] for own in videos])


def longest_of(rng: Random, lengths: Sequence[int]) -> int:
    """To how many segments a batch is padded: sometimes beyond its longest video."""
    return max(lengths) + rng.choice([0, 0, 0, 1, 2])


def places(found: Tensor, length: int) -> list[set[tuple[int, int]]]:
    """The segments (t, m) of each event that are true in [T, M, C]; none may be at padding."""
    assert not found[length:].any()
    sets: list[set[tuple[int, int]]] = [set() for _ in range(found.shape[2])]
    for t, m, c in found.nonzero().tolist():
        sets[c].add((t, m))
    return sets


def assert_close(actual: Tensor, expected: object, tolerance: float | None = None) -> None:
    wanted = torch.as_tensor(expected, dtype=torch.float64).reshape(actual.shape)
    tolerance = TIGHT[actual.dtype] if tolerance is None else tolerance
    torch.testing.assert_close(actual.double(), wanted, rtol=tolerance, atol=tolerance)


DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


# Eq. (3)


@DTYPES
def test_equation_3_pooling(dtype: torch.dtype) -> None:
    above_one = 0
    for rng in cases(400, 3):
        lengths, modalities, events = lengths_of(rng), rng.randint(1, 3), rng.randint(1, 3)
        longest, scale = longest_of(rng, lengths), rng.choice([0.0, 1.0, 10.0])
        probs, temporal, modality = (
            [video(rng, n, modalities, events, draw) for n in lengths]
            for draw in (anywhere, normal(scale), normal(scale))
        )
        found = attentive_mil_pooling(
            padded(rng, probs, dtype, anywhere, longest),
            padded(rng, temporal, dtype, normal(30), longest),
            padded(rng, modality, dtype, normal(30), longest),
            mask_of(probs, longest),
        )
        expected = [reference.pooled(*own) for own in zip(probs, temporal, modality, strict=True)]
        above_one += any(p > 1 for row in expected for p in row)
        assert_close(found.video_probs, expected)
        assert_close(found.modality_probs, [reference.pooled_alone(p, a) for p, a in zip(probs, temporal, strict=True)])
    assert above_one > 10  # an average it is not quite


# Eq. (4)


@DTYPES
def test_equation_4_mil_loss(dtype: torch.dtype) -> None:
    for rng in cases(400, 4):
        videos, events = rng.randint(1, 4), rng.randint(1, 4)
        # 1 - 1e-7 is another number in float32, so saturated probabilities are compared in float64
        draw: Draw = anywhere
        if dtype == torch.float64:
            draw = rng.choice([anywhere, often_extreme, lambda rng: 1.3 * rng.random()])
        probs = [vector(rng, events, draw) for _ in range(videos)]
        weak = [vector(rng, events, binary) for _ in range(videos)]
        weights = rng.choice([None, vector(rng, events, lambda rng: 3 * rng.random())])
        found = mil_loss(
            torch.tensor(probs, dtype=dtype),
            torch.tensor(weak, dtype=dtype),
            None if weights is None else torch.tensor(weights, dtype=dtype),
        )
        assert_close(found, reference.mil_loss(probs, weak, weights))


@DTYPES
def test_equation_4_weights(dtype: torch.dtype) -> None:
    lacking = 0
    for rng in cases(300, 5):
        events = rng.randint(1, 5)
        weak = [vector(rng, events, binary) for _ in range(rng.randint(1, 9))]
        lacking += any(sum(column) == 0 for column in zip(*weak, strict=True))
        assert_close(inverse_frequency_weights(torch.tensor(weak, dtype=dtype)), reference.event_weights(weak))
    assert lacking > 10


# Eqs. (5), (6), (7)


def selection_case(rng: Random, dtype: torch.dtype) -> tuple[list[Video], list[list[float]], float, float]:
    """Probabilities, weak labels, gamma and beta; often with p that is exactly p*, gamma p* or beta p*."""
    lengths, modalities, events = lengths_of(rng), rng.randint(1, 3), rng.randint(1, 4)
    gamma, beta = rng.choice([1.0, 1.0, 0.75, 0.5, 0.25]), rng.choice([0.125, 0.25, 0.5])
    draw = rng.choice([anywhere, on_grid, on_grid])
    probs = rounded([video(rng, n, modalities, events, draw) for n in lengths], dtype)
    for own in probs:
        for c in range(events):
            peak = max(segment[c] for row in own for segment in row)
            for row in own:
                for segment in row:
                    exactly = rng.choice([gamma, beta, 1.0]) * peak
                    if dtype == torch.float32 and struct.unpack("f", struct.pack("f", exactly))[0] != exactly:
                        continue
                    if segment[c] != peak and rng.random() < 0.3:
                        segment[c] = exactly
    weak = [vector(rng, events, binary) for _ in lengths]
    return probs, weak, gamma, beta


@DTYPES
def test_equations_5_and_6_selection(dtype: torch.dtype) -> None:
    seen = dict.fromkeys(("ties", "at gamma", "at beta", "mistakes", "at half", "no mistake"), 0)
    for rng in cases(800, 6):
        probs, weak, gamma, beta = selection_case(rng, dtype)
        threshold = rng.choice([0.5, 0.5, 0.5, 0.25])
        longest = longest_of(rng, [len(own) for own in probs])
        found = select_segments(
            padded(rng, probs, dtype, lambda rng: rng.choice([0.0, 1.0, rng.random()]), longest),
            torch.tensor(weak, dtype=dtype),
            mask_of(probs, longest),
            gamma,
            beta,
            mistake_threshold=threshold,
        )
        for own, labels, positive, negative in zip(probs, weak, found.positive, found.negative, strict=True):
            assert places(positive, len(own)) == reference.positive_segments(own, labels, gamma)
            assert places(negative, len(own)) == reference.negative_segments(own, labels, beta, threshold)
            for c, w in enumerate(labels):
                flat = [segment[c] for row in own for segment in row]
                peak = max(flat)
                seen["ties"] += flat.count(peak) > 1
                seen["at gamma"] += w == 1 and gamma < 1 and peak > 0 and gamma * peak in flat
                seen["at beta"] += w == 1 and peak > 0 and beta * peak in flat
                seen["mistakes"] += w == 0 and peak > 0.5
                seen["at half"] += w == 0 and peak == 0.5
                seen["no mistake"] += w == 0 and peak < 0.5
    assert min(seen.values()) > 30, seen


def test_equations_5_and_6_for_any_gamma_and_beta() -> None:
    """In float64 a product of two numbers is the same everywhere, so that equality can be asked for."""
    for rng in cases(500, 7):
        gamma, beta, peak = 1 - rng.random(), rng.random(), rng.random()
        flat = [gamma * peak, peak, math.nextafter(gamma * peak, 0), beta * peak, math.nextafter(beta * peak, 1), 0.0]
        rng.shuffle(flat)
        own: Video = [[[p] for p in flat[:3]], [[p] for p in flat[3:]]]
        found = select_segments(
            torch.tensor([own], dtype=torch.float64), torch.ones(1, 1).double(), torch.ones(1, 2).bool(), gamma, beta
        )
        assert places(found.positive[0], 2) == reference.positive_segments(own, [1.0], gamma)
        assert places(found.negative[0], 2) == reference.negative_segments(own, [1.0], beta)


def test_equation_7_union() -> None:
    """All key segments of a training set, whatever blocks of videos come in whatever order."""
    for rng in cases(150, 8):
        gamma, beta, modalities, events, dim = rng.choice([1.0, 0.5]), 0.25, rng.randint(1, 3), rng.randint(1, 3), 2
        lengths = lengths_of(rng, most=8)
        probs = [video(rng, n, modalities, events, on_grid) for n in lengths]
        features = [video(rng, n, modalities, dim, normal(1)) for n in lengths]
        weak = [vector(rng, events, binary) for _ in lengths]
        number = {
            key: i
            for i, key in enumerate(
                (n, t, m) for n, length in enumerate(lengths) for t in range(length) for m in range(modalities)
            )
        }
        key_of = {i: key for key, i in number.items()}

        sample = KeySegmentSample(2 * events, None, seed=0, like=torch.zeros(1, dim, dtype=torch.float64))
        order = list(range(len(lengths)))
        rng.shuffle(order)
        while order:
            size = rng.randint(1, 3)
            rows, order = order[:size], order[size:]
            longest = longest_of(rng, [lengths[n] for n in rows])
            own = [probs[n] for n in rows]
            mask = mask_of(own, longest)
            found = select_segments(
                padded(rng, own, torch.float64, on_grid, longest),
                torch.tensor([weak[n] for n in rows], dtype=torch.float64),
                mask,
                gamma,
                beta,
            )
            chosen = torch.cat([found.positive, found.negative], dim=-1)[mask].flatten(0, 1)
            numbers = [number[n, t, m] for n in rows for t in range(lengths[n]) for m in range(modalities)]
            values = padded(rng, [features[n] for n in rows], torch.float64, normal(9), longest)[mask].flatten(0, 1)
            sample.add(chosen, torch.tensor(numbers), values)
        result = sample.result()

        positive, negative = reference.key_segments(probs, weak, gamma, beta)
        expected = [set(keys) for keys in positive + negative]
        actual: list[list[reference.Key]] = [[] for _ in expected]
        for problem, segment, feature in zip(
            result.problem.tolist(), result.segment.tolist(), result.features.tolist(), strict=True
        ):
            n, t, m = key_of[segment]
            actual[problem].append((n, t, m))
            assert feature == features[n][t][m]
        assert [set(keys) for keys in actual] == expected
        assert [len(keys) for keys in actual] == [len(keys) for keys in expected]


# Eq. (8)


def clustering_case(rng: Random, draw: Draw, most: int) -> tuple[KeySegments, list[list[list[float]]], list[int], int]:
    """Points of a few problems, some of them without any, with the number of clusters of each."""
    dim = rng.randint(1, 3)
    problems = [[vector(rng, dim, draw) for _ in range(rng.randint(0, most))] for _ in range(rng.randint(1, 4))]
    problems = [torch.tensor(points, dtype=torch.float32).reshape(-1, dim).tolist() for points in problems]
    flat = [(i, point) for i, points in enumerate(problems) for point in points]
    found = KeySegments(
        problem=torch.tensor([i for i, _ in flat], dtype=torch.long),
        segment=torch.arange(len(flat)),
        features=torch.tensor([point for _, point in flat], dtype=torch.float32).reshape(len(flat), dim),
    )
    return found, problems, [rng.randint(1, 4) for _ in problems], dim


@pytest.mark.parametrize("backend", BACKENDS)
def test_equation_8_few_segments_are_their_own_prototypes(backend: Literal["faiss", "torch"]) -> None:
    for rng in cases(200, 9):
        found, problems, _, _ = clustering_case(rng, rng.choice([whole, normal(1)]), most=5)
        k = [max(len(points), 1) + rng.randint(0, 2) for points in problems]
        built = build_prototypes(found, len(problems), k, seed=[0], backend=backend)
        for points, centers, used in zip(problems, built.centers, built.mask, strict=True):
            assert sorted(centers[used].tolist()) == sorted(points)


@pytest.mark.parametrize("backend", BACKENDS)
def test_equation_8_k_means(backend: Literal["faiss", "torch"]) -> None:
    """Prototypes are means of the segments closest to them, and the objective is near the best there is."""
    excess = []
    for number, rng in enumerate(cases(100, 10)):
        found, problems, k, _ = clustering_case(rng, normal(1), most=6)
        built = build_prototypes(found, len(problems), k, seed=[number], backend=backend)
        for points, clusters, centers, used in zip(problems, k, built.centers, built.mask, strict=True):
            prototypes = centers[used].tolist()
            assert len(prototypes) == min(clusters, len(points))
            if len(points) <= clusters:
                continue
            torch.testing.assert_close(
                torch.tensor(prototypes), torch.tensor(reference.lloyd_step(points, prototypes)), rtol=1e-5, atol=1e-5
            )
            objective = reference.clustering_objective(points, prototypes)
            best = reference.best_objective(points, clusters)
            assert objective >= best * (1 - 1e-5)
            if clusters == 1:
                assert objective == pytest.approx(best, rel=1e-5)
            excess.append(objective / best)
    assert len(excess) > 100
    assert sum(ratio < 1 + 1e-4 for ratio in excess) / len(excess) > 0.5, excess


# Eqs. (9), (10) and the naive labels


def prototype_case(
    rng: Random, events: int, dim: int, draw: Draw, dtype: torch.dtype
) -> tuple[list[list[list[float]]], list[list[list[float]]], Prototypes]:
    """Prototypes of both signs, as lists for each event and padded: none, few, or as many as there can be."""
    signs, tensors = [], []
    for most in (rng.randint(1, 4), rng.randint(1, 4)):
        sign = [[vector(rng, dim, draw) for _ in range(rng.randint(0, most))] for _ in range(events)]
        signs.append(sign)
    if rng.random() < 0.3:  # equal evidence
        signs[1] = [own * rng.choice([1, 1, 2]) for own in signs[0]]
    most = max(len(own) for sign in signs for own in sign) + rng.randint(0, 1)
    most = max(most, 1)
    for sign in signs:
        rows, used = [], []
        for own in sign:
            slots = sorted(rng.sample(range(most), len(own)))  # unused rows may be anywhere
            row = [vector(rng, dim, normal(20)) for _ in range(most)]
            for slot, prototype in zip(slots, own, strict=True):
                row[slot] = prototype
            rows.append(row)
            used.append([slot in slots for slot in range(most)])
        tensors += [torch.tensor(rows, dtype=dtype), torch.tensor(used)]
    return signs[0], signs[1], Prototypes(*tensors)


@DTYPES
def test_equations_9_and_10_labels(dtype: torch.dtype) -> None:
    seen = dict.fromkeys(("no positives", "no negatives", "neither", "ties", "k_p != k_n"), 0)
    compared, close = 0, 0
    for rng in cases(400, 11):
        lengths, modalities, events, dim = lengths_of(rng), rng.randint(1, 3), rng.randint(1, 4), rng.randint(1, 4)
        tau, draw = rng.choice([0.05, 0.1, 0.5, 1.0, 3.0]), rng.choice([normal(1), whole])
        features = [video(rng, n, modalities, dim, draw) for n in lengths]
        positive, negative, prototypes = prototype_case(rng, events, dim, draw, dtype)
        weak = [vector(rng, events, binary) for _ in lengths]
        without_positives, without_negatives = rng.choice([(0.0, 1.0), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0)])
        lacking = Lacking(
            positives=math.inf if without_positives else -math.inf,
            negatives=math.inf if without_negatives else -math.inf,
        )
        longest = longest_of(rng, lengths)
        batch = padded(rng, features, dtype, normal(3), longest)
        labels = torch.tensor(weak, dtype=dtype)
        if (without_positives, without_negatives) == (0.0, 1.0) and rng.random() < 0.5:
            hard, soft = hard_labels(batch, prototypes, labels), soft_labels(batch, prototypes, labels, tau)
            ratio = prototype_evidence(batch, prototypes, tau)
        else:
            hard = hard_labels(batch, prototypes, labels, lacking)
            soft = soft_labels(batch, prototypes, labels, tau, lacking)
            ratio = prototype_evidence(batch, prototypes, tau, lacking)
        given = without_positives, without_negatives
        for b, own in enumerate(features):
            shape = len(own), modalities, events
            softs, ratios = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
            for t, m, c in itertools.product(*map(range, shape)):
                compared += 1
                sets, w = (positive[c], negative[c]), weak[b][c]
                softs[t, m, c] = reference.soft_label(own[t][m], *sets, w, tau, *given)
                ratios[t, m, c] = reference.evidence(own[t][m], *sets, tau, lacking.positives, lacking.negatives)
                seen["no positives"] += not sets[0] and bool(sets[1])
                seen["no negatives"] += not sets[1] and bool(sets[0])
                seen["neither"] += not sets[0] and not sets[1]
                seen["k_p != k_n"] += bool(sets[0]) and bool(sets[1]) and len(sets[0]) != len(sets[1])
                if sets[0] and sets[1]:
                    apart = abs(reference.evidence(own[t][m], *sets, 1.0))
                    exact = len(sets[0]) == len(sets[1]) == 1  # no sum, so that a tie is one in any precision
                    seen["ties"] += apart == 0 and exact
                    close += 1e-12 < apart < 10 * TIGHT[dtype]
                    if apart < 10 * TIGHT[dtype] and not (apart == 0 and exact):
                        continue  # rounding decides
                assert hard[b, t, m, c].item() == reference.hard_label(own[t][m], *sets, w, *given)
            assert_close(soft[b, : len(own)], softs, TIGHT[dtype] * 10)
            assert_close(ratio[b, : len(own)], ratios, TIGHT[dtype] * 10)
    assert min(seen.values()) > 30, seen
    assert close < 0.002 * compared


@DTYPES
def test_equation_9_is_strict(dtype: torch.dtype) -> None:
    """Equal evidence is no label: the same prototypes of both signs, in order."""
    for rng in cases(200, 12):
        dim, count = rng.randint(1, 8), rng.randint(1, 10)
        centers = torch.tensor([[vector(rng, dim, normal(1)) for _ in range(count)]], dtype=dtype)
        used = torch.ones(1, count, dtype=torch.bool)
        feature = torch.tensor(vector(rng, dim, normal(1)), dtype=dtype).reshape(1, 1, 1, dim)
        both = Prototypes(centers, used, centers.clone(), used)
        assert hard_labels(feature, both, torch.ones(1, 1, dtype=dtype)).item() == 0
        assert soft_labels(feature, both, torch.ones(1, 1, dtype=dtype), 0.1).item() == 0.5


@DTYPES
def test_naive_labels(dtype: torch.dtype) -> None:
    for rng in cases(300, 13):
        videos, segments, modalities, events = (rng.randint(1, 3) for _ in range(4))
        draw = rng.choice([on_grid, anywhere])
        probs = rounded([video(rng, segments, modalities, events, draw) for _ in range(videos)], dtype)
        weak, threshold = [vector(rng, events, binary) for _ in range(videos)], rng.choice([0.5, 0.25])
        p, w = torch.tensor(probs, dtype=dtype), torch.tensor(weak, dtype=dtype)
        hard, soft = naive_hard_labels(p, w, threshold), naive_soft_labels(p, w)
        if threshold == 0.5:
            assert torch.equal(naive_hard_labels(p, w), hard)
        for b, t, m, c in itertools.product(*map(range, (videos, segments, modalities, events))):
            value = probs[b][t][m][c]
            assert hard[b, t, m, c].item() == reference.naive_hard_label(value, weak[b][c], threshold)
            assert soft[b, t, m, c].item() == reference.naive_soft_label(value, weak[b][c])


# Eqs. (11), (12), (13)


@DTYPES
def test_equation_11_pseudo_label_loss(dtype: torch.dtype) -> None:
    for rng in cases(400, 14):
        lengths, modalities, events = lengths_of(rng), rng.randint(1, 3), rng.randint(1, 4)
        draw = rng.choice([anywhere, often_extreme]) if dtype == torch.float64 else anywhere
        probs = [video(rng, n, modalities, events, draw) for n in lengths]
        labels = [video(rng, n, modalities, events, rng.choice([anywhere, binary])) for n in lengths]
        longest = longest_of(rng, lengths)
        over_events: Literal["mean", "sum"] = rng.choice(["mean", "sum"])
        found = pseudo_label_loss(
            padded(rng, probs, dtype, often_extreme, longest),
            padded(rng, labels, dtype, anywhere, longest),
            mask_of(probs, longest),
            over_events,
        )
        assert_close(found, reference.pseudo_label_loss(probs, labels, over_events), TIGHT[dtype] * 10)


@DTYPES
def test_equation_12_contrastive_loss(dtype: torch.dtype) -> None:
    seen = dict.fromkeys(("some without", "all without", "one segment", "one video"), 0)
    for rng in cases(400, 15):
        lengths, modalities, events, dim = lengths_of(rng), rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 4)
        threshold, chance = rng.choice([0.5, 0.5, 0.25]), rng.choice([0.0, 0.3, 0.7])

        def label(rng: Random, threshold: float = threshold, chance: float = chance) -> float:
            return rng.choice([threshold, 1.0]) if rng.random() < chance else rng.random() * threshold * 0.99

        features = [video(rng, n, modalities, dim, rng.choice([normal(1), whole])) for n in lengths]
        labels = [video(rng, n, modalities, events, label) for n in lengths]
        longest, tau = longest_of(rng, lengths), rng.choice([0.2, 0.2, 1.0])
        include_self, normalize = rng.random() < 0.5, rng.random() < 0.5
        found = contrastive_loss(
            padded(rng, features, dtype, normal(3), longest),
            padded(rng, labels, dtype, binary, longest),
            mask_of(features, longest),
            tau,
            include_self=include_self,
            normalize_features=normalize,
            label_threshold=threshold,
        )
        expected = reference.contrastive_loss(features, labels, tau, include_self, normalize, threshold)
        assert_close(found, expected, TIGHT[dtype] * 10)
        without = [max(values) < threshold for own in labels for row in own for values in row]
        seen["some without"] += any(without) and not all(without)
        seen["all without"] += all(without)
        seen["one segment"] += len(without) == 1
        seen["one video"] += len(lengths) == 1
    assert min(seen.values()) > 10, seen


def test_equation_13_sum() -> None:
    for rng in cases(100, 16):
        mil, pseudo, contrastive, weight_pl, weight_cl = (rng.random() for _ in range(5))
        terms = {
            "mil": Term(torch.tensor(mil, dtype=torch.float64)),
            "pseudo_label": Term(torch.tensor(pseudo, dtype=torch.float64), weight_pl),
            "contrastive": Term(torch.tensor(contrastive, dtype=torch.float64), weight_cl),
        }
        assert_close(total(terms), reference.total_loss(mil, pseudo, contrastive, weight_pl, weight_cl))


# Eqs. (14) to (18)


def em_case(rng: Random) -> tuple[list[Video], list[list[float]], list[Video], list[list[float]], int, list[int]]:
    """Segments [S][1][C], of all modalities in one row, their videos, posteriors and weak labels."""
    lengths, events = lengths_of(rng), rng.randint(1, 3)
    draw = rng.choice([anywhere, anywhere, often_extreme])
    probs = [video(rng, n, 1, events, draw) for n in lengths]
    labels = [video(rng, n, 1, events, rng.choice([anywhere, binary, often_extreme])) for n in lengths]
    videos = [vector(rng, events, rng.choice([draw, lambda rng: 1.3 * rng.random()])) for _ in lengths]
    weak = [vector(rng, events, binary) for _ in lengths]
    return probs, videos, labels, weak, longest_of(rng, lengths), lengths


def of_event(own: Video, c: int) -> list[float]:
    return [row[0][c] for row in own]


@pytest.mark.parametrize(
    ("of_package", "of_reference"),
    [(bound, reference.bound), (m_step_objective, reference.m_step_objective)],
    ids=["Eq. (14)", "Eq. (18)"],
)
def test_equations_14_and_18(of_package: Callable[..., Tensor], of_reference: Callable[..., float]) -> None:
    for rng in cases(300, 17):
        probs, videos, labels, weak, longest, _ = em_case(rng)
        found = of_package(
            padded(rng, probs, torch.float64, often_extreme, longest).squeeze(2),
            torch.tensor(videos, dtype=torch.float64),
            padded(rng, labels, torch.float64, often_extreme, longest).squeeze(2),
            torch.tensor(weak, dtype=torch.float64),
            mask_of(probs, longest),
        )
        for b, c in itertools.product(range(len(probs)), range(len(weak[0]))):
            p, y = of_event(probs[b], c), of_event(labels[b], c)
            expected = of_reference(p, videos[b][c], y, weak[b][c])
            assert_close(found[b, c], expected, 1e-10)


def test_equations_15_and_16_e_step() -> None:
    for rng in cases(300, 18):
        probs, _, _, weak, longest, lengths = em_case(rng)
        found = e_step(
            padded(rng, probs, torch.float64, anywhere, longest).squeeze(2), torch.tensor(weak, dtype=torch.float64)
        )
        for b, c in itertools.product(range(len(probs)), range(len(weak[0]))):
            assert found[b, : lengths[b], c].tolist() == reference.posterior(of_event(probs[b], c), weak[b][c])


def test_equation_17_expectation() -> None:
    for rng in cases(400, 19):
        segments = rng.randint(1, 5)
        draw = rng.choice([anywhere, often_extreme])
        probs, weak, video_prob = vector(rng, segments, draw), binary(rng), 1.2 * rng.random()
        given = reference.labelings(segments)
        rng.shuffle(given)
        means = vector(rng, segments, anywhere)
        q = [reference.probability_of(y, means) for y in given]
        found = expected_negative_log_joint(
            torch.tensor(probs, dtype=torch.float64),
            torch.tensor(video_prob, dtype=torch.float64),
            weak,
            torch.tensor(given, dtype=torch.float64),
            torch.tensor(q, dtype=torch.float64),
        )
        assert_close(found, reference.expected_negative_log_joint(probs, video_prob, weak, given, q), 1e-10)
        # for such q it is Eq. (18)
        assert_close(found, reference.m_step_objective(probs, video_prob, means, weak), 1e-10)


# Eqs. (5) to (13) as one epoch of a training does them


class Recorded(ParsingNetwork):
    """A network with a known output for all segments: features [S, M, D], probabilities [S, M, C]."""

    def __init__(self, features: Tensor, probs: Tensor, video_probs: Tensor) -> None:
        super().__init__()
        self.features, self.probs, self.videos = features, probs, video_probs
        self.feature_dim = features.shape[-1]

    def forward(self, batch: Batch) -> ParsingOutput:
        video_probs = self.videos[batch.index]
        alone = video_probs[:, None].expand(-1, self.probs.shape[1], -1)
        return ParsingOutput(self.features[batch.segment], self.probs[batch.segment], video_probs, alone)


def videos_of(flat: Tensor, lengths: Sequence[int]) -> list[Video]:
    """Values of all segments of a data set, [S, M, ...], as videos."""
    return [own.tolist() for own in torch.split(flat, list(lengths))]


def labeling_of(network: ParsingNetwork, events: Sequence[str], **settings: Any) -> Prototype:
    every: dict[str, Any] = {
        "modalities": ["audio", "visual"],
        "label_threshold": 0.5,
        "weight_pseudo_label": 0.25,
        "over_events": "mean",
        "start_epoch": 0,
        "source": "momentum",
        "momentum": 0.999,
        "momentum_warmup": False,
        "attending": None,
        "beta": 0.25,
        "mistake_threshold": 0.5,
        "k": 256,
        "k_positive": None,
        "k_negative": None,
        "without_positives": "zero",
        "without_negatives": "weak",
        "tau": 0.1,
        "prototypes": "shared",
        "min_modality": 0.5,
        "max_segments_per_event": None,
        "kmeans": "torch",
        "feature_memory_gb": 1.0,
        "weight_contrastive": 0.5,
        "tau_contrastive": 0.2,
        "seed": 0,
    }
    return Prototype(network=network, events=events, **{**every, **settings})


@pytest.mark.parametrize("normalize", [True, False], ids=["length 1", "as they are"])
@pytest.mark.parametrize("labels", ["soft", "hard"])
@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_labels_and_losses_of_an_epoch(normalize: bool, labels: str, gamma: float) -> None:
    """With a prototype for every key segment, all labels of a training set are those of the equations in sequence."""
    data = generate(
        sizes={"train": 9, "val": 1, "test": 1},
        streams={"sound": 2, "sight": 2},
        modalities={"audio": ["sound"], "visual": ["sight"]},
        seed=3,
        segments=4,
        shortest=1,
    )
    train, rng = data.train, Random(21)
    assert isinstance(train, VideoSet)
    lengths, events = train.lengths.tolist(), len(data.events)
    assert len(set(lengths)) > 1
    weak: list[list[float]] = train.weak_labels.tolist()
    probs = torch.tensor([video(rng, 1, 2, events, rng.choice([on_grid, anywhere]))[0] for _ in range(sum(lengths))])
    features = torch.tensor([video(rng, 1, 2, 3, normal(0.7))[0] for _ in range(sum(lengths))])
    video_probs = torch.tensor([vector(rng, events, anywhere) for _ in lengths])
    network = Recorded(features, probs, video_probs)
    part = labeling_of(
        network, data.events, labels=labels, gamma=gamma, normalize_features=normalize, include_self=normalize
    )
    part.refresh(train, 0, Team())

    known, given = videos_of(probs, lengths), videos_of(features, lengths)
    comparable = [[[reference.normalized(f) if normalize else f for f in segment] for segment in own] for own in given]
    expected = reference.pipeline(comparable, known, weak, gamma, 0.25, 0.1 if labels == "soft" else None)
    assert part.pseudo_labels is not None
    found = videos_of(part.pseudo_labels, lengths)
    for own, wanted in zip(found, expected, strict=True):
        assert_close(torch.tensor(own), wanted, 1e-4 if labels == "soft" else 0.0)
    occurring = [y for own in expected for row in own for segment in row for y in segment if y > 0]
    assert len(occurring) > 10
    assert any(y < 1 for y in occurring) == (labels == "soft")

    rows = [4, 0, 7]
    batch = train[torch.tensor(rows)]
    terms = part(Step(network, batch, network(batch), epoch=0, done=0.0))
    pl = reference.pseudo_label_loss([known[n] for n in rows], [found[n] for n in rows])
    cl = reference.contrastive_loss([given[n] for n in rows], [found[n] for n in rows], 0.2, normalize, normalize)
    assert_close(total({"mil": Term(torch.tensor(2.0)), **terms}), reference.total_loss(2.0, pl, cl, 0.25, 0.5), 1e-4)
