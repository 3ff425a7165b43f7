"""LEAP (Zhou et al., ECCV 2024): labels of segments, and features as similar as the events that segments share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.losses import guided_loss, pseudo_label_loss
from avvp_pl.losses.mil import within_margin
from avvp_pl.methods.guided import weights_of
from avvp_pl.methods.segment_targets import SegmentTargets
from avvp_pl.parts import Method, Step, Term


class LEAP(Method):
    """L = sum over m of weights[m] BCE(modality_probs[m], max_t z_m) + weight_segment L_S + weight_similarity L_E.

    z are the labels that ``segments`` gives. L_S is the sum over modalities of BCE(segment_probs, z), and L_E compares
    the features of two modalities (:func:`similarity_loss`; of more than two, its mean over all pairs). A modality that
    ``weights`` does not name has the weight of ``others``. The weak labels have no loss of their own: the public one
    has no gradient.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        weights: Mapping[str, float],
        weight_segment: float,
        weight_similarity: float,
        similarity_margin: float,
        segments: SegmentTargets,
    ) -> None:
        super().__init__()
        self.modality_weights = weights_of(weights, modalities)
        self.weight_segment, self.weight_similarity = weight_segment, weight_similarity
        self.margin, self.segments = similarity_margin, segments

    def forward(self, step: Step) -> dict[str, Term]:
        """Return the losses of the modalities and of segments and, if there are two modalities, of features."""
        output, mask = step.output, step.batch.mask
        labels = self.segments(step) * mask[:, :, None, None]
        modalities = labels.shape[2]
        probs = within_margin(output.segment_probs)
        terms = {
            "guided": Term(guided_loss(output.modality_probs, labels.amax(1), self.modality_weights)),
            "segment": Term(pseudo_label_loss(probs, labels, mask, over_modalities="sum"), self.weight_segment),
        }
        if modalities > 1 and self.weight_similarity:
            pairs = [list(pair) for pair in combinations(range(modalities), 2)]
            losses = [
                similarity_loss(output.features[:, :, pair], labels[:, :, pair], mask, self.margin) for pair in pairs
            ]
            terms["similarity"] = Term(torch.stack(losses).mean(), self.weight_similarity)
        return terms


def similarity_loss(
    features: Float[Tensor, "B T 2 D"],
    labels: Float[Tensor, "B T 2 C"],
    mask: Bool[Tensor, "B T"],
    margin: float = 0.01,
) -> Float[Tensor, ""]:
    """Return the mean over pairs of segments (t, u) of (max(0, cos(x_t, y_u)) - s / (1 + s) - margin)^2.

    x and y are the features of the two modalities. s_tu is the number of events that t has in the first one and u in
    the second, over the largest number of events that a segment of the video has in one of them; 0 if it has none.
    The mean is over all pairs of real segments of the same video; that of a batch that is all padding is 0.

    >>> alike, one_event = torch.ones(1, 3, 2, 4), torch.ones(1, 3, 2, 1)
    >>> similarity_loss(alike, one_event, torch.ones(1, 3, dtype=torch.bool))  # (1 - 1/2 - 0.01)^2
    tensor(0.2401)
    """
    with torch.autocast(features.device.type, enabled=False):
        first, second = F.normalize(features, dim=-1).unbind(2)
        similarity = (first @ second.transpose(1, 2)).relu()  # [B, T, T]
        labels = labels * mask[:, :, None, None]
        most = labels.sum(-1).amax(dim=(1, 2))[:, None, None]  # [B, 1, 1]
        shared = labels[:, :, 0] @ labels[:, :, 1].transpose(1, 2) / most.masked_fill(most == 0, 1)
        target = shared / (1 + shared) + margin
        real = mask[:, :, None] & mask[:, None]
        return ((similarity - target).square() * real).sum() / real.sum().clamp(min=1)
