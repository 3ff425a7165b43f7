"""Every equation of the paper once more: slow, in plain Python loops and float64.

Written from the paper's text, and from what was decided where the paper is silent, not from the package. There is no
padding here: a video is the list of its real segments. Its values are indexed [t][m][c] or [t][m][d], a batch or a
data set is a list of videos, and prototypes are a list of vectors for each event. "Silent" marks what the paper leaves
open.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

Vector = Sequence[float]
Video = Sequence[Sequence[Vector]]
Key = tuple[int, int, int]
"""Video, segment, modality."""

SMALLEST = 1e-7
"""Silent: probabilities of Eqs. (4) and (14) to (18) are held in [1e-7, 1 - 1e-7] before a logarithm."""
LOWEST = -100.0
"""Silent: the smallest logarithm in Eq. (11)."""


def _ln_of(label: float, probability: float) -> float:
    """The logarithm of the probability that a binary variable of this mean has the value ``label``, 0 or 1."""
    held = min(max(probability, SMALLEST), 1 - SMALLEST)
    return math.log(held) if label == 1 else math.log(1 - held)


def _cross_entropy(probability: float, label: float) -> float:
    return -(label * _ln_of(1, probability) + (1 - label) * _ln_of(0, probability))


def _segment_cross_entropy(probability: float, label: float) -> float:
    of_one = max(math.log(probability), LOWEST) if probability > 0 else LOWEST
    of_zero = max(math.log(1 - probability), LOWEST) if probability < 1 else LOWEST
    return -(label * of_one + (1 - label) * of_zero)


def _dot(first: Vector, second: Vector) -> float:
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


def _softmax(logits: Vector) -> list[float]:
    largest = max(logits)
    raised = [math.exp(logit - largest) for logit in logits]
    return [one / math.fsum(raised) for one in raised]


def normalized(vector: Vector) -> list[float]:
    """Features of length 1, the marked departure of Eqs. (9), (10) and (12); a vector of zeros stays what it is."""
    length = math.sqrt(_dot(vector, vector))
    return [value / length for value in vector] if length > 0 else list(vector)


def pooled(probs: Video, temporal: Video, modality: Video) -> list[float]:
    """Eq. (3): the video's probability of each event, an average of its segments with HAN's two attentions.

    Silent: the weight is a softmax over the time of a modality times a softmax over the modalities of a segment.
    """
    segments, modalities, events = len(probs), len(probs[0]), len(probs[0][0])
    result = []
    for c in range(events):
        over_time = [_softmax([temporal[t][m][c] for t in range(segments)]) for m in range(modalities)]
        total = []
        for t in range(segments):
            over_modalities = _softmax([modality[t][m][c] for m in range(modalities)])
            total += [over_time[m][t] * over_modalities[m] * probs[t][m][c] for m in range(modalities)]
        result.append(math.fsum(total))
    return result


def pooled_alone(probs: Video, temporal: Video) -> list[list[float]]:
    """Eq. (3) of one modality alone, [m][c]: only the attention over time is left."""
    segments, modalities, events = len(probs), len(probs[0]), len(probs[0][0])
    result = []
    for m in range(modalities):
        row = []
        for c in range(events):
            weights = _softmax([temporal[t][m][c] for t in range(segments)])
            row.append(math.fsum(weights[t] * probs[t][m][c] for t in range(segments)))
        result.append(row)
    return result


def mil_loss(video_probs: Sequence[Vector], weak: Sequence[Vector], weights: Vector | None = None) -> float:
    """Eq. (4): the cross-entropy of video-level probabilities and labels, weighted by event.

    Silent: it is averaged over videos and events.
    """
    terms = []
    for probs, labels in zip(video_probs, weak, strict=True):
        for c in range(len(probs)):
            weight = 1.0 if weights is None else weights[c]
            terms.append(weight * _cross_entropy(probs[c], labels[c]))
    return math.fsum(terms) / len(terms)


def event_weights(weak: Sequence[Vector]) -> list[float]:
    """Eq. (4): weights inversely proportional to the number of videos with each event.

    Silent: their mean is 1, and an event of no video counts as an event of one.
    """
    events = len(weak[0])
    inverse = [1 / max(sum(labels[c] == 1 for labels in weak), 1) for c in range(events)]
    return [one * events / math.fsum(inverse) for one in inverse]


def positive_segments(probs: Video, labels: Vector, gamma: float) -> list[set[tuple[int, int]]]:
    """Eq. (5): for each event, the segments (t, m) of a video that contain it with high confidence."""
    found: list[set[tuple[int, int]]] = []
    for c in range(len(labels)):
        peak = max(segment[m][c] for segment in probs for m in range(len(segment)))
        found.append(set())
        if labels[c] == 1:
            for t, segment in enumerate(probs):
                for m in range(len(segment)):
                    if segment[m][c] >= gamma * peak:
                        found[c].add((t, m))
    return found


def negative_segments(probs: Video, labels: Vector, beta: float, threshold: float = 0.5) -> list[set[tuple[int, int]]]:
    """Eq. (6): for each event, the segments (t, m) of a video that lack it, or that are taken for it by mistake."""
    found: list[set[tuple[int, int]]] = []
    for c in range(len(labels)):
        peak = max(segment[m][c] for segment in probs for m in range(len(segment)))
        found.append(set())
        for t, segment in enumerate(probs):
            for m in range(len(segment)):
                p = segment[m][c]
                if labels[c] == 1 and p <= beta * peak:
                    found[c].add((t, m))
                if labels[c] == 0 and p == peak and p >= threshold:
                    found[c].add((t, m))
    return found


def key_segments(
    probs: Sequence[Video], weak: Sequence[Vector], gamma: float, beta: float, threshold: float = 0.5
) -> tuple[list[set[Key]], list[set[Key]]]:
    """Eq. (7): the positive and the negative segments of all videos of the training set, for each event."""
    events = len(weak[0])
    positive: list[set[Key]] = [set() for _ in range(events)]
    negative: list[set[Key]] = [set() for _ in range(events)]
    for n, (video, labels) in enumerate(zip(probs, weak, strict=True)):
        for c, places in enumerate(positive_segments(video, labels, gamma)):
            positive[c] |= {(n, t, m) for t, m in places}
        for c, places in enumerate(negative_segments(video, labels, beta, threshold)):
            negative[c] |= {(n, t, m) for t, m in places}
    return positive, negative


def _distance(first: Vector, second: Vector) -> float:
    return math.fsum((a - b) ** 2 for a, b in zip(first, second, strict=True))


def nearest(point: Vector, centers: Sequence[Vector]) -> int:
    """The number of the center that is closest to a point, the first of several."""
    return min(range(len(centers)), key=lambda i: _distance(point, centers[i]))


def clustering_objective(points: Sequence[Vector], centers: Sequence[Vector]) -> float:
    """Eq. (8): what k-means minimizes, the sum of the squared distances of points to their closest centers."""
    return math.fsum(_distance(point, centers[nearest(point, centers)]) for point in points)


def mean(points: Sequence[Vector]) -> list[float]:
    """The mean of some vectors."""
    return [math.fsum(point[d] for point in points) / len(points) for d in range(len(points[0]))]


def lloyd_step(points: Sequence[Vector], centers: Sequence[Vector]) -> list[list[float]]:
    """Eq. (8): one step of k-means, after which each center is the mean of the points that were closest to it."""
    members: list[list[Vector]] = [[] for _ in centers]
    for point in points:
        members[nearest(point, centers)].append(point)
    return [mean(own) if own else list(center) for own, center in zip(members, centers, strict=True)]


def best_objective(points: Sequence[Vector], k: int) -> float:
    """Eq. (8): the smallest objective of all partitions of a few points into at most k parts."""

    def partitions(count: int) -> list[list[int]]:
        """The number of its part for each of some points."""
        if count == 0:
            return [[]]
        return [[*rest, own] for rest in partitions(count - 1) for own in range(min(max(rest, default=-1) + 2, k))]

    best = math.inf
    for parts in partitions(len(points)):
        spread = []
        for part in set(parts):
            own = [point for point, number in zip(points, parts, strict=True) if number == part]
            center = mean(own)
            spread += [_distance(point, center) for point in own]
        best = min(best, math.fsum(spread))
    return best


def similarity(feature: Vector, prototypes: Sequence[Vector], tau: float) -> float:
    """The sums of Eqs. (9) and (10): the mean of exp(f . f' / tau) over some prototypes f'."""
    return math.fsum(math.exp(_dot(prototype, feature) / tau) for prototype in prototypes) / len(prototypes)


def evidence(
    feature: Vector,
    positive: Sequence[Vector],
    negative: Sequence[Vector],
    tau: float,
    without_positives: float = -math.inf,
    without_negatives: float = math.inf,
) -> float:
    """The logarithm of the ratio of the two sums of Eqs. (9) and (10).

    Silent: what an event without prototypes of one sign gets; by default one without positives is never found (even
    if it has no negatives either), and one without negatives is always found.
    """
    if not positive:
        return without_positives
    if not negative:
        return without_negatives
    return math.log(similarity(feature, positive, tau)) - math.log(similarity(feature, negative, tau))


def hard_label(
    feature: Vector,
    positive: Sequence[Vector],
    negative: Sequence[Vector],
    weak: float,
    without_positives: float = 0.0,
    without_negatives: float = 1.0,
) -> float:
    """Eq. (9): whether a segment is on average closer to the positive prototypes; without a temperature, strictly."""
    if not positive:
        return weak * without_positives
    if not negative:
        return weak * without_negatives
    return weak * (1.0 if similarity(feature, positive, 1.0) > similarity(feature, negative, 1.0) else 0.0)


def soft_label(
    feature: Vector,
    positive: Sequence[Vector],
    negative: Sequence[Vector],
    weak: float,
    tau: float,
    without_positives: float = 0.0,
    without_negatives: float = 1.0,
) -> float:
    """Eq. (10): the share of the positive prototypes in a segment's similarity to both kinds."""
    if not positive:
        return weak * without_positives
    if not negative:
        return weak * without_negatives
    to_positive, to_negative = similarity(feature, positive, tau), similarity(feature, negative, tau)
    return weak * to_positive / (to_positive + to_negative)


def naive_hard_label(probability: float, weak: float, threshold: float = 0.5) -> float:
    """NPL_H (Sec. 5.3): the model's own prediction of a segment, binarized, where the video has the event.

    Silent: the threshold, and that nothing is found in a video without the event, as in Eqs. (9), (10) and (16).
    """
    return weak * (1.0 if probability >= threshold else 0.0)


def naive_soft_label(probability: float, weak: float) -> float:
    """NPL_S (Sec. 5.3): the model's own prediction of a segment, where the video has the event (as in Eq. 16)."""
    return weak * probability


def pseudo_label_loss(probs: Sequence[Video], labels: Sequence[Video], over_events: str = "mean") -> float:
    """Eq. (11): the cross-entropy of segments and their pseudo labels, averaged over all segments of all videos.

    Silent: its mean over the events is taken (or their sum), and long videos count more than short ones.
    """
    segments, events, total = 0, 0, []
    for video, video_labels in zip(probs, labels, strict=True):
        for t, m in itertools.product(range(len(video)), range(len(video[0]))):
            segments, events = segments + 1, len(video[t][m])
            total += [_segment_cross_entropy(video[t][m][c], video_labels[t][m][c]) for c in range(events)]
    return math.fsum(total) / segments / (events if over_events == "mean" else 1)


def contrastive_loss(
    features: Sequence[Video],
    labels: Sequence[Video],
    tau: float,
    include_self: bool = True,
    normalize: bool = True,
    threshold: float = 0.5,
) -> float:
    """Eq. (12): how little of a segment's similarity to the batch is similarity to segments with a common event.

    Silent: an event belongs to a segment's set if its label is at least ``threshold``; a segment without similar ones
    is left out of the mean, and the loss is 0 if all are. Without ``include_self``, a departure, f is not in S(f).
    """
    flat, sets = [], []
    for video, video_labels in zip(features, labels, strict=True):
        for t, m in itertools.product(range(len(video)), range(len(video[0]))):
            flat.append(normalized(video[t][m]) if normalize else list(video[t][m]))
            sets.append({c for c, label in enumerate(video_labels[t][m]) if label >= threshold})
    terms = []
    for i, f in enumerate(flat):
        others = [j for j in range(len(flat)) if include_self or j != i]
        similar = [j for j in others if sets[j] & sets[i]]
        dissimilar = [j for j in others if not sets[j] & sets[i]]
        if not similar:
            continue
        to_similar = math.fsum(math.exp(_dot(flat[j], f) / tau) for j in similar)
        to_dissimilar = math.fsum(math.exp(_dot(flat[j], f) / tau) for j in dissimilar)
        terms.append(-math.log(to_similar / (to_similar + to_dissimilar)))
    return math.fsum(terms) / len(terms) if terms else 0.0


def total_loss(mil: float, pseudo_label: float, contrastive: float, lambda_pl: float, lambda_cl: float) -> float:
    """Eq. (13): the weighted sum of the three losses."""
    return mil + lambda_pl * pseudo_label + lambda_cl * contrastive


def labelings(segments: int) -> list[tuple[int, ...]]:
    """All label vectors y of a video's segments, for one event."""
    return list(itertools.product((0, 1), repeat=segments))


def probability_of(labeling: Sequence[int], means: Vector) -> float:
    """The probability of one y if the segments are independent, with the given probabilities of being 1."""
    return math.prod(p if y == 1 else 1 - p for y, p in zip(labeling, means, strict=True))


def _ln_probability_of(labeling: Sequence[int], probs: Vector) -> float:
    return math.fsum(_ln_of(y, p) for y, p in zip(labeling, probs, strict=True))


def bound(probs: Vector, video_prob: float, labels: Vector, weak: float) -> float:
    """Eq. (14): E_q[ln p(w | Y, x)] - KL[q || p(y | x)] of one event, summed over all y.

    q is the product of the pseudo ``labels`` over the segments, and p(w | y, x) = p(w | x).
    """
    terms = []
    for y in labelings(len(probs)):
        q = probability_of(y, labels)
        if q > 0:
            terms.append(q * _ln_of(weak, video_prob) - q * (math.log(q) - _ln_probability_of(y, probs)))
    return math.fsum(terms)


def posterior(probs: Vector, weak: float) -> list[float]:
    """Eqs. (15)-(16): the probability that y = 1 in each segment, given the video and its label of one event."""
    given = []
    for p in probs:
        of_one = p if weak == 1 else 1 - 1  # the paper's 1 - y at y = 1
        of_zero = 1 - p if weak == 1 else 1 - 0
        assert math.isclose(of_one + of_zero, 1)
        given.append(float(of_one))
    return given


def expected_negative_log_joint(
    probs: Vector, video_prob: float, weak: float, given: Sequence[Sequence[int]], q: Vector
) -> float:
    """Eq. (17): the expectation over y of -ln p(y | x) - ln p(w | y, x), with p(w | y, x) = p(w | x)."""
    first = [-weight * _ln_probability_of(y, probs) for y, weight in zip(given, q, strict=True)]
    second = [-weight * _ln_of(weak, video_prob) for weight in q]
    return math.fsum(first) + math.fsum(second)


def m_step_objective(probs: Vector, video_prob: float, labels: Vector, weak: float) -> float:
    """Eq. (18): the expectation of -ln p(y | x) over all y, and -ln p(w | x) beside it."""
    first = [-probability_of(y, labels) * _ln_probability_of(y, probs) for y in labelings(len(probs))]
    return math.fsum(first) - _ln_of(weak, video_prob)


def pipeline(
    features: Sequence[Video],
    probs: Sequence[Video],
    weak: Sequence[Vector],
    gamma: float,
    beta: float,
    tau: float | None,
) -> list[Video]:
    """Eqs. (5) to (10) together: the pseudo labels of all segments, hard where ``tau`` is None.

    Every key segment is a prototype of its own, as with a k that is large enough.
    """
    positive, negative = key_segments(probs, weak, gamma, beta)

    plus = [[features[n][t][m] for n, t, m in sorted(keys)] for keys in positive]
    minus = [[features[n][t][m] for n, t, m in sorted(keys)] for keys in negative]

    def label(feature: Vector, c: int, w: float) -> float:
        if tau is None:
            return hard_label(feature, plus[c], minus[c], w)
        return soft_label(feature, plus[c], minus[c], w, tau)

    return [
        [[[label(feature, c, w) for c, w in enumerate(weak[n])] for feature in segment] for segment in video]
        for n, video in enumerate(features)
    ]
