"""CVCM: labels of each modality, and a contrast of the modalities across videos (Lin et al., NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.losses import guided_loss, mil_loss
from avvp_pl.methods.guided import weights_of
from avvp_pl.models.han import HAN, full_precision
from avvp_pl.parts import Method, Step, Targets, Term
from avvp_pl.pseudo_labels.sampling import sampling_keys
from avvp_pl.types import ParsingNetwork

POSITIVE = 0.5  # the label from which on a modality shows an event; it tells smoothed labels apart, too


class CVCM(Method):
    """L = weights[video] L_MIL + sum over modalities m of weights[m] BCE(modality_probs[m], y_m) + L_CM.

    ``targets`` are the labels y of each modality, and L_MIL asks for every event that a modality has. In the epochs
    before ``start_epoch`` (counted from 0) the labels are smoothed, y -> s y + (1 - s) / 2, where ``smoothing`` has s
    for each modality (1 if it is not named), and there is no L_CM. From then on the labels are not smoothed, and L_CM
    has the weight ``weight_contrastive``. A modality that ``weights`` does not name has the weight of ``others``.

    L_CM (:func:`cross_modal_loss`) compares the first modality with the second one, in the videos of a batch and in as
    many mixed ones: the first modality of each video with the second one of another, its *partner* (:func:`partners`).
    Each is the mean of its features over time, weighted by HAN's temporal attention to the events that it has. With
    several processes, a batch is that of all of them.
    """

    smoothing: Tensor

    def __init__(
        self,
        network: ParsingNetwork,
        modalities: Sequence[str],
        weights: Mapping[str, float],
        weight_contrastive: float,
        temperature: float,
        start_epoch: int,
        smoothing: Mapping[str, float],
        seed: int,
        targets: Targets,
    ) -> None:
        super().__init__()
        if len(modalities) != 2:
            raise InputError(
                f"method=cvcm compares two modalities, but the data has {len(modalities)} ({', '.join(modalities)}); "
                "choose two of them in data.modalities, or give another method"
            )
        if not isinstance(network, HAN):
            raise InputError(
                f"method=cvcm needs network=cvcm (or network=han), which can encode mixed videos; the network is "
                f"{type(network).__name__}"
            )
        self.video_weight = weights.get("video", 1.0)
        self.modality_weights = weights_of(weights, modalities)
        self.weight_contrastive, self.temperature = weight_contrastive, temperature
        self.start_epoch, self.seed, self.targets = start_epoch, seed, targets
        kept = torch.tensor([smoothing.get(name, 1.0) for name in modalities])
        self.register_buffer("smoothing", kept[:, None], persistent=False)

    def forward(self, step: Step) -> dict[str, Term]:
        """Return L_MIL, the guided losses and, from ``start_epoch`` on, L_CM."""
        output, labels = step.output, self.targets(step)
        contrasts = step.epoch >= self.start_epoch
        asked = labels if contrasts else self.smoothing * labels + (1 - self.smoothing) / 2
        terms = {
            "mil": Term(mil_loss(output.video_probs, labels.amax(1)), self.video_weight),
            "guided": Term(guided_loss(output.modality_probs, asked, self.modality_weights)),
        }
        if contrasts and self.weight_contrastive:
            terms["cross_modal"] = Term(self._contrast(step, labels >= POSITIVE), self.weight_contrastive)
        return terms

    def _contrast(self, step: Step, events: Bool[Tensor, "B M C"]) -> Float[Tensor, ""]:
        """Return L_CM, of the videos of all processes and of as many mixed ones."""
        network, output, mask, join = step.network, step.output, step.batch.mask, step.team.gather_batch
        assert isinstance(network, HAN)
        assert output.projected is not None
        partner = partners(join(step.batch.index), step.epoch, self.seed)
        partner = partner.view(step.team.size, -1)[step.team.rank]  # of this process's videos, among those of all
        # a mixed video is as long as the shorter one of its two
        mixed_mask = mask & join(mask)[partner]
        mixed_events = torch.stack([events[:, 0], join(events[:, 1])[partner]], dim=1)
        second = join(output.projected[:, :, 1])[partner]
        mixed = network.encode(torch.stack([output.projected[:, :, 0], second], dim=1), mixed_mask)  # [B, M, T, D]
        features = torch.cat([output.features, full_precision(mixed.transpose(1, 2))])  # [2B, T, M, D]
        attention = full_precision(network.temporal_head(features))
        events = torch.cat([events, mixed_events])
        pooled = pool_events(features, attention, events, torch.cat([mask, mixed_mask]))
        return cross_modal_loss(join(pooled), join(events), self.temperature)


def partners(index: Int[Tensor, " B"], epoch: int, seed: int) -> Int[Tensor, " B"]:
    """Draw another video for each video of a batch, uniformly, and return its position in the batch.

    ``index`` has the row of each video in its data set. The draw depends on (seed, epoch, row) and on which videos the
    batch has, but not on their order, so several processes draw as one does. A video that is alone is its own partner.

    >>> partners(torch.tensor([7, 3]), epoch=0, seed=0)
    tensor([1, 0])
    """
    order = index.argsort(stable=True)
    place = order.argsort()
    others = max(1, len(index) - 1)
    steps = 1 + sampling_keys(torch.full_like(index, epoch), index, seed) % others
    return order[(place + steps) % len(index)]


def pool_events(
    features: Float[Tensor, "B T M D"],
    temporal_logits: Float[Tensor, "B T M C"],
    events: Bool[Tensor, "B M C"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, "B M D"]:
    """Return sum_t a_t features_t of each modality, where a is the softmax over t of the sum of its events' logits."""
    logits = (temporal_logits * events[:, None]).sum(-1)  # [B, T, M]
    lowest = torch.finfo(logits.dtype).min
    attention = logits.masked_fill(~mask[:, :, None], lowest).softmax(dim=1) * mask[:, :, None]
    return (attention[..., None] * features).sum(dim=1)


def cross_modal_loss(
    pooled: Float[Tensor, "B 2 D"], events: Bool[Tensor, "B 2 C"], temperature: float
) -> Float[Tensor, ""]:
    """L_CM: the mean over videos i of -sum_j G_ij log softmax_j(s_ij).

    s_ij is the cosine similarity of the first modality of video i and the second one of video j, over ``temperature``.
    G_ij is the same for all j in which the second modality has an event that the first one has in i, and 0 for others.
    A video i for which there is no such j counts as a loss of 0.

    >>> dogs = torch.tensor([[[True], [True]], [[True], [False]]])
    >>> cross_modal_loss(torch.ones(2, 2, 3), dogs, temperature=1.0)  # ln 2: both of the second modality look alike
    tensor(0.6931)
    """
    with torch.autocast(pooled.device.type, enabled=False):
        first, second = F.normalize(pooled, dim=-1).unbind(1)
        first_events, second_events = events.to(pooled.dtype).unbind(1)
        shared = (first_events @ second_events.T > 0).to(pooled.dtype)  # [B, B]
        target = shared / shared.sum(1, keepdim=True).clamp(min=1)
        return -(target * (first @ second.T / temperature).log_softmax(1)).sum(1).mean()
