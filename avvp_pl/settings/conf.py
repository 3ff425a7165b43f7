"""The configuration files: those in ``conf/``, and those in the user's own folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from functools import cache, cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from avvp_pl.errors import InputError, nearest
from avvp_pl.settings.check import plain
from avvp_pl.settings.comments import Described, describe
from avvp_pl.settings.limits import limit_of

PACKAGE = re.compile(r"\ufeff?\s*#\s*@package\s+(\S+)\s*")  # the line that says where the content of a file belongs
HEADER = 512  # so many characters are searched for it by Hydra, and only up to the first line that is not like it
LAID_OVER = {
    "predict": ("data", "extractors"),
    "recipe": ("network", "method", "inference", "labeling", "protocol", "optimizer"),
}
GLOBAL = ""  # the package of an experiment: its content stands at the top of the configuration


def _name_of_data(root: str) -> str:
    """Return the name of the data in a folder: ``${data_name:FOLDER}``."""
    from avvp_pl.data.known import name_of  # slow to import

    return name_of(root)


OmegaConf.register_new_resolver("data_name", _name_of_data, replace=True)


def config_dir() -> Path:
    """Return ``conf/``: inside the package where it is installed from a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


class ConfigFiles:
    """The files that Hydra finds. ``conf/`` comes first, then the user's folders in the order of Hydra's search path.

    A folder is a path, ``file://DIR`` or ``pkg://module``.
    """

    def __init__(self, own: Iterable[str] = ()) -> None:
        self.own = tuple(dict.fromkeys(own))
        self._read: dict[tuple[str, str], dict[str, Any]] = {}
        self._described: dict[tuple[str, str], Described] = {}
        self._incomplete: set[tuple[str, str]] = set()
        self._checked: set[tuple[str, str]] = set()
        self._beside: set[tuple[str, str]] = set()  # the files of other groups that defaults lists choose

    @classmethod
    def of_command_line(cls, arguments: Sequence[str], overrides: Iterable[Override]) -> ConfigFiles:
        """Return the files with those that ``--config-dir DIR`` and ``hydra.searchpath=[...]`` add."""
        own = [after for flag, after in pairwise(arguments) if flag in {"--config-dir", "-cd"}]
        own += [argument.partition("=")[2] for argument in arguments if argument.startswith("--config-dir=")]
        own = [f"file://{Path(folder).absolute()}" for folder in own]
        for override in overrides:
            folders = plain(override.value()) if override.key_or_group == "hydra.searchpath" else []
            with suppress(OmegaConfBaseException):  # of an interpolation
                own += map(str, OmegaConf.create({"folders": folders}).folders or [])
        return cls(own)

    @classmethod
    def of_job(cls, config_sources: Iterable[Mapping[str, str]]) -> ConfigFiles:
        """Return the files of a running job, which knows its search path (``hydra.runtime.config_sources``)."""
        ours = {("pkg", "hydra.conf"), ("file", str(config_dir())), ("file", str(config_dir().resolve()))}
        found = ((source["schema"], source["path"]) for source in config_sources)
        return cls(f"{scheme}://{path}" for scheme, path in found if path and (scheme, path) not in ours)

    @cached_property
    def folders(self) -> tuple[Traversable, ...]:
        """All folders that exist."""
        found: list[Traversable] = [config_dir()]
        for source in self.own:
            scheme, _, path = source.rpartition("://")
            with suppress(ImportError, ValueError, TypeError):  # Hydra itself says what is wrong with a folder
                found.append(files(path) if scheme == "pkg" else Path(path))
        return tuple(folder for folder in found if folder.is_dir())

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """All groups with their choices, nested groups such as ``optimizer/schedule`` included, without Hydra's own.

        The user's folders may hold anything, so new groups are found only at their top.
        """
        names = {*_groups_below(config_dir()), *(path.name for folder in self.folders for path in _folders_in(folder))}
        found = {name: {choice for folder in self.folders for choice in _choices(folder, name)} for name in names}
        return {name: sorted(choices) for name, choices in sorted(found.items()) if choices}

    def choices(self, group: str) -> list[str]:
        """Return the names of the files of a group."""
        return self.groups.get(group, [])

    def package(self, group: str, choice: str) -> str:
        """Return the key under which Hydra puts the content of a file, such as ``optimizer.schedule``."""
        usual = group.replace("/", ".")
        package = _header(self._text(group, choice)) or usual
        return {"_global_": GLOBAL, "_group_": usual}.get(package, package)

    def check(self, group: str, choice: str) -> None:
        """Raise :class:`InputError` if a chosen file is wrong, and Hydra would accept that or not name the file.

        The files that it builds on are checked, too, and those of other groups that it chooses.
        """
        self.settings(group, choice)
        while unchecked := [file for file in [*self._read, *self._beside] if file not in self._checked]:
            for file in unchecked:
                self.settings(*file)
                self._check_place(*file)
                if self._is_own(*file):
                    self._check_content(*file)
                self._checked.add(file)

    def stands_at_top(self, group: str) -> bool:
        """Return whether the files of a group belong at the top of the configuration, as the shipped ones do."""
        shipped = _shipped()
        choices = shipped.choices(group)
        return bool(choices) and all(shipped.package(group, choice) == GLOBAL for choice in choices)

    def _check_place(self, group: str, choice: str) -> None:
        paths = self._paths(group, choice)
        if not paths:
            return  # Hydra says so
        for other in paths[1:]:
            if other.read_bytes() != paths[0].read_bytes():
                raise InputError(f"{other}: has no effect, because {paths[0]} has the same name; give it another name")
        text, package = self._text(group, choice), self.package(group, choice)
        if not text.strip():
            return  # nothing could have an effect, or Hydra says that it cannot be read
        lines = [line for line in text.splitlines() if PACKAGE.fullmatch(line)]
        if lines and not _header(text):
            line = lines[0].strip("\ufeff \t")
        elif self._fits(group, choice, package):
            return
        else:
            shipped = _shipped_package(group, choice)
            line = "" if shipped == group.replace("/", ".") else f"# @package {shipped or '_global_'}"
        mark = ", without a byte-order mark before it" * text.startswith("\ufeff")
        must = (
            f"the first line of the file must be{mark}: {line}" if line else "the file must have no line `# @package`"
        )
        place = f"under {package!r}" if package else "at the top of the configuration"
        raise InputError(f"{paths[0]}: its settings would have no effect, because Hydra puts them {place}; {must}")

    def _fits(self, group: str, choice: str, package: str) -> bool:
        """Return whether the content of a file stands where that of the shipped files of its group does."""
        shipped = _shipped_package(group, choice)
        if shipped is None or package == shipped:
            return True
        if shipped == GLOBAL:  # an experiment may set nothing but one group
            return package.partition(".")[0] in {"hydra", *self.groups} - {group}
        usual = group.replace("/", ".")
        if package == GLOBAL:  # the file gives the group, and settings beside it
            return usual.partition(".")[0] in self.settings(group, choice)
        return package.startswith(f"{usual}.")  # one of several inferences, loggers or callbacks, of any name

    def _check_content(self, group: str, choice: str) -> None:
        """Refuse what Hydra would take for something else than was meant."""
        path, content = self._paths(group, choice)[0], self._content(group, choice)
        for name, value in content.items():
            listed = value if isinstance(value, list) else []
            if nearest(name.lower(), ["defaults"]) and name != "defaults" and any(map(self._is_default, listed)):
                raise InputError(f"{path}: {name!r} must be 'defaults', the list of the files that this one builds on")
        for name, value in _pairs(content.pop("defaults", None)):
            below, _, package = name.removeprefix("override ").partition("@")
            inside = any((folder / group / below).is_dir() for folder in self.folders)
            if below in self.groups and not inside:
                line = f"override /{below}{'@' * bool(package)}{package}: {_written(value)}"
                raise InputError(f"{path}: {name!r} in its defaults list is no group in {group}/; write: {line}")
        package = self.package(group, choice)
        for key, value in _dotted(content, f"{package}." if package else ""):
            *above, name = key.removeprefix(f"{package}." if package else "").split(".")
            nested = "".join(f"{part}: {{" for part in above) + f"{name}: {_written(value)}" + "}" * len(above)
            raise InputError(f"{path}: a key with dots is no setting in a file; write {key} as a mapping: {nested}")

    def _is_default(self, entry: Any) -> bool:
        """Return whether something looks like an entry of a defaults list."""
        if isinstance(entry, Mapping):
            return any(str(name).startswith(("override ", "/")) or name in self.groups for name in entry)
        return entry == "_self_" or any(entry in choices for choices in self.groups.values())

    def chosen_beside(self, group: str) -> Path | None:
        """Return an own file, among those read so far, whose defaults list has a group but does not override it."""
        for file in self._read:
            defaults = self._content(*file).get("defaults")
            if self._is_own(*file) and any(name.partition("@")[0] == f"/{group}" for name, _ in _pairs(defaults)):
                return Path(str(self._paths(*file)[0]))
        return None

    def misnamed(self, group: str, choice: str) -> Path | None:
        """Return a file of this name that Hydra does not find, because it ends in ``.yml``."""
        paths = (folder / group / f"{choice}.yml" for folder in self.folders)
        return next((Path(str(path)) for path in paths if path.is_file()), None)

    def given(self, choices: Mapping[str, Any]) -> Iterator[str]:
        """Yield the full keys of all settings in the user's own files, of the chosen ones and those they build on."""
        if not self.own:
            return
        read = ConfigFiles(self.own)
        for group, choice in choices.items():
            if isinstance(choice, str):
                read.settings(group, choice)
        for group, choice in read._read:
            if self._is_own(group, choice):
                package = self.package(group, choice)
                content = {name: value for name, value in self._content(group, choice).items() if name != "defaults"}
                yield from keys_of(content, f"{package}." if package else "")

    def settings(self, group: str, choice: str) -> dict[str, Any]:
        """Return the content of a file merged with the files in its defaults list; {} where it cannot be read."""
        if (group, choice) not in self._read:
            self._read[group, choice] = {}  # a file that builds on itself is an error for Hydra to report
            self._read[group, choice] = self._merged(group, choice)
        return self._read[group, choice]

    def is_complete(self, group: str, choice: str) -> bool:
        """Return whether :meth:`settings` has all that Hydra would compose: some defaults only Hydra can resolve."""
        self.settings(group, choice)
        return (group, choice) not in self._incomplete

    def described(self, group: str, choice: str) -> Described:
        """Return what a file says. A setting without a comment has that of a file that this one builds on.

        Of the files in its defaults list, ``bases`` has those of its group, as ``prototype`` names ``naive``.
        """
        if (group, choice) not in self._described:
            self._described[group, choice] = Described()  # a file that builds on itself is an error for Hydra to report
            found = describe(self._text(group, choice), self.package(group, choice))
            bases = tuple(base for base in found.bases if base in self.choices(group))
            above = {one.key: one.meaning for base in bases for one in self.described(group, base).settings}
            settings = tuple(replace(one, meaning=one.meaning or above.get(one.key, "")) for one in found.settings)
            self._described[group, choice] = replace(found, settings=settings, bases=bases)
        return self._described[group, choice]

    def not_utf8(self) -> Path | None:
        """Return a file that is not UTF-8 text, if there is one: the error of a YAML library does not name it."""
        for folder in self.folders:
            for path in sorted(folder.rglob("*.yaml")) if isinstance(folder, Path) else ():
                try:
                    path.read_text(encoding="utf-8")
                except UnicodeDecodeError:
                    return path
        return None

    def groups_of(self, command: str) -> list[str]:
        """Return the groups that a command has, according to the defaults list in ``conf/NAME.yaml``."""
        entries = self._content("", command).get("defaults") or []
        found = [str(name) for entry in entries if isinstance(entry, dict) for name in entry]
        return [name for name in found if not name.startswith("override ")]

    def laid_over(self, command: str, arguments: Sequence[str]) -> list[str]:
        """Return the groups whose single settings are laid over those of a training that the command does not compose.

        For commands with a checkpoint that is the data, for a recipe all groups of a method (:data:`LAID_OVER`). The
        arguments choose no other file of such a group.
        """
        defaults = self._content("", command).get("defaults") or []
        return [
            group
            for group in LAID_OVER.get(command, ("data",))
            if {group: None} in defaults and not any(re.match(rf"\+?{group}=", argument) for argument in arguments)
        ]

    def _merged(self, group: str, choice: str) -> dict[str, Any]:
        content = self._content(group, choice)
        defaults = content.pop("defaults", None) or []
        merged: dict[str, Any] = {}
        for entry in [*defaults, *(["_self_"] if "_self_" not in defaults else [])]:
            if entry == "_self_":
                merge(merged, content)
                continue
            # a sibling (`naive`), or a group below this one (`schedule: constant`)
            for name, chosen in ({"": entry} if isinstance(entry, str) else dict(entry)).items():
                below = str(name).removeprefix("override ")
                placed = re.fullmatch(r"/([\w/]+)@(?!_global_)([\w.]+)", below)
                if group and placed and re.fullmatch(r"[\w.-]+", str(chosen)):  # another group, placed in this one
                    inner = self.settings(placed[1], str(chosen))
                    for part in reversed(placed[2].split(".")):
                        inner = {part: inner}
                    merge(merged, inner)
                    if not self.is_complete(placed[1], str(chosen)):
                        self._incomplete.add((group, choice))
                    continue
                if below != name and below.startswith("/") and not below.startswith(f"/{group}"):
                    other = below.strip("/").partition("@")[0]
                    self._beside |= {(other, one) for one in (chosen if isinstance(chosen, list) else [str(chosen)])}
                    continue  # the choice of another group, which adds nothing to this one
                if not re.fullmatch(r"\w*", below) or not re.fullmatch(r"[\w.-]+", str(chosen)):
                    if group:
                        self._incomplete.add((group, choice))
                elif group and chosen is not None:
                    other = f"{group}/{below}" if below else group
                    inner = self.settings(other, str(chosen))
                    merge(merged, {below: inner} if below else inner)
                    if not self.is_complete(other, str(chosen)):
                        self._incomplete.add((group, choice))
        return merged

    def _content(self, group: str, choice: str) -> dict[str, Any]:
        return deepcopy(_parsed(self._text(group, choice)))

    def _text(self, group: str, choice: str) -> str:
        for path in self._paths(group, choice):
            with suppress(OSError, UnicodeDecodeError):
                return path.read_text(encoding="utf-8")
        return ""

    def _paths(self, group: str, choice: str) -> list[Traversable]:
        """Return all files of this name. Hydra uses the first one."""
        paths = (folder / group / f"{choice}.yaml" if group else folder / f"{choice}.yaml" for folder in self.folders)
        return [path for path in paths if path.is_file()]

    def _is_own(self, group: str, choice: str) -> bool:
        """Return whether the file that Hydra uses is one of the user's."""
        return bool(self._paths(group, choice)) and not _shipped()._paths(group, choice)


@cache  # every command reads most files, and a sweep or a session in Python does so again and again
def _parsed(text: str) -> dict[str, Any]:
    try:
        content = OmegaConf.to_container(OmegaConf.create(text))
    except Exception:  # a damaged file fails in a dozen ways; Hydra reports it if it is chosen
        return {}
    return {str(name): value for name, value in content.items()} if isinstance(content, dict) else {}


@cache  # looking for them in all folders takes longer than all else that they are needed for
def _shipped() -> ConfigFiles:
    return ConfigFiles()


def _shipped_package(group: str, choice: str) -> str | None:
    """Return the package that a file has if it is like the shipped files of its group; None if there are none."""
    shipped, usual = _shipped(), group.replace("/", ".")
    packages = {one: shipped.package(group, one) for one in shipped.choices(group)}
    if packages and all(package == f"{usual}.{one}" for one, package in packages.items()):
        return f"{usual}.{choice}"
    return packages.popitem()[1] if len(set(packages.values())) == 1 else None


def _pairs(defaults: Any) -> list[tuple[str, Any]]:
    """Return the groups of a defaults list with their choices, such as ``override /method`` with ``mil``."""
    entries = defaults if isinstance(defaults, list) else []
    return [(str(name), value) for entry in entries if isinstance(entry, Mapping) for name, value in entry.items()]


def _dotted(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the full keys with a dot in one name that would be settings if their parts were nested, and their values.

    What Hydra passes on, and mappings with names of their own such as streams, may have any names.
    """
    for name, value in content.items():
        key = f"{prefix}{name}"
        if "." in str(name) and (limit_of(key) is not None or not prefix):
            yield key, value
        elif isinstance(value, Mapping) and limit_of(key) is None and key != "hydra":
            yield from _dotted(value, f"{key}.")


def _written(value: Any) -> str:
    """Return a value as YAML writes it on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"))
    return text.removesuffix("\n...\n").strip()


def _header(text: str) -> str | None:
    """Return the package that the header of a file gives, in the way in which Hydra reads it."""
    package = None
    for line in text[:HEADER].splitlines():
        if line.strip() and not re.match(r"\s*#\s*@", line):
            break
        found = PACKAGE.fullmatch(line)
        package = found[1] if found else package
    return package


def merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the second mapping into the first, mapping by mapping, and return it.

    >>> merge({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}})
    {'a': 1, 'b': {'c': 2, 'd': 3}}
    """
    for name, value in above.items():
        if isinstance(value, Mapping):
            inner = below.get(name)
            below[name] = merge(inner if isinstance(inner, dict) else {}, value)
        else:
            below[name] = value
    return below


def keys_of(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the full keys of nested settings, those of mappings included.

    >>> list(keys_of({"a": 1, "b": {"c": 2}}))
    ['a', 'b', 'b.c']
    """
    for name, value in settings.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from keys_of(value, f"{prefix}{name}.")


def _folders_in(folder: Traversable) -> list[Traversable]:
    return [path for path in folder.iterdir() if path.is_dir() and path.name != "hydra"]


def _groups_below(folder: Traversable, above: str = "") -> Iterator[str]:
    for path in _folders_in(folder):
        yield f"{above}{path.name}"
        yield from _groups_below(path, f"{above}{path.name}/")


def _choices(folder: Traversable, group: str) -> list[str]:
    path = folder / group
    names = [file.name for file in path.iterdir()] if path.is_dir() else []
    return [name.removesuffix(".yaml") for name in names if name.endswith(".yaml")]
