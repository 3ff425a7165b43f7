"""Prototypes: the cluster centers of each event's key segments (Eq. 8). No other module uses faiss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, get_args

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avvp_pl.pseudo_labels.sampling import KeySegments
from avvp_pl.types import Prototypes, Segments

ITERATIONS = 20
PADDED_NUMBERS = 2**26  # numbers that the torch backend processes at once: 256 MB

Backend = Literal["faiss", "torch"]


class Centers(NamedTuple):
    """Cluster centers of P problems; centers whose mask is false are unused, and 0."""

    centers: Float[Tensor, "P K D"]
    mask: Bool[Tensor, "P K"]


def kmeans_device(backend: Backend, device: torch.device) -> str:
    """Say where :func:`build_prototypes` clusters features that are on ``device``."""
    if backend == "torch":
        return f"{device.type.upper()} (torch)"
    return "GPU (faiss-gpu)" if _gpu_found() else "CPU (faiss)"


def build_prototypes(
    found: KeySegments, problems: int, k: int | Sequence[int], seed: Sequence[int], backend: Backend = "faiss"
) -> Centers:
    """Eq. (8): k-means over the features of each problem's key segments, which must be sorted by problem.

    ``k`` is the number of centers, one for all problems or one for each (k_p and k_n of the paper); K is the largest. A
    problem with at most k segments has these as its prototypes, and the others are masked. Both backends start from k
    segments drawn with ``seed`` and run 20 iterations of Lloyd's algorithm. ``faiss`` solves one problem after another,
    on the CPU or with faiss-gpu on the GPU; ``torch`` solves all at once on the device of the features. Raises
    ValueError if a feature is not finite.
    """
    # sums of rows, because isfinite of all features would need as much memory again
    if not found.features.sum(dim=1).isfinite().all():
        raise ValueError("some segment features are NaN or infinite: the network has diverged")
    counts = found.problem.bincount(minlength=problems).tolist()
    parts = torch.split(found.features, counts)
    of_problem = [k] * problems if isinstance(k, int) else list(k)
    centers = found.features.new_zeros(problems, max(of_problem), found.features.shape[1])
    for problem, part in enumerate(parts):
        if len(part) <= of_problem[problem]:
            centers[problem, : len(part)] = part
    cluster: Callable[..., None] = {"faiss": _cluster_with_faiss, "torch": _cluster_with_torch}[backend]
    for number in dict.fromkeys(of_problem):
        large = [p for p, count in enumerate(counts) if of_problem[p] == number and count > number]
        cluster(centers, number, parts, large, seed)
    numbers = torch.tensor([min(pair) for pair in zip(counts, of_problem, strict=True)], device=centers.device)
    return Centers(centers, numbers[:, None] > torch.arange(centers.shape[1], device=centers.device))


def prototypes_of(
    features: Float[Tensor, "B T M D"],
    segments: Segments,
    k: int | tuple[int, int] = 10,
    *,
    normalize: bool = True,
    seed: int = 0,
    backend: Backend = "faiss",
) -> Prototypes:
    """Eqs. (7)-(8): cluster the features of every event's key segments into at most ``k`` prototypes of each sign.

    ``features`` are those of a network's output, and ``segments`` the masks of :func:`select_segments` for the same
    videos. ``k`` may be a pair, k_p and k_n. ``normalize`` scales the features to length 1 first, as training does
    unless ``labeling.normalize_features=false``; features that are compared with the prototypes must then be scaled as
    well. Raises ValueError if the shapes do not fit, if ``k`` is below 1, if there is no such ``backend``, or if a
    feature is not finite.

    >>> features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]]).reshape(1, 3, 1, 2)
    >>> key = torch.tensor([True, True, False]).reshape(1, 3, 1, 1)  # of one event
    >>> found = prototypes_of(features, Segments(key, ~key), k=1)
    >>> found.positive.tolist(), found.negative.tolist()
    ([[[1.0, 0.0]]], [[[0.0, 1.0]]])
    """
    shape, other = segments.positive.shape, segments.negative.shape
    if features.ndim != 4 or len(shape) != 4 or shape != other or shape[:3] != features.shape[:3]:
        signs = f"{list(shape)}" if shape == other else f"{list(shape)} and {list(other)}"
        raise ValueError(
            f"features {list(features.shape)} and segments {signs} must be of the same videos, segments and modalities"
        )
    numbers = tuple(k) if isinstance(k, Sequence) else (k, k)
    if len(numbers) != 2 or not all(isinstance(number, int) and number >= 1 for number in numbers):
        raise ValueError(f"k is {k}; it must be a number of prototypes, 1 or more, or a pair of them")
    if backend not in get_args(Backend):
        raise ValueError(f"backend is {backend!r}; it must be one of {', '.join(get_args(Backend))}")
    masks = torch.stack([segments.positive, segments.negative], dim=3)  # [B, T, M, 2, C]
    rows = features.flatten(0, 2)
    problem, row = masks.flatten(0, 2).flatten(1).T.nonzero(as_tuple=True)  # sorted by problem: sign * C + event
    own = F.normalize(rows, dim=1) if normalize else rows
    events = masks.shape[4]
    of_problem = [number for number in numbers for _ in range(events)]
    made = build_prototypes(KeySegments(problem, row, own[row]), 2 * events, of_problem, (seed,), backend)
    (positive, negative), (positive_mask, negative_mask) = (torch.split(part, events) for part in made)
    return Prototypes(positive, positive_mask, negative, negative_mask)


def _cluster_with_faiss(
    centers: Float[Tensor, "P K D"], k: int, parts: Sequence[Tensor], large: Sequence[int], seed: Sequence[int]
) -> None:
    dim = centers.shape[2]
    with _one_thread():
        for problem in large:
            kmeans = faiss.Kmeans(
                dim,
                k,
                niter=ITERATIONS,
                seed=int(_generator(seed, problem).integers(2**31)),
                gpu=_gpu_found(),
                min_points_per_centroid=1,  # this only silences a warning
                max_points_per_centroid=len(parts[problem]),  # faiss would silently sample 256 for each center
            )
            kmeans.train(np.ascontiguousarray(parts[problem].float().cpu().numpy()))
            centers[problem, :k] = torch.from_numpy(kmeans.centroids).to(centers)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let faiss use one thread: with two threads and a busy machine it is a hundred times slower.

    Torch may share faiss's threads, so their number is restored afterwards.
    """
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _cluster_with_torch(
    centers: Float[Tensor, "P K D"], k: int, parts: Sequence[Tensor], large: Sequence[int], seed: Sequence[int]
) -> None:
    """Solve problems of similar size together, padded to the largest of them."""
    dim = centers.shape[2]
    waiting = sorted(large, key=lambda problem: len(parts[problem]))
    while waiting:
        rows = len(parts[waiting[-1]])
        fitting = max(1, PADDED_NUMBERS // (rows * dim))
        together = [problem for problem in waiting[-fitting:] if 2 * len(parts[problem]) >= rows]
        del waiting[-len(together) :]
        padded = torch.nn.utils.rnn.pad_sequence([parts[problem] for problem in together], batch_first=True)
        sizes = torch.tensor([len(parts[problem]) for problem in together], device=padded.device)
        starts = [_generator(seed, problem).choice(len(parts[problem]), k, replace=False) for problem in together]
        start = torch.from_numpy(np.stack(starts)).to(padded.device)
        first = padded.gather(1, start[..., None].expand(-1, -1, dim))
        centers[together, :k] = lloyd(padded, sizes, first, ITERATIONS)


def lloyd(
    points: Float[Tensor, "P n D"], sizes: Int[Tensor, " P"], centers: Float[Tensor, "P K D"], iterations: int
) -> Float[Tensor, "P K D"]:
    """Run Lloyd's algorithm on P problems at once; problem i consists of its first ``sizes[i]`` points.

    A center without points moves to the point that is farthest from its own center; the next such center moves to the
    second farthest point, and so on.
    """
    problems, k = centers.shape[:2]
    real = torch.arange(points.shape[1], device=points.device) < sizes[:, None]  # [P, n]
    squares = (points**2).sum(2)
    numbers = torch.arange(k, device=points.device)
    for _ in range(iterations):
        distances = torch.baddbmm((centers**2).sum(2)[:, None], points, centers.transpose(1, 2), alpha=-2)  # [P, n, K]
        distance, nearest = distances.min(2)
        member = ((nearest[..., None] == numbers) & real[..., None]).to(points.dtype)
        count = member.sum(1)  # [P, K]
        means = torch.bmm(member.transpose(1, 2), points) / count.clamp(min=1)[..., None]
        farthest = (distance + squares).masked_fill(~real, -torch.inf).topk(k, dim=1).indices  # [P, K]
        empty = count == 0
        turn = (empty.cumsum(1) - 1).clamp(min=0)
        stray = points[torch.arange(problems, device=points.device)[:, None], farthest.gather(1, turn)]
        centers = torch.where(empty[..., None], stray, means)
    return centers


def _generator(seed: Sequence[int], problem: int) -> np.random.Generator:
    return np.random.default_rng([*seed, problem])


def _gpu_found() -> bool:
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0
