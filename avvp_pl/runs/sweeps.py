"""Sweeps: a job that fails is recorded in its folder and does not affect the others; one table summarizes all jobs.

Jobs may run in other processes and on other machines, so all that is known about them is read from their folders.
"""

from __future__ import annotations

import logging
import statistics
import textwrap
import traceback
from collections.abc import Sequence
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
from avvp_pl.runs.reading import Run, inferences_of, read_run
from avvp_pl.runs.tested import remark

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A job without scores: the name of its folder, the settings in which it differs from other jobs, and its error.

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
        for path in SweepSummary.folder.glob(f"*/{names.ERROR}"):
            path.unlink()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Write the table of the jobs that have ended so far."""
        if config.hydra.mode == RunMode.MULTIRUN:
            write_summary(Path(config.hydra.sweep.dir))


def record_failure(folder: Path, message: str, error: Exception) -> None:
    """Write ``error.txt`` into the folder of a job: the message on one line, for the summary, and the traceback."""
    line = textwrap.shorten(message, width=300, placeholder=" ...")
    with atomic_write(folder / names.ERROR) as file:
        file.write(f"{line}\n\n{''.join(traceback.format_exception(error))}")
    log.error("failed: %s (traceback: %s)", line, folder / names.ERROR)


def conclude() -> bool:
    """Print the summary of the sweep that this process launched, if any, and return whether all its jobs succeeded."""
    folder, SweepSummary.folder = SweepSummary.folder, None
    if folder is None or not any(folder.glob("*/.hydra")):
        return True
    failures = write_summary(folder)
    path = folder / names.SUMMARY
    print(f"\n{path.read_text(encoding='utf-8')}\n{path}")
    return not failures


def write_summary(folder: Path) -> list[Failure]:
    """Write ``summary.md`` into the folder of a sweep: the table, and the jobs without scores, which are returned."""
    runs, failures = read_runs(folder)
    parts = [markdown_table(runs)] if runs else []
    if failures:
        parts.append("Failed:\n" + "".join(f"- {markdown.literally(str(failure))}\n" for failure in failures))
    with atomic_write(folder / names.SUMMARY) as file:
        file.write("\n".join(parts))
    return failures


def read_runs(folder: Path) -> tuple[list[tuple[str, Run]], list[Failure]]:
    """Return the runs of a sweep with their settings, in the order of their jobs, and the jobs without scores.

    A job that was tested by several inferences is a run for each, and its setting says by which one.
    """
    jobs = [path.parent for path in folder.glob("*/.hydra")]
    jobs.sort(key=lambda job: (not job.name.isdigit(), job.name.zfill(9)))
    overrides = {job: _overrides(job) for job in jobs}
    common = set.intersection(*map(set, overrides.values())) if len(jobs) > 1 else set()
    runs, failures = [], []
    for job in jobs:
        apart = [override for override in overrides[job] if override not in common and not override.startswith("seed=")]
        setting = ", ".join(override.removeprefix("experiment=") for override in apart) or "all"
        error = _first_line(job / names.ERROR)
        if error or not (job / names.SCORES).exists() or not (job / names.CONFIG).exists():
            failures.append(Failure(job.name, setting, error))
            continue
        try:
            runs += _runs_of(job, setting)
        except InputError as damage:
            failures.append(Failure(job.name, setting, str(damage)))
    return runs, failures


def _runs_of(job: Path, setting: str) -> list[tuple[str, Run]]:
    """Return the runs of a job, one for each inference."""
    first = read_run(job)
    inferences = inferences_of(first)
    if len(inferences) < 2:
        return [(setting, first)]
    runs = [first, *(read_run(job, other) for other in inferences[1:])]
    return [(f"{setting}, by {inference}", run) for inference, run in zip(inferences, runs, strict=True)]


def markdown_table(runs: Sequence[tuple[str, Run]]) -> str:
    """Return a table with settings as rows and scores as columns: ``mean ± standard deviation`` over the seeds."""
    settings = list(dict.fromkeys(setting for setting, _ in runs))
    columns = list(dict.fromkeys(column for _, run in runs for column in run.scores))  # runs may differ in modalities
    rows = []
    for setting in settings:
        same = [run.scores for own, run in runs if own == setting]
        cells = [_mean_and_deviation([scores[column] for scores in same if column in scores]) for column in columns]
        label = setting + remark([run.tested for own, run in runs if own == setting])
        rows.append([markdown.literally(label), str(len(same)), *cells])
    return markdown.table(["seeds", *map(markdown.heading, columns)], rows)


def _overrides(job: Path) -> list[str]:
    path = job / ".hydra" / "overrides.yaml"
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
