"""PPL: pseudo labels from prototypes, and a contrastive loss (the paper's method)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.losses import contrastive_loss
from avvp_pl.methods.base import Parsed, gate
from avvp_pl.methods.npl import LABELLING_BATCH, NPL, Refresh
from avvp_pl.pseudo_labels import (
    build_prototypes,
    hard_labels,
    prototype_evidence,
    select_segments,
    soft_labels,
)
from avvp_pl.types import Batch, ParsingOutput, Prototypes

LABELLING_PIECE = 1024  # videos


class PPL(NPL):
    """L = L_MIL + guided losses + weight_pseudo_label * L_PL + weight_contrastive * L_CL (Eq. 13).

    Every epoch: key segments of each event (Eqs. 5-7), their k-means centres as prototypes (Eq. 8), and labels
    by similarity to these (Eq. 9 hard, Eq. 10 soft). ``prototypes`` are shared by the modalities or each has
    its own. ``inference`` tests by the classifier or by the prototypes, which travel in the checkpoint.
    """

    positive: Tensor  # [G, C, K, D]: G = 1 group of prototypes, shared, or one a modality
    positive_mask: Tensor
    negative: Tensor
    negative_mask: Tensor

    def __init__(
        self,
        gamma: float,
        beta: float,
        k: int,
        tau: float,
        prototypes: Literal["shared", "per_modality"],
        min_modality: float,
        normalize_features: bool,
        max_segments_per_event: int | None,
        weight_contrastive: float,
        tau_contrastive: float,
        include_self: bool,
        inference: Literal["classifier", "prototype"],
        seed: int,
        **naive: Any,
    ) -> None:
        super().__init__(**naive)
        self.gamma, self.beta, self.k, self.tau = gamma, beta, k, tau
        self.per_modality, self.min_modality = prototypes == "per_modality", min_modality
        self.normalize_features, self.max_segments_per_event = normalize_features, max_segments_per_event
        self.weight_contrastive, self.tau_contrastive = weight_contrastive, tau_contrastive
        self.include_self, self.inference, self.seed = include_self, inference, seed
        groups = len(self.modalities) if self.per_modality else 1
        for sign in ("positive", "negative"):
            self.register_buffer(sign, torch.zeros(groups, len(self.events), k, self.network.feature_dim))
            self.register_buffer(f"{sign}_mask", torch.zeros(groups, len(self.events), k, dtype=torch.bool))

    def strong_loss(self, output: ParsingOutput, pseudo_labels: Tensor, batch: Batch) -> Tensor:
        """What pseudo labels teach: Eqs. (11) and (12)."""
        loss = super().strong_loss(output, pseudo_labels, batch)
        if not self.weight_contrastive:
            return loss
        contrast = contrastive_loss(
            output.features,
            pseudo_labels,
            batch.mask,
            self.tau_contrastive,
            self.include_self,
            self.normalize_features,
        )
        self.log_losses(batch, contrastive=contrast)
        return loss + self.weight_contrastive * contrast

    @torch.no_grad()
    def refresh(self, videos: VideoSet) -> Refresh:
        """Select, cluster, label."""
        report = Refresh()
        features, report.segment_probs = self._encode(videos)
        report.lap("encode", self.device)
        segments = select_segments(
            report.segment_probs,
            videos.weak_labels,
            videos.mask,
            self.gamma,
            self.beta,
            self.per_modality,
            self.min_modality,
        )
        signs = {"positive": segments.positive, "negative": segments.negative}
        report.segments = {sign: chosen.sum(dim=(0, 1, 2)) for sign, chosen in signs.items()}
        report.lap("select", self.device)
        for group, part in enumerate(self._groups):
            found = build_prototypes(
                features[:, :, part].flatten(0, 2),
                segments.positive[:, :, part].flatten(0, 2),
                segments.negative[:, :, part].flatten(0, 2),
                self.k,
                (self.seed, self.current_epoch, group),
                self.max_segments_per_event,
            )
            self.positive[group], self.positive_mask[group] = found.positive, found.positive_mask
            self.negative[group], self.negative_mask[group] = found.negative, found.negative_mask
        report.prototypes = {
            "positive": self.positive_mask.sum((0, 2)),
            "negative": self.negative_mask.sum((0, 2)),
        }
        report.lap("cluster", self.device)
        # in pieces, for the memory: the features of the videos of an event are copied together
        pieces = zip(*(torch.split(x, LABELLING_PIECE) for x in (features, videos.weak_labels)), strict=True)
        self.pseudo_labels = torch.cat([self._label_features(*piece) for piece in pieces])
        report.lap("label", self.device)
        return report

    def label(self, batch: Batch) -> Tensor:
        """Pseudo labels of any videos whose weak labels are known, [B, T, M, C]."""
        output = self.labelling_net(batch)
        return self._label_features(self._comparable(output.features), batch.weak_labels)

    def parse(self, batch: Batch) -> Parsed:
        """By the classifier, or by Eq. (10) with w replaced by [video_probs >= 0.5].

        Features are the trained network's, prototypes those of the network that labelled at the start of the epoch.
        Before the first refresh there are none, and the classifier decides.
        """
        if self.inference == "classifier" or not self.positive_mask.any():
            return super().parse(batch)
        output = self(batch)
        evidence = self._by_prototypes(
            self._comparable(output.features),
            lambda features, own: prototype_evidence(features, own, self.tau),
        )
        return gate(evidence.sigmoid(), output.video_probs, batch.mask)

    def _encode(self, videos: VideoSet) -> tuple[Tensor, Tensor]:
        """Features and probabilities of all segments, [N, T, M, D] and [N, T, M, C], in one forward pass."""
        shape = (*videos.mask.shape, len(self.modalities))
        features = torch.empty(*shape, self.positive.shape[-1], device=self.device)
        probs = torch.empty(*shape, len(self.events), device=self.device)
        for batch in videos.batches(LABELLING_BATCH):
            output = self.labelling_net(batch)
            features[batch.index] = self._comparable(output.features)
            probs[batch.index] = output.segment_probs
        return features, probs

    def _comparable(self, features: Tensor) -> Tensor:
        return F.normalize(features, dim=-1) if self.normalize_features else features

    def _label_features(self, features: Tensor, weak_labels: Tensor) -> Tensor:
        def label(features: Tensor, own: Prototypes) -> Tensor:
            if self.labels == "soft":
                return soft_labels(features, own, weak_labels, self.tau)
            return hard_labels(features, own, weak_labels)

        return self._by_prototypes(features, label)

    @property
    def _groups(self) -> list[slice]:
        """The modalities that share prototypes, as slices of the modality axis."""
        return [slice(m, m + 1) for m in range(len(self.modalities))] if self.per_modality else [slice(None)]

    def _by_prototypes(self, features: Tensor, score: Callable[[Tensor, Prototypes], Tensor]) -> Tensor:
        """``score`` each group's features [B, T, M', D] against its own prototypes; joined, [B, T, M, C]."""
        scored = [
            score(
                features[:, :, part],
                Prototypes(self.positive[g], self.positive_mask[g], self.negative[g], self.negative_mask[g]),
            )
            for g, part in enumerate(self._groups)
        ]
        return torch.cat(scored, dim=2)
