"""What all commands share: the configuration, settings checked before any work, errors as messages, exit codes.

0 done; 2 bad input or settings, one message on stderr and no traceback unless ``debug=true``; 130 and 143 after
SIGINT and SIGTERM; 1 anything else, failed jobs of a sweep included. Nothing heavy is imported here, so that
``--help`` is fast.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from avvp_pl.errors import InputError, TrainingError, nearest, printable
from avvp_pl.processes.signals import handling, stop_at_once
from avvp_pl.runs.sweeps import conclude, record_failure
from avvp_pl.settings.conf import config_dir
from avvp_pl.settings.limits import check_settings, check_sweep, refuse_secrets, unknown_key

# Hydra wraps what fails while it builds an object, so its exceptions may hold an InputError
USER_ERRORS = (InputError, HydraException, OmegaConfBaseException)
MESSAGES = (*USER_ERRORS, TrainingError)  # errors that need no traceback
LIGHTNING_SAYS = "MisconfigurationException"  # of settings of its own; by name, for to import it takes seconds

# A disk that is full or may not be written to, met by those who do not say so themselves, such as loggers
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES}
DISK |= {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
# Before a job begins, what is missing or in the way is the run's folder; then it may be anything, such as a compiler
PATHS = {errno.ENOENT, errno.EEXIST}

Task = Callable[[DictConfig], Any]

# Hydra's plugins, and the extra that has each
PLUGINS = {
    "hydra/launcher/joblib": "sweep",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "optuna",
}

# Where `+key=value` may add what the configuration does not list: arguments that other libraries take.
EXTENSIBLE = ("trainer.", "logger.", "callbacks.", "hydra.", "hydra/")


def command(name: str, task: Task) -> Callable[[], None]:
    """The ``main`` of ``python -m avvp_pl.NAME``: Hydra with ``conf/NAME.yaml`` around ``task``."""
    began = False  # a job; what fails before one is of the command line, the configuration or the run's folder

    def checked(cfg: DictConfig) -> Any:
        nonlocal began
        began = True
        hydra_cfg = HydraConfig.get()
        try:
            _check_secrets(cfg, Path(hydra_cfg.runtime.output_dir))
            _check_additions(hydra_cfg.overrides.task)
            _check_keys(cfg, name, hydra_cfg.runtime.choices)
            _require_all(cfg)
            check_settings(cfg)
            return task(cfg)
        except Exception as error:
            if hydra_cfg.mode == RunMode.MULTIRUN and "summary" in hydra_cfg.callbacks:
                # raised, it would end the sweep at the next batch of jobs, or on its way between processes
                record_failure(Path(hydra_cfg.runtime.output_dir), _explain(error, name), error)
                return None
            if hydra_cfg.mode == RunMode.MULTIRUN or not (isinstance(error, MESSAGES) or _of_user(error, DISK)):
                raise
            _leave(name, error, cfg.debug)

    def main() -> None:
        nonlocal began
        began = False
        # Hydra would print errors in its own words and exit with 1; this hands them to the lines below
        os.environ["HYDRA_FULL_ERROR"] = "1"
        arguments = sys.argv[1:]
        debug = "debug=true" in arguments
        passed = True
        overrides = [argument for argument in arguments if "=" in argument and argument[0] != "-"]
        try:
            _check_choices(overrides)
            check_sweep(overrides)
            try:
                with handling(stop_at_once):
                    hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(checked)()
            finally:
                passed = conclude()
        except USER_ERRORS as error:
            _leave(name, error, debug)
        except KeyboardInterrupt:
            sys.exit(130)
        except Exception as error:
            if _of_user(error, DISK if began else DISK | PATHS):
                _leave(name, error, debug)
            if not passed:  # a launcher or sweeper gave up on what the summary names
                _leave(name, error, debug, code=1)
            if began or "-m" in arguments or "--multirun" in arguments:
                raise
            _leave(name, error, debug)
        if not passed:
            sys.exit(1)

    return main


def _leave(name: str, error: Exception, debug: bool, code: int = 2) -> NoReturn:
    """Exit with one message."""
    if debug:
        traceback.print_exception(error)
    print(f"avvp_pl.{name}: {printable(_explain(error, name))}", file=sys.stderr)
    sys.exit(1 if isinstance(error, TrainingError) else code)


def _explain(error: Exception, name: str) -> str:
    """One message for a user."""
    root = error.__cause__ or error
    if isinstance(error, InputError | TrainingError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file in PLUGINS:
        extra = PLUGINS[error.missing_cfg_file]
        return f'{error.missing_cfg_file} is not installed: pip install "avvp_pl[{extra}]"'
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        options = sorted(error.options or [])
        there = f" There are: {', '.join(options)}" if options else ""
        return f"there is no {group or 'config'} {choice!r}.{nearest(choice, options)}{there}"
    if isinstance(root, InputError):
        return str(root)
    if isinstance(root, OSError) and root.strerror:  # such as a file where the run's folder should be made
        return f"{root.filename or 'the run folder'}: cannot be read or written ({root.strerror})"
    if isinstance(error, InstantiationException):
        built = re.search(r"full_key: (\S+)", str(error))
        where = f"{built[1]}: " if built else ""
        return f"{where}{_one_line(root if root is error else _named(root))} (debug=true says where)"
    if not isinstance(error, USER_ERRORS):
        return _one_line(_named(error))
    key = getattr(root, "full_key", None)
    missing = re.search(r"Missing mandatory value: (\S+)", f"{error} {root}")
    if missing:  # reached through an interpolation, the message has the full name; else the exception has it
        name = missing[1] if "interpolation" in f"{error} {root}" else str(key)
        return f"{name} must be given: {name}=..."
    if isinstance(root, OmegaConfBaseException) and key and "not in struct" in str(root):
        return _of_another(name, str(key)) or unknown_key(_plain_config(name), str(key))
    if isinstance(root, OmegaConfBaseException):
        return _one_line(f"{error} {root}" if root is not error else root)
    return _one_line(error)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _one_line(said: object) -> str:
    """What a library says over several lines, without its notes for those who debug."""
    note = re.compile(r"(full_key: ?|object_type=|reference_type=|See https:)")
    lines = [line.strip() for line in str(said).splitlines()]
    kept = [line for line in lines if line and not note.match(line)]
    return " ".join(kept).replace(", set env var HYDRA_FULL_ERROR=1 to see chained exception.", "")


def _of_user(error: Exception, disk: set[int]) -> bool:
    """Whether another library met the disk, in one of these ways, or Lightning refuses a setting."""
    root = error if isinstance(error, OSError) else error.__cause__
    met = isinstance(root, OSError) and root.errno in disk
    return met or any(kind.__name__ == LIGHTNING_SAYS for kind in type(error).__mro__)


def _groups() -> list[str]:
    return [path.name for path in config_dir().iterdir() if path.is_dir()]


def _check_choices(overrides: list[str]) -> None:
    """Refuse for a group what is no word; Hydra's own message would not say for which."""
    for override in OverridesParser.create().parse_overrides(overrides):
        value = override.value()
        if override.key_or_group in _groups() and not override.is_delete() and isinstance(value, int | float | None):
            options = sorted(path.stem for path in (config_dir() / override.key_or_group).glob("*.yaml"))
            shown = "null" if value is None else value
            raise InputError(f"{override.key_or_group}={shown}: it must be one of {', '.join(options)}")


def _check_secrets(cfg: DictConfig, folder: Path) -> None:
    """Refuse a key that a file of the user's has, and remove what Hydra has just written of it."""
    try:
        refuse_secrets({str(name): part for name, part in OmegaConf.to_container(cfg).items()})  # type: ignore[union-attr]
    except InputError:
        shutil.rmtree(folder / ".hydra", ignore_errors=True)
        raise


def _check_additions(overrides: list[str]) -> None:
    """Refuse ``+key=value`` where it would be a mistyped group or an argument that nothing takes."""
    groups = _groups()
    for override in OverridesParser.create().parse_overrides(overrides):
        key = override.key_or_group
        if override.is_add() and key not in groups and not key.startswith(EXTENSIBLE):
            raise InputError(f"there is no group or setting {key!r} to add.{nearest(key, groups)}")


def _check_keys(cfg: DictConfig, name: str, choices: Mapping[str, Any]) -> None:
    """Refuse a key that no file of ours has: Hydra takes any from a file of the user's, and nothing would read it."""
    known = [*_keys_of(config_dir() / f"{name}.yaml"), *_groups()]
    for key in map(str, cfg):
        if key not in known:
            path = config_dir() / "experiment" / f"{choices.get('experiment')}.yaml"
            of_experiment = _keys_of(path) if path.exists() else []
            raise InputError(
                _of_another(name, key, of_experiment)
                or f"there is no setting {key!r}.{nearest(key, known)} `--cfg job` prints all settings."
            )
    for group in ():
        path = config_dir() / group / f"{choices.get(group)}.yaml"
        if group not in cfg or not path.exists():
            continue
        if not isinstance(cfg[group], DictConfig):
            shown = "null" if cfg[group] is None else cfg[group]
            raise InputError(f"{group}={shown}: it must be names and values, as in {group}/{path.name}")
        known_here = _keys_of(path)
        for key in map(str, cfg[group]):
            if key not in known_here and f"{group}." not in EXTENSIBLE:
                raise InputError(
                    f"there is no setting '{group}.{key}'.{nearest(key, known_here)} `--cfg job` prints all settings."
                )


def _of_another(name: str, key: str, beside: Iterable[str] = ()) -> str | None:
    """What to say of a key that this command does not have, and another has, with all those ``beside`` it."""
    keys = {path.stem: {*_keys_of(path), *_groups()} for path in sorted(config_dir().glob("*.yaml"))}
    others = [f"avvp_pl.{other}" for other, known in keys.items() if other != name and {key, *beside} <= known]
    if not others:
        return None
    return f"there is no setting {key!r} in avvp_pl.{name}; it is for python -m {' or '.join(others)}"


def _keys_of(path: Path) -> list[str]:
    """The keys of a file in ``conf/`` and of those of its group that it builds on."""
    content = OmegaConf.load(path)
    assert isinstance(content, DictConfig)
    parents = [parent for parent in content.get("defaults", []) if isinstance(parent, str) and parent != "_self_"]
    above = [key for parent in parents for key in _keys_of(path.with_name(f"{parent}.yaml"))]
    return list(dict.fromkeys([*above, *(str(key) for key in content if key != "defaults")]))


def _require_all(cfg: DictConfig) -> None:
    """Fail on ``???`` now, and not where the value is first used."""
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


def _plain_config(name: str) -> DictConfig:
    """The configuration with the groups of the command line but no single settings, to look for keys in."""
    groups = [argument for argument in sys.argv[1:] if "." not in argument and argument.lstrip("+")[0] != "-"]
    for overrides in (groups, []):  # the groups may themselves be what is wrong
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"), suppress(HydraException):
            return compose(name, overrides)
    raise AssertionError("the configuration without overrides must compose")
