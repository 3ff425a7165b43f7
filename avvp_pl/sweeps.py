"""After a sweep: one table of its runs, mean and standard deviation over seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from avvp_pl.files import atomic_write

LEVELS = ("segment", "event")


@dataclass(frozen=True)
class Run:
    """A finished run: what set it apart, its seed and its scores by ``level/name``."""

    setting: str
    seed: int
    scores: dict[str, float]


class SweepSummary(Callback):
    """Hydra callback: ``summary.md`` in the folder of a sweep, after every job: a failing one costs no other a row."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Write the table of the jobs so far."""
        if config.hydra.mode == RunMode.MULTIRUN:
            folder = Path(config.hydra.sweep.dir)
            runs, unfinished = read_runs(folder)
            table = markdown_table(runs) if runs else ""
            if unfinished:
                table += f"\nWithout scores: {'; '.join(unfinished)}\n"
            with atomic_write(folder / "summary.md") as file:
                file.write(table)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print the table."""
        path = Path(config.hydra.sweep.dir) / "summary.md"
        if path.exists():
            print(f"\n{path.read_text(encoding='utf-8')}\n{path}")


def read_runs(folder: Path) -> tuple[list[Run], list[str]]:
    """The runs of a sweep's folder in the order of their jobs, and the jobs that left no scores."""
    jobs = [path.parent for path in folder.glob("*/.hydra")]
    jobs.sort(key=lambda job: (not job.name.isdigit(), job.name.zfill(9)))
    overrides = {job: _overrides(job) for job in jobs}
    common = set.intersection(*map(set, overrides.values())) if len(jobs) > 1 else set()
    runs, unfinished = [], []
    for job in jobs:
        apart = [override for override in overrides[job] if override not in common and not override.startswith("seed=")]
        setting = ", ".join(override.removeprefix("experiment=") for override in apart) or "all"
        if not (job / "scores.json").exists() or not (job / "config.yaml").exists():
            unfinished.append(f"{job.name} ({setting})")
            continue
        cfg = OmegaConf.load(job / "config.yaml")
        content = json.loads((job / "scores.json").read_text(encoding="utf-8"))
        scores = {f"{level}/{name}": value for level in LEVELS for name, value in content[level].items()}
        scores["average"] = statistics.fmean(scores.values())
        runs.append(Run(setting, cfg.seed, scores))
    return runs, unfinished


def markdown_table(runs: Sequence[Run]) -> str:
    """Settings as rows, scores as columns, ``mean ± standard deviation`` over the seeds of a setting."""
    settings = list(dict.fromkeys(run.setting for run in runs))
    columns = list(runs[0].scores)
    heads = [_heading(column) for column in columns]
    lines = [f"| | seeds | {' | '.join(heads)} |", "|---|---|" + "---|" * len(columns)]
    for setting in settings:
        same = [run.scores for run in runs if run.setting == setting]
        cells = [_mean_and_deviation([scores[column] for scores in same]) for column in columns]
        lines.append(f"| {setting} | {len(same)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _overrides(job: Path) -> list[str]:
    overrides = OmegaConf.to_object(OmegaConf.load(job / ".hydra" / "overrides.yaml"))
    assert isinstance(overrides, list)
    return [override.lstrip("+") for override in overrides]


def _mean_and_deviation(values: Sequence[float]) -> str:
    mean = statistics.fmean(values)
    return f"{mean:.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:.1f}"


def _heading(column: str) -> str:
    short = {"audio": "A", "visual": "V", "audio_visual": "AV", "type_av": "Type", "event_av": "Event"}
    level, _, name = column.partition("/")
    return f"{level.replace('segment', 'seg')} {short.get(name, name)}" if name else column
