"""Reading finished runs: what was run, with which seed, and which scores it has. Nothing slow is imported here."""

from __future__ import annotations

import json
import logging
import math
import re
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
from avvp_pl.runs.names import CONFIG, METRICS, SCORES, STAGES
from avvp_pl.runs.tested import EpochTested, from_dict
from avvp_pl.settings.conf import config_dir
from avvp_pl.settings.identity import INCIDENTAL, OF_METHOD, WITHOUT_GROUP

log = logging.getLogger(__name__)

# The inference that a run was tested by, and the one that its best epoch was selected by
INFERENCE, VALIDATED_BY = "inference", "inference.validated_by"
# Groups of an experiment with which runs are compared; inference and protocol are compared as well
SHIPPED = ("method", "labeling", "network", "optimizer")
# Settings that an evaluation decides, whatever the training of its checkpoint was
OF_TEST = re.compile(r"(labeling|inference|protocol)(\..*)?")

PerEvent = Mapping[str, Mapping[str, Mapping[str, float | None]]]

PARSING, LOCALIZATION = "parsing", "localization"
# The one score of a run where there is room for one only
MAIN_SCORE = {PARSING: "average", LOCALIZATION: "map/average_0.1_0.7"}


@dataclass(frozen=True)
class Run:
    """A finished run: one training or evaluation, tested by one inference under one protocol.

    ``settings`` are the settings by which runs can differ, by their full names (a list is one setting, and so are the
    modalities with their streams, because it matters what is missing in them). ``scores`` are in percent, by
    ``level/name`` and ``average``; ``per_event`` has them by level, track and event. In localization, the only level is
    ``map``, its tracks are thresholds of tIoU, and there is no ``average``. ``listed`` is the number of test videos,
    and ``test_videos`` the checksum of their names (:func:`~avvp_pl.data.known.digest_of`). ``epochs`` are the rows of
    ``metrics.csv``, each without its empty cells, and ``tested`` is the epoch that was tested.
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
    protocol: str = "common"
    tested: EpochTested | None = None
    test_videos: str | None = None

    @property
    def data(self) -> str:
        """The name of the data set."""
        return str(self.config.data.name)

    @property
    def task(self) -> str:
        """The task of which these are scores."""
        return LOCALIZATION if MAIN_SCORE[LOCALIZATION] in self.scores else PARSING

    @property
    def events(self) -> tuple[str, ...]:
        """The events of the data set, which are those that have scores; empty where none has."""
        tracks: Mapping[str, Mapping[str, float | None]] = next(iter(self.per_event.values()), {})
        return tuple(next(iter(tracks.values()), {}))


@dataclass(frozen=True)
class Setting:
    """Runs that differ in their seeds only.

    ``label`` is the name of the experiment followed by ``apart``: ``key=value`` of every setting that is not as
    shipped, or in which runs of that name differ, and in brackets the notes of the runs. ``shipped`` are the settings
    of the experiment as shipped (:func:`shipped`).
    """

    label: str
    runs: tuple[Run, ...]
    apart: tuple[str, ...] = ()
    shipped: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name of the experiment."""
        return self.runs[0].name

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that all of the runs share."""
        return self.runs[0].settings

    @property
    def inference(self) -> str | None:
        """The inference that was tested; None where it is not known."""
        return self.settings.get(INFERENCE) or (self.shipped or {}).get(INFERENCE)

    @property
    def further(self) -> bool:
        """Whether the runs were tested by another inference than the first one of the experiment."""
        return self.shipped is not None and self.inference != self.shipped[INFERENCE]

    @cached_property
    def plain(self) -> bool:
        """Whether the runs are those of the experiment as shipped, and do not merely have its name.

        Every inference of an experiment that has several is as shipped. The size of the network and the number of
        epochs may differ.
        """
        if self.shipped is None:
            return False
        changed = {key for key in _changed(self.settings, self.shipped) if OF_METHOD.match(f"{key}.")}
        if self.settings.get(INFERENCE) in _inferences(self.name):
            changed.discard(INFERENCE)
        of_checkpoint = _is_of_checkpoint(self.settings) or not _is_of_checkpoint(self.shipped)
        return of_checkpoint and not changed

    @cached_property
    def mean(self) -> dict[str, float]:
        """The mean of each score over the seeds."""
        return {name: statistics.fmean(values) for name, values in self._values().items()}

    @cached_property
    def deviation(self) -> dict[str, float]:
        """The sample standard deviation of each score over the seeds; empty where there is one seed."""
        if len(self.runs) == 1:
            return {}
        return {name: statistics.stdev(values) for name, values in self._values().items()}

    def _values(self) -> dict[str, list[float]]:
        return {name: [run.scores[name] for run in self.runs] for name in self.runs[0].scores}


def read_runs(folders: Sequence[Path], protocol: str | None = None) -> list[Run]:
    """Read all finished runs in these folders, at any depth, in the order of their paths (numbers by size).

    A training that was tested by several inferences is one run for each. Of a recipe, only the last stage is a run of
    its method. Runs without scores and runs whose files are damaged are skipped with a warning. With ``protocol``, only
    runs that were scored under it are returned. Raises
    :class:`InputError` where there is no run, or where runs are of several data sets or several protocols.
    """
    found: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder.absolute()}: no such folder; runs= takes run folders, or folders of them")
        for path in sorted(folder.rglob(CONFIG), key=by_number):
            # W&B writes files of this name as well
            passed_over = {".hydra", "wandb", STAGES} & set(path.relative_to(folder).parts)
            if passed_over or path.parent.resolve() in found:
                continue
            for run in _read_all(path.parent):
                found[run.folder.resolve()] = run
    if not found:
        places = ", ".join(str(folder.absolute()) for folder in folders)
        raise InputError(f"{places}: no finished run (a folder with {CONFIG} and {SCORES}); train one first")
    runs = _of_one_protocol(list(found.values()), protocol)
    data = {run.data for run in runs}
    if len(data) > 1:
        raise InputError(
            f"the runs are of several data sets ({', '.join(sorted(data))}), which cannot be compared; give the "
            "folders of one: runs=[DIR,DIR]"
        )
    tested = {run.test_videos: run.folder for run in runs if run.test_videos is not None}
    if len(tested) > 1:
        one, other, *_ = tested.values()
        raise InputError(
            f"{one} and {other} were tested on different videos, so they cannot be compared; give the folders of runs "
            "on the same data: runs=[DIR,DIR]"
        )
    return runs


def _read_all(folder: Path) -> Iterator[Run]:
    """Read the run of a folder, and one run for every further inference that its training was tested by."""
    inferences: list[str | None] = [None]
    for inference in inferences:  # the list grows: only the run itself says which other inferences there are
        try:
            run = read_run(folder, inference)
        except InputError as error:
            log.warning("skipped: %s", error)
            continue
        yield run
        if inference is None:
            # the folder of an evaluation has a configuration of its own
            inferences += [other for other in inferences_of(run)[1:] if not (folder / other / CONFIG).exists()]


def inferences_of(run: Run) -> list[str]:
    """Return the names of the inferences by which a training was tested: first the one that was validated."""
    return active_inferences(run.config.get("inference"))


def _of_one_protocol(runs: Sequence[Run], protocol: str | None) -> list[Run]:
    """Return the runs of ``protocol``, or all where it is None; :class:`InputError` where these are of several."""
    there = _counted(runs)
    if protocol is not None:
        runs = [run for run in runs if run.protocol == protocol or run.protocol.startswith(f"{protocol} (")]
        if not runs:
            raise InputError(f"protocol={protocol}: no run was scored under this protocol ({there})")
    protocols = {run.protocol: run for run in runs}
    if len(protocols) == 1:
        return list(runs)
    give = " or ".join(dict.fromkeys(_selected(name) for name in sorted(protocols)))
    tasks = {run.task for run in protocols.values()}
    if len(tasks) > 1:
        raise InputError(
            f"the runs are of two tasks, {PARSING} and {LOCALIZATION}, which have no score in common ({there}); give "
            f"{give}, or the folders of one task: runs=[DIR,DIR]"
        )
    if LOCALIZATION in tasks and len({_without_note(name) for name in protocols}) == 1:
        raise InputError(
            f"the runs were scored on different instances ({there}), so they cannot be compared; give the folders of "
            "runs on the same data: runs=[DIR,DIR]"
        )
    raise InputError(
        f"the runs were scored under several protocols ({there}), whose scores cannot be compared in one table; "
        f"give {give}, or evaluate the checkpoints of the others under the same protocol"
    )


def _counted(runs: Sequence[Run]) -> str:
    """Return how many runs there are of each protocol."""
    counts: dict[str, int] = {}
    for run in runs:
        counts[run.protocol] = counts.get(run.protocol, 0) + 1
    return ", ".join(f"{name}: {count} run{'s' * (count != 1)}" for name, count in sorted(counts.items()))


def protocol_of(node: DictConfig | None) -> str | None:
    """Return what scores of the protocol that is chosen on a command line are called; None where none is.

    Those of localization are called after their scoring, too: ``localization, seconds_210``.
    """
    if node is None:
        return None
    scoring = OmegaConf.select(node, "task.scoring.name")
    return str(node.name) if scoring is None else f"{node.name}, {scoring}"


def _without_note(protocol: str) -> str:
    """Return the name of a protocol without the note that the truth is not that for which it is defined."""
    return protocol.partition(" (")[0]


def _selected(protocol: str) -> str:
    """Return what selects a protocol on the command line, which must have its file."""
    name, _, scoring = _without_note(protocol).partition(", ")
    chosen = [("protocol", name)] + [("scoring", scoring)] * bool(scoring)
    own = "" if all(choice in _choices(group) for group, choice in chosen) else " (with the --config-dir of its file)"
    default = _composed(f"protocol={name}").protocol if not own and scoring else None
    if default is None or protocol_of(default) == _without_note(protocol):
        return f"protocol={name}{own}"
    return f"protocol={name} scoring@protocol.task.scoring={scoring}"


def read_run(folder: Path, inference: str | None = None) -> Run:
    """Read a run folder; :class:`InputError` where something is missing or damaged.

    A training that was tested by several inferences has the scores of the first one in its folder, and those of every
    other in a folder in it, which ``inference`` names.
    """
    own = folder if inference is None else folder / inference
    path = own / SCORES
    if not path.exists():
        raise InputError(f"{own.absolute()}: no {SCORES}: the run has failed or has not finished yet")
    try:
        config = OmegaConf.load(folder / CONFIG)
        if not isinstance(config, DictConfig):
            raise ValueError(f"{CONFIG} is a list")
        content = json.loads(path.read_text(encoding="utf-8"))
        protocol = content.get("protocol")
        if not isinstance(protocol, str) or not protocol:
            raise InputError(
                f"{path.absolute()}: names no protocol, so another program wrote it; evaluate the checkpoint again"
            )
        per_event = {"map": content["per_event"]} if "map" in content else content["per_event"]
        scores = {f"{level}/{name}": float(score) for level in per_event for name, score in content[level].items()}
        if "map" not in content:
            scores["average"] = statistics.fmean(scores.values())
        if not all(map(math.isfinite, scores.values())):
            raise ValueError("a score that is not a number")
        if not OmegaConf.select(config, "data.name"):
            raise ValueError(f"{CONFIG} does not name its data")
        settings = _settings_of(config, inference)
        if inference is not None:
            config.inference = {inference: config.inference[inference]}
        return Run(
            folder=own,
            name=str(config.name),
            seed=int(config.seed),
            config=config,
            settings=settings,
            scores=scores,
            per_event=per_event,
            listed=int(content["videos"]["listed"]),
            epochs=[_numbers(row) for row in read_rows(own / METRICS)],
            protocol=protocol,
            tested=from_dict(content.get("tested")),
            test_videos=None if content.get("test_videos") is None else str(content["test_videos"]),
        )
    except InputError:
        raise
    except Exception as error:  # a damaged file in one of three languages raises a dozen kinds
        raise InputError(f"{own.absolute()}: its files are damaged ({brief(error)}); run it again") from None


@cache
def shipped(name: str, protocol: str | None = None, trained_as: str | None = None) -> Mapping[str, Any] | None:
    """Return the settings of the experiment ``conf/experiment/NAME.yaml``; None where there is no such experiment.

    They have the form of :attr:`Run.settings`, for a run that changed none of them: those of method, labeling, network
    and optimizer, of every shipped inference, of the protocol (``conf/protocol/PROTOCOL.yaml`` where ``protocol`` is
    not the one of the experiment; in localization with the scoring that its name has), and the number of epochs where
    the experiment gives it. ``trained_as`` is the experiment whose checkpoints are tested, for an experiment of
    ``evaluate``: then everything but the test is as in that one.
    """
    if name not in _choices("experiment"):
        return None
    experiment = _composed(f"+experiment={name}")
    named, _, scoring = _without_note(protocol or str(experiment.protocol.name)).partition(", ")
    chosen = [f"scoring@protocol.task.scoring={scoring}"] * (scoring in _choices("scoring"))
    groups = {group: experiment[group] for group in SHIPPED}
    groups["inference"] = _composed(f"inference=[{','.join(_choices('inference'))}]").inference
    groups["inference"] = {**groups["inference"], **experiment.inference}
    if named == experiment.protocol.name:
        groups["protocol"] = _composed(f"+experiment={name}", *chosen).protocol
    elif named in _choices("protocol"):
        groups["protocol"] = _composed(f"protocol={named}", *chosen).protocol
    told = _without_data(OmegaConf.to_container(OmegaConf.create({"seed": 0, **groups})))
    settings = _told(OmegaConf.to_container(OmegaConf.create(told), resolve=True))
    settings[INFERENCE] = settings[VALIDATED_BY] = _inferences(name)[0]
    epochs = OmegaConf.to_container(experiment.trainer, resolve=False)["max_epochs"]  # type: ignore[index, call-overload]
    if isinstance(epochs, int):  # and not a reference to the data's
        settings["trainer.max_epochs"] = epochs
    training = None if trained_as is None else shipped(trained_as)
    if training is None:
        return settings
    return {
        **{key: value for key, value in training.items() if not OF_TEST.fullmatch(key)},
        **{key: value for key, value in settings.items() if OF_TEST.fullmatch(key)},
        VALIDATED_BY: training[VALIDATED_BY],
        **{f"trained_{key}": value for key, value in training.items() if key.startswith("labeling.")},
    }


def _without_data(settings: Any) -> Any:
    """Return nested settings without those that take their value from the data, such as the number of segments."""
    if not isinstance(settings, dict):
        return settings
    of_data = ("${data.", "${oc.select:data.")
    kept = {name: value for name, value in settings.items() if not str(value).startswith(of_data)}
    return {name: _without_data(value) for name, value in kept.items()}


def by_setting(runs: Sequence[Run], trained_as: Mapping[str, str] | None = None) -> list[Setting]:
    """Group runs that differ in their seeds only into settings; of two runs with the same seed, the newer one is kept.

    A training takes precedence over an evaluation of its checkpoint, which has no epochs. A label is the name of the
    experiment with every setting that is not as :func:`shipped` (whatever else is in the report), and with what
    differs among the runs of that name. So it names the inference unless that is the first one of the experiment. A
    setting that a run does not have, because the run is older than the setting, counts as shipped; where nothing is
    shipped, it sets the run apart only if the other runs differ in it. What is to be known about the files from which a
    run learned (its ``notes``), such as that a teacher has seen annotated videos, sets it apart as well. ``trained_as``
    says which experiment the checkpoints were trained as that an experiment of ``evaluate`` tests.
    """
    found: dict[tuple[str, ...], list[Run]] = {}
    short: dict[tuple[str, ...], tuple[str, ...]] = {}
    references: dict[tuple[str, ...], Mapping[str, Any] | None] = {}
    names = {run.name for run in runs}
    differing = {name: set(_differing([run for run in runs if run.name == name])) for name in names}
    for run in runs:
        reference = shipped(run.name, run.protocol, (trained_as or {}).get(run.name))
        known, told = _known(run.settings, reference), _changed(run.settings, reference)
        told |= differing[run.name] - set(reference or {})
        keys = [key for key in known if key in told]
        notes = () if run.tested is None else tuple(f"({note})" for note in run.tested.notes)
        identity = (run.name, *(f"{key}={spelled(known[key])}" for key in keys), *notes)
        short[identity], references[identity] = (*(_part(key, known[key]) for key in keys), *notes), reference
        found.setdefault(identity, []).append(run)
    settings = []
    for identity, alike in found.items():
        seeds, repeated = one_of_each_seed(alike)
        for message in repeated:
            log.warning("%s", message)
        # two classes can have the same name in two modules
        unique = all(other == identity or other[0] != identity[0] or short[other] != short[identity] for other in found)
        said, own = short[identity] if unique else identity[1:], tuple(seeds[seed] for seed in sorted(seeds))
        settings.append(Setting(" ".join([identity[0], *said]), own, said, references[identity]))
        _warn_of_roots(settings[-1])
    return settings


def one_of_each_seed(runs: Sequence[Run]) -> tuple[dict[int, Run], list[str]]:
    """Return the run to use of each seed, of runs that differ in their seeds only, and what to say of the others.

    Of two runs with the same seed it is the training, or else the newer one: a mean over both would count one twice.
    """
    seeds: dict[int, Run] = {}
    repeated = []
    for run in runs:
        other = seeds.get(run.seed)
        if other is not None:
            same = other.scores == run.scores
            how = "are the same run" if same else "differ in their scores, but in no setting and not in their seed"
            repeated.append(f"{other.folder} and {run.folder} {how}; the training is used, or else the newer one")
        if other is None or _weight(run) > _weight(other):
            seeds[run.seed] = run
    return seeds, repeated


def label_of(config: DictConfig, given: Sequence[str] = ()) -> str:
    """Return what a report calls a run of these settings: the experiment, and every setting that is not as shipped.

    A report also says in which settings runs of one experiment differ. Where other runs are not known, these are the
    ones that were ``given`` on the command line, as ``key=value``.
    """
    name, settings = str(config.name), _settings_of(config, None)
    reference = shipped(name, protocol_of(config.protocol))
    told = _changed(settings, reference) | {override.lstrip("+").partition("=")[0] for override in given}
    known = _known(settings, reference)
    return " ".join([name, *(_part(key, known[key]) for key in known if key in told)])


def apart(run: Run, alike: Sequence[Run]) -> list[str]:
    """Return ``key=value`` of every setting in which the runs ``alike`` differ, unless this run does not know it."""
    known = _known(run.settings, shipped(run.name, run.protocol))
    return [_part(key, known[key]) for key in _differing(alike) if key in known]


def spelled(value: Any) -> str:
    """Write the value of a setting; equal values look the same: ``gamma=1`` and ``gamma=1.0`` are one setting.

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
    """Return ``gamma=0.5``, ``data.batch_size=8``, ``method=Guided`` or ``schedule=StepDecay``."""
    if key.endswith("._target_"):
        key, value = key.removesuffix("._target_"), str(value).rpartition(".")[2]
    return f"{WITHOUT_GROUP.sub('', key, count=1)}={spelled(value)}"


def _differing(runs: Sequence[Run]) -> list[str]:
    """Return the settings of which the runs have several values."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for key, value in _known(run.settings, shipped(run.name, run.protocol)).items():
            values.setdefault(key, set()).add(spelled(value))
    return [key for key, of_key in values.items() if len(of_key) > 1]


def _known(settings: Mapping[str, Any], reference: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the settings of a run; a setting that it does not have is as shipped."""
    reference = reference or {}
    if not _is_of_checkpoint(settings):
        reference = {key: value for key, value in reference.items() if not key.startswith("trained_labeling.")}
    return {**reference, **settings}


def _changed(settings: Mapping[str, Any], reference: Mapping[str, Any] | None) -> set[str]:
    """Return the settings that are not as shipped.

    Of a part of another class, only the class is among them. A setting that has to be given, such as a file of labels,
    is as shipped whatever is given.
    """
    return {
        key
        for key, value in (reference or {}).items()
        if key in settings and value != "???" and spelled(settings[key]) != spelled(value)
    }


def _is_of_checkpoint(settings: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint was tested with another labeling than that of its training."""
    return any(key.startswith("trained_labeling.") for key in settings)


def _inferences(name: str) -> list[str]:
    """Return the inferences of a shipped experiment; the first one is validated."""
    return active_inferences(_composed(f"+experiment={name}").inference) if name in _choices("experiment") else []


def active_inferences(inferences: Any) -> list[str]:
    """Return the names of a group of inferences of which none was set to null."""
    return [str(name) for name, node in inferences.items() if node is not None] if inferences else []


@cache
def _choices(group: str) -> tuple[str, ...]:
    """Return the names of the shipped files of a group of the configuration."""
    return tuple(sorted(path.stem for path in (config_dir() / group).glob("*.yaml")))


@cache
def _composed(*overrides: str) -> DictConfig:
    """Compose the shipped configuration of a training, and leave Hydra as it is, also within a command."""
    running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
            return compose("train", list(overrides))
    finally:
        GlobalHydra.instance().hydra = running


def _warn_of_roots(setting: Setting) -> None:
    roots = {str(OmegaConf.select(run.config, "data.root")) for run in setting.runs}
    if len(roots) > 1:
        log.warning(
            "%s: its runs have several data.root, which are assumed to hold the same data: %s",
            setting.label,
            ", ".join(sorted(roots)),
        )


def _settings_of(config: DictConfig, inference: str | None) -> dict[str, Any]:
    """Return what tells a run apart that was tested by ``inference`` (None: by the first one of its configuration)."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    inferences = active_inferences(plain.get("inference"))
    validated_by = plain.pop("trained_inference", None)  # in an evaluation, which does not select an epoch itself
    if not inferences:
        return _told(plain)
    tested = inferences[0] if inference is None else inference
    if "checkpoint" not in plain:
        validated_by = inferences[0]
    settings = {**_told({**plain, "inference": {tested: plain["inference"][tested]}}), INFERENCE: tested}
    return settings if validated_by is None else {**settings, VALIDATED_BY: validated_by}


def _told(plain: Any) -> dict[str, Any]:
    """Return the settings of a configuration that tell runs apart.

    A file in the folder of the run, as a recipe makes it, does not: how it was made is part of the method.
    """
    run, checkpoint = (plain.get("paths") or {}).get("run_dir"), plain.get("checkpoint")
    own = [run, Path(str(checkpoint)).parents[1] if checkpoint else None]
    made_here = tuple(f"{folder}/" for folder in own if folder)
    told = {
        key: value
        for key, value in _flat(plain)
        if not INCIDENTAL.fullmatch(key) and not (isinstance(value, str) and value.startswith(made_here))
    }
    return {**told, **_derived(plain)}


def _derived(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return what incidental settings say that does tell runs apart.

    That is the number of processes on all machines, which checkpoint was tested (of a training the best one), and how
    the best epoch was selected.
    """
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
    selecting = (plain.get("callbacks") or {}).get("best") or {}  # it has the last word, usually that of the protocol
    derived |= {f"protocol.selection.{key}": selecting[key] for key in ("monitor", "mode") if key in selecting}
    return derived


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting of nested groups by its full name."""
    if not isinstance(value, dict) or key == "data.modalities":
        yield key, value
        return
    for name, inner in value.items():
        yield from _flat(inner, f"{key}.{name}" if key else str(name))


def _weight(run: Run) -> tuple[bool, float]:
    return len(run.epochs) > 0, (run.folder / SCORES).stat().st_mtime


def by_number(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts the tenth job of a sweep behind the ninth."""
    return [(int(part), "") if part.isdecimal() and len(part) < 10 else (-1, part) for part in path.parts]


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    return {name: float(cell) for name, cell in row.items() if cell}
