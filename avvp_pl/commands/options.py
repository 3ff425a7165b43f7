"""The options of a command line, such as ``--help`` and ``-m``. They are Hydra's; settings are no options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser

from avvp_pl import __version__
from avvp_pl.errors import InputError, nearest
from avvp_pl.settings.names import Names


def options_of(arguments: Sequence[str], names: Names) -> argparse.Namespace:
    """Return the options among the arguments. Raises :class:`InputError` for an option that does not exist."""
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # it would print how to use Hydra
    parser.allow_abbrev = False  # --experiment is none of Hydra's --experimental-rerun
    known = [option for action in parser._actions for option in action.option_strings]
    for action in parser._actions:
        if isinstance(action, argparse._VersionAction):
            action.version = f"avvp_pl {__version__}, Hydra {hydra.__version__}"
    options, unknown = parser.parse_known_args(list(arguments))
    for argument in unknown:
        raise InputError(_no_option(argument, arguments, known, names))
    if options.config_dir is not None and not Path(options.config_dir).is_dir():
        raise InputError(f"--config-dir {options.config_dir}: there is no such folder")
    if options.experimental_rerun is not None:  # Hydra would unpickle a file, which may run any program
        raise InputError(
            "--experimental-rerun is not possible; give the settings again, which .hydra/overrides.yaml of the run has"
        )
    return options


def _refuse(message: str) -> NoReturn:
    raise InputError(f"{message}; --help lists the options")


def _no_option(argument: str, arguments: Sequence[str], known: Sequence[str], names: Names) -> str:
    if not argument.startswith("-"):
        return f"{argument!r}: give all settings in a row, before the options or after them"
    name, equals, value = argument.partition("=")
    key = name.lstrip("-").replace("-", "_")
    if setting := names.as_setting(key):
        after = arguments[arguments.index(argument) + 1 :]
        value = value if equals else next((one for one in after[:1] if one[:1] != "-" and "=" not in one), "VALUE")
        return f"there is no option {name!r}; settings are given without dashes: {setting}={value}"
    meant = nearest(name, known) or names.near_setting(key)
    return f"there is no option {name!r}.{meant} Settings are given without dashes, as NAME=VALUE; --help lists all"
