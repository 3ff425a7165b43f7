"""A figure of the mAP of methods by the threshold of tIoU."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from avvp_pl.figures import COLUMN, legend_below, styled, told_apart
from avvp_pl.metrics.tal import THRESHOLDS, name_of
from avvp_pl.reporting.curves import error_line
from avvp_pl.reporting.drawings import Drawing, Numbers, handle, over, sentences, spread_of
from avvp_pl.runs.reading import LOCALIZATION, Setting


def by_tiou(settings: Sequence[Setting]) -> Drawing | None:
    """Draw the mAP by the threshold of tIoU, one line for each setting; None for another task."""
    if not settings or settings[0].runs[0].task != LOCALIZATION:
        return None
    spreads = [
        spread_of(
            {threshold: [run.scores[f"map/{name_of(threshold)}"] for run in setting.runs] for threshold in THRESHOLDS}
        )
        for setting in settings
    ]
    numbers: Numbers = tuple(
        {"setting": setting.label, "tiou": threshold, "seeds": seeds, "mean": mean, "std": deviation}
        for setting, spread in zip(settings, spreads, strict=True)
        for threshold, mean, deviation, seeds in spread.rows()
    )
    barred = any(any(spread.deviation) for spread in spreads)
    with styled():
        figure = Figure(figsize=(COLUMN, 2.6))
        panel = figure.subplots()
        for place, spread in enumerate(spreads):
            shift = min(2.0, 6 / len(spreads)) * (place - (len(spreads) - 1) / 2) if barred else 0.0
            error_line(panel, spread, place, shift)
        panel.set_xticks(THRESHOLDS)
        panel.set_xlim(THRESHOLDS[0] - 0.04, THRESHOLDS[-1] + 0.04)
        panel.set_xlabel("threshold of tIoU")
        panel.set_ylabel("mAP (%)")
        panel.set_ylim(0, 1.05 * max(2.0, *(end for spread in spreads for end in spread.ends())))
        legend_below(figure, [handle(i) for i in range(len(settings))], told_apart([s.label for s in settings]))
    caption = sentences(
        f"Mean average precision by the threshold of tIoU, test split: mean {over([len(s.runs) for s in settings])}",
        "Bars are one standard deviation." if barred else "",
    )
    return Drawing("by_tiou", "mAP by the threshold of tIoU", caption, figure, numbers)
