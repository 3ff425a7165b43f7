"""What is drawn are the numbers of the runs, and runs share a line if and only if they differ in one setting."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from omegaconf import OmegaConf

from avvp_pl.figures import COLORS, INK
from avvp_pl.reporting.curves import draw_sweep, of_common_seeds
from avvp_pl.reporting.curves import sweep_curves as curves_of
from avvp_pl.reporting.drawings import Drawing
from avvp_pl.reporting.epochs import bound, by_epoch, learning, pseudo_label_quality
from avvp_pl.reporting.swept import SWEEPS, Sweep
from avvp_pl.runs.reading import Run, Setting, by_setting, shipped, spelled
from avvp_pl.settings.conf import config_dir
from tests.reporting.drawn import a_run, points, settings_of

GAMMA, BETA, K, TAU = SWEEPS
TYPE_AV = 1  # the panel that shows the score that runs are made with


def swept(key: str, scores: dict[float, list[float]], others: Mapping[str, Any] | None = None) -> list[Run]:
    return [
        a_run("ppl", seed, {key: value, **(others or {})}, score)
        for value, of_seeds in scores.items()
        for seed, score in enumerate(of_seeds)
    ]


def drawn(drawing: Drawing | None) -> list[Axes]:
    assert drawing is not None
    return drawing.figure.axes


def curve_lines(panel: Axes) -> list[list[tuple[float, float]]]:
    """(x, y) of the lines with markers that are not the caps of error bars."""
    lines = [line for line in panel.lines if line.get_marker() not in ("None", "|", "_")]
    return [points(line) for line in lines if line.get_linestyle() != "None"]


# ---- grouping


def groups_by_brute_force(runs: list[Run], key: str) -> set[frozenset[tuple[float, int]]]:
    """Sets of (value, number of the run): two runs are in one if no setting but ``key`` tells them apart."""
    having = [(number, run) for number, run in enumerate(runs) if key in run.settings]
    groups = set()
    for _, run in having:
        alike = [
            (other.settings[key], number)
            for number, other in having
            if all(run.settings.get(k) == other.settings.get(k) for k in {*run.settings, *other.settings} - {key})
        ]
        if len({value for value, _ in alike}) > 1:
            groups.add(frozenset(alike))
    return groups


@pytest.mark.parametrize("start", range(25))
def test_lines_are_those_of_brute_force(start: int) -> None:
    rng = random.Random(start)
    grid = list(itertools.product((0.2, 0.5, 1.0), (0.1, 0.2), (1, 10), ("soft", "hard")))
    runs = []
    for gamma, beta, k, labels in rng.sample(grid, 9):
        settings = {"labeling.gamma": gamma, "labeling.beta": beta, "labeling.k": k, "labeling.labels": labels}
        runs += [a_run(f"ppl_{labels}", seed, settings) for seed in range(rng.choice((1, 2)))]
    runs.append(a_run("mil", 0, {"labeling.labels": "none"}))
    for key in ("labeling.gamma", "labeling.k"):
        number = {id(run): place for place, run in enumerate(runs)}
        curves = curves_of(by_setting(runs), key)
        found = [
            frozenset((value, number[id(run)]) for value, of_value in curve.points.items() for run in of_value)
            for curve in curves
        ]
        assert len(set(found)) == len(found)
        assert set(found) == groups_by_brute_force(runs, key)
        assert len({curve.label for curve in curves}) == len(curves)
        for curve in curves:
            assert list(curve.points) == sorted(curve.points)


def test_the_default_belongs_to_every_curve() -> None:
    default = {"labeling.gamma": 0.5, "labeling.k": 10}
    runs = [
        a_run(settings=default, score=50.0),
        a_run(settings={**default, "labeling.gamma": 1.0}),
        a_run(settings={**default, "labeling.k": 1}),
    ]
    assert [list(curve.points) for curve in curves_of(settings_of(*runs), "labeling.gamma")] == [[0.5, 1.0]]
    assert [list(curve.points) for curve in curves_of(settings_of(*runs), "labeling.k")] == [[1.0, 10.0]]
    assert curves_of(settings_of(*runs), "labeling.tau") == []


def test_lines_are_called_by_what_sets_them_apart() -> None:
    runs = [
        a_run(name, 0, {"labeling.gamma": gamma, "labeling.beta": beta})
        for name, beta in (("soft", 0.1), ("soft", 0.2), ("hard", 0.3))
        for gamma in (0.5, 1.0)
    ]
    assert [curve.label for curve in curves_of(settings_of(*runs), "labeling.gamma")] == [
        "soft beta=0.1",
        "soft beta=0.2",
        "hard",
    ]


def test_a_run_from_before_a_setting_was_known_keeps_its_place() -> None:
    runs = [a_run(settings={"labeling.gamma": 0.5}), a_run(settings={"labeling.gamma": 1.0, "network.new": False})]
    assert [list(curve.points) for curve in curves_of(settings_of(*runs), "labeling.gamma")] == [[0.5, 1.0]]


def test_the_same_run_by_another_name_is_no_second_seed() -> None:
    runs = [*swept("labeling.gamma", {0.5: [50.0], 1.0: [40.0]}), a_run("again", 0, {"labeling.gamma": 0.5})]
    (curve,) = curves_of(settings_of(*runs), "labeling.gamma")
    assert [len(of_value) for of_value in curve.points.values()] == [1, 1]


@pytest.mark.parametrize("value", [None, "auto", True])
def test_what_is_no_number_has_no_place_on_an_axis(value: object) -> None:
    runs = [*swept("labeling.k", {1: [50.0], 10: [40.0]}), a_run(settings={"labeling.k": value})]
    assert [list(curve.points) for curve in curves_of(settings_of(*runs), "labeling.k")] == [[1.0, 10.0]]


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.figure)
def test_what_is_varied_is_a_setting_with_a_sweep_of_its_own(sweep: Sweep) -> None:
    content = OmegaConf.load(config_dir() / "sweep" / f"{sweep.figure}.yaml")
    swept_by = OmegaConf.select(content, "hydra.sweeper.params")
    assert str(swept_by[sweep.key]).split(",") == [spelled(value) for value in sweep.values]
    assert sweep.paper in sweep.values
    assert (shipped(swept_by["+experiment"]) or {})[sweep.key] == sweep.paper


def test_the_values_of_the_paper_are_those_on_the_axes_of_its_figures() -> None:
    """As figures 4 and 5 are printed; the paper's values are in Sec. 5.1."""
    printed = {
        "fig4_gamma": "0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1 1.1",
        "fig4_beta": "0.05 0.1 0.2 0.3 0.4 0.5",
        "fig5_k": "1 3 5 8 10 15 20 50 100",
    }
    ticks = {sweep.figure: " ".join(map(spelled, sweep.ticks)) for sweep in SWEEPS if sweep.of_paper is not None}
    assert ticks == printed
    assert [sweep.paper for sweep in SWEEPS] == [1.0, 0.2, 10, 0.1]
    assert [sweep.of_paper for sweep in SWEEPS] == ["4", "4", "5", None]
    assert GAMMA.values == GAMMA.ticks[:-1]  # gamma is at most 1


# ---- sweeps as drawn


def test_a_sweep_draws_means_and_deviations() -> None:
    # by hand: means 44 and 50, deviations 4 and 1; the means of the five scores are one more, those of events 10 less
    settings = settings_of(*swept("labeling.gamma", {0.2: [40.0, 44.0, 48.0], 0.5: [49.0, 50.0, 51.0]}))
    drawing = draw_sweep(GAMMA, settings, None)
    for panel, lines in zip(drawn(drawing), ((1, -9), (0,), (-10,)), strict=True):
        assert curve_lines(panel) == [[(0.2, 44.0 + more), (0.5, 50.0 + more)] for more in lines]
        bars = [part for part in panel.collections if isinstance(part, LineCollection)]
        for part, more in zip(bars, lines, strict=True):
            ends = [sorted(point[1] for point in segment) for segment in part.get_segments()]
            np.testing.assert_allclose(ends, [[40 + more, 48 + more], [49 + more, 51 + more]])
        assert [points(line)[0][0] for line in panel.lines if line.get_color() == "0.5"] == [1.0]  # the paper's
    assert drawing is not None
    assert drawing.numbers[:2] == (
        {"curve": "ppl", "score": "segment/average", "gamma": 0.2, "seeds": 3}
        | {"which_seeds": "0 1 2", "mean": 45.0, "std": 4.0},
        {"curve": "ppl", "score": "segment/average", "gamma": 0.5, "seeds": 3}
        | {"which_seeds": "0 1 2", "mean": 51.0, "std": 1.0},
    )
    of_scores = [(row["score"], row["mean"]) for row in drawing.numbers[::2]]
    assert of_scores == [
        ("segment/average", 45.0),
        ("event/average", 35.0),
        ("segment/type_av", 44.0),
        ("event/type_av", 34.0),
    ]
    assert drawing.key == "fig4_gamma"
    assert "with all other settings equal: mean over seeds 0 to 2." in drawing.caption


def test_the_first_panel_is_that_of_the_paper() -> None:
    """Two lines of one setting: the means of its five scores of segments, and of its five scores of events."""
    of_segments, of_events = (60.0, 50.0, 40.0, 50.0, 70.0), (30.0, 20.0, 10.0, 20.0, 25.0)  # means 54 and 21
    names = ("audio", "visual", "audio_visual", "type_av", "event_av")
    scores = {f"segment/{name}": x for name, x in zip(names, of_segments, strict=True)}
    scores |= {f"event/{name}": x for name, x in zip(names, of_events, strict=True)}
    runs = [replace(run, scores={**scores, "average": 37.5}) for run in swept("labeling.k", {5: [0.0], 10: [0.0]})]
    for sweep, figure in ((K, "as in Figure 5 of the paper"), (TAU, "does not vary tau")):
        own = [replace(run, settings={sweep.key: run.settings["labeling.k"]}) for run in runs]
        drawing = draw_sweep(sweep, by_setting(own), None)
        panels = drawn(drawing)
        assert [[y for _, y in line] for line in curve_lines(panels[0])] == [[54.0, 54.0], [21.0, 21.0]]
        assert [[y for _, y in line] for panel in panels[1:] for line in curve_lines(panel)] == [[50.0] * 2, [20.0] * 2]
        assert drawing is not None
        assert "the mean of the 5 scores of segments and that of the 5 scores of events" in drawing.caption
        assert figure in drawing.caption


def test_levels_differ_without_color() -> None:
    settings = settings_of(*swept("labeling.beta", {0.1: [40.0], 0.3: [42.0]}))
    drawing = draw_sweep(BETA, settings, None)
    faces = [
        [line.get_markerfacecolor() for line in panel.lines if line.get_marker() == "o"] for panel in drawn(drawing)
    ]
    own = COLORS[0]
    assert faces == [[own, "white"], [own], ["white"]]
    assert drawing is not None
    (legend,) = drawing.figure.legends
    looks = zip(legend.get_texts(), legend.get_lines(), strict=True)
    assert [(text.get_text(), line.get_markerfacecolor()) for text, line in looks][1:3] == [
        ("segment level", INK),
        ("event level", "white"),
    ]


def test_one_seed_has_no_bars() -> None:
    settings = settings_of(*swept("labeling.beta", {0.1: [40.0], 0.3: [42.0]}))
    drawing = draw_sweep(BETA, settings, None)
    for panel in drawn(drawing):
        for part in panel.collections:
            assert all(len(segment) < 2 for segment in part.get_segments())  # type: ignore[attr-defined]
    assert drawing is not None
    assert [row["std"] for row in drawing.numbers] == [None] * 8
    assert "deviation" not in drawing.caption
    assert "with all other settings equal: seed 0." in drawing.caption


def test_the_baseline_is_a_level_of_its_mean() -> None:
    runs = swept("labeling.gamma", {0.2: [40.0, 40.0], 0.5: [49.0, 49.0]})
    (baseline,) = settings_of(a_run("mil", 0, score=30.0), a_run("mil", 1, score=34.0))
    for panel, lines in zip(
        drawn(draw_sweep(GAMMA, settings_of(*runs), baseline)), ((1, -9), (0,), (-10,)), strict=True
    ):
        levels = [points(line) for line in panel.lines if line.get_color() == INK]
        assert levels == [[(0, 32.0 + more), (1, 32.0 + more)] for more in lines]
        low, high = panel.get_ylim()
        assert all(low < 32 + more < high for more in lines)


def test_panels_have_one_scale_and_hold_everything() -> None:
    settings = settings_of(*swept("labeling.gamma", {0.2: [40.0, 60.0], 0.5: [49.0, 50.0]}))
    panels = drawn(draw_sweep(GAMMA, settings, None))
    spans = {round(panel.get_ylim()[1] - panel.get_ylim()[0], 9) for panel in panels}
    assert len(spans) == 1
    deviation = math.sqrt(200)
    for panel, (low, high) in zip(panels, ((-9, 1), (0, 0), (-10, -10)), strict=True):
        assert panel.get_ylim()[0] < 50 + low - deviation
        assert panel.get_ylim()[1] > 50 + high + deviation


@pytest.mark.parametrize(("sweep", "scale"), [(GAMMA, "linear"), (BETA, "linear"), (K, "log"), (TAU, "log")])
def test_ticks_stand_at_the_values_of_the_paper_and_of_the_runs(sweep: Sweep, scale: str) -> None:
    values = [sweep.paper / 5, sweep.paper, 2 * sweep.paper]
    settings = settings_of(*swept(sweep.key, {value: [40.0] for value in values}))
    for panel in drawn(draw_sweep(sweep, settings, None)):
        assert panel.get_xscale() == scale
        np.testing.assert_allclose(panel.get_xticks(), sorted({*sweep.ticks, *values}))
        texts = [tick.get_text() for tick in panel.get_xticklabels()]
        assert {text for text in texts if text} <= {f"{value:g}" for value in {*sweep.ticks, *values}}
        assert f"{sweep.paper:g}" in texts


def test_the_axes_are_those_of_the_paper_whatever_was_run() -> None:
    labels = {
        GAMMA: "0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1 1.1",
        BETA: "0.05 0.1 0.2 0.3 0.4 0.5",
        K: "1 3 5 10 20 50 100",  # 8 and 15 are too close to 10
    }
    for sweep, texts in labels.items():
        two = sweep.values[-2:]
        for panel in drawn(draw_sweep(sweep, settings_of(*swept(sweep.key, {value: [40.0] for value in two})), None)):
            assert " ".join(tick.get_text() for tick in panel.get_xticklabels() if tick.get_text()) == texts
            np.testing.assert_allclose(panel.get_xticks(), sweep.ticks)
            low, high = panel.get_xlim()
            assert low < sweep.ticks[0] < sweep.ticks[-1] < high


def test_labels_of_close_values_do_not_cover_each_other() -> None:
    settings = settings_of(*swept("labeling.beta", {0.2: [40.0], 0.205: [41.0], 0.3: [42.0], 0.305: [43.0]}))
    panel = drawn(draw_sweep(BETA, settings, None))[0]
    texts = ["0.05", "0.1", "0.2", "", "0.3", "", "0.4", "0.5"]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == texts


def test_of_many_lines_those_nearest_to_the_paper_are_drawn() -> None:
    runs = [
        run
        for beta in (0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2)
        for run in swept("labeling.gamma", {0.2: [40 + beta], 0.5: [50 + beta]}, {"labeling.beta": beta})
    ]
    drawing = draw_sweep(GAMMA, settings_of(*runs), None)
    lines = curve_lines(drawn(drawing)[TYPE_AV])
    assert len(lines) == 6
    assert [(0.2, 40.2), (0.5, 50.2)] in lines
    assert drawing is not None
    assert len(drawing.numbers) == 7 * 2 * 4
    assert "The table has 1 further curve." in drawing.caption


# ---- seeds


def at(points: Mapping[float, Mapping[int, float]], name: str = "ppl") -> list[Run]:
    """Runs by value and seed."""
    return [
        a_run(name, seed, {"labeling.gamma": value, "labeling.labels": name}, score)
        for value, of_value in points.items()
        for seed, score in of_value.items()
    ]


def test_a_value_with_more_seeds_is_no_peak() -> None:
    # every value scores 40 with seed 0; the default has two lucky seeds more
    runs = at({0.2: {0: 40.0}, 0.5: {0: 40.0, 1: 70.0, 2: 70.0}, 1.0: {0: 40.0}})
    settings = settings_of(*runs)
    default = next(setting for setting in settings if setting.settings["labeling.gamma"] == 0.5)
    drawing = draw_sweep(GAMMA, settings, default)
    assert drawing is not None
    panel = drawn(drawing)[TYPE_AV]
    assert curve_lines(panel) == [[(0.2, 40.0), (0.5, 40.0), (1.0, 40.0)]]
    assert [points(line) for line in panel.lines if line.get_color() == INK] == [[(0, 40.0), (1, 40.0)]]
    assert {(row["seeds"], row["which_seeds"]) for row in drawing.numbers} == {(1, "0")}
    assert "with all other settings equal: seed 0." in drawing.caption
    assert "gamma=0.5, seed 0." in drawing.caption
    assert "Left out" not in drawing.caption
    assert "deviation" not in drawing.caption
    legend = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert "ppl gamma=0.5" in legend


def test_values_without_the_most_common_seed_are_left_out() -> None:
    runs = at(
        {0.2: {1: 41.0, 2: 43.0}, 0.3: {0: 99.0}, 0.5: {1: 45.0, 2: 47.0, 3: 99.0}, 1.0: {1: 49.0, 2: 51.0, 0: 9.0}}
    )
    drawing = draw_sweep(GAMMA, settings_of(*runs), None)
    assert drawing is not None
    assert curve_lines(drawn(drawing)[TYPE_AV]) == [[(0.2, 42.0), (0.5, 46.0), (1.0, 50.0)]]
    assert "mean over seeds 1 and 2." in drawing.caption
    assert "Left out, because they share no seed with the others: ppl at 0.3." in drawing.caption
    assert [row["which_seeds"] for row in drawing.numbers] == ["1 2"] * 12


def test_a_curve_whose_values_share_no_seed_is_none() -> None:
    alone = at({0.2: {0: 40.0}, 0.5: {1: 41.0}})
    assert draw_sweep(GAMMA, settings_of(*alone), None) is None
    both = draw_sweep(GAMMA, settings_of(*alone, *at({0.2: {5: 10.0}, 0.5: {5: 11.0}}, "npl")), None)
    assert both is not None
    assert curve_lines(drawn(both)[TYPE_AV]) == [[(0.2, 10.0), (0.5, 11.0)]]
    assert "with all other settings equal: seed 5." in both.caption
    assert "Left out, because they share no seed with the others: ppl at 0.2 and 0.5." in both.caption


def test_curves_of_other_seeds_are_named() -> None:
    runs = at({0.2: {0: 40.0, 1: 40.0, 2: 40.0}, 0.5: {0: 40.0, 1: 40.0, 2: 40.0}})
    drawing = draw_sweep(GAMMA, settings_of(*runs, *at({0.2: {0: 10.0}, 0.5: {0: 11.0}}, "npl")), None)
    assert drawing is not None
    assert "with all other settings equal: mean over seeds 0 to 2 (ppl); seed 0 (npl)." in drawing.caption


@pytest.mark.parametrize(
    ("own", "level", "says"),
    [
        ({0: 10.0, 1: 20.0, 2: 90.0}, 15.0, "The dashed line is mil, seeds 0 and 1."),
        ({0: 10.0, 2: 90.0}, 50.0, "The dashed line is mil, which has other seeds: seeds 0 and 2."),
        ({7: 30.0}, 30.0, "The dashed line is mil, which has other seeds: seed 7."),
    ],
)
def test_the_baseline_is_of_the_seeds_of_the_lines(own: dict[int, float], level: float, says: str) -> None:
    runs = at({0.2: {0: 40.0, 1: 40.0}, 0.5: {0: 40.0, 1: 40.0}})
    (baseline,) = settings_of(*(a_run("mil", seed, score=score) for seed, score in own.items()))
    drawing = draw_sweep(GAMMA, settings_of(*runs), baseline)
    assert drawing is not None
    assert [points(line)[0][1] for line in drawn(drawing)[TYPE_AV].lines if line.get_color() == INK] == [level]
    assert says in drawing.caption


@pytest.mark.parametrize("start", range(40))
def test_points_of_a_line_have_the_same_seeds_as_many_as_there_are(start: int) -> None:
    rng = random.Random(start)
    have = {gamma / 10: rng.sample(range(5), rng.choice((1, 2, 3))) for gamma in range(rng.choice((2, 3, 5)))}
    runs = at({value: dict.fromkeys(seeds, 50.0) for value, seeds in have.items()})
    (curve,) = curves_of(by_setting(runs), "labeling.gamma")
    cut = of_common_seeds(curve)
    (seeds,) = {tuple(run.seed for run in of_value) for of_value in cut.points.values()}
    assert set(seeds) == set.intersection(*(set(have[value]) for value in cut.points))
    # no set of values with a seed in common is larger
    largest = max(sum(seed in of_value for of_value in have.values()) for seed in range(5))
    assert len(cut.points) == largest


# ---- epochs


def with_epochs(*series: list[float | None], column: str = "val/segment/type_av", name: str = "ppl") -> Setting:
    runs = [
        a_run(name, seed, epochs=[{"epoch": float(e)} | ({} if y is None else {column: y}) for e, y in enumerate(one)])
        for seed, one in enumerate(series)
    ]
    (setting,) = settings_of(*runs)
    return setting


def test_learning_draws_mean_and_band() -> None:
    setting = with_epochs([10.0, 20.0, 30.0], [14.0, 20.0, 36.0])
    drawing = learning([setting])
    (panel,) = drawn(drawing)
    assert curve_lines(panel) == [[(0, 12), (1, 20), (2, 33)]]
    (band,) = (part for part in panel.collections if isinstance(part, PolyCollection))
    corners = {(round(x, 6), round(y, 6)) for x, y in np.asarray(band.get_paths()[0].vertices)}
    for x, mean, deviation in ((0, 12, math.sqrt(8)), (1, 20, 0), (2, 33, math.sqrt(18))):
        assert {(x, round(mean - deviation, 6)), (x, round(mean + deviation, 6))} <= corners
    assert drawing is not None
    assert [row["mean"] for row in drawing.numbers] == [12.0, 20.0, 33.0]


@pytest.mark.parametrize(
    ("monitor", "says"),
    [
        ("val/segment/type_av", "at segment level, by which the epoch to test is selected: mean"),
        ("val/event/audio", "at segment level: mean"),
        (None, "at segment level: mean"),
    ],
)
def test_the_caption_says_whether_the_score_selects_the_epoch(monitor: str | None, says: str) -> None:
    epochs = [{"epoch": 0.0, "val/segment/type_av": 1.0}]
    drawing = learning(settings_of(a_run(settings={"protocol.selection.monitor": monitor}, epochs=epochs)))
    assert drawing is not None
    assert says in drawing.caption


@pytest.mark.parametrize("epochs", [(0,), (7,), (199,), (0, 1), (3, 4, 5), tuple(range(30))])
def test_ticks_are_at_epochs(epochs: Sequence[int]) -> None:
    column = "val/segment/type_av"
    drawing = learning(settings_of(a_run(epochs=[{"epoch": float(epoch), column: 40.0} for epoch in epochs])))
    (panel,) = drawn(drawing)
    low, high = panel.get_xlim()
    ticks = [tick for tick in panel.get_xticks() if low <= tick <= high]
    assert ticks
    assert set(ticks) <= set(epochs)


def test_one_seed_has_no_band() -> None:
    (panel,) = drawn(learning([with_epochs([10.0, 20.0])]))
    assert not panel.collections
    assert curve_lines(panel) == [[(0, 10), (1, 20)]]


def test_only_epochs_that_all_seeds_have_are_averaged() -> None:
    nothing: list[float | None] = [None, None, None]
    setting = with_epochs([10.0, 20.0, 30.0], [14.0, None, math.nan], nothing)
    assert by_epoch(setting, "val/segment/type_av").x == (0.0,)
    assert by_epoch(setting, "val/segment/type_av").seeds == (2,)


def test_missing_columns_draw_nothing() -> None:
    settings = [with_epochs([10.0, 20.0])]
    assert bound(settings) is None
    assert pseudo_label_quality(settings) is None
    assert learning([]) is None
    assert learning(settings_of(a_run())) is None


def test_quality_has_a_panel_for_each_modality_and_measure() -> None:
    names = [
        f"pseudo_labels/{modality}/{part}" for modality in ("audio", "visual") for part in ("precision", "recall", "f1")
    ]
    row = {"epoch": 1.0, **{name: 10.0 * place for place, name in enumerate(names)}}
    counts = {"pseudo_labels/positive_segments": 7.0}  # no measure of quality
    settings = settings_of(a_run(epochs=[{"epoch": 0.0}, {**row, **counts}]))
    panels = drawn(pseudo_label_quality(settings))
    assert [curve_lines(panel) for panel in panels] == [[[(1, 10.0 * place)]] for place in range(6)]
    assert [panel.get_title(loc="left") for panel in panels[:3]] == ["audio: precision", "audio: recall", "audio: F1"]


def test_a_setting_looks_the_same_wherever_it_is_drawn() -> None:
    column = "train/em/bound"
    first, second = with_epochs([1.0]), with_epochs([2.0], column=column, name="other")
    both = [
        first,
        replace(
            second,
            runs=tuple(
                replace(r, epochs=[{"epoch": 0.0, column: 2.0, "val/segment/type_av": 3.0}]) for r in second.runs
            ),
        ),
    ]
    colors = [drawn(drawing)[0].lines[-1].get_color() for drawing in (bound(both), learning(both))]
    assert colors[0] == colors[1]
