"""The mAP of detections with lists and loops, from the definition of ActivityNet's scorer.

Slow on purpose and independent of `avvp_pl.metrics.tal`: the tests hold the two against each other.
"""

from typing import NamedTuple


class Truth(NamedTuple):
    video: int
    event: int
    start: float
    end: float


class Found(NamedTuple):
    video: int
    event: int
    start: float
    end: float
    score: float


def tiou(one: tuple[float, float], other: tuple[float, float]) -> float:
    both = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    union = (one[1] - one[0]) + (other[1] - other[0]) - both
    return both / union if union else 0.0


def average_precision(found: list[Found], truth: list[Truth], threshold: float) -> float:
    """Of one event, as a fraction."""
    taken: set[int] = set()
    hits: list[bool] = []
    for detection in sorted(found, key=lambda one: -one.score):  # sorted is stable
        overlaps = [
            (tiou((detection.start, detection.end), (one.start, one.end)), number)
            for number, one in enumerate(truth)
            if one.video == detection.video
        ]
        hit = False
        for overlap, number in sorted(overlaps, key=lambda pair: -pair[0]):
            if overlap >= threshold and number not in taken:
                taken.add(number)
                hit = True
                break
        hits.append(hit)
    precisions = [sum(hits[: rank + 1]) / (rank + 1) for rank in range(len(hits))]
    recalls = [0.0, *(sum(hits[: rank + 1]) / len(truth) for rank in range(len(hits)))]
    return sum((recalls[rank + 1] - recalls[rank]) * max(precisions[rank:]) for rank in range(len(hits)))


def reference(found: list[Found], truth: list[Truth], thresholds: list[float]) -> dict[float, float]:
    """The mAP in percent at each threshold."""
    events = sorted({one.event for one in truth})
    result = {}
    for threshold in thresholds:
        values = [
            average_precision(
                [one for one in found if one.event == event], [one for one in truth if one.event == event], threshold
            )
            for event in events
        ]
        result[threshold] = 100 * sum(values) / len(values) if values else 0.0
    return result
