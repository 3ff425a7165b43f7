"""Timelines as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from avvp_pl.data.annotations import runs
from avvp_pl.errors import printable

# Okabe and Ito's colours, which people with colour blindness tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def draw_timelines(
    title: str,
    sources: Mapping[str, npt.NDArray[np.bool_ | np.floating]],
    modalities: Sequence[str],
    events: Sequence[str],
    segment_seconds: float = 1.0,
) -> Figure:
    """One video: a panel a modality, in it a row an event and source (truth, prediction, pseudo labels ...).

    ``sources`` maps a name to [T, M, C]: booleans are drawn as bars, numbers in [0, 1] as bars of that opacity.
    Only events that some source has anywhere are drawn.
    """
    shown = [c for c in range(len(events)) if any((source[..., c] >= 0.5).any() for source in sources.values())]
    rows = max(1, len(shown)) * (len(sources) + 0.5)
    figure = Figure(figsize=(8, 0.9 + 0.23 * rows * len(modalities)), layout="constrained")
    figure.suptitle(printable(title), fontsize=10, parse_math=False)  # a name is no formula, whatever is in it
    panels = np.atleast_1d(figure.subplots(len(modalities), 1, sharex=True))
    for m, (modality, panel) in enumerate(zip(modalities, panels, strict=True)):
        own = {name: source[:, m] for name, source in sources.items()}
        _draw_panel(panel, own, shown, events, segment_seconds)
        panel.set_title(modality, fontsize=9, loc="left", parse_math=False)
    panels[-1].set_xlabel("seconds", fontsize=8)
    handles = [Rectangle((0, 0), 1, 1, color=COLOURS[i % len(COLOURS)]) for i in range(len(sources))]
    figure.legend(handles, list(sources), loc="outside lower center", ncols=len(sources), fontsize=8, frameon=False)
    return figure


def _draw_panel(
    panel: Axes,
    sources: Mapping[str, npt.NDArray[np.bool_ | np.floating]],
    shown: Sequence[int],
    events: Sequence[str],
    segment_seconds: float,
) -> None:
    height, group = 1.0, len(sources) + 0.5
    segments = next(iter(sources.values())).shape[0]
    for row, event in enumerate(shown):
        for place, timeline in enumerate(sources.values()):
            bottom = row * group + place
            colour = COLOURS[place % len(COLOURS)]
            for onset, offset, opacity in _bars(timeline[:, event]):
                corner, width = (onset * segment_seconds, bottom), (offset - onset) * segment_seconds
                panel.add_patch(Rectangle(corner, width, 0.85 * height, color=colour, alpha=opacity, lw=0))
    panel.set_xlim(0, segments * segment_seconds)
    panel.set_ylim(max(1, len(shown)) * group, -0.25)  # the first event on top
    panel.set_yticks([row * group + (group - 0.5) / 2 for row in range(len(shown))])
    names = [printable(events[event].replace("_", " ")) for event in shown]
    panel.set_yticklabels(names, fontsize=8, parse_math=False)
    panel.tick_params(axis="x", labelsize=8)
    panel.grid(axis="x", color="0.9", lw=0.6)
    panel.set_axisbelow(True)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)


def _bars(track: npt.NDArray[np.bool_ | np.floating]) -> list[tuple[int, int, float]]:
    """(onset, offset, opacity) of a track [T]: maximal runs of booleans, every segment of numbers."""
    if track.dtype == bool:
        return [(onset, offset, 1.0) for _, onset, offset in runs(track[:, None].astype(bool))]
    return [(t, t + 1, float(np.clip(value, 0, 1))) for t, value in enumerate(track) if value > 0.02]
