"""Prototypes: the cluster centres of each event's key segments (Eq. 8). The only user of faiss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import faiss
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.types import Prototypes

# A problem here is a few milliseconds on one thread; on two, with anything else running, it is a hundred times that.
faiss.omp_set_num_threads(1)


def kmeans_device() -> Literal["GPU (faiss-gpu)", "CPU (faiss)"]:
    """Where :func:`build_prototypes` clusters: on a GPU if faiss has the code for it and sees one."""
    return "GPU (faiss-gpu)" if _gpu_found() else "CPU (faiss)"


def build_prototypes(
    features: Float[Tensor, "n D"],
    positive: Bool[Tensor, "n C"],
    negative: Bool[Tensor, "n C"],
    k: int,
    seed: Sequence[int],
    max_segments_per_event: int | None = None,
) -> Prototypes:
    """Eq. (8): k-means per event and sign over the features of its key segments.

    ``features`` are those of any segments, ``positive`` and ``negative`` say whose key segments they are. An
    event with at most k of them has these as its prototypes and the rest masked. Of more than
    ``max_segments_per_event`` a seeded sample is clustered. Raises ValueError on a feature that is not finite.
    """
    if not features.sum(dim=1).isfinite().all():  # row by row: isfinite of everything would copy everything
        raise ValueError("some segment features are NaN or infinite: the network has diverged")
    centres, masks = [], []
    for sign, chosen in enumerate((positive, negative)):
        for event, of_event in enumerate(chosen.unbind(dim=1)):
            rows = of_event.nonzero().squeeze(1)
            generator = np.random.default_rng([*seed, sign, event])
            if max_segments_per_event is not None and len(rows) > max_segments_per_event:
                picks = generator.choice(len(rows), max_segments_per_event, replace=False)
                rows = rows[torch.from_numpy(np.sort(picks)).to(rows.device)]
            found = _cluster(features[rows], k, seed=int(generator.integers(2**31)))
            centres.append(torch.nn.functional.pad(found, (0, 0, 0, k - len(found))))
            masks.append(torch.arange(k, device=features.device) < len(found))
    events = positive.shape[1]
    stacked, mask = torch.stack(centres), torch.stack(masks)  # [2C, K, D], [2C, K]
    return Prototypes(stacked[:events], mask[:events], stacked[events:], mask[events:])


def _cluster(features: Float[Tensor, "n D"], k: int, seed: int) -> Float[Tensor, "K D"]:
    """K-means centres, at most k of them."""
    if len(features) <= k:
        return features
    kmeans = faiss.Kmeans(
        features.shape[1],
        k,
        niter=20,
        seed=seed,
        gpu=_gpu_found(),
        min_points_per_centroid=1,  # only silences a warning
        max_points_per_centroid=len(features),  # the default of 256 samples without a word
    )
    kmeans.train(np.ascontiguousarray(features.float().cpu().numpy()))
    return torch.from_numpy(kmeans.centroids).to(features)


def _gpu_found() -> bool:
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0
