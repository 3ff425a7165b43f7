"""PPL: pseudo labels from prototypes, and a contrastive loss (the paper's method)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.labeling.bank import SIGNS, PrototypeBank
from avvp_pl.labeling.stored import LabelsInProgress, TaughtLabels
from avvp_pl.losses import contrastive_loss
from avvp_pl.models.momentum import Teacher
from avvp_pl.parts import Report, Step, Team, Term
from avvp_pl.pseudo_labels import (
    EncodedVideos,
    KeySegments,
    KeySegmentSample,
    Lacking,
    blocks_of,
    build_prototypes,
    hard_labels,
    kmeans_device,
    select_segments,
    soft_labels,
)
from avvp_pl.pseudo_labels.prototypes import Backend
from avvp_pl.types import Batch, ParsingNetwork, Prototypes

EVIDENCE = {"zero": -torch.inf, "weak": torch.inf}  # of an event that lacks prototypes of one sign


class Prototype(TaughtLabels):
    """Labels by similarity to prototypes, with weight_pseudo_label * L_PL + weight_contrastive * L_CL (Eq. 13).

    At the start of every epoch from ``start_epoch`` (counted from 0) on: key segments of each event (Eqs. 5-7), their
    k-means centers as prototypes (Eq. 8), and labels by similarity to these (Eq. 9 hard, Eq. 10 soft). ``prototypes``
    are shared by the modalities, or each modality has its own. ``k_positive`` and ``k_negative`` replace ``k`` for
    prototypes of one sign. All key segments are clustered, or a sample of ``max_segments_per_event`` of each event and
    sign. L_CL compares all segments of a batch, or a sample of ``max_contrastive_segments``. For ``source``,
    ``momentum``, ``momentum_warmup`` and ``attending`` see :class:`~avvp_pl.models.momentum.Teacher`.
    """

    bank: PrototypeBank

    def __init__(
        self,
        network: ParsingNetwork,
        modalities: Sequence[str],
        events: Sequence[str],
        labels: Literal["soft", "hard"],
        label_threshold: float,
        weight_pseudo_label: float,
        over_events: Literal["mean", "sum"],
        start_epoch: int,
        source: Literal["momentum", "best"],
        momentum: float,
        momentum_warmup: bool,
        attending: Sequence[str] | None,
        gamma: float,
        beta: float,
        mistake_threshold: float,
        k: int,
        k_positive: int | None,
        k_negative: int | None,
        without_positives: Literal["zero", "weak"],
        without_negatives: Literal["zero", "weak"],
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
        seed: int,
        max_contrastive_segments: int | None = None,
    ) -> None:
        super().__init__(weight_pseudo_label, label_threshold, over_events)
        self.modalities, self.events = tuple(modalities), tuple(events)
        self.hard, self.start_epoch = labels == "hard", start_epoch
        self.gamma, self.beta, self.mistake_threshold, self.tau = gamma, beta, mistake_threshold, tau
        self.k = (k_positive or k, k_negative or k)
        self.lacking = Lacking(EVIDENCE[without_positives], EVIDENCE[without_negatives])
        self.per_modality, self.min_modality = prototypes == "per_modality", min_modality
        self.max_segments_per_event, self.kmeans = max_segments_per_event, kmeans
        self.feature_memory_gb, self.seed = feature_memory_gb, seed
        self.weight_contrastive, self.tau_contrastive = weight_contrastive, tau_contrastive
        self.include_self, self.normalize_features = include_self, normalize_features
        self.max_contrastive_segments = max_contrastive_segments
        self.teacher = Teacher(network, source, momentum, momentum_warmup, attending)
        self.bank = PrototypeBank(
            len(self.modalities),
            len(self.events),
            max(self.k),
            network.feature_dim,
            not self.per_modality,
            tau,
            normalize_features,
            attending,
            self.lacking,
        )

    def notes(self, device: torch.device) -> list[str]:
        """Say where k-means runs."""
        return [f"k-means runs on the {kmeans_device(self.kmeans, device)}"]

    @torch.no_grad()
    def refresh(self, videos: VideoSet, epoch: int, team: Team) -> Report | None:
        """Build prototypes and label all training videos; each process does its share of each."""
        return self._build_and_label(videos, epoch, team) if epoch >= self.start_epoch else None

    @torch.no_grad()
    def build(self, videos: VideoSet, team: Team) -> Report | None:
        """Build the prototypes of these videos as the first epoch of a training would."""
        return self._build_and_label(videos, 0, team)

    def forward(self, step: Step) -> dict[str, Term]:
        """Return L_PL (Eq. 11), and L_CL (Eq. 12) over the batches of all processes."""
        terms = super().forward(step)
        if self.weight_contrastive:
            join = step.team.gather_batch
            contrast = contrastive_loss(
                join(step.output.features),
                join(self.of_batch(step)),
                join(step.batch.mask),
                self.tau_contrastive,
                self.include_self,
                self.normalize_features,
                self.label_threshold,
                self.max_contrastive_segments,
            )
            terms["contrastive"] = Term(contrast, self.weight_contrastive)
        return terms

    def labels(self, batch: Batch) -> Float[Tensor, "B T M C"]:
        """Label any videos whose weak labels are known."""
        output = self.teacher.network(batch)
        return self._label(self.bank.comparable(output.features), batch.weak_labels)

    def _build_and_label(self, videos: VideoSet, epoch: int, team: Team) -> Report:
        """Select, cluster and label, with the random numbers of ``epoch``."""
        device = videos.device
        report, made = Report(device), LabelsInProgress(videos, len(self.modalities), device)
        encoded = EncodedVideos(
            self.teacher.network,
            videos,
            team.share(blocks_of(videos)),
            1e9 * self.feature_memory_gb,
            self.normalize_features,
        )
        found = self._select(encoded, epoch, team, report)
        self._cluster(found, epoch, team, report)
        for block in encoded:
            report.lap("encode")
            made.add(block, self._label(block.features, block.weak_labels))
            report.lap("label")
        self.pseudo_labels, bounds = made.result(team)
        report.values |= bounds
        report.lap("label")
        self._describe(report, len(videos), device)
        return report

    def _select(self, encoded: EncodedVideos, epoch: int, team: Team, report: Report) -> KeySegments:
        """Return the key segments of every group, sign and event: problem number (g * 2 + sign) * C + c."""
        groups, events = len(self.bank.groups), len(self.events)
        device, modalities = self.bank.positive.device, len(self.modalities)
        seed = self.seed * 1_000_003 + epoch
        sample = KeySegmentSample(2 * groups * events, self.max_segments_per_event, seed, like=self.bank.positive[0, 0])
        counts = torch.zeros(2, events, dtype=torch.long, device=device)
        of_group = torch.eye(modalities) if self.per_modality else torch.ones(modalities, 1)
        member = of_group.bool().to(device)[:, :, None, None]  # [M, G, 1, 1]
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
                self.mistake_threshold,
            )
            signs = torch.stack([found.positive, found.negative], dim=3)  # [B, T, M, 2, C]
            counts += signs.sum((0, 1, 2))
            chosen = (signs[:, :, :, None] & member).flatten(0, 2).flatten(1)  # [B * T * M, G * 2 * C]
            number = block.segment[..., None] * modalities + torch.arange(modalities, device=device)  # [B, T, M]
            sample.add(chosen, number.flatten(), block.features.flatten(0, 2))
            report.lap("select")
        for sign, of_events in zip(SIGNS, team.add_up(counts), strict=True):
            report.per_event[f"{sign}_segments"] = of_events.tolist()
        found_by_all = sample.result(team.gather if team.size > 1 else None)
        report.lap("select")
        return found_by_all

    def _cluster(self, found: KeySegments, epoch: int, team: Team, report: Report) -> None:
        groups, events, k, dim = self.bank.positive.shape
        numbers = groups * [number for number in self.k for _ in range(events)]
        if team.size > 1:
            found = found[found.problem % team.size == team.rank]
        centers, mask = build_prototypes(found, len(numbers), numbers, (self.seed, epoch), self.kmeans)
        used = team.add_up(mask.long()).bool().view(groups, 2, events, k)
        self.bank.replace(team.add_up(centers).view(groups, 2, events, k, dim), used)
        for sign, of_events in zip(SIGNS, used.sum((0, 3)), strict=True):
            report.per_event[f"{sign}_prototypes"] = of_events.tolist()
        report.lap("cluster")

    def _describe(self, report: Report, videos: int, device: torch.device) -> None:
        """Write down how many key segments and prototypes there are, and which events lack them."""
        sums = {name: sum(counts) for name, counts in report.per_event.items()}
        report.values |= {f"pseudo_labels/{name}": float(number) for name, number in sums.items()}
        positive, negative = self.bank.positive_mask.any(-1), self.bank.negative_mask.any(-1)
        labels = _labels_at(self.lacking.positives)
        report.warnings += [
            f"{event} has no positive segments{where}, so its pseudo labels{where} are {labels}"
            for event, where in self._named(~positive)
        ]
        report.summary.append(
            f"{videos} training videos: {sums['positive_segments']} positive and {sums['negative_segments']} negative "
            f"key segments, {sums['positive_prototypes']} and {sums['negative_prototypes']} prototypes "
            f"(k-means on the {kmeans_device(self.kmeans, device)})"
        )
        for lacking, problem in (
            (~positive, f"without positive prototypes, so {_found_at(self.lacking.positives)}"),
            (positive & ~negative, f"without negative prototypes, so {_found_at(self.lacking.negatives)}"),
        ):
            if names := dict.fromkeys(f"{event}{where}" for event, where in self._named(lacking)):
                report.summary.append(f"{problem}: {', '.join(names)}")

    def _named(self, lacking: Bool[Tensor, "G C"]) -> list[tuple[str, str]]:
        """Name some events and, where only some modalities with prototypes of their own are meant, these."""
        everywhere = lacking.all(0).tolist()
        return [
            (self.events[event], "" if everywhere[event] else f" in {self.modalities[group]}")
            for group, event in lacking.nonzero().tolist()
        ]

    def _label(self, features: Float[Tensor, "B T M D"], weak_labels: Float[Tensor, "B C"]) -> Tensor:
        def label(own: Tensor, prototypes: Prototypes) -> Tensor:
            if self.hard:
                return hard_labels(own, prototypes, weak_labels, self.lacking)
            return soft_labels(own, prototypes, weak_labels, self.tau, self.lacking)

        return self.bank.score(features, label)


def _labels_at(evidence: float) -> str:
    """Say which labels an event gets whose evidence is always this."""
    return "those of the video" if evidence > 0 else "0"


def _found_at(evidence: float) -> str:
    """Say where an event is found whose evidence is always this."""
    return "found in all segments of a video that has the event" if evidence > 0 else "never found"
