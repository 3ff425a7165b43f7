"""MA (Wu and Yang, CVPR 2021): exchanging tracks with another video tells which modality shows an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.parts import Refinement
from avvp_pl.types import Batch, ParsingNetwork

BLOCK = 256  # videos that are compared with all others at once


class ExchangedTracks(Refinement):
    """The weak labels of each modality, without events that this modality does not show.

    Every video gets a partner, drawn from the videos that have none of its events. The network then sees the tracks of
    one modality m of the video with all other tracks of the partner. If no modality has a probability of at least
    ``threshold`` * e_m(c) for an event c of the video, its label is removed from m. e_m(c) is the share of training
    videos whose event c the modality m gets wrong by itself (at 0.5), over the largest such share of any event. A video
    without any possible partner keeps its labels; a partner that is shorter is repeated.
    """

    kind = "modality_labels"

    def __init__(self, streams: Mapping[str, Sequence[str]], threshold: float, seed: int) -> None:
        self.streams = [set(of_modality) for of_modality in streams.values()]
        self.threshold, self.seed = threshold, seed

    def __call__(self, network: ParsingNetwork, videos: VideoSet, batch_size: int) -> Float[Tensor, "N M C"]:
        """Return the labels."""
        cuts = self.threshold * relative_errors(network, videos, batch_size)
        weak_labels = videos.weak_labels.cpu()
        partner = partners(weak_labels, videos.lengths, self.seed)
        removed = []
        for rows in torch.split(torch.arange(len(videos)), batch_size):
            own = videos[rows]
            other = _tracks_of(videos, partner[rows].where(partner[rows] >= 0, rows), own.mask)
            absent = torch.stack([self._absent(network, own, other, m, cuts[m]) for m in range(len(cuts))], dim=1)
            removed.append(absent.cpu() & (partner[rows] >= 0)[:, None, None])
        return weak_labels[:, None] * ~torch.cat(removed)

    def _absent(
        self, network: ParsingNetwork, own: Batch, other: Batch, modality: int, cut: Float[Tensor, " C"]
    ) -> Bool[Tensor, "B C"]:
        """Return which events no modality shows once only ``modality`` is the video's own."""
        kept = {stream: own.features_in[stream] for stream in self.streams[modality]}
        mixed = replace(own, features_in={**other.features_in, **kept})
        return (network(mixed).modality_probs < cut).all(dim=1)


def relative_errors(network: ParsingNetwork, videos: VideoSet, batch_size: int) -> Float[Tensor, "M C"]:
    """Return how often each modality gets an event of a video wrong by itself, over its largest such share."""
    wrong = [
        ((network(batch).modality_probs > 0.5) != (batch.weak_labels[:, None] > 0.5)).float()
        for batch in videos.batches(batch_size)
    ]
    errors = torch.cat(wrong).mean(0)
    return errors / errors.amax(1, keepdim=True).clamp(min=torch.finfo(errors.dtype).tiny)


def partners(weak_labels: Float[Tensor, "N C"], lengths: Int[Tensor, " N"], seed: int) -> Int[Tensor, " N"]:
    """Draw for each video another one that has segments and none of its events; -1 where there is none.

    >>> partners(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([10, 10, 10]), seed=0)
    tensor([ 1,  0, -1])
    """
    drawn = torch.rand(len(weak_labels), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = []
    for rows in torch.split(torch.arange(len(weak_labels)), BLOCK):
        allowed = (weak_labels[rows] @ weak_labels.T == 0) & (lengths > 0)
        count = allowed.sum(1)
        number = (drawn[rows] * count).long().clamp(max=count - 1)  # which of the allowed videos, counted from 0
        position = ((allowed.cumsum(1) == number[:, None] + 1) & allowed).long().argmax(1)
        found.append(position.where(count > 0, -1))
    return torch.cat(found)


def _tracks_of(videos: VideoSet, rows: Int[Tensor, " B"], mask: Bool[Tensor, "B T"]) -> Batch:
    """Return videos repeated or cut to the segments in ``mask``."""
    steps = torch.arange(mask.shape[1]) % videos.lengths[rows].clamp(min=1)[:, None]
    last = max(0, videos.num_segments - 1)
    return videos.batch(rows, (videos.starts[rows][:, None] + steps).clamp(max=last), mask.cpu())
