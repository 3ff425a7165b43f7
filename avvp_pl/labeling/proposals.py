"""Finding the intervals that the next network of ASM-Loc is told (He et al., CVPR 2022)."""

from __future__ import annotations

import torch

from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError
from avvp_pl.inference.asm_loc import sampled_curves
from avvp_pl.parts import Decision, Search
from avvp_pl.types import Detections, ParsingNetwork


class FoundProposals(Search):
    """The detections of ``decision`` in the curves of :class:`~avvp_pl.models.asm_loc.ASMLoc`.

    In a training video, only events of its weak label count, and one that is not found at all has no proposal.
    """

    def __init__(self, decision: Decision) -> None:
        self.decision = decision

    def __call__(self, network: ParsingNetwork, videos: VideoSet, batch_size: int, weakly_labeled: bool) -> Detections:
        """Return the proposals in seconds, by video, event and falling score."""
        found, first = [], 0
        for batch in videos.batches(batch_size):
            detections = self.decision.detections(sampled_curves(network(batch)), batch)
            if detections is None:
                raise InputError(
                    "refinement.decision: it finds no intervals; give an avvp_pl.inference.detector.Detector"
                )
            found.append(detections._replace(videos=detections.videos.cpu() + first))
            first += len(batch.index)
        joined = Detections(*map(torch.cat, zip(*found, strict=True)))
        if weakly_labeled:
            known = videos.weak_labels.cpu()[joined.videos, joined.events] > 0
            joined = Detections(*(column[known] for column in joined))
        return joined
