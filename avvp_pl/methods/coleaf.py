"""CoLeaF (Sardari et al., ECCV 2024): a network of all modalities learns from one reference for each modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avvp_pl.errors import InputError
from avvp_pl.losses.mil import within_margin
from avvp_pl.losses.nce import nce_loss
from avvp_pl.methods.cmpae import MutualLearning
from avvp_pl.methods.contrast import Contrast
from avvp_pl.methods.segment_targets import SegmentLoss
from avvp_pl.models.cmpae import CMPAE
from avvp_pl.models.dropout import Dropout
from avvp_pl.models.han import HybridAttentionLayer, StreamFusion, full_precision
from avvp_pl.models.mil_pooling import attentive_mil_pooling
from avvp_pl.parts import Step, Targets, Term
from avvp_pl.types import Batch, ParsingNetwork

LEAST = 1e-8  # probability whose logarithm is taken in the place of that of a smaller one


class CoLeaF(MutualLearning):
    """The network, here the *anchor*, learns from one :class:`Reference` for each modality, and they learn from it.

    L = that of :class:`~avvp_pl.methods.cmpae.MutualLearning` plus

    - what the :class:`Reference` of each modality m learns. With R the probabilities of its events, K those of its
      tokens, and y the label of ``targets``, it is ASL(R, y) + token_weights[m] ASL(K, y). From epoch
      ``confirmed_epoch`` on, it is (1 - s) ASL(R, y) + s ASL(R, h) + late_token_weights[m] ASL(K, y), where s is
      ``confirmed_share``, and h are the labels y of events to which the anchor gives at least confirmed_from[m]. ASL
      is :func:`asymmetric_loss`, summed over the events and over the videos of the batches of all processes.
    - what the references teach the anchor, from epoch ``start_epoch`` on. One loss is weight_correlation *
      :func:`correlation_loss`, between the anchor's P_m and k R + (1 - k) P_m. The trust k is y where R is at least
      sure_from[m] or at most sure_to[m], and 0 elsewhere. The other is a sum over m of reference_weights[m] times the
      loss of ``contrast``, of the features of the reference against those of the anchor, where each video has the
      weight :func:`unshared` of its events that no other reference finds.

    Epochs count from 0. In the mappings, ``others`` are all modalities that are not named. Nothing of the anchor's
    losses has a gradient in the references, and nothing of theirs in the anchor, so one Adam is as good as one for each
    (unless ``optimizer.clip_norm`` scales the gradients of all). But all take their steps from the same weights, while
    in the public code the references step first, so that its anchor learns from references that have seen the batch.

    The references are no part of the network, which is tested without them. ``batch_factor`` multiplies the correlation
    by the number of videos squared, as in the public code; its weight there is 1e-4.
    """

    called = "coleaf"

    confirmed_from: Tensor  # [M, 1], as all of these
    sure_from: Tensor
    sure_to: Tensor
    token_weights: Tensor
    late_token_weights: Tensor

    def __init__(
        self,
        network: ParsingNetwork,
        modalities: Sequence[str],
        events: Sequence[str],
        class_weighting: Literal["inverse_frequency", "none"],
        weights: Mapping[str, float],
        targets: Targets,
        contrast: Contrast,
        weight_mutual: float,
        least_uncertainty: float,
        head_dropout: float,
        margin: float,
        token_weights: Mapping[str, float],
        confirmed_epoch: int,
        confirmed_share: float,
        confirmed_from: Mapping[str, float],
        late_token_weights: Mapping[str, float],
        start_epoch: int,
        weight_correlation: float,
        batch_factor: bool,
        sure_from: Mapping[str, float],
        sure_to: Mapping[str, float],
        reference_weights: Mapping[str, float],
        found_from: float,
        segments: SegmentLoss | None = None,
    ) -> None:
        super().__init__(
            network,
            modalities,
            events,
            class_weighting,
            weights,
            targets,
            contrast,
            weight_mutual,
            least_uncertainty,
            segments,
        )
        assert isinstance(network, CMPAE)
        self.references = nn.ModuleDict({name: Reference(network, name, head_dropout) for name in modalities})
        self.margin, self.confirmed_epoch, self.confirmed_share = margin, confirmed_epoch, confirmed_share
        self.start_epoch, self.weight_correlation, self.batch_factor = start_epoch, weight_correlation, batch_factor
        self.found_from = found_from
        self.reference_weights = of_each("reference_weights", reference_weights, modalities)
        of_modalities = {
            "confirmed_from": confirmed_from,
            "sure_from": sure_from,
            "sure_to": sure_to,
            "token_weights": token_weights,
            "late_token_weights": late_token_weights,
        }
        for name, values in of_modalities.items():
            column = torch.tensor(of_each(name, values, modalities), dtype=torch.float64)[:, None]
            self.register_buffer(name, column, persistent=False)

    def forward(self, step: Step) -> dict[str, Term]:
        """Return the terms of MutualLearning, what the references learn, and what they teach."""
        labels, said = self.targets(step), self._ask(step.batch)
        terms = self.mutual_terms(step, labels)
        terms["references"] = Term(self._learned(step, labels, said))
        if step.epoch >= self.start_epoch:
            taught = ReferenceOutput(*(part.detach() for part in said))
            if self.weight_correlation:
                terms["correlation"] = Term(self._correlation(step, labels, taught), self.weight_correlation)
            if any(self.reference_weights):
                terms["reference_contrast"] = Term(self._contrast(step, taught))
        return terms

    def _ask(self, batch: Batch) -> ReferenceOutput:
        """Return what the reference of each modality says, with an axis of modalities: [B, M, C] and [B, T, M, D]."""
        said = [reference(batch) for reference in self.references.values()]
        return ReferenceOutput(
            torch.stack([one.probs for one in said], dim=1),
            torch.stack([one.token_probs for one in said], dim=1),
            torch.stack([one.features for one in said], dim=2),
        )

    def _learned(self, step: Step, labels: Float[Tensor, "B M C"], said: ReferenceOutput) -> Float[Tensor, ""]:
        """Return the loss of all references."""
        late = step.epoch >= self.confirmed_epoch
        tokens = asymmetric_loss(said.token_probs, labels, self.margin)
        # also with a weight of 0, because with several processes every weight needs a gradient
        losses = (self.late_token_weights if late else self.token_weights).to(labels.dtype) * tokens
        events = asymmetric_loss(said.probs, labels, self.margin)
        if late:
            probs = step.output.modality_probs.detach()
            found = probs >= self.confirmed_from.to(probs.dtype)
            confirmed = asymmetric_loss(said.probs, labels * found, self.margin)
            losses = losses + (1 - self.confirmed_share) * events + self.confirmed_share * confirmed
        else:
            losses = losses + events
        # the gradients of processes are averaged, and this is a sum over the videos of all of them
        return self._videos(step) * losses.sum((1, 2)).mean()

    def _correlation(self, step: Step, labels: Float[Tensor, "B M C"], taught: ReferenceOutput) -> Float[Tensor, ""]:
        """Return the loss of how events go together."""
        probs, sure = within_margin(step.output.modality_probs), taught.probs
        trust = labels * ((sure >= self.sure_from.to(sure.dtype)) | (sure <= self.sure_to.to(sure.dtype)))
        loss = correlation_loss(probs, trust * sure + (1 - trust) * probs.detach())
        return loss * self._videos(step) ** 2 if self.batch_factor else loss

    def _contrast(self, step: Step, taught: ReferenceOutput) -> Float[Tensor, ""]:
        """Return the contrast of the features of each reference with those of the anchor."""
        how, features, mask = self.contrast, step.output.features, step.batch.mask
        assert how is not None
        shares = unshared(taught.probs >= self.found_from)
        losses = [
            weight * nce_loss(own, other, mask, how.temperature, how.smoothing, how.form, share)
            for weight, share, own, other in zip(
                self.reference_weights, shares.unbind(1), taught.features.unbind(2), features.unbind(2), strict=True
            )
        ]
        return torch.stack(losses).sum()

    def _videos(self, step: Step) -> int:
        """Return the number of videos in the batches of all processes."""
        return step.team.size * len(step.batch.index)


class ReferenceOutput(NamedTuple):
    """What the reference of a modality says, or what all of them say: then there is an axis of modalities."""

    probs: Float[Tensor, "B C"]
    token_probs: Float[Tensor, "B C"]
    features: Float[Tensor, "B T D"]


class Reference(nn.Module):
    """Events of a modality by itself: HAN without any other modality, and a learned token for each event.

    The tokens, which start at 0, and the segments attend to one another. ``features`` are the encoded segments, and
    ``probs`` what HAN's heads find in them, pooled by the attention over time; in training, the heads miss the fraction
    ``head_dropout`` of the features. ``token_probs`` are the sigmoid of the mean over features of each token. Sizes,
    streams and dropout are those of ``network``, whose weights are not shared.
    """

    def __init__(self, network: CMPAE, modality: str, head_dropout: float) -> None:
        super().__init__()
        fusion, dim, num_events = network.fusions[modality], network.feature_dim, network.num_events
        assert isinstance(fusion, StreamFusion)
        self.streams = network.modalities[modality]
        dims = [_linear(projection).in_features for projection in fusion.projections]
        self.fusion = StreamFusion(dims, dim, fuse=not isinstance(fusion.fuse, nn.Identity))
        self.tokens = nn.Parameter(torch.zeros(num_events, dim))
        self.layers = nn.ModuleList(_alike(layer, dim) for layer in network.layers)
        self.head_dropout = Dropout(head_dropout)
        self.event_head, self.temporal_head = nn.Linear(dim, num_events), nn.Linear(dim, num_events)

    def forward(self, batch: Batch) -> ReferenceOutput:
        """Look at one modality of a batch."""
        mask, events = batch.mask, len(self.tokens)
        segments = self.fusion([batch.features_in[stream] for stream in self.streams])  # [B, T, D]
        x = torch.cat([self.tokens.to(segments.dtype).expand(len(segments), -1, -1), segments], dim=1)[:, None]
        visible = F.pad(mask, (events, 0), value=True)
        for layer in self.layers:
            x = layer(x, visible)
        tokens, features = x[:, 0, :events], x[:, 0, events:]
        seen = self.head_dropout(features)
        probs = full_precision(self.event_head(seen)).sigmoid()[:, :, None]  # [B, T, 1, C]
        attention = full_precision(self.temporal_head(seen))[:, :, None]
        pooled = attentive_mil_pooling(probs, attention, torch.zeros_like(attention), mask).modality_probs
        return ReferenceOutput(pooled[:, 0], full_precision(tokens).mean(-1).sigmoid(), full_precision(features))


def _alike(layer: nn.Module, dim: int) -> HybridAttentionLayer:
    """Return a new layer without cross-attention that is otherwise of the same sizes."""
    assert isinstance(layer, HybridAttentionLayer)
    feedforward_dim = _linear(layer.feedforward[0]).out_features
    return HybridAttentionLayer(dim, layer.self_attention.num_heads, feedforward_dim, layer.dropout.p, cross=False)


def _linear(layer: nn.Module) -> nn.Linear:
    assert isinstance(layer, nn.Linear)
    return layer


def of_each(setting: str, values: Mapping[str, float], modalities: Sequence[str]) -> list[float]:
    """Return the value of each modality; raise :class:`InputError` where there is none for it, and none for others."""
    for name in modalities:
        if name not in values and "others" not in values:
            raise InputError(f"method.{setting} has no number for {name}; give +method.{setting}.{name}, or others")
    return [float(values.get(name, values.get("others", 0.0))) for name in modalities]


def asymmetric_loss(probs: Float[Tensor, "*n"], labels: Float[Tensor, "*n"], margin: float) -> Float[Tensor, "*n"]:
    """Return -(y log q + (1 - y) log n) (1 - y q - (1 - y) n) of probabilities q and labels y.

    Here n is min(1 - q + margin, 1). It is the asymmetric loss of Ridnik et al. (ICCV 2021) with both exponents 1: what
    is right already counts less, and a probability below the margin counts nothing where there is no event. The second
    factor has no gradient.

    >>> asymmetric_loss(torch.tensor([0.5, 0.5, 0.04]), torch.tensor([1.0, 0.0, 0.0]), margin=0.05)
    tensor([0.3466, 0.2690, -0.0000])
    """
    negative = (1 - probs + margin).clamp(max=1)
    entropy = labels * probs.clamp(min=LEAST).log() + (1 - labels) * negative.clamp(min=LEAST).log()
    return -entropy * (1 - labels * probs - (1 - labels) * negative).detach()


def correlation_loss(probs: Float[Tensor, "B M C"], taught_by: Float[Tensor, "B M C"]) -> Float[Tensor, ""]:
    """Return the mean over videos of the sum over modalities of |t t^T - p p^T|^2 / C, a norm over pairs of events.

    ``taught_by`` are the probabilities t, and ``probs`` are p.

    >>> correlation_loss(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]]))
    tensor(1.)
    """
    # with d = t - p and s = t + p, the difference of the matrices is (d s^T + s d^T) / 2: no matrix is needed
    differences, sums = taught_by - probs, taught_by + probs
    squares = differences.square().sum(-1) * sums.square().sum(-1)
    norms = (squares + (differences * sums).sum(-1).square()) / 2  # [B, M]
    return norms.sum(1).mean() / probs.shape[-1]


def unshared(found: Bool[Tensor, "B M C"]) -> Float[Tensor, "B M"]:
    """Return which part of the events that a modality has are in no other modality; 0 where it has none.

    >>> unshared(torch.tensor([[[True, True, False], [True, False, False]]]))
    tensor([[0.5000, 0.0000]])
    """
    alone = found & (found.sum(1, keepdim=True) == 1)
    return alone.sum(2) / found.sum(2).clamp(min=1)
