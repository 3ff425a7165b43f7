"""CMPAE's inference: a network with and without cross-attention, and a threshold for each event of a video."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.data.videos import VideoSet
from avvp_pl.errors import InputError
from avvp_pl.inference.classifier import Classifier
from avvp_pl.inference.gates import Gates
from avvp_pl.metrics.avvp import LEVELS, video_f1
from avvp_pl.models.alone import run_alone
from avvp_pl.parts import Decision, Evidence, Labeling, Report, Team
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput

BATCH = 128  # validation videos that are parsed at once


class Mixture(Classifier):
    """Probabilities of segments and modalities: ``cross_share`` of those with cross-attention, the rest without it."""

    def __init__(self, cross_share: float) -> None:
        super().__init__()
        self.cross_share = cross_share

    def forward(self, network: ParsingNetwork, batch: Batch, output: ParsingOutput, labeling: Labeling) -> Evidence:
        """Return the mixed probabilities; ``video_probs`` are the network's."""
        alone, share = run_alone(network, batch), self.cross_share
        return (
            super()
            .forward(network, batch, output, labeling)
            ._replace(
                segment_probs=share * output.segment_probs + (1 - share) * alone.segment_probs,
                modality_probs=share * output.modality_probs + (1 - share) * alone.modality_probs,
            )
        )


class TunedMixture(Mixture):
    """The probabilities of :class:`Mixture`, with a threshold for each event.

    Each event in the modalities ``tuned`` has a threshold of its own for videos, fitted to the validation videos: of
    ``candidates`` numbers from ``lowest`` to ``highest`` the one with the best val/event/MODALITY while the other
    events have the threshold of the protocol. Of equally good ones it is the largest. The probabilities are stretched,
    so that the threshold of the event falls onto the one of the protocol (:func:`stretched`).

    There are such thresholds only where the decision asks each modality by itself (protocol.decision.gate_by=modality),
    and they belong to its other settings: with others, they are fitted again.
    """

    thresholds: Tensor  # [M, C]
    fitted_to: Tensor
    settings: Tensor

    def __init__(
        self,
        modalities: Sequence[str],
        events: Sequence[str],
        decision: Decision,
        cross_share: float,
        tuned: Sequence[str],
        lowest: float,
        highest: float,
        candidates: int,
    ) -> None:
        super().__init__(cross_share)
        if not isinstance(decision, Gates):
            raise InputError(
                "inference=cmpae finds thresholds for avvp_pl.inference.gates.Gates, and protocol.decision is a "
                f"{type(decision).__name__}; give another inference"
            )
        if lowest > highest:
            raise InputError(f"inference.cmpae.lowest={lowest}: it must be at most inference.cmpae.highest={highest}")
        self.decision = copy.deepcopy(decision)  # the other one is a part of the run
        self.modalities = tuple(modalities)
        self.tuned = [m for m, name in enumerate(modalities) if name in tuned] if decision.by_modality else []
        steps = max(1, candidates - 1)
        self.candidates = [lowest + (highest - lowest) * number / steps for number in range(candidates)]
        settings = [decision.segment_threshold, decision.video_threshold, float(decision.soft)]
        self.register_buffer("settings", torch.tensor(settings), persistent=False)
        self.register_buffer("fitted_to", torch.full((len(settings),), torch.nan))
        self.register_buffer("thresholds", torch.full((len(modalities), len(events)), decision.video_threshold))

    @property
    def _fitted(self) -> Bool[Tensor, ""]:
        return (self.fitted_to == self.settings).all()

    def needs(self, labeling: Labeling) -> tuple[str, ...]:
        """Return ``val`` where there are thresholds, and they are not those of this decision yet."""
        return ("val",) if self.tuned and not self._fitted else ()

    def fit(
        self, network: ParsingNetwork, splits: Mapping[str, VideoSet], labeling: Labeling, team: Team
    ) -> Report | None:
        """Find the thresholds: all processes find the same."""
        report, videos = Report(self.thresholds.device), splits["val"]
        scores = self.thresholds.new_zeros(len(self.tuned), len(self.candidates), self.thresholds.shape[1]).double()
        for batch in videos.batches(BATCH):
            batch = batch.to(self.thresholds.device)
            assert batch.truth is not None
            evidence = super().forward(network, batch, network(batch), labeling)
            usual, *tried = (
                self.decision(self._stretched(evidence, self.thresholds.new_tensor(threshold)), batch)
                for threshold in (self.decision.video_threshold, *self.candidates)
            )
            for number, m in enumerate(self.tuned):
                found = [timelines[:, :, m] for timelines in tried]
                scores[number] += scores_of_events(usual[:, :, m], found, batch.truth[:, :, m], batch.mask)
        for of_modality, m in zip(scores, self.tuned, strict=True):
            best = len(self.candidates) - 1 - of_modality.flip(0).argmax(0)  # [C]
            self.thresholds[m] = self.thresholds.new_tensor(self.candidates)[best]
            low, high = self.thresholds[m].aminmax()
            report.summary.append(
                f"{len(videos)} validation videos: thresholds of {self.modalities[m]} events {low:.2f} to {high:.2f}"
            )
        self.fitted_to.copy_(self.settings)
        return report

    def forward(self, network: ParsingNetwork, batch: Batch, output: ParsingOutput, labeling: Labeling) -> Evidence:
        """Return the mixed probabilities, stretched once there are thresholds; ``video_probs`` are the network's."""
        evidence = super().forward(network, batch, output, labeling)
        return self._stretched(evidence, self.thresholds.where(self._fitted, self.decision.video_threshold))

    def _stretched(self, evidence: Evidence, thresholds: Float[Tensor, "*MC"]) -> Evidence:
        """Stretch the probabilities of the tuned modalities."""
        probs = evidence.modality_probs
        assert probs is not None
        by_threshold = stretched(probs, thresholds, self.decision.video_threshold)
        is_tuned = [[m in self.tuned] for m in range(probs.shape[1])]
        return evidence._replace(modality_probs=by_threshold.where(torch.tensor(is_tuned, device=probs.device), probs))


def stretched(probs: Float[Tensor, "B M C"], thresholds: Float[Tensor, "*MC"], gate: float) -> Float[Tensor, "B M C"]:
    """Map probabilities monotonically, so that exactly those of at least their threshold are at least ``gate``.

    The map is linear on both sides of the threshold, and changes nothing where the threshold is the gate.

    >>> stretched(torch.tensor([[[0.2, 0.4, 0.7, 1.0]]]), torch.tensor(0.4), 0.5)
    tensor([[[0.2500, 0.5000, 0.7500, 1.0000]]])
    """
    least, tiny = probs.new_tensor(gate), torch.finfo(probs.dtype).tiny
    above = gate + (probs - thresholds) * ((1 - gate) / (1 - thresholds).clamp(min=tiny))
    below = probs * (gate / thresholds.clamp(min=tiny))
    # rounding must not carry a probability over the gate
    moved = torch.where(
        probs >= thresholds, above.clamp(max=1).maximum(least), below.minimum(torch.nextafter(least, least - 1))
    )
    return torch.where(thresholds == least, probs, moved)


def scores_of_events(
    usual: Bool[Tensor, "B T C"],
    tried: Sequence[Bool[Tensor, "B T C"]],
    truth: Bool[Tensor, "B T C"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, "K C"]:
    """Return the event-level F1, summed over videos, if one event is found as in ``tried`` and the others as usual."""
    scores = usual.new_zeros(len(tried), usual.shape[2], dtype=torch.float64)
    for k, found in enumerate(tried):
        for event in range(usual.shape[2]):
            timelines = usual.clone()
            timelines[:, :, event] = found[:, :, event]
            f1 = video_f1(timelines[:, :, None], truth[:, :, None], mask, ("one",))
            scores[k, event] = f1[:, LEVELS.index("event"), 0].sum()
    return scores
