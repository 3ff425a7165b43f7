"""A uniform sample of key segments that depends neither on their order nor on the process that finds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

PENDING = 2**15  # key segments that are collected before the sample is reduced: 64 MB of features


@dataclass(frozen=True)
class KeySegments:
    """The key segments of P clustering problems, one for each group of modalities, sign and event (Eq. 7).

    Row i is segment number ``segment[i]`` of the data set, for problem ``problem[i]``.
    """

    problem: Int[Tensor, " n"]
    segment: Int[Tensor, " n"]
    features: Float[Tensor, "n D"]

    def __len__(self) -> int:
        return len(self.problem)

    def __getitem__(self, rows: Tensor) -> KeySegments:
        return KeySegments(self.problem[rows], self.segment[rows], self.features[rows])


class KeySegmentSample:
    """At most ``limit`` key segments of each problem (None: all of them), collected block by block.

    Each segment has its own pseudo-random key (:func:`sampling_keys`), and the sample consists of the segments with the
    smallest keys. So it depends on ``seed`` and on the set of segments, but not on blocks or processes, and its memory
    is O(problems * limit) for any number of segments. ``like`` gives dtype and device of the features.
    """

    def __init__(self, problems: int, limit: int | None, seed: int, like: Float[Tensor, "_ D"]) -> None:
        self.problems, self.limit, self.seed = problems, limit, seed
        nothing = torch.zeros(0, dtype=torch.long, device=like.device)
        self.parts = [KeySegments(nothing, nothing, like[:0])]
        self.pending = 0
        self.largest: Tensor | None = None  # [P]: larger keys are not among the smallest `limit`

    def add(self, chosen: Bool[Tensor, "n P"], segment: Int[Tensor, " n"], features: Float[Tensor, "n D"]) -> None:
        """Add segments to the problems for which they are ``chosen``."""
        row, problem = chosen.nonzero(as_tuple=True)
        if self.largest is not None:
            may_be = sampling_keys(problem, segment[row], self.seed) <= self.largest[problem]
            row, problem = row[may_be], problem[may_be]
        self.parts.append(KeySegments(problem, segment[row], features[row]))
        self.pending += len(row)
        if self.limit is not None and self.pending > PENDING:
            self._reduce()

    def result(self, gather: Callable[[Tensor], Tensor] | None = None) -> KeySegments:
        """Return the sample, sorted by problem, then by segment; this object is empty afterwards.

        ``gather`` joins the rows of several processes; each process then has the same sample of all segments.
        """
        self._reduce()
        found = self._sorted()
        if gather is None:
            return found
        self.parts = [KeySegments(gather(found.problem), gather(found.segment), gather(found.features))]
        self._reduce()
        return self._sorted()

    def _reduce(self) -> None:
        """Drop everything that is not in the sample; parts are copied one by one to save memory."""
        self.pending = 0
        if self.limit is None:
            return
        problem, segment = self._numbers()
        keys = sampling_keys(problem, segment, self.seed)
        order = keys.argsort()
        order = order[problem[order].argsort(stable=True)]
        counts = problem.bincount(minlength=self.problems)
        place = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[problem[order]]
        kept = torch.zeros_like(keys, dtype=torch.bool)
        kept[order[place < self.limit]] = True
        last = order[place == self.limit - 1]
        self.largest = torch.full_like(counts, torch.iinfo(torch.int64).max)
        self.largest[problem[last]] = keys[last]
        for number, own in enumerate(torch.split(kept, [len(part) for part in self.parts])):
            if not own.all():
                self.parts[number] = self.parts[number][own]

    def _sorted(self) -> KeySegments:
        problem, segment = self._numbers()
        order = segment.argsort()
        order = order[problem[order].argsort(stable=True)]
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        features = self.parts[-1].features.new_empty(len(order), self.parts[-1].features.shape[1])
        for own in torch.split(place, [len(part) for part in self.parts]):
            features[own] = self.parts.pop(0).features
        return KeySegments(problem[order], segment[order], features)

    def _numbers(self) -> tuple[Tensor, Tensor]:
        """Return the problems and segments of all parts."""
        return torch.cat([part.problem for part in self.parts]), torch.cat([part.segment for part in self.parts])


def sampling_keys(problem: Int[Tensor, " n"], segment: Int[Tensor, " n"], seed: int) -> Int[Tensor, " n"]:
    """Return pseudo-random 63-bit numbers: SplitMix64's finalizer of (seed, problem, segment).

    The arithmetic is modulo 2^64, so the numbers are the same on every device.
    """
    x = _mixed(_mixed(torch.full_like(problem, seed) + _GOLDEN) + (problem + 1) * _GOLDEN) + (segment + 1) * _GOLDEN
    return _mixed(x) & torch.iinfo(torch.int64).max


_GOLDEN = 0x9E3779B97F4A7C15 - 2**64


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    x = (x ^ _shifted(x, 27)) * (0x94D049BB133111EB - 2**64)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift to the right as an unsigned number."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
