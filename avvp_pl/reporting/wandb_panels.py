"""The panels of our evidence at W&B, made of what runs log. Slow to import, and needs the extra ``dashboards``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import wandb_workspaces.reports.v2.interface as wr

from avvp_pl.errors import printable
from avvp_pl.metrics.avvp import LEVELS, track_names

SWEPT = ("gamma", "beta", "k", "tau")  # of `method`, in figures 4 and 5 of the paper, but for tau
LOSSES = ("loss", "mil", "guided", "pseudo_label", "contrastive")
LABELING = ("encode_seconds", "select_seconds", "cluster_seconds", "label_seconds", "seconds", "share_of_training")
PER_EVENT = "test/per_event_f1"  # a table
MAX_RUNS = 200  # in a panel; W&B's own 10 would be three seeds of three methods


class Section(NamedTuple):
    """Panels of one kind, and a sentence on what they show; ``grouped``: the table of runs has a row an experiment."""

    title: str
    text: str
    panels: list[Any]
    grouped: bool = False


def build_sections(modalities: Sequence[str], timelines: int) -> list[Section]:
    """The sections of both, of panels that have the same number in every process."""
    scores = score_names(modalities)
    quality = [f"{m}/{name}" for m in modalities for name in ("precision", "recall", "f1")]
    counts = [f"{sign}_{kind}" for kind in ("segments", "prototypes") for sign in ("positive", "negative")]
    videos = [f"timelines/{number}" for number in range(1, timelines + 1)]
    sections = [
        Section(
            "Test scores",
            "F1 in percent of the best epoch by validation: mean and deviation over the seeds of each run name.",
            [_bar(f"test/{name}") for name in scores],
            grouped=True,
        ),
        Section("Validation scores", "F1 in percent by epoch.", [_line(f"val/{name}") for name in scores]),
        Section(
            "Sweeps",
            "The average of the test scores against gamma, beta, k and tau (the paper's figures 4 and 5; it does not "
            "show tau): every run, and the mean of those with the same value.",
            [_parallel(), *(_scatter(name) for name in SWEPT), *(_bar("test/average", name) for name in SWEPT)],
        ),
        Section(
            "Pseudo labels",
            "Labels of the training videos by epoch: their precision, recall and F1 in percent, where the data has the "
            "truth, and of how many key segments and prototypes they are made.",
            [_line(f"pseudo_labels/{name}") for name in (*quality, *counts)],
        ),
        Section(
            "EM bound",
            "The lower bound of the log-likelihood of the weak labels at every refresh (Eq. 14).",
            [_line("train/em/bound")],
        ),
        Section("Losses", "Means over the training videos by epoch.", [_line(f"train/{name}") for name in LOSSES]),
        Section(
            "Labeling time",
            "Seconds of each part of labeling, and all of it as a share of the epoch's training.",
            [_line(f"labeling/{name}") for name in LABELING],
        ),
        Section(
            "Timelines",
            "The same few validation videos in every run: truth, prediction and pseudo labels.",
            [
                wr.MediaBrowser(
                    title=f"video {key.rpartition('/')[2]}", media_keys=[key], grid_x_axis="step", grid_y_axis="run"
                )
                for key in videos
            ],
        ),
        Section(
            "Events",
            "F1 in percent of each event over all test videos together.",
            [
                wr.WeavePanelSummaryTable(table_name=PER_EVENT),
                *(_event_bars(f"{level}/{track}") for level in LEVELS for track in track_names(modalities)),
            ],
        ),
    ]
    for section in sections:
        for place, panel in enumerate(section.panels):
            panel._id = stable_id(section.title, str(place))
    return sections


def score_names(modalities: Sequence[str]) -> list[str]:
    """The scores of a split as they are logged, ``segment/audio`` to ``average``."""
    names = (*track_names(modalities), "type_av", "event_av")
    return [*(f"{level}/{name}" for level in LEVELS for name in names), "average"]


def _line(metric: str) -> wr.LinePlot:
    """A metric by epoch: a line a run name, the mean over its seeds."""
    return wr.LinePlot(
        title=printable(metric),
        x="epoch",
        y=[metric],
        title_x="epoch",
        groupby="Group",
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=MAX_RUNS,
    )


def _bar(metric: str, swept: str | None = None) -> wr.BarPlot:
    """A test score: a bar a run name or a value of a swept setting, the mean over its runs."""
    return wr.BarPlot(
        title=printable(metric) if swept is None else f"{metric} by {swept}",
        metrics=[metric],
        groupby="Group" if swept is None else wr.Config(f"method.{swept}"),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=MAX_RUNS,
    )


def _scatter(swept: str) -> wr.ScatterPlot:
    return wr.ScatterPlot(
        title=f"test/average against {swept}",
        x=wr.Config(f"method.{swept}"),
        y=wr.SummaryMetric("test/average"),
        running_ymean=True,
    )


def _parallel() -> wr.ParallelCoordinatesPlot:
    axes = [wr.ParallelCoordinatesPlotColumn(wr.Config(f"method.{name}"), display_name=name) for name in SWEPT]
    axes.append(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric("test/average"), display_name="test average"))
    return wr.ParallelCoordinatesPlot(title="gamma, beta, k, tau and the test average", columns=axes)


def _event_bars(column: str) -> wr.CustomChart:
    """Bars of one column of the table of events, as ``wandb.plot.bar`` makes them."""
    return wr.CustomChart(
        query={"summaryTable": {"tableKey": PER_EVENT}},
        chart_name="wandb/bar/v0",
        chart_fields={"label": "event", "value": column},
        chart_strings={"title": f"F1 of events, {printable(column)}"},
    )


def lay_out(panels: Sequence[Any]) -> None:
    """Three panels a row of a report, which is 24 wide; pictures, tables and parallel axes have a row of their own."""
    wide = (wr.MediaBrowser, wr.WeavePanelSummaryTable, wr.ParallelCoordinatesPlot)
    x = y = 0
    for panel in panels:
        width, height = (24, 10) if isinstance(panel, wide) else (8, 6)
        if x + width > 24:
            x, y = 0, y + 6
        panel.layout = wr.Layout(x=x, y=y, w=width, h=height)
        x, y = (0, y + height) if width == 24 else (x + width, y)


def stable_id(*of: str) -> str:
    """The same twelve digits for the same words, where the library would draw some."""
    return hashlib.sha256("/".join(of).encode()).hexdigest()[:12]
