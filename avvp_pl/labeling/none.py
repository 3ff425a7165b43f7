"""No pseudo labels: training learns from weak labels only."""

from __future__ import annotations

from avvp_pl.parts import Labeling, Step, Term


class NoLabels(Labeling):
    """Never ready, so it teaches nothing."""

    def forward(self, step: Step) -> dict[str, Term]:
        """Return no terms."""
        return {}
