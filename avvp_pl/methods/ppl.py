"""PPL: pseudo labels from prototypes, and a contrastive loss (the paper's method)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.losses import contrastive_loss
from avvp_pl.methods.npl import NPL, Refresh, blocks_of, total_bound
from avvp_pl.processes.collectives import add_up, gather, gather_batch, rank, share, world_size
from avvp_pl.pseudo_labels import (
    EncodedVideos,
    KeySegments,
    KeySegmentSample,
    build_prototypes,
    hard_labels,
    prototype_evidence,
    select_segments,
    soft_labels,
)
from avvp_pl.pseudo_labels.prototypes import Backend
from avvp_pl.training.module import THRESHOLD, Parsed, gate
from avvp_pl.types import Batch, ParsingOutput, Prototypes

SIGNS = ("positive", "negative")


class PPL(NPL):
    """L = L_MIL + guided losses + weight_pseudo_label * L_PL + weight_contrastive * L_CL (Eq. 13).

    Every epoch: key segments of each event (Eqs. 5-7), their k-means centers as prototypes (Eq. 8), and labels
    by similarity to these (Eq. 9 hard, Eq. 10 soft). ``prototypes`` are shared by the modalities or each has
    its own. ``inference`` tests by the classifier or by the prototypes (Eq. 10, or hard: Eq. 9), which travel in the
    checkpoint.
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
        kmeans: Backend,
        feature_memory_gb: float,
        weight_contrastive: float,
        tau_contrastive: float,
        include_self: bool,
        inference: Literal["classifier", "prototype", "prototype_hard"],
        seed: int,
        **naive: Any,
    ) -> None:
        super().__init__(**naive)
        self.gamma, self.beta, self.k, self.tau = gamma, beta, k, tau
        self.per_modality, self.min_modality = prototypes == "per_modality", min_modality
        self.normalize_features, self.max_segments_per_event = normalize_features, max_segments_per_event
        self.kmeans, self.feature_memory_gb = kmeans, feature_memory_gb
        self.weight_contrastive, self.tau_contrastive = weight_contrastive, tau_contrastive
        self.include_self, self.inference, self.seed = include_self, inference, seed
        groups = len(self.modalities) if self.per_modality else 1
        for sign in SIGNS:
            self.register_buffer(sign, torch.zeros(groups, len(self.events), k, self.network.feature_dim))
            self.register_buffer(f"{sign}_mask", torch.zeros(groups, len(self.events), k, dtype=torch.bool))

    def strong_loss(self, output: ParsingOutput, pseudo_labels: Tensor, batch: Batch) -> Tensor:
        """What pseudo labels teach: Eqs. (11) and (12), the latter over the batches of all processes."""
        loss = super().strong_loss(output, pseudo_labels, batch)
        if not self.weight_contrastive:
            return loss
        contrast = contrastive_loss(
            gather_batch(output.features),
            gather_batch(pseudo_labels),
            gather_batch(batch.mask),
            self.tau_contrastive,
            self.include_self,
            self.normalize_features,
        )
        self.log_losses(batch, contrastive=contrast)
        return loss + self.weight_contrastive * contrast

    @torch.no_grad()
    def refresh(self, videos: VideoSet) -> Refresh:
        """Select, cluster, label; each process does its share of each."""
        report = Refresh(self.device)
        encoded = EncodedVideos(
            self.labeling_net, videos, share(blocks_of(videos)), 1e9 * self.feature_memory_gb, self.normalize_features
        )
        self._rebuild_prototypes(self._select(encoded, report), report)
        labels = self._no_labels(videos)
        for block in encoded:
            report.lap("encode")
            labels[block.index] = self._label_features(block.features, block.weak_labels)
            report.bound += total_bound(block, labels[block.index])
            report.lap("label")
        self._keep_labels(labels, report)
        return report

    def _select(self, encoded: EncodedVideos, report: Refresh) -> KeySegments:
        """The key segments of every group, sign and event, in this order: problem number (g * 2 + sign) * C + c."""
        problems = 2 * self.positive_mask[..., 0].numel()
        seed = self.seed * 1_000_003 + self.current_epoch
        sample = KeySegmentSample(problems, self.max_segments_per_event, seed, like=self.positive[0, 0])
        counts = torch.zeros(2, len(self.events), dtype=torch.long, device=self.device)
        groups = torch.eye(len(self.modalities)) if self.per_modality else torch.ones(len(self.modalities), 1)
        member = groups.bool().to(self.device)[:, :, None, None]  # [M, G, 1, 1]
        for block in encoded:
            report.lap("encode")
            found = select_segments(
                block.segment_probs,
                block.weak_labels,
                block.mask,
                self.gamma,
                self.beta,
                self.per_modality,
                self.min_modality,
            )
            signs = torch.stack([found.positive, found.negative], dim=3)  # [B, T, M, 2, C]
            counts += signs.sum((0, 1, 2))
            chosen = (signs[:, :, :, None] & member).flatten(0, 2).flatten(1)  # [B * T * M, G * 2 * C]
            of_video = torch.arange(signs[0, :, :, 0, 0].numel(), device=self.device)
            segment = (block.index[:, None] * len(of_video) + of_video).flatten()
            sample.add(chosen, segment, block.features.flatten(0, 2))
            report.lap("select")
        report.segments = dict(zip(SIGNS, add_up(counts), strict=True))
        found_by_all = sample.result(gather if world_size() > 1 else None)
        report.lap("select")
        return found_by_all

    def _rebuild_prototypes(self, found: KeySegments, report: Refresh) -> None:
        groups, events, k, dim = self.positive.shape
        problems = groups * 2 * events
        seed = (self.seed, self.current_epoch)
        if world_size() > 1:
            found = found[found.problem % world_size() == rank()]
        centers, mask = build_prototypes(found, problems, self.k, seed, self.kmeans)
        centers = add_up(centers).view(groups, 2, events, k, dim)
        used = add_up(mask.long()).bool().view(groups, 2, events, k)
        for number, sign in enumerate(SIGNS):
            getattr(self, sign).copy_(centers[:, number])
            getattr(self, f"{sign}_mask").copy_(used[:, number])
        report.prototypes = dict(zip(SIGNS, used.sum((0, 3)), strict=True))
        report.lacking = ~used[:, 0].any(-1)
        report.lap("cluster")

    def label(self, batch: Batch) -> Tensor:
        """Pseudo labels of any videos whose weak labels are known, [B, T, M, C]."""
        output = self.labeling_net(batch)
        return self._label_features(self._comparable(output.features), batch.weak_labels)

    def parse(self, batch: Batch) -> Parsed:
        """By the classifier, or by Eq. (10), or hard by Eq. (9), with w replaced by [video_probs >= 0.5].

        Features are the trained network's, whose modalities attend to each other as while labeling; prototypes those
        of the network that labeled at the start of the epoch. Before the first refresh there are none, and the
        classifier decides. Probabilities are the sigmoid of the evidence, which in Eq. (9) has no tau.
        """
        if self.inference == "classifier" or not self.positive_mask.any():
            return super().parse(batch)
        output = self(batch)
        hard = self.inference == "prototype_hard"
        evidence = self._by_prototypes(
            self._comparable(self._attending_as_labeled(batch, output).features),
            lambda features, own: prototype_evidence(features, own, 1.0 if hard else self.tau),
        )
        probs = evidence.sigmoid()
        return gate(evidence > 0 if hard else probs >= THRESHOLD, probs, output.video_probs, batch.mask)

    def _attending_as_labeled(self, batch: Batch, output: ParsingOutput) -> ParsingOutput:
        """``output`` as it is where the same modalities attend to the others as when prototypes were built."""
        if self.labeling_net.attending is None:
            return output
        self.network.attending = self.labeling_net.attending
        try:
            return self.network(batch)
        finally:
            self.network.attending = None

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
