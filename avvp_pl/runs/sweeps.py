"""Sweeps: a job that fails is recorded in its folder and does not affect the others; one table summarizes all jobs.

Jobs may run in other processes and on other machines, so all that is known about them is read from their folders, which
are anywhere below the folder of the sweep.
"""

from __future__ import annotations

import logging
import math
import re
import statistics
import textwrap
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from avvp_pl.errors import InputError
from avvp_pl.files import atomic_write
from avvp_pl.runs import markdown, names
from avvp_pl.runs.reading import Run, by_number, inferences_of, one_of_each_seed, read_run
from avvp_pl.runs.tested import remark

log = logging.getLogger(__name__)

HYDRA = ".hydra"  # what Hydra writes into the folder of every job
SEARCHED = "optimization_results.yaml"  # what the sweeper optuna writes at the end
LONG_NUMBER = re.compile(r"(?<![\w.])\d+\.\d{4,}(e[+-]?\d+)?")  # as a search draws them


@dataclass(frozen=True)
class Tested:
    """A job that was tested by one inference: the settings in which it differs from other jobs, and its run.

    ``selected`` is the validation score of the epoch that was tested, by the name of the score.
    """

    job: str
    setting: str
    run: Run
    selected: Mapping[str, float]

    @property
    def scores(self) -> dict[str, float]:
        """The validation score, and those of the test."""
        return {**self.selected, **self.run.scores}


@dataclass(frozen=True)
class Failure:
    """A job without scores: its folder, the settings in which it differs from other jobs, and its error.

    The error is None if the job was killed or is still running.
    """

    job: str
    setting: str
    error: str | None

    def __str__(self) -> str:
        return f"{self.job} ({self.setting}): {self.error or 'no scores and no error: killed, or still running'}"


class SweepSummary(Callback):
    """Hydra callback that writes ``summary.md`` into the folder of a sweep.

    It is written again at the end of every job, so it exists even if the launching process is killed.
    :func:`conclude` writes it for the last time.
    """

    folder: ClassVar[Path | None] = None  # the folder of the sweep that this process launched

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Remember the folder, and remove the errors of an earlier attempt from it."""
        SweepSummary.folder = Path(config.hydra.sweep.dir).absolute()
        for job in _jobs(SweepSummary.folder):
            (job / names.ERROR).unlink(missing_ok=True)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Write the table of the jobs that have ended so far."""
        if config.hydra.mode == RunMode.MULTIRUN:
            write_summary(Path(config.hydra.sweep.dir))


def check_job(hydra_cfg: Any) -> None:
    """Raise :class:`InputError` if a job's folder is where the summary of its sweep would not find it."""
    sweep, folder = Path(hydra_cfg.sweep.dir).resolve(), Path(hydra_cfg.runtime.output_dir).resolve()
    if sweep not in folder.parents:
        raise InputError(f"hydra.sweep.subdir={hydra_cfg.sweep.subdir}: it must be a folder inside hydra.sweep.dir")
    if hydra_cfg.output_subdir != HYDRA:
        raise InputError(
            f"hydra.output_subdir must be {HYDRA} in a sweep: its summary reads the settings of jobs there"
        )


def record_failure(folder: Path, message: str, error: Exception) -> None:
    """Write ``error.txt`` into the folder of a job: the message on one line, for the summary, and the traceback."""
    line = textwrap.shorten(message, width=300, placeholder=" ...")
    with atomic_write(folder / names.ERROR) as file:
        file.write(f"{line}\n\n{''.join(traceback.format_exception(error))}")
    log.error("failed: %s (traceback: %s)", line, folder / names.ERROR)


def conclude() -> bool:
    """Print the summary of the sweep that this process launched, if any, and return whether all its jobs succeeded."""
    folder, SweepSummary.folder = SweepSummary.folder, None
    if folder is None or not _jobs(folder):
        return True
    failures = write_summary(folder)
    path = folder / names.SUMMARY
    print(f"\n{path.read_text(encoding='utf-8')}\n{path}")
    return not failures


def write_summary(folder: Path) -> list[Failure]:
    """Write ``summary.md`` into the folder of a sweep: the table, and the jobs without scores, which are returned."""
    runs, failures = read_runs(folder)
    runs, repeated = _without_repeated(runs)
    parts = [markdown_table(runs, best_first=(folder / SEARCHED).exists())] if runs else []
    if repeated:
        parts.append("Repeated:\n" + "".join(f"- {markdown.literally(said)}\n" for said in repeated))
    if failures:
        parts.append("Failed:\n" + "".join(f"- {markdown.literally(str(failure))}\n" for failure in failures))
    with atomic_write(folder / names.SUMMARY) as file:
        file.write("\n".join(parts))
    return failures


def read_runs(folder: Path) -> tuple[list[Tested], list[Failure]]:
    """Return the runs of a sweep in the order of their jobs, and the jobs without scores.

    A job that was tested by several inferences is a run for each, and its setting says by which one.
    """
    jobs = _jobs(folder)
    overrides = {job: _overrides(job) for job in jobs}
    common = set.intersection(*map(set, overrides.values())) if len(jobs) > 1 else set()
    runs, failures = [], []
    for job in jobs:
        apart = [override for override in overrides[job] if override not in common and not override.startswith("seed=")]
        setting = ", ".join(override.removeprefix("experiment=") for override in apart) or "all"
        name, error = str(job.relative_to(folder)), _first_line(job / names.ERROR)
        if error or not (job / names.SCORES).exists() or not (job / names.CONFIG).exists():
            failures.append(Failure(name, setting, error))
            continue
        try:
            runs += _runs_of(job, name, setting)
        except InputError as damage:
            failures.append(Failure(name, setting, str(damage)))
    return runs, failures


def _without_repeated(runs: Sequence[Tested]) -> tuple[list[Tested], list[str]]:
    """Return one run for each setting and seed, as a report uses them, and what to say of the others."""
    settings: dict[str, list[Run]] = {}
    for run in runs:
        settings.setdefault(run.setting, []).append(run.run)
    used: set[Path] = set()
    repeated: list[str] = []
    for alike in settings.values():
        seeds, said = one_of_each_seed(alike)
        used |= {run.folder for run in seeds.values()}
        repeated += said
    return [run for run in runs if run.run.folder in used], repeated


def _jobs(folder: Path) -> list[Path]:
    """Return the folders of the jobs of a sweep, at any depth; not those of runs inside a job, or of another sweep."""
    found = {path.parent for name in (HYDRA, names.ERROR) for path in folder.rglob(name)} - {folder}
    others = {path.parent for path in folder.rglob(names.SUMMARY)} - {folder}
    return sorted((job for job in found if not (found | others) & set(job.parents)), key=by_number)


def _runs_of(job: Path, name: str, setting: str) -> list[Tested]:
    """Return the runs of a job, one for each inference."""
    first = read_run(job)
    inferences, selected = inferences_of(first), _selected(first)
    if len(inferences) < 2:
        return [Tested(name, setting, first, selected)]
    runs = [first, *(read_run(job, other) for other in inferences[1:])]
    return [
        Tested(name, f"{setting}, by {inference}", run, selected)
        for inference, run in zip(inferences, runs, strict=True)
    ]


def _selected(run: Run) -> dict[str, float]:
    """Return the validation score by which the tested epoch was selected; nothing where no score did."""
    tested = run.tested
    return {} if tested is None or tested.monitor is None or tested.score is None else {tested.monitor: tested.score}


def markdown_table(runs: Sequence[Tested], best_first: bool = False) -> str:
    """Return a table with settings as rows and scores as columns: ``mean ± standard deviation`` over the seeds.

    The rows are in the order of the jobs, or of the validation score.
    """
    settings: dict[str, list[Tested]] = {}
    for run in runs:
        settings.setdefault(run.setting, []).append(run)
    rows = sorted(settings.values(), key=_rank) if best_first else list(settings.values())
    # runs may differ in their modalities; the validation score comes first
    columns = dict.fromkeys(
        [name for run in runs for name in run.selected] + [name for run in runs for name in run.scores]
    )
    cells = [
        [
            markdown.literally(LONG_NUMBER.sub(_rounded, same[0].setting) + remark([run.run.tested for run in same])),
            str(len(same)),
            *(_mean_and_deviation([run.scores[column] for run in same if column in run.scores]) for column in columns),
            markdown.literally(", ".join(run.job for run in same)),
        ]
        for same in rows
    ]
    return markdown.table(["seeds", *map(markdown.heading, columns), "folder"], cells)


def _rank(same: Sequence[Tested]) -> float:
    """Return a number that is lowest for the best setting; the highest where nothing was selected."""
    values = [value for run in same for value in run.selected.values()]
    if not values:
        return math.inf
    lowest = OmegaConf.select(same[0].run.config, "protocol.selection.mode") == "min"
    return statistics.fmean(values) * (1 if lowest else -1)


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.4g}"


def _overrides(job: Path) -> list[str]:
    path = job / HYDRA / "overrides.yaml"
    overrides: Any = []
    with suppress(Exception):  # a damaged file: the job is listed without its settings
        overrides = OmegaConf.to_object(OmegaConf.load(path)) if path.exists() else []
    # the file of a job that is just starting may still be empty, which is read as a mapping
    return [str(override).lstrip("+") for override in overrides] if isinstance(overrides, list) else []


def _first_line(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0] if path.exists() else None


def _mean_and_deviation(values: Sequence[float]) -> str:
    if not values:
        return ""
    return markdown.with_deviation(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)
