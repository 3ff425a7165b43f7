"""Run folders as evidence: what was run, with which seed, and what came of it."""

from __future__ import annotations

import json
import logging
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from avvp_pl.errors import InputError, brief
from avvp_pl.files import read_rows
from avvp_pl.metrics.avvp import LEVELS
from avvp_pl.settings.conf import config_dir
from avvp_pl.settings.identity import INCIDENTAL, OF_METHOD, WITHOUT_GROUP

log = logging.getLogger(__name__)

INFERENCE = "method.inference"
# PPL_Test has a network of another experiment
TRAINED_AS = {"han_ppl_test": "han"}

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
    """Runs that differ in their seeds alone.

    ``label`` is the name of the experiment with ``apart``: ``key=value`` of what is not as it is shipped, or differs
    from other runs of that name.
    """

    label: str
    runs: tuple[Run, ...]
    apart: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """That of the experiment."""
        return self.runs[0].name

    @property
    def settings(self) -> Mapping[str, Any]:
        """What all of its runs were run with."""
        return self.runs[0].settings

    @cached_property
    def plain(self) -> bool:
        """Whether its method is that of the experiment as shipped, and not one of the name only.

        Of an experiment that says by what its videos are labeled, each of these inferences is.
        """
        if shipped(self.name) is None:
            return False
        changed = {key for key in _changed(self.runs[0]) if OF_METHOD.match(key)}
        if self.settings.get(INFERENCE) in _inferences(self.name):
            changed -= {INFERENCE}
        return not changed

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
            settings=_telling(plain),
            scores={**scores, "average": statistics.fmean(scores.values())},
            per_event=per_event,
            listed=int(content["videos"]["listed"]),
            epochs=[_numbers(row) for row in read_rows(folder / "metrics.csv")],
        )
    except InputError:
        raise
    except Exception as error:  # of damaged files in three languages: a dozen kinds
        raise InputError(f"{folder.absolute()}: its files are damaged ({brief(error)}); run it again") from None


@cache
def shipped(name: str) -> Mapping[str, Any] | None:
    """The settings of method and network of ``conf/experiment/NAME.yaml``; None where there is no such experiment.

    In the form of :attr:`Run.settings`, which has them of a run that changed none.
    """
    if name not in {path.stem for path in (config_dir() / "experiment").glob("*.yaml")}:
        return None
    plain = {group: OmegaConf.to_container(_composed(name)[group], resolve=True) for group in ("method", "network")}
    settings = _telling(plain)
    settings.setdefault(INFERENCE, "classifier")
    trained = shipped(TRAINED_AS[name]) if name in TRAINED_AS else None
    return settings | {f"trained_{key}": value for key, value in (trained or {}).items() if _is_trained(key)}


def by_setting(runs: Sequence[Run]) -> list[Setting]:
    """Runs that differ in their seeds alone, together; of two with the same seed the newer one counts.

    A run before an evaluation of its checkpoint, which has no epochs. A label is the name of the experiment, what of
    its method and network is not as :func:`shipped`, whatever else is in the report, and what differs among the runs
    of that name. What some do not know, as they were run before it could be set, is as shipped, and otherwise sets them
    apart only where the others differ in it.
    """
    found: dict[tuple[str, ...], dict[int, Run]] = {}
    short: dict[tuple[str, ...], tuple[str, ...]] = {}
    names = {run.name for run in runs}
    differing = {name: set(_differing([run for run in runs if run.name == name])) for name in names}
    for run in runs:
        known, told = _known(run), _changed(run) | (differing[run.name] - set(shipped(run.name) or {}))
        keys = [key for key in known if key in told]
        identity = (run.name, *(f"{key}={spelled(known[key])}" for key in keys))
        short[identity] = tuple(_part(key, known[key]) for key in keys)
        seeds = found.setdefault(identity, {})
        if run.seed in seeds:
            _warn_of_two(seeds[run.seed], run)
        if run.seed not in seeds or _weight(run) > _weight(seeds[run.seed]):
            seeds[run.seed] = run
    settings = []
    for identity, seeds in found.items():
        # two classes of one name, in two modules
        unique = all(other == identity or other[0] != identity[0] or short[other] != short[identity] for other in found)
        said = short[identity] if unique else identity[1:]
        settings.append(Setting(" ".join([identity[0], *said]), tuple(seeds[seed] for seed in sorted(seeds)), said))
        _warn_of_roots(settings[-1])
    return settings


def apart(run: Run, alike: Sequence[Run]) -> list[str]:
    """``key=value`` of every setting in which runs differ; nothing for one that this run does not know."""
    known = _known(run)
    return [_part(key, known[key]) for key in _differing(alike) if key in known]


def spelled(value: Any) -> str:
    """A value of a setting, short, and equal ones alike: ``gamma=1`` and ``gamma=1.0`` are one setting.

    >>> spelled({"visual": ["effnet_lite0"], "audio": []}), spelled(1.0), spelled(None)
    ('{visual: [effnet_lite0], audio: []}', '1', 'null')
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {spelled(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(spelled, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _part(key: str, value: Any) -> str:
    """``gamma=0.5``, ``data.batch_size=8``, ``method=MIL``."""
    if key.endswith("._target_"):
        return f"{key.removesuffix('._target_')}={str(value).rpartition('.')[2]}"
    return f"{WITHOUT_GROUP.sub('', key, count=1)}={spelled(value)}"


def _differing(runs: Sequence[Run]) -> list[str]:
    values: dict[str, set[str]] = {}
    for run in runs:
        for key, value in _known(run).items():
            values.setdefault(key, set()).add(spelled(value))
    return [key for key, of_key in values.items() if len(of_key) > 1]


def _known(run: Run) -> dict[str, Any]:
    """The settings of a run, and what it does not know as it is shipped."""
    as_shipped = shipped(run.name) or {}
    trained = any(key.startswith("trained_method.") for key in run.settings)
    return {
        **{key: value for key, value in as_shipped.items() if trained or not key.startswith("trained_method.")},
        **run.settings,
    }


def _changed(run: Run) -> set[str]:
    """What of the experiment is not as shipped. Arguments of another class are not told: that class is."""
    as_shipped = shipped(run.name) or {}
    return {
        key for key, value in as_shipped.items() if key in run.settings and spelled(run.settings[key]) != spelled(value)
    }


def _inferences(name: str) -> list[str]:
    return [str(inference) for inference in _composed(name).get("inference") or ["classifier"]]


@cache
def _composed(name: str) -> DictConfig:
    """The configuration of a shipped experiment. Hydra is afterwards as it was, also within a command."""
    running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
            return compose("train", [f"+experiment={name}"])
    finally:
        GlobalHydra.instance().hydra = running


def _is_trained(key: str) -> bool:
    return key.startswith("method.") and key != INFERENCE


def _warn_of_two(one: Run, other: Run) -> None:
    alike = one.scores == other.scores
    said = "are the same run" if alike else "differ in their scores, but in no setting and not in their seed"
    log.warning("%s and %s %s; the newer one counts, or the one that trained", one.folder, other.folder, said)


def _warn_of_roots(setting: Setting) -> None:
    roots = {str(OmegaConf.select(run.config, "data.root")) for run in setting.runs}
    if len(roots) > 1:
        log.warning(
            "%s: its runs are of several data.root, taken for the same: %s", setting.label, ", ".join(sorted(roots))
        )


def _telling(plain: Any) -> dict[str, Any]:
    """What of a configuration tells settings apart."""
    return {**{key: value for key, value in _settings(plain) if not INCIDENTAL.fullmatch(key)}, **_derived(plain)}


def _derived(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The number of processes, on all machines, and which checkpoint was tested; of a training that is the best."""
    derived: dict[str, Any] = {}
    trainer = plain.get("trainer") or {}
    devices, nodes = trainer.get("devices"), trainer.get("num_nodes", 1)
    if isinstance(devices, list):
        devices = len(devices)
    if devices is not None:
        known = isinstance(devices, int) and isinstance(nodes, int) and devices > 0
        derived["trainer.devices"] = devices * nodes if known else f"{devices}" + f" on {nodes} nodes" * (nodes != 1)
    if "checkpoint" in plain or "trainer" in plain:
        derived["checkpoint"] = Path(str(plain.get("checkpoint") or "best")).stem
    return derived


def _settings(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or key == "data.modalities":
        yield key, value
        return
    for name, inner in value.items():
        yield from _settings(inner, f"{key}.{name}" if key else str(name))


def _weight(run: Run) -> tuple[bool, float]:
    return len(run.epochs) > 0, (run.folder / "scores.json").stat().st_mtime


def _by_number(path: Path) -> list[tuple[int, str]]:
    """So that the tenth job of a sweep comes behind the ninth."""
    return [(int(part), "") if part.isdecimal() and len(part) < 10 else (-1, part) for part in path.parts]


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    return {name: float(cell) for name, cell in row.items() if cell}
