"""PoiBin: how many segments of a video are positive is latent, and expectation maximization raises its minimum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.losses import confident_count, count_distribution, count_loss, log_absent
from avvp_pl.methods.contrast import Contrast
from avvp_pl.methods.guided import Guided
from avvp_pl.methods.segment_targets import SegmentLoss
from avvp_pl.models.momentum import Teacher
from avvp_pl.parts import Report, Step, Targets, Team, Term
from avvp_pl.pseudo_labels import EncodedVideos, blocks_of
from avvp_pl.types import ParsingNetwork


class PoiBin(Guided):
    """The losses of :class:`Guided`, plus weight_count * L_N (Rachavarapu, Rajagopalan, ICCV 2023).

    The number N of positive segments is Poisson-binomial. L_N is the mean over videos and events of -log P(N >= n)
    where the weak label is 1, and of -log P(N = 0) where it is 0. The minimum count n of each training video and event
    is 1 at first, which is ordinary multiple-instance learning. At the start of every epoch from ``start_epoch``
    (counted from 0) on, it rises to the largest k with P(N >= k | N >= 1) >= ``confidence`` by the momentum network; it
    never falls. ``max_count`` is the largest minimum.

    ``count`` says which segments are counted: ``joint`` those of all modalities together; ``per_modality`` those of
    each modality, whose minimum starts at 0, because the weak label does not say which modality has the event. For
    ``momentum`` and ``momentum_warmup`` see :class:`~avvp_pl.models.momentum.Teacher`.
    """

    def __init__(
        self,
        network: ParsingNetwork,
        modalities: Sequence[str],
        events: Sequence[str],
        class_weighting: Literal["inverse_frequency", "none"],
        weights: Mapping[str, float],
        targets: Targets,
        count: Literal["joint", "per_modality"],
        confidence: float,
        max_count: int,
        weight_count: float,
        start_epoch: int,
        momentum: float,
        momentum_warmup: bool,
        contrast: Contrast | None = None,
        segments: SegmentLoss | None = None,
    ) -> None:
        super().__init__(modalities, events, class_weighting, weights, targets, contrast, segments)
        self.joint, self.confidence, self.max_count = count == "joint", confidence, max_count
        self.weight_count, self.start_epoch = weight_count, start_epoch
        self.teacher = Teacher(network, "momentum", momentum, momentum_warmup, attending=None)
        self.counts: Tensor | None = None  # [N, G, C], minimum counts; 0: no more is known than the weak label says
        self.largest = 1  # of the minimum counts, so that a step has no need to wait for it
        self.most_labels = len(events)  # of a training video, known before a step for the same reason

    def start(self, videos: VideoSet) -> None:
        """Look how many events a video has at most: only these can have a minimum count."""
        super().start(videos)
        self.most_labels = int(videos.weak_labels.sum(1).max())

    @torch.no_grad()
    def refresh(self, videos: VideoSet, epoch: int, team: Team) -> Report | None:
        """Raise the minimum counts of all training videos; each process counts in its share."""
        if epoch < self.start_epoch:
            return None
        report, weak_labels = Report(videos.device), videos.weak_labels
        groups = 1 if self.joint else len(self.modality_weights)
        counts = torch.zeros(len(videos), groups, weak_labels.shape[1], dtype=torch.int, device=videos.device)
        for block in EncodedVideos(self.teacher.network, videos, team.share(blocks_of(videos)), memory=0):
            report.lap("encode")
            row, event = (block.weak_labels > 0).nonzero(as_tuple=True)  # [n] each: a video has one or two events
            of_pairs = block.segment_probs[row, :, :, event][..., None]  # [n, T, M, 1]
            found = confident_count(self._distribution(of_pairs, block.mask[row], self.max_count), self.confidence)
            counts[block.index[row], :, event] = found.squeeze(2).int()
            report.lap("count")
        counts = team.add_up(counts)
        self._keep(counts if self.counts is None else counts.maximum(self.counts))
        assert self.counts is not None
        at_least = (self.counts.sum(1).clamp(min=1) * weak_labels).sum() / weak_labels.sum().clamp(min=1)
        report.values["train/em/count"] = at_least.item()
        report.lap("count")
        return report

    def forward(self, step: Step) -> dict[str, Term]:
        """Return the losses of :class:`Guided` and L_N."""
        probs, batch = step.output.segment_probs, step.batch
        events = probs.shape[3]
        countable = batch.weak_labels * batch.mask.any(1, keepdim=True)  # a video without segments has nothing to count
        # the events of each video, and others where it has fewer; of all others, only N = 0 is asked for
        labels, chosen = countable.topk(min(max(1, self.most_labels), events), dim=1)  # [B, L] each
        of_chosen = probs.gather(3, chosen[:, None, None].expand(-1, *probs.shape[1:3], -1))
        log_counts = self._distribution(of_chosen, batch.mask, self.largest)  # [B, G, L, K]
        if self.counts is None:
            minimum = torch.zeros(log_counts.shape[:3], dtype=torch.int, device=probs.device)
        else:
            minimum = self.counts[batch.index].gather(2, chosen[:, None].expand(log_counts.shape[:3]))
        none = log_absent(probs, batch.mask[:, :, None, None]).sum((1, 2)).scatter(1, chosen, 0)  # [B, C], log P(N = 0)
        counted = (labels.shape[1] * count_loss(log_counts, minimum, labels) - none.sum(1).mean()) / events
        return super().forward(step) | {"count": Term(counted, self.weight_count)}

    def after_step(self, network: ParsingNetwork, step: int) -> None:
        """Let the momentum network follow."""
        self.teacher.follow(network, step)

    def progress(self) -> dict[str, Tensor]:
        """Return the minimum counts: a resumed run needs them, because they never fall."""
        return {} if self.counts is None else {"counts": self.counts}

    def resume(self, progress: Mapping[str, Tensor]) -> None:
        """Continue with the minimum counts of the interrupted run."""
        self._keep(progress.get("counts"))

    def _keep(self, counts: Tensor | None) -> None:
        self.counts = counts
        self.largest = 1 if counts is None else max(1, int(counts.max()))

    def _distribution(
        self, segment_probs: Float[Tensor, "B T M C"], mask: Bool[Tensor, "B T"], most: int
    ) -> Float[Tensor, "B G C K"]:
        """Return the log-distributions of the counts: of one group of segments, or of a group for each modality."""
        probs, real = segment_probs.permute(0, 2, 3, 1), mask[:, None, None]  # [B, M, C, T], [B, 1, 1, T]
        if self.joint:
            modalities = segment_probs.shape[2]
            probs = probs.transpose(1, 2).flatten(2)[:, None]  # [B, 1, C, M * T]
            real = real.repeat(1, 1, 1, modalities)
        return count_distribution(probs, real, most)
