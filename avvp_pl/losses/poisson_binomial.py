"""How many segments of a video are positive: the count of independent segments is Poisson-binomial.

PoiBin (Rachavarapu, Rajagopalan, ICCV 2023) treats this number as latent, and learns from a minimum count. Counts are
taken in G groups of S segments: in one group of the segments of all modalities, or in one group for each modality.
Distributions are logarithms of probabilities, log P(N = k) for k = 0, 1, ..., and the last one is log P(N >= most): no
larger count is told from another, so that time and memory grow with the number of segments, and not with its square.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avvp_pl.losses.mil import within_margin

IMPOSSIBLE = -1e30  # log 0, but finite: its gradients are 0 and not NaN


def count_distribution(probs: Float[Tensor, "*n S"], mask: Bool[Tensor, "*#n S"], most: int) -> Float[Tensor, "*n K"]:
    """Return the log-distribution of how many of the segments are positive, of at most ``most`` + 1 numbers.

    It is exact for probabilities within a margin of 1e-7 of 0 and 1, to which all others are clamped. Halves of the
    segments are added up as in a tree, in log2(S) steps. Segments that do not exist by ``mask`` are not counted.

    >>> half, real = torch.full((3,), 0.5), torch.ones(3, dtype=torch.bool)
    >>> count_distribution(half, real, most=4).exp()  # a fourth segment, which S is rounded up to, is impossible
    tensor([0.1250, 0.3750, 0.3750, 0.1250, 0.0000])
    >>> count_distribution(half, real, most=2).exp()  # 0, 1, at least 2
    tensor([0.1250, 0.3750, 0.5000])
    """
    segments = probs.shape[-1]
    p = within_margin(probs.masked_fill(~mask, 0))
    missing = (0, 2 ** (segments - 1).bit_length() - segments)
    absent = F.pad(log_absent(probs, mask), missing)
    present = F.pad(p.log().masked_fill(~mask, IMPOSSIBLE), missing, value=IMPOSSIBLE)
    counts = torch.stack([absent, present], dim=-1)  # [*n, S, 2]: each segment by itself
    while counts.shape[-2] > 1:
        left, right = counts.chunk(2, dim=-2)
        counts = _sum(left, right, most)
    return counts.squeeze(-2)


def log_absent(probs: Float[Tensor, "*n"], mask: Bool[Tensor, "*#n"]) -> Float[Tensor, "*n"]:
    """Return log(1 - p) of each segment that exists by ``mask``, and 0 of the others; log P(N = 0) is their sum."""
    return (-within_margin(probs.masked_fill(~mask, 0))).log1p().masked_fill(~mask, 0)


def log_at_least(log_counts: Float[Tensor, "*#n K"], minimum: Int[Tensor, "*#n"]) -> Float[Tensor, "*n"]:
    """Return log P(N >= minimum), for a ``minimum`` below K.

    It is a sum of positive terms, so it is exact where it is tiny, too.
    """
    count = torch.arange(log_counts.shape[-1], device=log_counts.device)
    return log_counts.masked_fill(count < minimum[..., None], IMPOSSIBLE).logsumexp(-1)


def log_occurs(log_counts: Float[Tensor, "B G C K"]) -> Float[Tensor, "B C"]:
    """Return log P(N >= 1), with N the sum over all groups: noisy-OR pooling of the segments."""
    none = log_counts[..., 0]
    some = log_at_least(log_counts, torch.ones_like(none, dtype=torch.int))
    before = none.cumsum(1) - none  # log P(no group before this one has a positive segment)
    return (before + some).logsumexp(1)


def confident_count(log_counts: Float[Tensor, "B G C K"], confidence: float) -> Int[Tensor, "B G C"]:
    """Return the largest k below K with P(N_g >= k | N >= 1) >= confidence in each group, where N sums over groups.

    >>> counts = count_distribution(torch.tensor([0.9, 0.9, 0.1]), torch.ones(3, dtype=torch.bool), most=3)
    >>> confident_count(counts.reshape(1, 1, 1, -1), 0.8)  # P(N >= 2) is 0.8280, and P(N >= 1) 0.9910
    tensor([[[2]]])
    """
    k = torch.arange(1, log_counts.shape[-1], device=log_counts.device)
    tails = log_at_least(log_counts[..., None, :], k) - log_occurs(log_counts)[:, None, :, None]  # [B, G, C, K - 1]
    return (tails >= math.log(confidence)).sum(-1)


def count_loss(
    log_counts: Float[Tensor, "B G C K"], minimum: Int[Tensor, "B G C"], weak_labels: Float[Tensor, "B C"]
) -> Float[Tensor, ""]:
    """Return the mean of -log P over [B, C]: of N_g >= minimum in all groups where w = 1, of N = 0 where w = 0.

    Where the minimum is 0 in all groups, the weak label still says that some segment is positive: N >= 1.
    """
    enough = torch.where((minimum > 0).any(1), log_at_least(log_counts, minimum).sum(1), log_occurs(log_counts))
    return -torch.where(weak_labels > 0, enough, log_counts[..., 0].sum(1)).mean()


def _sum(left: Float[Tensor, "*n a"], right: Float[Tensor, "*n a"], most: int) -> Float[Tensor, "*n b"]:
    """Return the log-distribution of the sum of two independent counts, each of at most ``most``."""
    numbers = left.shape[-1]
    pairs = left[..., :, None] + right[..., None, :]  # [*n, a, a]
    # one more number in a row shifts each row by one against the last, so that all pairs of a sum share a column
    shifted = F.pad(pairs, (0, numbers), value=IMPOSSIBLE).flatten(-2)[..., :-numbers]
    total: Tensor = shifted.reshape(*left.shape[:-1], numbers, 2 * numbers - 1).logsumexp(-2)
    if total.shape[-1] <= most + 1:
        return total
    return torch.cat([total[..., :most], total[..., most:].logsumexp(-1, keepdim=True)], dim=-1)
