"""No pseudo labels: training learns from weak labels only."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from avvp_pl.parts import Labeling, Step, Term
from avvp_pl.types import Batch


class NoLabels(Labeling):
    """Never ready, so it teaches nothing."""

    def forward(self, step: Step) -> dict[str, Term]:
        """Return no terms."""
        return {}

    def labels(self, batch: Batch) -> Float[Tensor, "B T M C"]:
        """Raise, because there are none."""
        raise RuntimeError("this run has no pseudo labels")
