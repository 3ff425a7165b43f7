"""UWAV's losses on soft labels of segments: events are balanced, and segments are mixed (Lai et al., CVPR 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from avvp_pl.data.products import Missing
from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError
from avvp_pl.labeling.from_file import FromFile
from avvp_pl.losses.cross_entropy import binary_cross_entropy
from avvp_pl.losses.segments import mean_of_segments
from avvp_pl.models.han import HAN, full_precision
from avvp_pl.parts import Step, Term
from avvp_pl.pseudo_labels.sampling import sampling_keys
from avvp_pl.types import ParsingNetwork

AT_THRESHOLD = 0.5  # the soft label of a logit that is its threshold


class BalancedAndMixed(FromFile):
    """Soft labels z of a file, such as those of ``refine=from_logits soft=true``, and what UWAV learns from them.

    L = weight_pseudo_label * sum over modalities m of mean(W_m BCE(p_m, z_m)) + weight_mixup * sum over m of L_mix,m.

    W_m is ``positive_weight`` * (C - s_m) for the events of the video and s_m for others, where s_m is the mean number
    of events that a training segment has in m (z above 0.5, which is a logit above its threshold). L_mix,m is the loss
    of mixed segments: each segment of the batch is mixed with another one, and the network's event head scores the
    mixed features against the mixed labels. The fraction that a segment keeps is drawn from
    Beta(mixup_alpha, mixup_alpha), once for each batch and modality.

    Partners and fractions depend on ``seed``, the epoch and the batch, but not on processes. Raises
    :class:`~avvp_pl.errors.InputError` for a network without HAN's linear event head, unless ``weight_mixup`` is 0.
    """

    shares: Tensor  # [M], s_m

    def __init__(
        self,
        network: ParsingNetwork,
        modalities: Sequence[str],
        events: Sequence[str],
        file: str,
        label_threshold: float,
        weight_pseudo_label: float,
        start_epoch: int,
        positive_weight: float,
        weight_mixup: float,
        mixup_alpha: float,
        seed: int,
        missing: Missing = "error",
    ) -> None:
        super().__init__(modalities, events, file, label_threshold, weight_pseudo_label, start_epoch, missing)
        if weight_mixup and not (isinstance(network, HAN) and isinstance(network.event_head, nn.Linear)):
            raise InputError(
                "labeling=uwav needs a network with HAN's linear event head, which scores mixed segments: network=uwav "
                "or network=han; give labeling.weight_mixup=0 to leave their loss out"
            )
        self.positive_weight, self.weight_mixup, self.mixup_alpha = positive_weight, weight_mixup, mixup_alpha
        self.seed = seed

    def start(self, videos: VideoSet) -> None:
        """Read the labels, and count how many events a segment has in each modality."""
        super().start(videos)
        assert self.stored is not None
        shares = (self.stored > AT_THRESHOLD).sum((0, 2)) / max(1, len(self.stored))
        self.register_buffer("shares", shares, persistent=False)

    def forward(self, step: Step) -> dict[str, Term]:
        """Return the balanced loss, and that of mixed segments."""
        output, batch, labels = step.output, step.batch, self.of_batch(step)
        balanced = balanced_loss(
            output.segment_probs, labels, batch.weak_labels, batch.mask, self.shares, self.positive_weight
        )
        terms = {"pseudo_label": Term(balanced, self.weight_pseudo_label)}
        if self.weight_mixup:
            terms["mixup"] = Term(self._mixup(step, labels), self.weight_mixup)
        return terms

    def _mixup(self, step: Step, labels: Float[Tensor, "B T M C"]) -> Float[Tensor, ""]:
        """Return the loss of this process's segments, each mixed with one of those of all processes."""
        network, batch, join = step.network, step.batch, step.team.gather_batch
        assert isinstance(network, HAN)
        features, all_labels = join(step.output.features).flatten(0, 1), join(labels).flatten(0, 1)
        segment, real = join(batch.segment).flatten(), join(batch.mask).flatten()
        drawn = np.random.default_rng([self.seed, step.epoch, step.number])
        losses = []
        for m, kept in enumerate(drawn.beta(self.mixup_alpha, self.mixup_alpha, size=len(self.modalities)).tolist()):
            partner = partners(segment, real, step.epoch * len(self.modalities) + m, self.seed)
            partner = partner.view(step.team.size, *batch.mask.shape)[step.team.rank]  # [B, T]
            mixed = kept * step.output.features[:, :, m] + (1 - kept) * features[partner, m]
            wanted = kept * labels[:, :, m] + (1 - kept) * all_labels[partner, m]
            probs = full_precision(network.event_head(mixed)).sigmoid()
            losses.append(mean_of_segments(binary_cross_entropy(probs, wanted, reduction="none"), batch.mask))
        return torch.stack(losses).sum()


def balanced_loss(
    segment_probs: Float[Tensor, "B T M C"],
    labels: Float[Tensor, "B T M C"],
    weak_labels: Float[Tensor, "B C"],
    mask: Bool[Tensor, "B T"],
    shares: Float[Tensor, " M"],
    positive_weight: float,
) -> Float[Tensor, ""]:
    """Return the sum over modalities m of the mean of W_m BCE(segment_probs, labels) over real segments and events.

    W_m is ``positive_weight`` * (C - shares[m]) for events of the video, and shares[m] for others.

    >>> half, one, real = torch.full((1, 1, 1, 2), 0.5), torch.ones(1, 1, 1, 2), torch.ones(1, 1, dtype=torch.bool)
    >>> balanced_loss(half, one, torch.tensor([[1.0, 0.0]]), real, torch.tensor([1.0]), 1.0)  # ln 2 (1 + 1) / 2
    tensor(0.6931)
    """
    of_events = weak_labels[:, None, None]  # [B, 1, 1, C]
    shares = shares[:, None]
    weights = of_events * (positive_weight * (labels.shape[3] - shares)) + (1 - of_events) * shares
    entropy = weights * binary_cross_entropy(segment_probs, labels, reduction="none")
    return mean_of_segments(entropy.sum(2), mask)


def partners(segment: Int[Tensor, " n"], real: Bool[Tensor, " n"], draw: int, seed: int) -> Int[Tensor, " n"]:
    """Draw a random permutation of the real segments, and return the position of each one's partner.

    ``segment`` has the number of each segment in its data set, and ``draw`` numbers the permutations. Which segment is
    mixed with which depends on (seed, draw) and on the segments that are there, but not on their order, so several
    processes draw as one does. Padding has padding as its partner.

    >>> real = torch.tensor([True, True, False, True])
    >>> partners(torch.tensor([7, 3, 3, 5]), real, draw=0, seed=0).sort().values.tolist()
    [0, 1, 2, 3]
    """
    last = torch.iinfo(segment.dtype).max
    by_number = segment.masked_fill(~real, last).argsort(stable=True)
    keys = sampling_keys(torch.full_like(segment, draw), segment, seed)
    by_key = keys.masked_fill(~real, last).argsort(stable=True)
    partner = torch.empty_like(by_key)
    partner[by_number] = by_key
    return partner
