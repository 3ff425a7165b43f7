"""What all commands share: composing the configuration, checking it before any work, messages and exit codes.

Exit codes: 0 on success; 2 for bad input or bad settings, with one message on stderr and no traceback unless
``debug=true``; 130 and 143 after SIGINT and SIGTERM; 1 for anything else, failed jobs of a sweep included. Nothing
heavy is imported here, so that ``--help`` is fast.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from avvp_pl.commands.help import in_terminal, page_of
from avvp_pl.commands.options import options_of
from avvp_pl.errors import InputError, TrainingError, printable
from avvp_pl.processes.signals import handling, stop_at_once
from avvp_pl.processes.surroundings import become_independent
from avvp_pl.runs.sweeps import check_job, conclude, record_failure
from avvp_pl.settings.arguments import expand_homes, for_hydra, replacing
from avvp_pl.settings.check import check_settings, check_sweep, refuse_secrets
from avvp_pl.settings.conf import ConfigFiles, config_dir
from avvp_pl.settings.names import Names

# Hydra wraps errors that occur while it builds an object, so its exceptions may hold an InputError
USER_ERRORS = (InputError, HydraException, OmegaConfBaseException)
MESSAGES = (*USER_ERRORS, TrainingError)  # errors that need no traceback
OF_LIGHTNING = "MisconfigurationException"  # a bad setting; known by its name, because the import takes seconds

# The disk is full or read-only, or a path is impossible: errors that libraries such as loggers do not explain
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES}
DISK |= {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
# Before a job begins, these can only concern the run folder; later they can concern anything, such as a compiler
PATHS = {errno.ENOENT, errno.EEXIST}

Task = Callable[[DictConfig], Any]

# Hydra's plugins, and the extra that installs each
PLUGINS = {
    "hydra/launcher/joblib": "sweep",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "optuna",
}


def command(name: str, task: Task) -> Callable[[], None]:
    """Return the ``main`` of ``python -m avvp_pl.NAME``: Hydra with ``conf/NAME.yaml`` around ``task``."""
    began = False  # earlier errors can only concern the command line, the configuration or the run folder

    def checked(cfg: DictConfig) -> Any:
        nonlocal began
        began = True
        hydra_cfg = HydraConfig.get()
        names = Names.of_job(name, hydra_cfg)
        summarized = hydra_cfg.mode == RunMode.MULTIRUN and "summary" in hydra_cfg.callbacks
        if summarized:
            check_job(hydra_cfg)
        try:
            _check_secrets(cfg, Path(hydra_cfg.runtime.output_dir))
            names.check_single(hydra_cfg)
            names.check_additions()
            names.check_keys(cfg, hydra_cfg.runtime.choices)
            check_values(cfg, names.given(hydra_cfg.runtime.choices))
            return task(cfg)
        except Exception as error:
            if summarized:
                # an exception would end the sweep at the next batch of jobs, or fail to travel between processes
                record_failure(Path(hydra_cfg.runtime.output_dir), explain(error, names), error)
                return None
            if hydra_cfg.mode == RunMode.MULTIRUN or not (isinstance(error, MESSAGES) or _of_user(error, DISK)):
                raise
            _leave(names, error, cfg.debug)

    def main() -> None:
        nonlocal began
        began = False
        become_independent()
        # Hydra would print errors in its own words and exit with 1; this makes it raise them instead
        os.environ["HYDRA_FULL_ERROR"] = "1"
        arguments = sys.argv[1:]
        debug = "debug=true" in arguments
        passed = True
        names = Names(name, ConfigFiles(), ())
        try:
            arguments = for_hydra(arguments, names.files.laid_over(name, arguments))
            sys.argv[1:] = replacing(arguments)
            overrides = [argument for argument in arguments if "=" in argument and argument[0] != "-"]
            names = Names.of_command_line(name, arguments, overrides)
            if options_of(arguments, names).help:
                print(in_terminal(page_of(name, names.files), shutil.get_terminal_size().columns), end="")
                return
            names.check_choices()
            names.check_folders()
            check_sweep(overrides)
            names.check_jobs(arguments)
            sys.argv[1:] = names.for_jobs(sys.argv[1:])
            try:
                with handling(stop_at_once):
                    hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(checked)()
            finally:
                passed = conclude()
        except USER_ERRORS as error:
            _leave(names, error, debug)
        except KeyboardInterrupt:
            sys.exit(130)
        except Exception as error:
            if _of_user(error, DISK if began else DISK | PATHS):
                _leave(names, error, debug)
            if not passed:  # a launcher or sweeper gave up after the failures in the summary
                _leave(names, error, debug, code=1)
            if began or "-m" in arguments or "--multirun" in arguments:
                raise
            _leave(names, error, debug)
        if not passed:
            sys.exit(1)

    return main


def _leave(names: Names, error: Exception, debug: bool, code: int = 2) -> NoReturn:
    """Print one message and exit."""
    if debug:
        traceback.print_exception(error)
    print(f"avvp_pl.{names.command}: {printable(explain(error, names))}", file=sys.stderr)
    sys.exit(1 if isinstance(error, TrainingError) else code)


def explain(error: Exception, names: Names) -> str:
    """Return one message for the user."""
    root = error.__cause__ or error
    if isinstance(error, InputError | TrainingError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file in PLUGINS:
        extra = PLUGINS[error.missing_cfg_file]
        return f'{error.missing_cfg_file} is not installed: pip install -e ".[{extra}]" in the checkout'
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return names.no_choice(group, choice, sorted(error.options or names.files.choices(group)))
    if isinstance(root, InputError):
        return str(root)
    if isinstance(root, OSError) and root.strerror:
        reason = root.strerror
        if root.errno in {errno.EEXIST, errno.ENOTDIR}:
            reason = "a file is in the place of a folder"
        return f"{root.filename or 'the run folder'}: cannot be read or written ({reason})"
    if isinstance(root, UnicodeDecodeError) and (path := names.files.not_utf8()):
        return f"{path}: this is not UTF-8 text (byte 0x{root.object[root.start]:02x}); save the file as UTF-8"
    if isinstance(error, InstantiationException):
        built = re.search(r"full_key: (\S+)", str(error))
        where = f"{built[1]}: " if built else ""
        return f"{where}{_one_line(root if root is error else _named(root))} (debug=true shows where)"
    if not isinstance(error, USER_ERRORS):
        return _one_line(_named(error))
    return _missing_value(error, root) or _no_setting(error, root, names) or _of_hydra(error, root, names)


def _missing_value(error: Exception, root: BaseException) -> str | None:
    """Explain a value that must be given (``???``)."""
    missing = re.search(r"Missing mandatory value: (\S+)", f"{error} {root}")
    if missing is None:
        return None
    # the message has the full name if the value was reached through an interpolation, else the exception has it
    name = missing[1] if "interpolation" in f"{error} {root}" else str(getattr(root, "full_key", None))
    return f"{name} must be given: {name}=..."


def _no_setting(error: Exception, root: BaseException, names: Names) -> str | None:
    """Explain a setting that does not exist."""
    key = getattr(root, "full_key", None)
    if not isinstance(root, OmegaConfBaseException) or not key or "not in struct" not in str(root):
        return None
    given = re.search(r"Could not override '([^']+)'", str(error))
    if given and given[1].startswith(f"{key}."):  # only the first part that does not exist is in the exception
        key = given[1]
    return names.no_setting(str(key))


def _of_hydra(error: Exception, root: BaseException, names: Names) -> str:
    """Explain any other error of Hydra or OmegaConf."""
    message = str(error)
    if found := re.search(r"(?:In '([^']+)': )?Could not override '([^']+)'\. No match in the defaults list", message):
        return names.no_group(found[2], where=found[1] or "")
    if found := re.match(r"Error parsing override '([^']+)'\s+missing EQUAL", message):
        return f"{found[1]!r} has no value; settings are given as NAME=VALUE"
    key = getattr(root, "full_key", None)
    if key and (found := re.search(r"Interpolation key '([^']+)' not found", f"{root}")):
        return f"{key} takes its value from the setting {found[1]!r}, which does not exist"
    twice = r"Multiple values for ([\w/]+)\. To override|([\w/]+)(?:@\S+)? appears more than once in the final defaults"
    if found := re.match(twice, message):
        return _chosen_twice(found[1] or found[2], names)
    if found := re.match(r"Could not append to config. An item is already at '([^']+)'", message):
        return f"{found[1]!r} is a setting already; give {found[1]}=... without +"
    if isinstance(root, OmegaConfBaseException):
        return _one_line(f"{error} {root}" if root is not error else root)
    return _one_line(error)


def _chosen_twice(group: str, names: Names) -> str:
    """Explain a second value of a group: it may be that of a group that it is in, such as ``method/targets``."""
    around = [group, group.partition("/")[0]]
    for given in around:
        if file := names.files.chosen_beside(given):
            return f"{file}: the group {given} has a value already; in the defaults list, write: override /{given}"
    added = [override.key_or_group for override in names.overrides if override.is_add()]
    given = next((name for name in around if name in added), group)
    return f"the group {given} has a value already; give {given}=... without +"


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _one_line(message: object) -> str:
    """Return a library's message of several lines as one line, without its notes for developers."""
    note = re.compile(r"(full_key: ?|object_type=|reference_type=|See https:)")
    lines = [line.strip() for line in str(message).splitlines()]
    kept = [line for line in lines if line and not note.match(line)]
    return " ".join(kept).replace(", set env var HYDRA_FULL_ERROR=1 to see chained exception.", "")


def _of_user(error: Exception, disk: set[int]) -> bool:
    """Return whether the user can act on an error of a library: one of these errors of the disk, or of a setting."""
    root = error if isinstance(error, OSError) else error.__cause__
    of_disk = isinstance(root, OSError) and root.errno in disk
    return of_disk or any(kind.__name__ == OF_LIGHTNING for kind in type(error).__mro__)


def _check_secrets(cfg: DictConfig, folder: Path) -> None:
    """Refuse a secret in a file of the user's, and remove what Hydra has just written of it."""
    try:
        refuse_secrets({str(name): part for name, part in OmegaConf.to_container(cfg).items()})  # type: ignore[union-attr]
    except InputError:
        shutil.rmtree(folder / ".hydra", ignore_errors=True)
        raise


def check_values(cfg: DictConfig, given: Collection[str] = ()) -> None:
    """Fail on a missing value (``???``), or one that is not possible, now and not where it is first used.

    ``~`` at the start of paths becomes the home folder. ``given`` are the keys of the settings that the user gives.
    """
    expand_homes(cfg)
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    check_settings(cfg, given)
