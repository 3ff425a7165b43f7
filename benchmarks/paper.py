"""The costs that the paper prints (Sec. 5.2). They are of its own machine, so only their ratios compare with ours."""

from __future__ import annotations

TRAINING, LABELING = 17.1, 50.3  # seconds of an epoch, which has 67.4
BY_PROTOTYPES, BY_CLASSIFIER = 5.9, 2.9  # milliseconds of inference for a video: PPL, and what it is compared with


def ratios(ours: float, one: float, other: float, unit: str) -> str:
    """Our ratio of two costs, and that of two costs in the paper.

    >>> ratios(1.0712, 3.0, 1.5, "ms")
    '1.07; in the paper 2.00 (3.0 ms to 1.5 ms)'
    """
    return f"{ours:.2f}; in the paper {one / other:.2f} ({one} {unit} to {other} {unit})"
