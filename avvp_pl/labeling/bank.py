"""The prototypes of all events as a part of the model: they travel in the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avvp_pl.pseudo_labels import Lacking, prototype_evidence
from avvp_pl.types import Batch, ParsingNetwork, ParsingOutput, Prototypes

SIGNS = ("positive", "negative")


class PrototypeBank(nn.Module):
    """Positive and negative prototypes of every event, and how features are compared with them.

    There is one group of prototypes for all modalities (``shared``), or one for each. ``tau`` is the temperature of Eq.
    (10). Features are normalized to length 1 where ``normalize_features``, and taken from a network in which only the
    modalities ``attending`` attend to the others (None: all), as when the prototypes were built.
    """

    positive: Tensor  # [G, C, K, D]
    positive_mask: Tensor  # [G, C, K]
    negative: Tensor
    negative_mask: Tensor

    def __init__(
        self,
        num_modalities: int,
        num_events: int,
        k: int,
        dim: int,
        shared: bool,
        tau: float,
        normalize_features: bool,
        attending: Sequence[str] | None,
        lacking: Lacking,
    ) -> None:
        super().__init__()
        self.tau, self.normalize_features, self.lacking = tau, normalize_features, lacking
        self.attending = None if attending is None else tuple(attending)
        self.groups = [slice(None)] if shared else [slice(m, m + 1) for m in range(num_modalities)]
        for sign in SIGNS:
            self.register_buffer(sign, torch.zeros(len(self.groups), num_events, k, dim))
            self.register_buffer(f"{sign}_mask", torch.zeros(len(self.groups), num_events, k, dtype=torch.bool))

    @property
    def is_built(self) -> bool:
        """Whether some event has prototypes."""
        return bool(self.positive_mask.any())

    def replace(self, centers: Float[Tensor, "G 2 C K D"], used: Bool[Tensor, "G 2 C K"]) -> None:
        """Take these prototypes, positive ones first, in place of the present ones."""
        for number, sign in enumerate(SIGNS):
            getattr(self, sign).copy_(centers[:, number])
            getattr(self, f"{sign}_mask").copy_(used[:, number])

    def comparable(self, features: Float[Tensor, "*n D"]) -> Float[Tensor, "*n D"]:
        """Return the features in the form in which prototypes are compared with them."""
        return F.normalize(features, dim=-1) if self.normalize_features else features

    def score(
        self, features: Float[Tensor, "B T M D"], by: Callable[[Tensor, Prototypes], Tensor]
    ) -> Float[Tensor, "B T M C"]:
        """Score the comparable features of each group of modalities ``by`` their own prototypes."""
        scored = [
            by(
                features[:, :, part],
                Prototypes(self.positive[g], self.positive_mask[g], self.negative[g], self.negative_mask[g]),
            )
            for g, part in enumerate(self.groups)
        ]
        return torch.cat(scored, dim=2)

    def evidence(
        self, network: ParsingNetwork, batch: Batch, output: ParsingOutput, hard: bool
    ) -> Float[Tensor, "B T M C"]:
        """Compare what ``network`` makes of a batch with the prototypes, by Eq. (10) or (``hard``) by Eq. (9).

        Positive values speak for an event. ``output`` is what the network returned for the batch; it is computed again
        where other modalities attended then.
        """
        if self.attending is not None:
            network.attending = self.attending
            try:
                output = network(batch)
            finally:
                network.attending = None
        tau = 1.0 if hard else self.tau  # Eq. (9) has no temperature
        return self.score(
            self.comparable(output.features), lambda own, of: prototype_evidence(own, of, tau, self.lacking)
        )
