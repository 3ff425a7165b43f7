"""The panels of our evidence at W&B, from what runs log. Slow to import, and needs the extra ``dashboards``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import wandb_workspaces.reports.v2.interface as wr

from avvp_pl.errors import printable
from avvp_pl.metrics.avvp import LEVELS, track_names
from avvp_pl.metrics.tal import AVERAGES, THRESHOLDS, name_of
from avvp_pl.reporting.statistics import score_names
from avvp_pl.reporting.swept import SWEEPS, Sweep
from avvp_pl.runs.reading import LOCALIZATION, MAIN_SCORE, PARSING

PER_EVENT = {PARSING: "test/per_event_f1", LOCALIZATION: "test/per_event_ap"}  # a table
METRIC = {PARSING: "F1", LOCALIZATION: "mAP"}
TIMELINES = "test/timelines"  # a table
OF_TRAINING = ("val/loss", "learning_rate")
NAME = "name"  # the setting with the name of the experiment
MAX_RUNS = 200  # in a panel; the default of W&B, 10, would be three seeds of three methods


class Section(NamedTuple):
    """Panels of one kind and what they show. ``grouped``: the table of runs has one row for each experiment."""

    title: str
    text: str
    panels: list[Any]
    grouped: bool = False


def logged_by_ppl(modalities: Sequence[str]) -> list[str]:
    """Return the names that a run of ``ppl_soft`` logs by epoch: what is shown where no runs are given."""
    quality = [f"{m}/{name}" for m in modalities for name in ("precision", "recall", "f1")]
    counts = [f"{sign}_{kind}" for kind in ("segments", "prototypes") for sign in ("positive", "negative")]
    stages = [f"{stage}_seconds" for stage in ("encode", "select", "cluster", "label")]
    losses = ("loss", "mil", "guided", "pseudo_label", "contrastive", "em/bound", "em/disjunction_bound")
    return [
        *(f"train/{name}" for name in losses),
        *OF_TRAINING,
        *(f"pseudo_labels/{name}" for name in (*quality, *counts)),
        *(f"labeling/{name}" for name in (*stages, "seconds", "share_of_training")),
    ]


def scores_of(task: str, modalities: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the test scores of a task."""
    if task == PARSING:
        return score_names(modalities)
    ranges = (f"average_{name_of(low)}_{name_of(high)}" for low, high in AVERAGES)
    return tuple(f"map/{name}" for name in (*map(name_of, THRESHOLDS), *ranges))


def build_sections(
    modalities: Sequence[str],
    timelines: int,
    logged: Sequence[str] | None,
    further: Sequence[str],
    task: str = PARSING,
) -> list[Section]:
    """Build the sections of both; the ids of their panels are the same in every process.

    ``logged`` are the names that runs log by epoch, from which the panels of losses, pseudo labels and labeling follow;
    None: those of PPL. ``further`` are the inferences that runs were tested by beside their first one. Sections for
    which the runs of a ``task`` log nothing are left out.
    """
    scores, main, metric = scores_of(task, modalities), f"test/{MAIN_SCORE[task]}", METRIC[task]
    parsing = task == PARSING
    names = logged_by_ppl(modalities) if logged is None else logged
    losses = [name for name in names if name.startswith("train/") and not name.startswith("train/em/")]
    videos = [f"timelines/{number}" for number in range(1, timelines + 1)]
    sections = [
        Section(
            "Test scores",
            f"{metric} in percent of the tested epoch: mean and deviation over the seeds of each run name."
            if not parsing
            else "F1 in percent of the best epoch by validation: mean and deviation over the seeds of each run name.",
            [_bar(f"test/{name}") for name in scores],
            grouped=True,
        ),
        *(
            Section(
                f"Test scores by {inference}",
                f"The same of runs that were tested by the inference {inference}, too, beside the one that they were "
                "validated by.",
                [_bar(f"test/{inference}/{name}") for name in scores],
                grouped=True,
            )
            for inference in further
        ),
        Section(
            "Validation scores",
            f"{metric} in percent by epoch.",
            [_line(f"val/{name}") for name in scores if parsing or f"val/{name}" in names],
        ),
        Section(
            "Sweeps",
            "The average of the test scores against gamma, beta, k and tau: every run, and the mean of those with the "
            "same value."
            + " (Figures 4 and 5 of the paper show gamma, beta and k, and the mean of each level.)"
            * parsing,
            [
                _parallel(main),
                *(_scatter(sweep, main) for sweep in SWEEPS),
                *(_bar(main, sweep) for sweep in SWEEPS),
            ],
        ),
        Section(
            "Pseudo labels",
            "Labels of the training videos by epoch: precision, recall and F1 in percent, where the data has the "
            "truth, and the numbers of key segments and prototypes from which they are made.",
            [_line(name) for name in names if name.startswith("pseudo_labels/")],
        ),
        Section(
            "EM bound",
            "Lower bounds of the log-likelihood of the weak labels at every refresh: that of Eq. (14), and one that "
            "takes the weak label as the disjunction of the segment labels.",
            [_line(name) for name in names if name.startswith("train/em/")],
        ),
        Section(
            "Losses",
            "Means over the training videos by epoch, L_MIL over the validation videos, and the learning rate.",
            [_line(name) for name in (*losses, *(name for name in OF_TRAINING if name in names))],
        ),
        Section(
            "Labeling time",
            "Seconds of each stage of labeling, and of all stages as a fraction of the epoch's training.",
            [_line(name) for name in names if name.startswith("labeling/")],
        ),
        Section(
            "Timelines",
            "The same few validation videos in every run: truth, prediction and pseudo labels. Then all test videos, a "
            "row for each event in a modality."
            if parsing
            else "All test videos, a row for each event: segments in which it occurs, and in which it was found.",
            [
                wr.MediaBrowser(
                    title=f"video {key.rpartition('/')[2]}", media_keys=[key], grid_x_axis="step", grid_y_axis="run"
                )
                for key in videos
                if parsing
            ]
            + [wr.WeavePanelSummaryTable(table_name=TIMELINES)],
        ),
        Section(
            "Events",
            f"{'F1' if parsing else 'Average precision'} in percent of each event over all test videos together.",
            [
                wr.WeavePanelSummaryTable(table_name=PER_EVENT[task]),
                *(_event_bars(column, task) for column in _event_columns(task, modalities)),
            ],
        ),
    ]
    for section in sections:
        for place, panel in enumerate(section.panels):
            panel._id = stable_id(section.title, str(place))
    return [section for section in sections if section.panels]


def _event_columns(task: str, modalities: Sequence[str]) -> list[str]:
    """Return the columns of the table of events."""
    if task == PARSING:
        return [f"{level}/{track}" for level in LEVELS for track in track_names(modalities)]
    return [f"map/{name_of(threshold)}" for threshold in THRESHOLDS]


def score_columns(modalities: Sequence[str], further: Sequence[str], task: str = PARSING) -> list[str]:
    """Return the columns of the table of runs: the scores by the first inference, then those by each further one."""
    splits = ("test", *(f"test/{inference}" for inference in further))
    return [f"summary:{split}/{name}" for split in splits for name in scores_of(task, modalities)]


def _line(metric: str) -> wr.LinePlot:
    """Show a metric by epoch: one line for each run name, the mean over its seeds."""
    return wr.LinePlot(
        title=printable(metric),
        x="epoch",
        y=[metric],
        title_x="epoch",
        groupby=wr.Config(NAME),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=MAX_RUNS,
    )


def _bar(metric: str, swept: Sweep | None = None) -> wr.BarPlot:
    """Show a test score: one bar for each run name, or for each value of a swept setting, the mean over its runs."""
    return wr.BarPlot(
        title=printable(metric) if swept is None else f"{metric} by {swept.short}",
        metrics=[metric],
        groupby=wr.Config(NAME if swept is None else swept.key),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=MAX_RUNS,
    )


def _scatter(swept: Sweep, main: str) -> wr.ScatterPlot:
    return wr.ScatterPlot(
        title=f"{main} against {swept.short}",
        x=wr.Config(swept.key),
        y=wr.SummaryMetric(main),
        running_ymean=True,
    )


def _parallel(main: str) -> wr.ParallelCoordinatesPlot:
    axes = [wr.ParallelCoordinatesPlotColumn(wr.Config(sweep.key), display_name=sweep.short) for sweep in SWEEPS]
    axes.append(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(main), display_name="test average"))
    names = ", ".join(sweep.short for sweep in SWEEPS)
    return wr.ParallelCoordinatesPlot(title=f"{names} and the test average", columns=axes)


def _event_bars(column: str, task: str) -> wr.CustomChart:
    """Show one column of the table of events as bars, as ``wandb.plot.bar`` does."""
    return wr.CustomChart(
        query={"summaryTable": {"tableKey": PER_EVENT[task]}},
        chart_name="wandb/bar/v0",
        chart_fields={"label": "event", "value": column},
        chart_strings={"title": f"{'F1' if task == PARSING else 'AP'} of events, {printable(column)}"},
    )


def lay_out(panels: Sequence[Any]) -> None:
    """Put three panels into each row of a report, which is 24 wide; wide panels have a row of their own."""
    wide = (wr.MediaBrowser, wr.WeavePanelSummaryTable, wr.ParallelCoordinatesPlot)
    x = y = 0
    for panel in panels:
        width, height = (24, 10) if isinstance(panel, wide) else (8, 6)
        if x + width > 24:
            x, y = 0, y + 6
        panel.layout = wr.Layout(x=x, y=y, w=width, h=height)
        x, y = (0, y + height) if width == 24 else (x + width, y)


def stable_id(*of: str) -> str:
    """Return twelve digits that depend on the words only; the library would draw them at random."""
    return hashlib.sha256("/".join(of).encode()).hexdigest()[:12]
