"""CO2-Net (Hong et al., ACM MM 2021), and what DELU adds to it (Chen et al., ECCV 2022): evidence and a curriculum."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.losses.attended import agreement_loss, background_gaps, distribution_loss
from avvp_pl.losses.co_activity import co_activity_loss
from avvp_pl.losses.evidential import curriculum_weights, evidence_loss, evidence_of, most_attended, uncertainty_of
from avvp_pl.losses.segments import mean_of_segments
from avvp_pl.models.cross_modal import CrossModal, CrossModalOutput, suppressed
from avvp_pl.models.mil_pooling import top_k_pooling
from avvp_pl.parts import Method, Step, Term
from avvp_pl.types import ParsingNetwork


class Delu(Method):
    """Learn the events of videos, and where nothing of interest happens, from weak labels.

    With the logits z and the attention a of :class:`~avvp_pl.models.cross_modal.CrossModal`, and s, the logits
    suppressed by the attention, the loss is the sum of these terms, each with a weight:

    - ``mil``: :func:`~avvp_pl.losses.attended.distribution_loss` of the mean of the L // ``top_k_share`` highest z of
      an event in a video of L segments, where every video shows the background, too,
    - ``mil_attended``: the same of s, where no video shows the background,
    - ``mutual``: :func:`~avvp_pl.losses.attended.agreement_loss` of the attentions of both streams,
    - ``sparsity``: the mean of a,
    - ``guide``: the mean of h, where h are :func:`~avvp_pl.losses.attended.background_gaps`,
    - ``co_activity``: :func:`~avvp_pl.losses.co_activity.co_activity_loss` of the first ``pairs`` pairs of the batch,
    - ``evidence``: :func:`~avvp_pl.losses.evidential.evidence_loss` by the mean of s over the
      L // ``evidence_top_k_share`` segments with the highest attention (left out if its weight is 0),
    - ``curriculum``: the mean of h times :func:`~avvp_pl.losses.evidential.curriculum_weights`, by the uncertainty of
      each segment and the progress of the training (left out with ``curriculum`` none).

    Without the last two it is CO2-Net. The pairs are two videos each that share an event, at the start of every batch,
    as ``data.order`` makes them; the first batch is checked.
    """

    def __init__(
        self,
        network: ParsingNetwork,
        pairs: int,
        top_k_share: int,
        weight_mil: float,
        weight_mil_attended: float,
        weight_mutual: float,
        weight_sparsity: float,
        weight_guide: float,
        weight_co_activity: float,
        weight_evidence: float,
        evidence_top_k_share: int,
        curriculum: Literal["rank", "code", "none"],
        weight_curriculum: float,
        curriculum_amplitude: float,
    ) -> None:
        super().__init__()
        if not isinstance(network, CrossModal):
            raise InputError(
                f"method=delu needs network=cross_modal: {type(network).__name__} has no attention of two streams"
            )
        self.pairs, self.top_k_share, self.evidence_top_k_share = pairs, top_k_share, evidence_top_k_share
        self.weight_mil, self.weight_mil_attended = weight_mil, weight_mil_attended
        self.weight_mutual, self.weight_sparsity, self.weight_guide = weight_mutual, weight_sparsity, weight_guide
        self.weight_co_activity, self.weight_evidence = weight_co_activity, weight_evidence
        self.curriculum, self.weight_curriculum = curriculum, weight_curriculum
        self.amplitude = curriculum_amplitude
        self.has_seen_pairs = False

    def forward(self, step: Step) -> dict[str, Term]:
        """Return the terms."""
        output, mask, labels = step.output, step.batch.mask, step.batch.weak_labels
        assert isinstance(output, CrossModalOutput)
        logits, attention = output.logits, output.attention
        scores = suppressed(logits, attention)
        gaps = background_gaps(logits, attention, output.stream_attentions)
        every, attended = (top_k_pooling(of, mask, self.top_k_share) for of in (logits, scores))
        terms = {
            "mil": Term(distribution_loss(every, labels, background=True), self.weight_mil),
            "mil_attended": Term(distribution_loss(attended, labels, background=False), self.weight_mil_attended),
            "mutual": Term(agreement_loss(output.stream_attentions, mask), self.weight_mutual),
            "sparsity": Term(mean_of_segments(attention, mask), self.weight_sparsity),
            "guide": Term(mean_of_segments(gaps, mask), self.weight_guide),
        }
        if self.pairs:
            self._check_pairs(labels)
            loss = co_activity_loss(output.features[:, :, 0], scores, labels, mask, self.pairs)
            terms["co_activity"] = Term(loss, self.weight_co_activity)
        if self.weight_evidence:
            picked = most_attended(scores[:, :, :-1], attention, mask, self.evidence_top_k_share)
            terms["evidence"] = Term(evidence_loss(evidence_of(picked), labels), self.weight_evidence)
        if self.curriculum != "none":
            unsure = uncertainty_of(scores)
            weights = curriculum_weights(unsure, mask, step.progress, self.amplitude, self.curriculum)
            terms["curriculum"] = Term(mean_of_segments(weights * gaps, mask), self.weight_curriculum)
        return terms

    def _check_pairs(self, weak_labels: Float[Tensor, "B C"]) -> None:
        """Raise :class:`InputError` if a batch has no pairs. Only the first one is asked: the device is waited for."""
        if len(weak_labels) < 2 * self.pairs:
            raise InputError(
                f"method.pairs={self.pairs}: a batch of {len(weak_labels)} videos cannot have so many pairs; increase "
                "data.batch_size or reduce both method.pairs and data.order.pairs"
            )
        if not self.has_seen_pairs:
            paired = weak_labels[: 2 * self.pairs]
            if not bool((paired[::2] * paired[1::2]).any(1).all()):
                raise InputError(
                    f"method.pairs={self.pairs}: the first {2 * self.pairs} videos of a batch must be pairs that share "
                    "an event; give data.order with the class avvp_pl.data.order.PairedBatches and as many pairs, as "
                    "experiment=delu does, or method.pairs=0"
                )
            self.has_seen_pairs = True
