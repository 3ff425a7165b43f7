"""The scores by the balance of the modalities: synthetic data with more noise in one modality and less in the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from avvp_pl.figures import PAGE, legend_below, styled, told_apart
from avvp_pl.reporting.curves import Curve, by_value, error_line, left_out, of_common_seeds, seeds_of, sweep_curves
from avvp_pl.reporting.drawings import MOST, Drawing, Numbers, count, handle, sentences
from avvp_pl.runs.reading import INFERENCE, PARSING, VALIDATED_BY, Setting

KEY = "data.noise_ratio"
PANELS = {
    "average": "average of all scores",
    "segment/audio": "segment level, audio",
    "segment/visual": "segment level, visual",
}


def draw_balance(settings: Sequence[Setting]) -> Drawing | None:
    """Draw the test scores by ``data.noise_ratio``, one line for each method; None where it was not varied alone.

    The panels are the average of all scores, and the scores of either modality, which show when a method gives up one
    of them. All points of a line have the same seeds (:func:`~avvp_pl.reporting.curves.of_common_seeds`). Where there
    are too many lines, those of the inferences that were validated come first, so that no method is missing.
    """
    if not settings or settings[0].runs[0].task != PARSING:
        return None
    whole = sorted(sweep_curves(settings, KEY), key=lambda curve: not _is_validated(curve))
    cut = [of_common_seeds(curve) for curve in whole]
    curves = [curve for curve in cut if len(curve.points) > 1]
    if not curves:
        return None
    shown = curves[:MOST]
    ratios = sorted({ratio for curve in curves for ratio in curve.points})
    spreads = {score: [by_value(curve, score) for curve in curves] for score in PANELS}
    numbers: Numbers = tuple(
        {"curve": curve.label, "score": score, "noise_ratio": ratio, "seeds": seeds, "mean": mean, "std": deviation}
        for score, of_score in spreads.items()
        for curve, spread in zip(curves, of_score, strict=True)
        for ratio, mean, deviation, seeds in spread.rows()
    )
    ends = [end for of_score in spreads.values() for spread in of_score[:MOST] for end in spread.ends()]
    margin = 0.05 * max(2.0, max(ends) - min(ends))
    barred = any(any(spread.deviation) for of_score in spreads.values() for spread in of_score)
    with styled():
        figure = Figure(figsize=(PAGE, 2.4))
        panels = figure.subplots(1, len(PANELS), sharex=True, sharey=True)
        for panel, (score, title) in zip(panels, PANELS.items(), strict=True):
            for place in range(len(shown)):
                shift = min(2.0, 6 / len(shown)) * (place - (len(shown) - 1) / 2) if barred else 0.0
                error_line(panel, spreads[score][place], place, shift)
            panel.set_title(title)
            panel.set_xlabel("noise of audio / noise of visual")
            panel.set_xscale("log", base=2)
            panel.set_xticks(ratios, [_ratio(ratio) for ratio in ratios])
            panel.xaxis.set_minor_locator(NullLocator())
            panel.set_xlim(ratios[0] / 1.3, ratios[-1] * 1.3)
        panels[0].set_ylabel("F1 (%)")
        panels[0].set_ylim(min(ends) - margin, max(ends) + margin)
        labels = told_apart([curve.label for curve in shown])
        legend_below(figure, [handle(place) for place in range(len(shown))], labels)
    caption = sentences(
        "Scores of the test split of synthetic data by the ratio of the noise in audio features to that in visual "
        f"features, with the same geometric mean everywhere: {seeds_of(shown)}.",
        "Bars are one standard deviation." if barred else "",
        f"Left out, because they share no seed with the others: {missing}."
        if (missing := left_out(whole, cut))
        else "",
        f"The table has {count(left, 'further curve')}." if (left := len(curves) - len(shown)) else "",
    )
    return Drawing("balance", "Scores by the balance of the modalities", caption, figure, numbers)


def _is_validated(curve: Curve) -> bool:
    """Return whether the runs of a curve were tested by the inference that selected their epoch."""
    (run, *_), *_ = curve.points.values()
    return run.settings.get(VALIDATED_BY) in {None, run.settings.get(INFERENCE)}


def _ratio(value: float) -> str:
    """Spell a ratio below 1 as a fraction where it is one.

    >>> _ratio(0.25), _ratio(4.0), _ratio(0.3)
    ('1/4', '4', '0.3')
    """
    inverse = 1 / value
    return f"1/{round(inverse)}" if value < 1 and math.isclose(inverse, round(inverse)) else f"{value:g}"
