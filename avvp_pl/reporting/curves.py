"""The scores by the values of a setting: what the figures of sweeps share, and Figures 4 and 5."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from avvp_pl.figures import INK, PAGE, legend_below, look, styled, told_apart, words
from avvp_pl.metrics.avvp import LEVELS
from avvp_pl.reporting.drawings import (
    MOST,
    Drawing,
    Numbers,
    Spread,
    count,
    handle,
    listed,
    of_seeds,
    sentences,
    spread_of,
)
from avvp_pl.reporting.swept import SWEEPS, Sweep
from avvp_pl.runs.reading import LOCALIZATION, MAIN_SCORE, PARSING, Run, Setting, apart

LEVEL: dict[str, Any] = {"color": INK, "lw": 0.9, "ls": (0, (4, 2)), "zorder": 1.5}
PAPER: dict[str, Any] = {"color": "0.5", "lw": 1.0, "ls": (0, (1, 1.5)), "zorder": 1}
HOLLOW = "event"  # the level whose markers are hollow


class Panel(NamedTuple):
    """A panel of a figure of scores by the values of a setting: its title and, by level, the score that is drawn."""

    title: str
    scores: Mapping[str, str]


# The first one is that of the paper's figures 4 and 5; the others are ours
PANELS = {
    PARSING: (
        Panel("mean of the scores of a level", {level: f"{level}/average" for level in LEVELS}),
        *(Panel(f"{level} level, Type@AV", {level: f"{level}/type_av"}) for level in LEVELS),
    ),
    LOCALIZATION: (
        Panel("mean of tIoU 0.1 to 0.7", {"map": MAIN_SCORE[LOCALIZATION]}),
        *(Panel(f"tIoU {threshold}", {"map": f"map/{threshold}"}) for threshold in ("0.3", "0.7")),
    ),
}


class Curve(NamedTuple):
    """Runs that differ in one setting and in their seeds only, by the values of that setting in ascending order."""

    label: str
    points: Mapping[float, tuple[Run, ...]]

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds of any point, in ascending order."""
        return tuple(sorted({run.seed for runs in self.points.values() for run in runs}))


def sweep_curves(settings: Sequence[Setting], key: str) -> list[Curve]:
    """Find the runs whose settings are equal except for ``key``, of which they have at least two values.

    As in :func:`~avvp_pl.runs.reading.by_setting`, a setting that some runs do not have counts only where the others
    differ in it. A curve is labeled by its experiment and, where several are of one experiment, by what sets it apart
    from those.
    """
    having = [setting for setting in settings if _is_number(setting.settings.get(key))]
    others = [_without(setting.runs[0], key) for setting in having]
    groups: dict[tuple[str, ...], dict[float, dict[int, Run]]] = {}
    for setting, other in zip(having, others, strict=True):
        points = groups.setdefault(tuple(apart(other, others)), {})
        for run in setting.runs:  # the same experiment under another name is not a second seed
            points.setdefault(float(run.settings[key]), {}).setdefault(run.seed, run)
    kept = [points for points in groups.values() if len(points) > 1]
    first = [_without(next(iter(next(iter(points.values())).values())), key) for points in kept]
    labels = [" ".join([run.name, *apart(run, [other for other in first if other.name == run.name])]) for run in first]
    return [
        Curve(label, {value: tuple(points[value][seed] for seed in sorted(points[value])) for value in sorted(points)})
        for label, points in zip(labels, kept, strict=True)
    ]


def of_common_seeds(curve: Curve) -> Curve:
    """Return the part of a curve whose points all have the same seeds, so that seeds cannot explain differences.

    These are the seeds that every value has. Where there is none, values are left out: those that have the most
    frequent seed remain (of equally frequent ones the lowest), with all seeds that they share.
    """
    seeds = {value: {run.seed for run in runs} for value, runs in curve.points.items()}
    common = set.intersection(*seeds.values())
    if not common:
        often = Counter(seed for of_value in seeds.values() for seed in of_value)
        most = min(often, key=lambda seed: (-often[seed], seed))
        seeds = {value: of_value for value, of_value in seeds.items() if most in of_value}
        common = set.intersection(*seeds.values())
    points = {value: tuple(run for run in curve.points[value] if run.seed in common) for value in seeds}
    return Curve(curve.label, points)


def draw_sweep(sweep: Sweep, settings: Sequence[Setting], baseline: Setting | None) -> Drawing | None:
    """Draw the test scores by the values of a setting, one line for each curve; None where it was not varied alone.

    The first panel is that of the paper, with two lines for each curve: the mean of the five scores of segments, and
    that of the five scores of events. The axis has the paper's values, whichever of them were run.

    All points of a line have the same seeds (:func:`of_common_seeds`). So has the baseline if it has the seeds of the
    lines; otherwise it has all of its own. The caption says which seeds, and what was left out because of them.
    """
    whole = sweep_curves(settings, sweep.key)
    cut = [of_common_seeds(curve) for curve in whole]
    curves = [curve for curve in cut if len(curve.points) > 1]
    if not curves:
        return None
    short, task = sweep.short, next(iter(curves[0].points.values()))[0].task
    panels_of, in_paper = PANELS[task], task == PARSING  # the paper's value is that of parsing
    scores = [score for panel in panels_of for score in panel.scores.values()]
    spreads = {score: [by_value(curve, score) for curve in curves] for score in scores}
    numbers: Numbers = tuple(
        {
            "curve": curve.label,
            "score": score,
            short: value,
            "seeds": seeds,
            "which_seeds": " ".join(map(str, curve.seeds)),
            "mean": mean,
            "std": deviation,
        }
        for score, of_score in spreads.items()
        for curve, spread in zip(curves, of_score, strict=True)
        for value, mean, deviation, seeds in spread.rows()
    )
    # if several settings were varied in a grid, the lines nearest to the paper's values are drawn
    nearest_first = sorted(range(len(curves)), key=lambda i: _distance(next(iter(curves[i].points.values()))[0]))
    shown = sorted(nearest_first[:MOST])
    of_lines = {seed for i in shown for seed in curves[i].seeds}
    base = () if baseline is None else _of_seeds(baseline, of_lines)
    barred = any(any(spread.deviation) for of_score in spreads.values() for spread in of_score)
    apart_by = min(3.0, 8 / len(shown)) if barred else 0.0  # points
    drawn = {value for i in shown for value in curves[i].points}
    with styled():
        figure = Figure(figsize=(PAGE, 2.1))
        panels = figure.subplots(1, len(panels_of), sharex=True)
        extents = []
        for panel, (title, of_levels) in zip(panels, panels_of, strict=True):
            ends = []
            for level, score in of_levels.items():
                ends += [end for i in shown for end in spreads[score][i].ends()]
                for place, i in enumerate(shown):
                    shift = apart_by * (place - (len(shown) - 1) / 2)
                    error_line(panel, spreads[score][i], place, shift, hollow=level == HOLLOW)
                if base:
                    ends.append(statistics.fmean(_score(run, score) for run in base))
                    panel.axhline(ends[-1], **LEVEL)
            if in_paper:
                panel.axvline(sweep.paper, **PAPER)
            panel.set_title(title)
            panel.set_xlabel(sweep.axis)
            extents.append((min(ends), max(ends)))
        panels[0].set_ylabel("F1 (%)" if in_paper else "mAP (%)")
        span = 1.15 * max(2.0, *(high - low for low, high in extents))
        for panel, (low, high) in zip(panels, extents, strict=True):
            panel.set_ylim((low + high - span) / 2, (low + high + span) / 2)
            panel.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            _value_axis(panel, sweep, {sweep.paper, *sweep.ticks, *drawn})
        lines = [handle(place) for place in range(len(shown))]
        against = "" if baseline is None else baseline.label
        *labels, of_base = told_apart([*(curves[i].label for i in shown), against])
        for level in LEVELS if in_paper else ():
            lines.append(Line2D([], [], color=INK, ls="", marker="o", **_face(level == HOLLOW)))
            labels.append(f"{level} level")
        if baseline is not None:
            lines.append(Line2D([], [], **LEVEL))
            labels.append(of_base + " (mean)" * (len(base) > 1))
        if in_paper:
            lines.append(Line2D([], [], **PAPER))
            labels.append(f"the paper's value, {sweep.paper:g}")
        legend_below(figure, lines, labels)
    caption = sentences(
        f"Scores of the test split by {short}, with all other settings equal: {seeds_of([curves[i] for i in shown])}.",
        _panels_of(sweep, next(iter(curves[shown[0]].points.values()))[0]),
        "Bars are one standard deviation." if barred else "",
        "All panels have the same scale.",
        "" if baseline is None else f"The dashed line is {words(baseline.label)}, {_seeds_of_level(base, of_lines)}.",
        f"Left out, because they share no seed with the others: {missing}."
        if (missing := left_out(whole, cut))
        else "",
        f"The table has {count(left, 'further curve')}." if (left := len(curves) - len(shown)) else "",
    )
    return Drawing(sweep.figure, f"Scores by {short}", caption, figure, numbers)


def _value_axis(panel: Axes, sweep: Sweep, values: set[float]) -> None:
    """Put a tick at each value of the axis, and a label where there is room; the paper's value always has one."""
    low, high = min(values), max(values)
    if sweep.log and low > 0:
        panel.set_xscale("log")
        places = {value: math.log(value) for value in sorted(values)}
    else:
        places = {value: value for value in sorted(values)}
    width = places[high] - places[low]
    labels, taken = [], [places[sweep.paper]]  # the paper's value has its label in any case
    for value, place in places.items():
        free = value == sweep.paper or all(abs(place - other) >= 0.09 * width for other in taken)
        labels.append(f"{value:g}" if free else "")
        taken += [place] * free
    panel.minorticks_off()
    panel.set_xticks(list(places), labels)
    ends = (places[low] - 0.07 * width, places[high] + 0.07 * width)
    panel.set_xlim(*(map(math.exp, ends) if sweep.log and low > 0 else ends))


def error_line(panel: Axes, spread: Spread, place: int, shift: float, hollow: bool = False) -> None:
    """Draw a line with error bars, shifted to the side by ``shift`` points, so that several do not cover each other."""
    own = look(place)
    aside = panel.transData + ScaledTranslation(shift / 72, 0, panel.figure.dpi_scale_trans)
    panel.errorbar(
        spread.x,
        spread.mean,
        [math.nan if deviation is None else deviation for deviation in spread.deviation],
        color=own.color,
        ls=own.dashes,
        marker=own.marker,
        **_face(hollow),
        elinewidth=0.8,
        capsize=2,
        capthick=0.8,
        transform=aside,
    )


def _face(hollow: bool) -> dict[str, Any]:
    """Return what makes a marker hollow, so that the lines of two levels differ without color."""
    return {"markerfacecolor": "white", "markeredgewidth": 0.8} if hollow else {}


def _panels_of(sweep: Sweep, run: Run) -> str:
    """Say what the panels are, and which of them the paper has."""
    if run.task == LOCALIZATION:
        return f"mAP of three thresholds of tIoU. The paper does not vary {sweep.short} in localization."
    number = len(_of_level(run, LEVELS[0]))
    means = f"the mean of the {number} scores of segments and that of the {number} scores of events"
    if sweep.of_paper is None:
        return f"Left: {means}. The paper does not vary {sweep.short}."
    return f"Left, as in Figure {sweep.of_paper} of the paper: {means}. The other panels are not in the paper."


def _of_level(run: Run, level: str) -> list[float]:
    return [score for name, score in run.scores.items() if name.startswith(f"{level}/")]


def _score(run: Run, name: str) -> float:
    """Return a score of a run, or the mean of all scores of a level (``segment/average``)."""
    level, _, score = name.partition("/")
    return statistics.fmean(_of_level(run, level)) if score == "average" else run.scores[name]


def _of_seeds(setting: Setting, seeds: set[int]) -> tuple[Run, ...]:
    """Return the runs with these seeds if there is one for each seed, or else all runs."""
    some = tuple(run for run in setting.runs if run.seed in seeds)
    return some if len(some) == len(seeds) else setting.runs


def seeds_of(curves: Sequence[Curve]) -> str:
    """Say which seeds the curves have.

    It is ``mean over seeds 0 to 2``, or ``mean over seeds 0 to 2 (ppl); seed 0 (mil)`` where curves differ.
    """
    labels: dict[tuple[int, ...], list[str]] = {}
    for curve in curves:
        labels.setdefault(curve.seeds, []).append(words(curve.label))
    parts = ["mean over " * (len(seeds) > 1) + of_seeds(seeds) for seeds in labels]
    if len(labels) == 1:
        return parts[0]
    return "; ".join(f"{part} ({', '.join(of_part)})" for part, of_part in zip(parts, labels.values(), strict=True))


def _seeds_of_level(runs: Sequence[Run], of_lines: set[int]) -> str:
    own = {run.seed for run in runs}
    return of_seeds(own) if own == of_lines else f"which has other seeds: {of_seeds(own)}"


def left_out(whole: Sequence[Curve], cut: Sequence[Curve]) -> str:
    """Return the values of each curve that are not drawn: ``ppl at 0.3 and 0.7``."""
    parts = []
    for before, after in zip(whole, cut, strict=True):
        drawn = after.points if len(after.points) > 1 else {}
        if values := [f"{value:g}" for value in before.points if value not in drawn]:
            parts.append(f"{words(before.label)} at {listed(values)}")
    return "; ".join(parts)


def by_value(curve: Curve, score: str) -> Spread:
    """Return the spread of a score over the seeds, at each value of the curve."""
    return spread_of({value: [_score(run, score) for run in runs] for value, runs in curve.points.items()})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _without(run: Run, key: str) -> Run:
    return replace(run, settings={name: value for name, value in run.settings.items() if name != key})


def _distance(run: Run) -> int:
    """Count the settings of which a run does not have the paper's value, among those that the paper varies."""
    return sum(run.settings.get(sweep.key, sweep.paper) != sweep.paper for sweep in SWEEPS)
