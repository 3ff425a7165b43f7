"""Run folders as evidence: what was run, with which seed, and what came of it."""

from __future__ import annotations

import json
import logging
import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from avvp_pl.errors import InputError, brief
from avvp_pl.files import read_rows
from avvp_pl.metrics.avvp import LEVELS

log = logging.getLogger(__name__)

# What of a configuration does not tell two settings apart: repetitions, places, and how a machine was used (by which
# score the best epoch was picked does)
INCIDENTAL = re.compile(
    r"(method\.)?seed|(name|tags|threads|compile|resume|debug|matmul_precision|checkpoint|inference)(\..*)?"
    r"|(paths|logger)(\..*)?|callbacks(?!\.best\.(monitor|mode)$)(\..*)?"
    r"|data\.(root|packed|name|dtype|eval_batch_size|max_epochs|source\..*)"
    r"|trainer\.(?!max_epochs|accumulate_grad_batches|precision).*"
)

PerEvent = Mapping[str, Mapping[str, Mapping[str, float | None]]]


@dataclass(frozen=True)
class Run:
    """A finished run.

    ``settings`` is what of its configuration tells it from others, by the full name (a list, and the modalities with
    their streams, are one setting each, as what is left out of them matters too); ``scores`` go by
    ``level/name`` and ``average``, in percent; ``per_event`` by level, track and event; ``epochs`` are the rows of
    ``metrics.csv``, each without its empty cells.
    """

    folder: Path
    name: str
    seed: int
    config: DictConfig
    settings: Mapping[str, Any]
    scores: Mapping[str, float]
    per_event: PerEvent
    listed: int
    epochs: Sequence[Mapping[str, float]]

    @property
    def data(self) -> str:
        """The name of its data set."""
        return str(self.config.data.name)


@dataclass(frozen=True)
class Setting:
    """Runs that differ in their seeds alone. ``label`` says what sets them apart from the others of a report."""

    label: str
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """That of the experiment."""
        return self.runs[0].name

    @property
    def settings(self) -> Mapping[str, Any]:
        """What all of its runs were run with."""
        return self.runs[0].settings

    @cached_property
    def mean(self) -> dict[str, float]:
        """Each score's mean over the seeds."""
        return {name: statistics.fmean(values) for name, values in self._values().items()}

    @cached_property
    def deviation(self) -> dict[str, float]:
        """Each score's sample standard deviation over the seeds; nothing where there is one seed."""
        if len(self.runs) == 1:
            return {}
        return {name: statistics.stdev(values) for name, values in self._values().items()}

    def _values(self) -> dict[str, list[float]]:
        return {name: [run.scores[name] for run in self.runs] for name in self.runs[0].scores}


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """All finished runs in these folders, at any depth, in the order of their paths (numbers by size).

    Passed over, with a word, are those without scores and what other programs left damaged. Raises
    :class:`InputError` where there is none, or where they are of several data sets.
    """
    found: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder.absolute()}: no such folder; runs= takes run folders, or folders of them")
        for path in sorted(folder.rglob("config.yaml"), key=_by_number):
            # W&B, too, writes files of this name
            if {".hydra", "wandb"} & set(path.relative_to(folder).parts) or path.parent.resolve() in found:
                continue
            try:
                found[path.parent.resolve()] = read_run(path.parent)
            except InputError as error:
                log.warning("passed over: %s", error)
    if not found:
        places = ", ".join(str(folder.absolute()) for folder in folders)
        raise InputError(f"{places}: no finished run (a folder with config.yaml and scores.json); train one first")
    data = {run.data for run in found.values()}
    if len(data) > 1:
        raise InputError(
            f"the runs are of several data sets ({', '.join(sorted(data))}), which cannot be compared; give the "
            "folders of one: runs=[DIR,DIR]"
        )
    return list(found.values())


def read_run(folder: Path) -> Run:
    """One run folder; :class:`InputError` where something is missing or damaged."""
    path = folder / "scores.json"
    if not path.exists():
        raise InputError(f"{folder.absolute()}: no scores.json: the run has failed, or has not ended yet")
    try:
        config = OmegaConf.load(folder / "config.yaml")
        if not isinstance(config, DictConfig):
            raise ValueError("config.yaml is a list")
        content = json.loads(path.read_text(encoding="utf-8"))
        scores = {f"{level}/{name}": float(score) for level in LEVELS for name, score in content[level].items()}
        per_event = content["per_event"]
        if not all(map(math.isfinite, scores.values())):
            raise ValueError("a score that is no number")
        plain = OmegaConf.to_container(config, resolve=True)
        if not OmegaConf.select(config, "data.name"):
            raise ValueError("config.yaml does not name its data")
        return Run(
            folder=folder,
            name=str(config.name),
            seed=int(config.seed),
            config=config,
            settings={key: value for key, value in _settings(plain) if not INCIDENTAL.fullmatch(key)},
            scores={**scores, "average": statistics.fmean(scores.values())},
            per_event=per_event,
            listed=int(content["videos"]["listed"]),
            epochs=[_numbers(row) for row in read_rows(folder / "metrics.csv")],
        )
    except InputError:
        raise
    except Exception as error:  # of damaged files in three languages: a dozen kinds
        raise InputError(f"{folder.absolute()}: its files are damaged ({brief(error)}); run it again") from None


def by_setting(runs: Sequence[Run]) -> list[Setting]:
    """Runs that differ in their seeds alone, together; of two with the same seed the newer one counts.

    A run before an evaluation of a checkpoint of it, which has no epochs and may be of another one.
    A label is the name of the experiment and, where several settings have that name, what differs among them. What
    some of them do not know, as they were run before it could be set, counts only where the others differ in it.
    """
    labelled: dict[str, dict[int, Run]] = {}
    for run in runs:
        label = " ".join([run.name, *apart(run, [other for other in runs if other.name == run.name])])
        seeds = labelled.setdefault(label, {})
        if run.seed in seeds:
            one, other = seeds[run.seed].folder, run.folder
            log.warning("%s and %s are the same run; the newer counts, or the one that trained", one, other)
        if run.seed not in seeds or _weight(run) > _weight(seeds[run.seed]):
            seeds[run.seed] = run
    return [Setting(label, tuple(seeds[seed] for seed in sorted(seeds))) for label, seeds in labelled.items()]


def apart(run: Run, alike: Sequence[Run]) -> list[str]:
    """``key=value`` of every setting in which runs of one name differ, the key without its group."""
    keys = list(dict.fromkeys(key for other in alike for key in other.settings))
    differing = [
        key for key in keys if len({_spelled(other.settings[key]) for other in alike if key in other.settings}) > 1
    ]
    return [f"{key.partition('.')[2] or key}={_spelled(run.settings.get(key))}" for key in differing]


def _settings(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or key == "data.modalities":
        yield key, value
        return
    for name, inner in value.items():
        yield from _settings(inner, f"{key}.{name}" if key else str(name))


def _spelled(value: Any) -> str:
    """One spelling of equal values: ``gamma=1`` and ``gamma=1.0`` are one setting."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _weight(run: Run) -> tuple[bool, float]:
    return len(run.epochs) > 0, (run.folder / "scores.json").stat().st_mtime


def _by_number(path: Path) -> list[tuple[int, str]]:
    """So that the tenth job of a sweep comes behind the ninth."""
    return [(int(part), "") if part.isdecimal() and len(part) < 10 else (-1, part) for part in path.parts]


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    return {name: float(cell) for name, cell in row.items() if cell}
