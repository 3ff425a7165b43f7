"""The command line as its user meant it, in the form that Hydra reads.

Hydra has a grammar of its own: a path with ``=``, brackets or letters outside ASCII is an error to it unless it stands
in quotes inside the quotes of the shell, and a ``~`` that no shell has replaced is the name of a folder.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from avvp_pl.errors import InputError
from avvp_pl.settings.check import plain
from avvp_pl.settings.limits import Each, Limit, Location, Names, OneOrMore, OrNull, Text, limit_of

FOLDERS = frozenset({"hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir"})
REPLACED = frozenset({"data.modalities"})  # a mapping that stands for all of its kind, so it is never merged


def for_hydra(arguments: Sequence[str], laid_over: Sequence[str] = ()) -> list[str]:
    """Return the arguments of a command as Hydra must be given them.

    The value of a setting that is text or a path may contain any character, and ``~`` is the home folder. In the groups
    ``laid_over``, whose settings the command does not know yet, a single setting can be given without ``+``. What this
    function returns, and :func:`replacing`, is not changed by it.

    Raises :class:`InputError` for an argument that cannot be read, with what to type instead.
    """
    multirun = bool({"-m", "--multirun"} & set(arguments))
    ready: list[str] = []
    for number, argument in enumerate(arguments):
        following = "".join(arguments[number + 1 : number + 2])
        if "\r" in argument:
            raise InputError(
                f"{argument!r} contains a carriage return: the script has Windows line ends; convert it, for example "
                "with: sed -i 's/\\r$//' SCRIPT"
            )
        flag, sign, value = argument.partition("=")
        if argument.startswith("-") and sign:
            ready.append(f"{flag}={_at_home(flag, value)}")
        elif argument.startswith(("-", "~")) or not sign:
            ready.append(argument)
        elif argument == f"{flag}=null" and _replaces(following) and following.startswith(f"{flag}="):
            continue
        else:
            group, dot, _ = flag.partition(".")
            plus = "+" if dot and group in laid_over else ""
            ready.append(plus + _readable(flag, value, _limit(flag.lstrip("+")), multirun))
    return ready


def replacing(arguments: Sequence[str]) -> list[str]:
    """Return arguments with which a mapping of :data:`REPLACED` settings replaces the one that is there.

    Hydra would merge the two, and refuse a new key.
    """
    ready: list[str] = []
    for argument in arguments:
        if _replaces(argument):
            ready.append(f"{argument.partition('=')[0]}=null")
        ready.append(argument)
    return ready


def _replaces(argument: str) -> bool:
    flag, _, value = argument.partition("=")
    return flag in REPLACED and value.lstrip().startswith("{")


def expand_homes(cfg: DictConfig, prefix: str = "") -> None:
    """Replace ``~`` at the start of all paths of a configuration, which may come from a file, by the home folder."""
    for name in cfg:
        key = f"{prefix}{name!s}"
        if OmegaConf.is_missing(cfg, name) or OmegaConf.is_interpolation(cfg, str(name)):
            continue
        value = cfg[name]
        if limit_of(key) is None:
            if isinstance(value, DictConfig):
                expand_homes(value, f"{key}.")
            continue
        given = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        if (home := _expanded(key, given)) != given:
            cfg[name] = home


def _expanded(key: str, value: Any) -> Any:
    """Return the value of a setting with ``~`` at the start of its paths replaced by the home folder."""
    if not isinstance(_innermost(_limit(key)), Location):
        return value
    if isinstance(value, Mapping):
        return {name: _at_home(key, path) for name, path in value.items()}
    return [_at_home(key, path) for path in value] if isinstance(value, list) else _at_home(key, value)


def _at_home(key: str, path: Any) -> Any:
    if not isinstance(path, str) or not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        raise InputError(
            f"{key}={path}: there is no such home folder; write ./{path} for a folder of this name"
        ) from None


def _readable(flag: str, value: str, limit: Limit | None, multirun: bool) -> str:
    """Return ``KEY=VALUE`` with a value that Hydra reads as it was meant."""
    key, argument = flag.lstrip("+"), f"{flag}={value}"
    override = _parsed(argument)
    if override is None:
        quoted = _quoted(key, value, multirun)
        argument = f"{flag}={quoted}"
        if quoted is None or (override := _parsed(argument)) is None:
            raise InputError(_unreadable(flag, value, limit))
    elif _is_one_text(override, value, limit) and not (multirun and override.is_sweep_override()):
        argument = f"{flag}={_quote(value)}"
        override = _parsed(argument)
    if override is None or override.is_sweep_override():
        return argument
    found = plain(override.value())
    home = _expanded(key, found)
    return argument if home == found else f"{flag}={_spelled(home)}"


def _is_one_text(override: Override, value: str, limit: Limit | None) -> bool:
    """Whether Hydra reads a list, a mapping or several values in the place of one path or text.

    Several paths that all exist are meant as several values, which Hydra explains.
    """
    if not isinstance(_without_null(limit), Location | Text):
        return False
    if override.is_sweep_override():
        return not all(Path(part).exists() for part in value.split(","))
    return isinstance(override.value(), list | dict)


def _limit(key: str) -> Limit | None:
    return Location() if key in FOLDERS else limit_of(key)


def _without_null(limit: Limit | None) -> Limit | None:
    return limit.limit if isinstance(limit, OrNull) else limit


def _innermost(limit: Limit | None) -> Limit | None:
    """Return the limit of each single value."""
    while isinstance(limit, OrNull | OneOrMore | Each):
        limit = limit.limit
    return limit


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def _quoted(key: str, value: str, multirun: bool) -> str | None:
    """Return a value that Hydra cannot read with quotes around each text in it; None where no text is expected."""
    limit, value = _without_null(_limit(key)), value.strip()

    def quote(text: str) -> str:
        return _quote(_expanded(key, text.strip()))

    def listed(words: str) -> str:
        return f"[{','.join(map(quote, words.strip()[1:-1].split(',')))}]"

    if not isinstance(_innermost(limit), Location | Text | Names):
        return None
    if isinstance(limit, Each) and isinstance(limit.limit, Names):
        named = re.compile(r"(\w+)\s*:\s*(\[[^\]]*\])")
        if named.sub("", value).strip("{, }"):  # something else than lists
            return None
        pairs = named.findall(value)
        return f"{{{','.join(f'{name}:{listed(words)}' for name, words in pairs)}}}"
    if isinstance(limit, Each):
        members = (member.partition(":") for member in value.strip("{}").split(","))
        return f"{{{','.join(f'{name.strip()}:{quote(path)}' for name, _, path in members)}}}"
    if not isinstance(limit, Location | Text) and re.fullmatch(r"\[.*\]", value, re.DOTALL):
        return listed(value)
    if isinstance(limit, Names):
        return None
    return ",".join(map(quote, value.split(","))) if multirun else quote(value)


def _quote(text: str) -> str:
    """Return text in quotes, unless it stands in quotes already."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text
    return QuotedString(text, Quote.single).with_quotes()


def _spelled(value: Any) -> str:
    """Return a value as it is written on the command line."""
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{name}:{_spelled(inner)}' for name, inner in value.items())}}}"
    return f"[{','.join(map(_spelled, value))}]" if isinstance(value, list) else _quote(str(value))


def _unreadable(flag: str, value: str, limit: Limit | None) -> str:
    """Return what to say of a value that Hydra cannot read, with the line to type."""
    if limit is not None and not isinstance(_innermost(limit), Location | Text | Names):
        return f"{flag}={value}: it must be {limit}"
    if re.match(r"\s*[\[{]", value):
        example = '{audio: ["a (b)"]}' if "{" in value else '["a (b)","c=d"]'
        return (
            f"{flag}={value}: cannot be read; close every bracket, and give a text with signs other than letters, "
            f"digits and - . / : in quotes inside the quotes, as in '{flag}={example}'"
        )
    return f"{flag}={value}: cannot be read; if it is text, give it in quotes inside the quotes: " + shlex.quote(
        f'{flag}="{value}"'
    )
