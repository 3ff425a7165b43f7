"""Figures by epoch: the quality of the pseudo labels, the EM bound, and the validation score."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from avvp_pl.figures import COLUMN, PAGE, legend_below, look, styled, told_apart, words
from avvp_pl.reporting.drawings import (
    Drawing,
    Numbers,
    Spread,
    handle,
    over,
    sentences,
    spread_of,
)
from avvp_pl.runs.reading import LOCALIZATION, MAIN_SCORE, PARSING, Setting

# By task: the score of the validation split that is drawn, the label of its axis, and what it is
VALIDATION = {
    PARSING: (
        "val/segment/type_av",
        "validation Type@AV (%)",
        "Type@AV of the validation split at segment level",
    ),
    LOCALIZATION: (
        f"val/{MAIN_SCORE[LOCALIZATION]}",
        "validation mAP (%)",
        "mAP of the validation split, mean of the thresholds 0.1 to 0.7 of tIoU",
    ),
}
QUALITY = re.compile("pseudo_labels/(.+)/(?:precision|recall|f1)")


def pseudo_label_quality(settings: Sequence[Setting]) -> Drawing | None:
    """Draw precision, recall and F1 of the pseudo labels, one row of panels for each modality; None where unknown."""
    columns = dict.fromkeys(name for setting in settings for run in setting.runs for row in run.epochs for name in row)
    modalities = dict.fromkeys(found[1] for name in columns if (found := QUALITY.fullmatch(name)))
    grid = [[f"pseudo_labels/{modality}/{part}" for part in ("precision", "recall", "f1")] for modality in modalities]
    titles = {
        f"pseudo_labels/{modality}/{part}": words(f"{modality}: {part if part != 'f1' else 'F1'}")
        for modality in modalities
        for part in ("precision", "recall", "f1")
    }
    return _by_epoch(
        "pseudo_label_quality",
        "Quality of the pseudo labels by epoch",
        "Pseudo labels of the training segments against their annotation, which training never uses",
        settings,
        grid,
        titles,
        "%",
    )


def bound(settings: Sequence[Setting]) -> Drawing | None:
    """Draw the EM bound (Eq. 14) at every refresh; None where no run has one."""
    name = "train/em/bound"
    return _by_epoch(
        "bound",
        "The EM bound by epoch",
        "The bound of Eq. (14) at every refresh, mean over training videos and events",
        settings,
        [[name]],
        {name: ""},
        "bound (nats)",
    )


def learning(settings: Sequence[Setting]) -> Drawing | None:
    """Draw the score of the validation split, by which most protocols select the epoch to test; None where unknown.

    It is Type@AV of segments, or in localization the mean mAP.
    """
    name, unit, says = VALIDATION[settings[0].runs[0].task] if settings else VALIDATION[PARSING]
    monitors = {run.settings.get("protocol.selection.monitor", name) for setting in settings for run in setting.runs}
    return _by_epoch(
        "learning",
        "Validation score by epoch",
        says + ", by which the epoch to test is selected" * (monitors <= {name}),
        settings,
        [[name]],
        {name: ""},
        unit,
    )


def losses(settings: Sequence[Setting]) -> Drawing | None:
    """Draw the loss of the training split, for runs without a validation split; None where unknown."""
    name = "train/loss"
    return _by_epoch(
        "losses",
        "Training loss by epoch",
        "The sum of all losses in training; there are no validation videos, and losses of different methods do not "
        "compare",
        settings,
        [[name]],
        {name: ""},
        "loss",
    )


def by_epoch(setting: Setting, column: str) -> Spread:
    """Average a column of ``metrics.csv`` over the runs that have it, at the epochs that all of these have."""
    series = [
        {int(row["epoch"]): row[column] for row in run.epochs if math.isfinite(row.get(column, math.nan))}
        for run in setting.runs
    ]
    series = [one for one in series if one]
    common = sorted(set.intersection(*map(set, series))) if series else []
    return spread_of({float(epoch): [one[epoch] for one in series] for epoch in common})


def _by_epoch(
    key: str,
    title: str,
    says: str,
    settings: Sequence[Setting],
    grid: Sequence[Sequence[str]],
    titles: Mapping[str, str],
    unit: str,
) -> Drawing | None:
    """Draw a grid of panels, each with a column of ``metrics.csv`` by epoch; a setting is a line with a band."""
    columns = [column for row in grid for column in row]
    spreads = {column: [by_epoch(setting, column) for setting in settings] for column in columns}
    having = [place for place in range(len(settings)) if any(spreads[column][place].x for column in columns)]
    if not having:
        return None
    numbers: Numbers = tuple(
        {
            "setting": settings[place].label,
            "score": column,
            "epoch": int(epoch),
            "seeds": seeds,
            "mean": mean,
            "std": deviation,
        }
        for column in columns
        for place in having
        for epoch, mean, deviation, seeds in spreads[column][place].rows()
    )
    epochs = [epoch for column in columns for place in having for epoch in spreads[column][place].x]
    wide = len(grid[0]) > 1
    with styled():
        figure = Figure(figsize=(PAGE, 0.5 + 1.55 * len(grid)) if wide else (COLUMN, 2.6))
        panels = figure.subplots(len(grid), len(grid[0]), sharex=True, squeeze=False)
        for line, row in zip(panels, grid, strict=True):
            for panel, column in zip(line, row, strict=True):
                for place in having:
                    _band_line(panel, spreads[column][place], place, alpha=0.16 if len(having) < 4 else 0.08)
                panel.set_title(titles[column])
                panel.margins(x=0.04)
                if min(epochs) == max(epochs):  # matplotlib would zoom in on a single epoch
                    panel.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
                panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            line[0].set_ylabel(unit)
        for panel in panels[-1]:
            panel.set_xlabel("epoch")
        labels = told_apart([settings[place].label for place in having])
        legend_below(figure, [handle(place) for place in having], labels)
    shown = [spreads[column][place] for column in columns for place in having]
    seeds = [number for spread in shown for number in spread.seeds]
    band = "Bands are one standard deviation." if any(any(spread.deviation) for spread in shown) else ""
    caption = sentences(f"{says}: mean {over(seeds)}", band)
    return Drawing(key, title, caption, figure, numbers)


def _band_line(panel: Axes, spread: Spread, place: int, alpha: float) -> None:
    own = look(place)
    if any(spread.deviation):
        low, high = spread.ends()[::2], spread.ends()[1::2]
        panel.fill_between(spread.x, low, high, color=own.color, alpha=alpha, lw=0)
    step = max(1, len(spread.x) // 6)  # so that the markers of several lines are at different epochs
    panel.plot(spread.x, spread.mean, color=own.color, ls=own.dashes, marker=own.marker, markevery=(place % step, step))
