"""The names on a command line and in configuration files: which exist, and what to say of one that does not."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from avvp_pl.errors import InputError, nearest
from avvp_pl.settings.check import check_names, plain, values_of
from avvp_pl.settings.conf import GLOBAL, ConfigFiles, config_dir, keys_of
from avvp_pl.settings.limits import PASSED_ON, limit_of, members_of


@dataclass(frozen=True)
class Names:
    """The groups, choices and settings that a command has, those of the user's own files included."""

    command: str
    files: ConfigFiles
    overrides: tuple[Override, ...]

    @classmethod
    def of_command_line(cls, command: str, arguments: Sequence[str], overrides: Iterable[str]) -> Names:
        """Read the arguments of a command, some of which are ``overrides``."""
        parsed = _parsed(overrides)
        return cls(command, ConfigFiles.of_command_line(arguments, parsed), parsed)

    @classmethod
    def of_job(cls, command: str, hydra_cfg: Any) -> Names:
        """Read the settings of a running job, which may be in another process than the command line."""
        files = ConfigFiles.of_job(hydra_cfg.runtime.config_sources)
        overrides: Any = OmegaConf.to_container(hydra_cfg.overrides.task)  # with interpolations as they were given
        return cls(command, files, _parsed(overrides))

    def check_choices(self) -> None:
        """Refuse what is not the name of a choice, where Hydra's own message would not name the group.

        Refuse as well a file of the user's own that is chosen but has no effect.
        """
        for override in self.overrides:
            group = override.key_or_group
            if group not in self.files.groups or override.is_delete():
                continue
            for value in map(plain, values_of(override)):
                for word in value if isinstance(value, list) else [value]:
                    self.files.check(group, str(word))
                listed = isinstance(value, list) and self._takes_list(group)
                words = value if listed else [value]
                if not words or not all(isinstance(word, str) for word in words) or len(set(words)) < len(words):
                    raise InputError(f"{group}={_shown(value)}: it must be {self._expected(group)}")

    def for_jobs(self, arguments: Sequence[str]) -> list[str]:
        """Return the arguments of a sweep with the settings that only its jobs have where only the jobs see them.

        Before a sweep, Hydra composes a configuration without the groups that are swept, and would refuse their
        settings. So they become parameters of the sweeper, which passes them on to each job.
        """
        base = self._of_sweep(arguments, self._groups(swept=False))
        if base is None:
            return list(arguments)
        fixed: Any = OmegaConf.to_container(base.hydra.sweeper.params)
        swept = {parsed.key_or_group for parsed in _parsed(f"{key}={value}" for key, value in fixed.items())}
        swept |= {override.key_or_group for override in self.overrides if override.is_sweep_override()}
        if not swept & set(self.files.groups):
            return list(arguments)
        present = _present(base)
        moved = {
            str(override.input_line): f"{override.key_or_group}: {_quoted(str(override.input_line).partition('=')[2])}"
            for override in self.overrides
            if override.type == OverrideType.CHANGE
            and not override.is_sweep_override()
            and override.key_or_group not in {*present, *self.files.groups}
            and not override.is_hydra_override()
        }
        if not moved:
            return list(arguments)
        first = next(iter(moved))
        of_jobs = f"++hydra.sweeper.params={{{', '.join(moved.values())}}}"
        kept = [argument for argument in arguments if argument == first or argument not in moved]
        return [of_jobs if argument == first else argument for argument in kept]

    def check_jobs(self, arguments: Sequence[str]) -> None:
        """Refuse a sweep before its first job if two jobs would have one folder, or one outside that of the sweep.

        Refuse as well what :func:`~avvp_pl.settings.check.check_names` refuses in the first job.
        """
        of_hydra = [str(one.input_line) for one in self.overrides if one.key_or_group.startswith(("hydra.", "hydra/"))]
        of_hydra = [line for line in of_hydra if not line.startswith("hydra.searchpath")]
        base = self._of_sweep(arguments, [*self._groups(swept=False), *of_hydra])
        if base is None:
            return
        fixed = _parsed(f"{key}={value}" for key, value in base.hydra.sweeper.params.items())
        given = [one for one in self.overrides if str(one.input_line) not in of_hydra]
        of_jobs = list({one.get_key_element(): one for one in [*fixed, *given]}.values())
        first = self._composed([*_first_values(of_jobs), *of_hydra], with_hydra=True)
        check_names(first, replace(self, overrides=tuple(of_jobs)).given(first.hydra.runtime.choices))
        subdir = _subdir(base)
        _check_inside(subdir, subdir)
        if re.search(r"hydra[.:]job\.(num|id)\b", subdir):  # each job has its own
            return
        found: dict[str, str] = {}
        for job in _jobs(of_jobs, subdir):
            cfg, called = self._composed([*job, *of_hydra], with_hydra=True), " ".join(job)
            folder = _folder(cfg)
            if folder is None or _subdir(cfg) != subdir:
                continue  # the job says what is wrong with it
            _check_inside(folder, subdir)
            if folder in found:
                raise InputError(
                    f"hydra.sweep.subdir={subdir}: the jobs {found[folder]!r} and {called!r} would both write into "
                    f"{folder}; add what tells them apart, such as ${{seed}} or ${{hydra.job.num}}"
                )
            found[folder] = called

    def check_single(self, hydra_cfg: Any) -> None:
        """Refuse the values of a sweep in a single run, which would ignore them."""
        if hydra_cfg.mode == RunMode.MULTIRUN or not hydra_cfg.sweeper.get("params"):
            return
        chosen = [file for file in hydra_cfg.runtime.choices.items() if file[0] in self.files.groups]
        sweeps = [
            f"{group}/{choice}.yaml"
            for group, choice in chosen
            if OmegaConf.select(OmegaConf.create(self.files.settings(group, str(choice))), "hydra.sweeper.params")
        ]
        file = sweeps[0] if sweeps else "a sweep file"
        raise InputError(
            f"{file}: hydra.sweeper.params has the values of a sweep, but this is a single run, which ignores them; "
            f"give -m, or write `mode: MULTIRUN` under `hydra:` into {file} (docs/sweeps.md)"
        )

    def check_folders(self) -> None:
        """Refuse ``~`` at the start of a run folder in the user's own files: Hydra would create a folder called ``~``.

        On the command line it is replaced, and in every other setting as well. Refuse a name that is a path, too.
        """
        if not self.files.own:
            return
        given = [str(override.input_line) for override in self.overrides if not override.is_sweep_override()]
        cfg: Any = OmegaConf.to_container(self._composed(given, with_hydra=True))
        for key in ("hydra.run.dir", "hydra.sweep.dir", "paths.output_root"):
            node = cfg
            for part in key.split("."):
                node = node.get(part) if isinstance(node, Mapping) else None
            if isinstance(node, str) and node.startswith("~"):
                raise InputError(f"{key}={node}: write the folder in full here: {Path(node).expanduser()}")
        name, limit = cfg.get("name"), limit_of("name")  # a part of the run folder
        if isinstance(name, str) and "${" not in name and limit is not None and name not in limit:
            raise InputError(f"name={name}: it must be {limit}")

    def check_additions(self) -> None:
        """Refuse ``+key=value`` for a mistyped group, or for an argument that nothing reads."""
        laid_over = self.files.laid_over(self.command, [str(override.input_line) for override in self.overrides])
        for override in self.overrides:
            key = override.key_or_group
            if key.partition(".")[0] in laid_over:
                continue
            if not override.is_add() or key.startswith(tuple(f"{name}{sign}" for name in PASSED_ON for sign in "./")):
                continue
            if key in self.files.groups:
                if others := self._for_others(key.partition("/")[0]):
                    raise InputError(f"there is no group {key!r} in avvp_pl.{self.command}; {others}")
            elif members_of(key) is None and members_of(key.rpartition(".")[0]) is None:
                raise InputError(self._no_addition(key))

    def check_keys(self, cfg: DictConfig, choices: Mapping[str, Any]) -> None:
        """Refuse a setting in a file of the user's own that nothing reads: Hydra accepts any.

        ``choices`` are the choices of the groups (``hydra.runtime.choices``).
        """
        content: Any = OmegaConf.to_container(cfg)
        groups = self.files.groups_of(self.command)
        for group, choice in (("", self.command), *choices.items()):
            if isinstance(choice, str) and group in {"", *self.files.groups}:
                self.files.check(group, choice)
        for name in content:
            if name in self.files.groups and name not in groups and self.files.stands_at_top(name):
                raise InputError(
                    f"the settings under {name!r} have no effect; the file of the {name} that has them "
                    "must begin with the line: # @package _global_"
                )
        known = self._known(content, choices)
        needed = {name: known[name] is not None for name in groups}
        for name in needed:
            if name not in content:
                raise InputError(self.no_setting(name))
        for name, value in content.items():
            if name not in known:
                message = self._for_another(str(name), choices) or self._unknown(str(name), keys_of(known))
                raise InputError(message)
            if name in needed and not isinstance(value, Mapping) and (needed[name] or value is not None):
                raise InputError(self._no_mapping(str(name), value, choices))
            if name not in PASSED_ON:
                self._check_below(str(name), value, known[name], choices)

    def given(self, choices: Mapping[str, Any]) -> set[str]:
        """Return the full keys of the settings that the user gives, on the command line and in the chosen own files."""
        values = ((override.key_or_group, plain(override.value())) for override in self.overrides)
        return {key for name, value in values for key in keys_of({name: value})} | set(self.files.given(choices))

    def as_setting(self, key: str) -> str | None:
        """Return how a group or setting is given, such as ``seed`` or ``+experiment``; None if it does not exist."""
        groups = self.files.groups_of(self.command)
        if key in self.files.groups and key.partition("/")[0] not in groups:
            return None if self._for_others(key.partition("/")[0]) else f"+{key}"
        known = {setting for group, _, setting in self._all_settings() if group.partition("/")[0] in groups}
        return key if key in {*self.files.groups, *_present(self._configuration()), *known} else None

    def near_setting(self, key: str) -> str:
        """Return `` Did you mean 'x'?`` for a group or setting that a mistyped key may have meant, or nothing."""
        groups = (group for group in self.files.groups if not self._for_others(group.partition("/")[0]))
        return self._nearest(key, [*groups, *_present(self._configuration())])

    def no_choice(self, group: str, choice: str, options: Sequence[str]) -> str:
        """Return what to say of a choice that a group does not have."""
        missing = f"there is no {group or 'config'} {choice!r}."
        if file := self.files.misnamed(group, choice):
            return f"{missing} {file} is not read: its name must end in .yaml"
        choices = f" The choices are: {', '.join(options)}" if options else ""
        experiments = [name for name in self.files.choices("experiment") if f"{name}_".startswith(f"{choice}_")]
        if experiments and group != "experiment" and self.command == "train":
            choices += f". Experiments of this name, for +experiment=, are: {', '.join(experiments)}"
        return missing + nearest(choice, options) + choices

    def no_group(self, group: str, where: str = "") -> str:
        """Return what to say of a group that the command does not have; ``where`` it is overridden, if in a file."""
        missing = f"{where}: there is no group {group!r}" if where else f"there is no group {group!r}"
        if others := self._for_others(group.partition("/")[0]):
            return f"{missing} in avvp_pl.{self.command}; {others}"
        if group in self.files.groups:
            return f"the group {group!r} has no default to replace; give +{group}=..., with +"
        return f"{missing}.{nearest(group, self.files.groups)}"

    def no_setting(self, key: str) -> str:
        """Return what to say of a setting that the configuration does not have."""
        present = _present(self._configuration())
        if key not in present:
            return self._unknown(key, present)
        lacking = self._swept_without(key)
        if lacking is None:
            return f"the setting {key!r} is needed, but it was removed, or the group that it belongs to was replaced"
        return f"there is no setting {key!r} with {lacking}, which is swept; every job must have all settings"

    def _swept_without(self, key: str) -> str | None:
        """Return the first choice of a swept group with which there is no such setting."""
        for swept in self.overrides:
            if swept.key_or_group not in self.files.groups or not swept.is_sweep_override():
                continue
            others = tuple(override for override in self.overrides if override is not swept)
            for value in values_of(swept):
                choice = f"{swept.get_key_element()}={_shown(plain(value))}"
                if key not in _present(replace(self, overrides=(*others, *_parsed([choice])))._configuration()):
                    return choice
        return None

    def _unknown(self, key: str, present: Iterable[str]) -> str:
        """Return what to say of a setting that is not among those that are ``present``."""
        if key in self.files.groups or "/" in key:
            return self.no_group(key)
        missing = f"there is no setting {key!r}."
        if choices := self._choices_with(key):
            return f"{missing[:-1]} here; it is a setting of {' and '.join(choices)}"
        if others := self._for_another(key.partition(".")[0], {}):
            return others
        place, _, name = key.rpartition(".")
        if place.partition(".")[0] in PASSED_ON:
            beside = [other.rpartition(".")[2] for other in present if other.rpartition(".")[0] == place]
            close = difflib.get_close_matches(name, beside, n=1, cutoff=0.8)
            near = f" Did you mean {f'{place}.{close[0]}'!r}?" if close else ""
            return f"{missing}{near} To add an argument of another library, give +{key}=..., with +"
        if members_of(place) is not None:
            return f"{missing} To add it, give +{key}=..."
        return f"{missing}{self._nearest(key, present)} `--cfg job` prints all settings."

    def _check_below(self, key: str, settings: Any, known: Any, choices: Mapping[str, Any]) -> None:
        """Check all settings in a mapping that our files define as ``known``."""
        if not isinstance(known, Mapping) or limit_of(key) is not None:
            return
        if not isinstance(settings, Mapping):
            raise InputError(self._no_mapping(key, settings, choices))
        if settings.get("_target_") != known.get("_target_"):
            return  # our files do not say what an object of another class takes
        for name, value in settings.items():
            if name not in known:
                inside = [f"{key}.{inner}" for inner in keys_of(known)]
                raise InputError(self._unknown(f"{key}.{name}", inside))
            self._check_below(f"{key}.{name}", value, known[name], choices)

    def _known(self, content: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
        """Return all settings that the chosen files define, apart from experiments."""
        found = self.files.settings("", self.command)
        known: dict[str, Any] = {**dict.fromkeys(self.files.groups_of(self.command)), **found}
        known.pop("hydra", None)
        for group in self.files.groups:  # sorted, so that nested groups come after those that they are in
            for choice in self._chosen(group, content, choices):
                package = self.files.package(group, choice)
                if package == GLOBAL:
                    if group in {"launcher", "refine"}:  # with settings of their own at the top
                        known = {**dict.fromkeys(self.files.settings(group, choice)), **known}
                    continue
                *above, name = package.split(".")
                place = known
                for part in above:
                    inner = place.get(part)
                    place[part] = inner if isinstance(inner, dict) else {}
                    place = place[part]
                place[name] = self.files.settings(group, choice) if self.files.is_complete(group, choice) else None
        return known

    def _chosen(self, group: str, content: Mapping[str, Any], choices: Mapping[str, Any]) -> Iterator[str]:
        """Yield the choices of a group. Several choices are not in Hydra's list, and are known by their result."""
        if isinstance(choices.get(group), str):
            yield choices[group]
            return
        for choice in self.files.choices(group):
            above, _, name = self.files.package(group, choice).rpartition(".")
            if above == group and name in (content.get(group) or {}):
                yield choice

    def _takes_list(self, group: str) -> bool:
        """Whether several choices can stand side by side, and do not mix two objects into one."""
        return not any(
            "_target_" in self.files.settings(group, choice)
            and self.files.package(group, choice) == group.replace("/", ".")
            for choice in self.files.choices(group)
        )

    def _expected(self, group: str) -> str:
        several = ", or a list of different ones" if self._takes_list(group) else ""
        return f"one of {', '.join(self.files.choices(group))}{several}"

    def _no_mapping(self, key: str, value: Any, choices: Mapping[str, Any]) -> str:
        group = key.replace(".", "/")
        if isinstance(value, str) and value in self.files.choices(group):
            where = "on the command line or in a defaults list"
            return f"{key}={value}: it must be a mapping; to choose a file, give {group}={value} {where}"
        example = choices.get(group) or next(iter(self.files.choices(group)), None)
        file = f", as in {group}/{example}.yaml" if example else ""
        return f"{key}={_shown(value)}: it must be a mapping{file}"

    def _no_addition(self, key: str) -> str:
        return f"there is no group or setting {key!r} to add.{self.near_setting(key)}"

    def _choices_with(self, key: str) -> list[str]:
        """Return the choices, as ``labeling=prototype``, that have a setting."""
        return [f"{group}={choice}" for group, choice, setting in self._all_settings() if setting == key]

    def _nearest(self, key: str, present: Iterable[str]) -> str:
        """Return `` Did you mean 'x'?`` for what a mistyped key may have meant, or nothing.

        A setting beside it comes first, then one of the same name in another place, then one whose full key is close.
        """
        groups = self.files.groups_of(self.command)
        others = [setting for group, _, setting in self._all_settings() if group.partition("/")[0] in groups]
        keys = [name for name in dict.fromkeys([*present, *others]) if not name.endswith("_target_")]
        place, dot, name = key.rpartition(".")
        beside = [other.rpartition(".")[2] for other in keys if other.rpartition(".")[0] == place]
        if close := difflib.get_close_matches(name, beside, n=1):
            return f" Did you mean {place + dot + close[0]!r}?"
        if close := difflib.get_close_matches(name, [other.rpartition(".")[2] for other in keys], n=1):
            named = [other for other in keys if other.rpartition(".")[2] == close[0]]
            return f" Did you mean {difflib.get_close_matches(key, named, n=1, cutoff=0)[0]!r}?"
        return nearest(key, keys)

    def _all_settings(self) -> Iterator[tuple[str, str, str]]:
        """Yield the group, the choice and the full key of every setting of every file."""
        for group, choices in self.files.groups.items():
            for choice in choices:
                package = self.files.package(group, choice)
                if package != GLOBAL:
                    for key in keys_of(self.files.settings(group, choice)):
                        yield group, choice, f"{package}.{key}"

    def _for_another(self, key: str, choices: Mapping[str, Any]) -> str | None:
        """Return what to say of a key that other commands have, together with all that its experiment sets."""
        beside = self.files.settings("experiment", str(choices.get("experiment")))
        others = self._for_others(key, *(name for name in beside if name != "hydra"))
        return f"there is no setting {key!r} in avvp_pl.{self.command}; {others}" if others else None

    def _for_others(self, *keys: str) -> str:
        """Return which other commands have all of these settings, unless this command has the first of them."""
        has = {
            path.stem: {*self.files.settings("", path.stem), *self.files.groups_of(path.stem)}
            for path in sorted(config_dir().glob("*.yaml"))
        }
        if keys[0] in has[self.command]:
            return ""
        others = [f"avvp_pl.{name}" for name, known in has.items() if set(keys) <= known]
        return f"it is for python -m {' or '.join(others)}" if others else ""

    def _configuration(self) -> DictConfig:
        """Return the configuration with the groups of the command line, but without any single settings.

        A group that is swept has its first choice.
        """
        return self._composed(self._groups(swept=True))

    def _groups(self, swept: bool) -> list[str]:
        """Return the choices of groups on the command line; of those that are ``swept`` the first one, or none."""
        groups = []
        for override in self.overrides:
            if override.key_or_group not in self.files.groups or override.is_delete():
                continue
            if swept or not override.is_sweep_override():
                key = str(override.input_line).partition("=")[0]
                groups += [f"{key}={_shown(plain(value))}" for value in [*values_of(override)][:1]]
        return groups

    def _of_sweep(self, arguments: Sequence[str], overrides: Sequence[str]) -> DictConfig | None:
        """Return the configuration of a sweep before its jobs, with these overrides; None if there is no sweep."""
        asked = bool({"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(arguments))
        named = any(override.key_or_group == "sweep" for override in self.overrides)
        if not asked and not named and not self.files.own:
            return None
        base = self._composed(overrides, with_hydra=True)
        # the parameters are as a sweep file gives them; null for commands without sweeps
        is_sweep = asked or base.hydra.mode == RunMode.MULTIRUN
        return base if is_sweep and base.hydra.sweeper.get("params") is not None else None

    def _composed(self, overrides: Sequence[str], with_hydra: bool = False) -> DictConfig:
        """Return the configuration with these overrides, or without any if they cannot be composed."""
        own = [f"hydra.searchpath=[{','.join(map(repr, self.files.own))}]"] if self.files.own else []
        running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
        try:
            for attempt in ([*own, *overrides], []):  # the overrides may themselves be what is wrong
                GlobalHydra.instance().clear()
                with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"), suppress(Exception):
                    return compose(self.command, attempt, return_hydra_config=with_hydra)
        finally:
            GlobalHydra.instance().hydra = running
        raise AssertionError("the configuration without overrides must compose")


def _first_values(overrides: Iterable[Override]) -> Iterator[str]:
    """Yield the overrides of the first job of a sweep, without those whose values only Hydra can expand."""
    for override in overrides:
        if not override.is_sweep_override():
            yield str(override.input_line)
        else:
            yield from (f"{override.get_key_element()}={_shown(plain(value))}" for value in [*values_of(override)][:1])


def _jobs(overrides: list[Override], subdir: str) -> list[list[str]]:
    """Return the overrides of each job of a sweep. Raises :class:`InputError` if only Hydra can tell them."""
    if not any(override.value_type == ValueType.GLOB_CHOICE_SWEEP for override in overrides):
        with suppress(HydraException):  # of a search, which draws its values
            return BasicSweeper.split_arguments(overrides, None)[0]
    raise InputError(
        f"hydra.sweep.subdir={subdir}: which jobs this sweep has is only known when they run; add ${{hydra.job.num}}, "
        "so that each has a folder of its own"
    )


def _subdir(cfg: DictConfig) -> str:
    """Return the folder of a job as it is written, with interpolations."""
    sweep: Any = OmegaConf.to_container(cfg.hydra.sweep)
    return str(sweep["subdir"])


def _check_inside(folder: str, subdir: str) -> None:
    if Path(folder).is_absolute() or ".." in Path(folder).parts:
        raise InputError(f"hydra.sweep.subdir={subdir}: it must be a folder inside hydra.sweep.dir")


def _folder(cfg: DictConfig) -> str | None:
    """Return the folder of a job that does not run yet; None if only the job can tell."""
    running = HydraConfig.instance().cfg
    try:
        HydraConfig.instance().set_config(cfg)  # for ${hydra:...}
        return os.path.normpath(str(cfg.hydra.sweep.subdir))
    except OmegaConfBaseException:
        return None
    finally:
        HydraConfig.instance().cfg = running


def _parsed(overrides: Iterable[str]) -> tuple[Override, ...]:
    return tuple(OverridesParser.create().parse_overrides(list(overrides)))


def _quoted(value: str) -> str:
    """Return the text of a value as a string that neither Hydra nor OmegaConf interprets before a job has it."""
    return "'" + value.replace("'", r"\'").replace("${", r"\${") + "'"


def _shown(value: Any) -> str:
    """Return a value as it is written on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_shown, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _present(cfg: DictConfig, prefix: str = "") -> list[str]:
    """Return the full keys of all settings and mappings."""
    keys = []
    for name in cfg:
        keys.append(f"{prefix}{name!s}")
        with suppress(OmegaConfBaseException):  # a value is missing, or interpolates what only a run can resolve
            value = cfg[name]
            if isinstance(value, DictConfig):
                keys += _present(value, f"{prefix}{name!s}.")
    return keys
