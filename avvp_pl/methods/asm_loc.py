"""ASM-Loc (He et al., CVPR 2022): events of the video, and labels of segments that count less where they are unsure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avvp_pl.errors import InputError
from avvp_pl.losses.segments import mean_of_segments, shares
from avvp_pl.models.asm_loc import ASMLocOutput
from avvp_pl.parts import Method, Step, Term
from avvp_pl.pseudo_labels import proposals

LEAST = 1e-7  # probability whose logarithm is taken in the place of that of a smaller one


class ASMLoc(Method):
    """L = CE(P, w0) + weight_background CE(Q, bg) + weight_actions CE(Q, w0) + weight_pseudo_label L_PL.

    P and Q are ``foreground`` and ``background`` of :class:`~avvp_pl.models.asm_loc.ASMLocOutput`; w0 are the events of
    the weak label in equal shares, and bg is the background: what is left without the attention shows both. L_PL is
    :func:`uncertain_loss` with the labels of the proposals (:func:`~avvp_pl.pseudo_labels.proposals.segment_labels`;
    ``segment_labels`` is ``code`` for those of the public code). The base network has none.
    """

    def __init__(
        self,
        events: Sequence[str],
        weight_background: float,
        weight_actions: float,
        weight_pseudo_label: float,
        weight_uncertainty: float,
        segment_labels: Literal["exact", "code"],
    ) -> None:
        super().__init__()
        self.num_events, self.code = len(events), segment_labels == "code"
        self.weight_background, self.weight_actions = weight_background, weight_actions
        self.weight_pseudo_label, self.weight_uncertainty = weight_pseudo_label, weight_uncertainty

    def forward(self, step: Step) -> dict[str, Term]:
        """Return the losses of the video and, if there are proposals, of segments."""
        output, weak_labels = step.output, step.batch.weak_labels
        if not isinstance(output, ASMLocOutput):
            raise InputError("method=asm_loc learns from the outputs of network=asm_loc; give that network")
        events = torch.cat([weak_labels, weak_labels.new_zeros(len(weak_labels), 1)], 1)
        nothing = torch.zeros_like(events)
        nothing[:, -1] = 1
        terms = {
            "mil": Term(shares_loss(output.foreground, events)),
            "background": Term(shares_loss(output.background, nothing), self.weight_background),
            "actions": Term(shares_loss(output.background, events), self.weight_actions),
        }
        if output.uncertainty is not None:
            assert step.batch.proposals is not None
            labels = proposals.segment_labels(step.batch.proposals, output.samples, self.num_events, self.code)
            loss = uncertain_loss(
                output.logits, labels.to(output.logits.dtype), output.uncertainty, output.samples.mask,
                self.weight_uncertainty,
            )  # fmt: skip
            terms["pseudo_label"] = Term(loss, self.weight_pseudo_label)
        return terms


def shares_loss(probs: Float[Tensor, "B C1"], labels: Float[Tensor, "B C1"]) -> Float[Tensor, ""]:
    """Return the mean over videos of -sum_c y_c log q_c, where y are the ``labels`` divided by their sum.

    A video without a label has a loss of 0.

    >>> shares_loss(torch.tensor([[0.25, 0.5, 0.25]]), torch.tensor([[1.0, 1.0, 0.0]]))  # (ln 4 + ln 2) / 2
    tensor(1.0397)
    """
    return -(shares(labels) * probs.clamp(min=LEAST).log()).sum(1).mean()


def uncertain_loss(
    logits: Float[Tensor, "B J C1"],
    labels: Float[Tensor, "B J C1"],
    uncertainty: Float[Tensor, "B J"],
    mask: Bool[Tensor, "B J"],
    weight: float = 0.2,
) -> Float[Tensor, ""]:
    """Return the mean over real samples of exp(-u) ce + ``weight`` u, with ce = -sum_c y_c log softmax(z)_c.

    For a given ce, it is smallest at u = ln(ce / ``weight``). A batch that is all padding has a loss of 0.

    >>> even, event = torch.zeros(1, 1, 4), torch.eye(4)[None, :1]
    >>> uncertain_loss(even, event, torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool))  # ln 4
    tensor(1.3863)
    """
    logs = logits.softmax(2).clamp(min=LEAST).log()
    each = -(labels * logs).sum(2) * (-uncertainty).exp() + weight * uncertainty
    return mean_of_segments(each, mask)
