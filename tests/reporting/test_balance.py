"""The figure of the balance of the modalities shows the scores of its runs, by the ratio of the noises."""

from __future__ import annotations

from dataclasses import replace

import pytest

from avvp_pl.reporting.balance import draw_balance
from avvp_pl.runs.reading import Run
from tests.reporting.drawn import a_run, points, settings_of


def at(name: str, seed: int, ratio: float, audio: float, visual: float) -> Run:
    run = a_run(name, seed, {"data.noise_ratio": ratio, "labeling": name})
    scores = {"segment/audio": audio, "segment/visual": visual, "average": (audio + visual) / 2}
    return replace(run, scores={**run.scores, **scores})


def test_without_several_ratios_there_is_no_figure() -> None:
    assert draw_balance(settings_of(at("mil", 0, 1.0, 40, 50), at("ppl", 0, 1.0, 40, 50))) is None
    assert draw_balance(settings_of(a_run("mil"), a_run("ppl"))) is None


def test_lines_are_means_over_seeds_with_deviations_as_bars() -> None:
    runs = [
        *(at("mil", seed, 0.25, 30.0 + 4 * seed, 50.0) for seed in (0, 1)),  # mean 32, deviation 2 sqrt(2)
        *(at("mil", seed, 4.0, 20.0, 60.0 + 2 * seed) for seed in (0, 1)),
        *(at("ppl", seed, ratio, 10.0, 10.0) for seed in (0, 1) for ratio in (0.25, 4.0)),
    ]
    drawing = draw_balance(settings_of(*runs))
    assert drawing is not None
    panels = drawing.figure.axes
    assert [panel.get_title("left") for panel in panels] == [
        "average of all scores",
        "segment level, audio",
        "segment level, visual",
    ]
    lines = [[points(line) for line in panel.lines if line.get_marker() not in ("None", "_")] for panel in panels]
    assert lines[0] == [[(0.25, 41.0), (4.0, 40.5)], [(0.25, 10.0), (4.0, 10.0)]]
    assert lines[1][0] == [(0.25, 32.0), (4.0, 20.0)]
    assert lines[2][0] == [(0.25, 50.0), (4.0, 61.0)]
    assert [tick.get_text() for tick in panels[0].get_xticklabels()] == ["1/4", "4"]
    low, high = panels[0].get_ylim()
    assert low < 10.0
    assert high > 61.0 + 2**0.5  # the highest mean and its deviation
    row = next(row for row in drawing.numbers if row["score"] == "segment/audio")
    assert row == {
        "curve": "mil",
        "score": "segment/audio",
        "noise_ratio": 0.25,
        "seeds": 2,
        "mean": 32.0,
        "std": pytest.approx(8**0.5),
    }
    assert "mean over seeds 0 and 1" in drawing.caption


def test_points_of_other_seeds_are_left_out_and_named() -> None:
    runs = [at("mil", seed, ratio, 40, 50) for ratio, seed in ((0.5, 0), (1.0, 0), (2.0, 1))]
    drawing = draw_balance(settings_of(*runs))
    assert drawing is not None
    assert {row["noise_ratio"] for row in drawing.numbers} == {0.5, 1.0}
    assert "share no seed with the others: mil at 2" in drawing.caption


def test_of_too_many_lines_those_of_the_validated_inferences_are_drawn() -> None:
    """Four methods, each tested by the inference that was validated and by another one: no method is missing."""
    runs = []
    for number, name in enumerate(["a", "b", "c", "d"]):
        for inference in ("prototype", "classifier"):
            for ratio in (0.5, 2.0):
                run = at(name, 0, ratio, 10.0 * number, 50.0)
                told = {"inference": inference, "inference.validated_by": "prototype"}
                runs.append(replace(run, settings={**run.settings, **told}))
    drawing = draw_balance(settings_of(*runs))
    assert drawing is not None
    (legend,) = drawing.figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[:4] == [f"{name} inference=prototype" for name in "abcd"]
    assert len(labels) == 6
    assert "2 further curves" in drawing.caption
