"""Gathering everything that a report shows, and writing its files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig
from torch import Tensor

from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError, nearest, quote
from avvp_pl.reporting.browser import Browser, Found, browse
from avvp_pl.reporting.detected import browse_intervals, draw_examples
from avvp_pl.reporting.drawings import MOST, Drawing, few_settings, remove_stale_drawings, write_drawing
from avvp_pl.reporting.formats import write_tables
from avvp_pl.reporting.gallery import draw_all
from avvp_pl.reporting.localized import FoundIntervals, IntervalReader, LocalizedVideos, of_localized_split
from avvp_pl.reporting.page import write_page
from avvp_pl.reporting.published import check_beside, read_published
from avvp_pl.reporting.rows import baselines, trained_as
from avvp_pl.reporting.statistics import Differences, compare, setting_scores
from avvp_pl.reporting.tables import find_baseline, of_name, paper_tables
from avvp_pl.reporting.videos import (
    TestVideos,
    copy_media,
    data_of,
    media_of,
    of_test_split,
    read_predictions,
    read_probabilities,
    read_test_split,
)
from avvp_pl.runs.checkpoints import is_complete, laid_over
from avvp_pl.runs.reading import LOCALIZATION, Setting, by_setting, read_runs

log = logging.getLogger(__name__)

MOST_ON_PAGE = 24  # settings whose findings the page contains, so that a large sweep does not make it too large


@dataclass(frozen=True)
class Evidence:
    """Finished runs by setting and, where the test videos are available, what was found in them.

    ``shown`` are the settings that the page's videos show at first, and the first :data:`~drawings.MOST` of them those
    that figures show. ``found`` has the first seed of every setting that the page can show, those ``shown`` first.
    ``differences`` are to the ``baseline``.
    """

    settings: Sequence[Setting]
    baseline: Setting | None
    shown: Sequence[Setting]
    videos: TestVideos | LocalizedVideos | None = None
    found: Mapping[str, Found | FoundIntervals] = field(default_factory=dict)
    differences: Differences | None = None
    notes: Sequence[str] = ()


def gather(
    folders: Sequence[Path],
    data: DictConfig | None = None,
    baseline: str | None = None,
    shown: Sequence[str] | None = None,
    protocol: str | None = None,
    trust: Sequence[str] = (),
) -> Evidence:
    """Read the runs in ``folders``, and the test videos of ``data`` or, where that is None, those of the runs.

    ``baseline`` is the name or label of a setting; None: Base, if there is exactly one setting of it. ``shown`` are
    the names or labels of the settings that figures and, at first, the page's videos show; None: as many as fit into a
    figure. The page has up to :data:`MOST_ON_PAGE` settings to choose from, or all that are ``shown``. ``protocol``
    selects the runs that were scored under it; None: all, which must be of one. The test videos of the runs are read by
    this package or one in ``trust``. Where they cannot be read, the report has no intervals and no timelines, and a
    note says so; with ``data``, that is an :class:`InputError`.
    """
    settings = by_setting(read_runs(folders, protocol), trained_as())
    base = find_baseline(settings, baseline) if baseline is not None else _base_of(settings)
    chosen = few_settings(settings, base) if shown is None else _named(settings, shown)
    others = [setting for setting in settings if setting not in chosen]
    offered = [*chosen, *others[: max(0, MOST_ON_PAGE - len(chosen))]]
    notes = _notes_on_shown(settings, chosen, offered)
    try:
        complete = data is not None and is_complete(data)
        split = read_test_split(data) if complete else _split_of(settings, trust, data)  # type: ignore[arg-type]
        reader = _reader(settings[0].runs[0].task, split)
    except InputError as error:
        if data is not None:
            raise
        note = f"The test videos are not available, so there are no intervals and no timelines: {error}"
        return Evidence(settings, base, chosen, notes=_logged([*notes, note]))
    problems: list[InputError] = []
    known: set[str] = set()
    for setting in settings:
        try:
            reader.read(setting, setting in offered)
            known.add(setting.label)
        except InputError as error:
            problems.append(error)
            notes.append(f"{setting.label} has no intervals and no timelines: {error}")
    if len(problems) == len(settings):
        raise problems[0]
    found = {setting.label: reader.found[setting.label] for setting in offered if setting.label in reader.found}
    differences = reader.differences(base.label) if base is not None and base.label in known else None
    return Evidence(settings, base, chosen, reader.videos, found, differences, _logged(notes))


class TimelineReader:
    """Read settings of parsing one after another: the scores of every test video, and what was found.

    ``found`` has the first seed of the settings that are to be kept, by their labels.
    """

    def __init__(self, videos: TestVideos) -> None:
        self.videos = videos
        self.found: dict[str, Found] = {}
        self.scores: dict[str, Tensor] = {}

    def read(self, setting: Setting, kept: bool) -> None:
        """Read the runs of a setting; :class:`InputError` where their files are not those of these videos."""
        predictions = [read_predictions(run, self.videos) for run in setting.runs]
        self.scores[setting.label] = setting_scores(setting, self.videos, predictions)
        if kept:
            first = setting.runs[0]
            probabilities = read_probabilities(first, self.videos)
            self.found[setting.label] = Found(predictions[0], probabilities, first.seed)

    def differences(self, baseline: str) -> Differences:
        """Return the difference of every other setting to the baseline, with its interval."""
        return compare(self.scores, baseline, self.videos.modalities)


def _reader(task: str, split: ParsingSet) -> TimelineReader | IntervalReader:
    if task == LOCALIZATION:
        return IntervalReader(of_localized_split(split))
    return TimelineReader(of_test_split(split))


def write_report(
    folder: Path,
    evidence: Evidence,
    title: str | None = None,
    figure3: Sequence[str] | None = None,
    media: Path | None = None,
    published: str | None = None,
    media_copy: bool = False,
) -> Path:
    """Write ``tables/``, ``figures/`` and the page ``index.html``, and return the path of the page.

    Tables and figures of an earlier report in ``folder`` are removed where this report does not have them. ``figure3``
    are the names of the videos of Figure 3, ``media`` is the folder with the videos' files, which ``media_copy`` copies
    into ``media/``, and ``published`` a file with more printed numbers, or ``none`` to leave out all of them. Raises
    :class:`InputError` where such a file is of other data than the runs.
    """
    check_beside(published, [run for setting in evidence.settings for run in setting.runs])
    tables = paper_tables(evidence.settings, evidence.baseline, evidence.differences, read_published(published))
    drawings = _drawings(evidence, figure3)
    browser = _browser(evidence, folder, media, media_copy)
    write_tables(folder / "tables", tables)
    pictures = [(d.title, d.caption, write_drawing(folder / "figures", d)) for d in drawings]
    remove_stale_drawings(folder / "figures", drawings)
    page = folder / "index.html"
    run = evidence.settings[0].runs[0]
    heading = f"Localization on {run.data}" if run.task == LOCALIZATION else f"Parsing {run.data}"
    write_page(page, title or heading, tables, pictures, browser, evidence.notes, _facts(evidence))
    return page


def _drawings(evidence: Evidence, figure3: Sequence[str] | None) -> list[Drawing]:
    """Draw all figures."""
    drawn = evidence.shown[:MOST]
    found = {setting.label: evidence.found[setting.label] for setting in drawn if setting.label in evidence.found}
    if isinstance(evidence.videos, LocalizedVideos):
        intervals = {label: of for label, of in found.items() if isinstance(of, FoundIntervals)}
        examples = draw_examples(evidence.videos, intervals, figure3)
        return [*draw_all(evidence.settings, evidence.baseline, drawn, evidence.videos, {}, {}, None), *examples]
    timelines = {label: of for label, of in found.items() if isinstance(of, Found)}
    predictions = {label: of.prediction for label, of in timelines.items()}
    seeds = {label: of.seed for label, of in timelines.items()}
    return draw_all(evidence.settings, evidence.baseline, drawn, evidence.videos, predictions, seeds, figure3)


def _browser(evidence: Evidence, folder: Path, media: Path | None, media_copy: bool) -> Browser | None:
    """Return what the page shows of the test videos."""
    videos = evidence.videos
    if videos is None:
        return None
    files = {} if media is None else media_of(media, videos.names)
    if media_copy:
        files = copy_media(files, folder / "media")
    shown = [setting.label for setting in evidence.shown]
    if isinstance(videos, LocalizedVideos):
        intervals = {label: of for label, of in evidence.found.items() if isinstance(of, FoundIntervals)}
        return browse_intervals(videos, intervals, files, folder, shown)
    timelines = {label: of for label, of in evidence.found.items() if isinstance(of, Found)}
    return browse(videos, timelines, files, folder, shown)


def _split_of(settings: Sequence[Setting], trust: Sequence[str], given: DictConfig | None) -> ParsingSet:
    """Read the test videos of the first run whose data can be read; :class:`InputError` where there is none.

    Single settings of the data that are ``given`` are laid over those of the run.
    """
    places = {str(run.config.data): run for setting in settings for run in setting.runs}
    problems = []
    for run in places.values():
        try:
            return read_test_split(laid_over(data_of(run, trust), given, run.folder))
        except InputError as error:
            problems.append(error)
    raise problems[0]


def _logged(notes: Sequence[str]) -> tuple[str, ...]:
    """Return the notes after logging them."""
    for note in notes:
        log.warning("%s", note)
    return tuple(notes)


def _base_of(settings: Sequence[Setting]) -> Setting | None:
    named = [of_name(settings, experiment) for experiment in baselines()]
    return next((found[0] for found in named if len(found) == 1), None)


def _named(settings: Sequence[Setting], names: Sequence[str]) -> list[Setting]:
    """Return the settings with these labels, or of these experiments."""
    chosen: dict[str, Setting] = {}
    for name in names:
        found = [setting for setting in settings if name in (setting.label, setting.name)]
        if not found:
            names = list(dict.fromkeys(called for setting in settings for called in (setting.name, setting.label)))
            there = ", ".join(map(quote, names))
            raise InputError(f"shown={quote(name)} is not among the settings: {there}.{nearest(name, names)}")
        chosen |= {setting.label: setting for setting in found}
    return list(chosen.values())


def _notes_on_shown(settings: Sequence[Setting], shown: Sequence[Setting], offered: Sequence[Setting]) -> list[str]:
    """Say which settings the figures and the page's videos show, where these are not all."""
    notes = []
    if len(settings) > len(drawn := shown[:MOST]):
        labels = ", ".join(setting.label for setting in drawn)
        notes.append(
            f"Tables and curves have all {len(settings)} settings. The figures of events, epochs and parsed videos "
            f"have {labels}; shown=[NAME,NAME] selects others."
        )
    if missing := [setting.label for setting in settings if setting not in offered]:
        notes.append(
            f"The page's videos have {len(offered)} of {len(settings)} settings to choose from, without "
            f"{', '.join(missing)}; shown=[NAME,NAME] selects others."
        )
    return notes


def _facts(evidence: Evidence) -> list[tuple[str, str]]:
    """Return what was compared, for the top of the page."""
    runs = [run for setting in evidence.settings for run in setting.runs]
    seeds = sorted({run.seed for run in runs})
    facts = [
        ("Data", f"{runs[0].data}, {runs[0].listed} test videos"),
        ("Runs", f"{len(runs)} runs of {len(evidence.settings)} settings"),
        ("Seeds", ", ".join(map(str, seeds))),
    ]
    if runs[0].protocol != "common":
        facts.append(("Protocol", runs[0].protocol))
    against = "nothing (baseline=NAME selects a setting)" if evidence.baseline is None else evidence.baseline.label
    return [*facts, ("Compared with", against)]
