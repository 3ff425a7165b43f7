"""What all commands share: the configuration, settings checked before any work, errors as messages, exit codes.

0 done; 2 bad input or settings, one message on stderr and no traceback unless ``debug=true``; 130 and 143 after
SIGINT and SIGTERM; 1 anything else, failed jobs of a sweep included. Nothing heavy is imported here, so that
``--help`` is fast.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from avvp_pl.errors import InputError, TrainingError, nearest
from avvp_pl.settings import check_settings, check_sweep, unknown_key
from avvp_pl.signals import handling, stop_at_once
from avvp_pl.sweeps import conclude, record_failure

# Hydra wraps what fails while it builds an object, so its exceptions may hold an InputError
USER_ERRORS = (InputError, HydraException, OmegaConfBaseException)
MESSAGES = (*USER_ERRORS, TrainingError)  # errors that need no traceback

# A disk that is full or may not be written to, met by those who do not say so themselves, such as Hydra
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.ENOENT}

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


def config_dir() -> Path:
    """``conf/``: inside the package of an installed wheel, beside it in a checkout."""
    package = Path(__file__).parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def command(name: str, task: Task) -> Callable[[], None]:
    """The ``main`` of ``python -m avvp_pl.NAME``: Hydra with ``conf/NAME.yaml`` around ``task``."""

    def checked(cfg: DictConfig) -> Any:
        hydra_cfg = HydraConfig.get()
        try:
            _check_additions(hydra_cfg.overrides.task)
            _require_all(cfg)
            check_settings(cfg)
            return task(cfg)
        except Exception as error:
            if hydra_cfg.mode == RunMode.MULTIRUN and "summary" in hydra_cfg.callbacks:
                # raised, it would end the sweep at the next batch of jobs, or on its way between processes
                record_failure(Path(hydra_cfg.runtime.output_dir), _explain(error, name), error)
                return None
            if hydra_cfg.mode == RunMode.MULTIRUN or not isinstance(error, MESSAGES):
                raise
            _leave(name, error, cfg.debug)

    def main() -> None:
        # Hydra would print errors in its own words and exit with 1; this hands them to the lines below
        os.environ["HYDRA_FULL_ERROR"] = "1"
        arguments = sys.argv[1:]
        debug = "debug=true" in arguments
        passed = True
        try:
            check_sweep([argument for argument in arguments if "=" in argument and argument[0] != "-"])
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
            disk = error if isinstance(error, OSError) else error.__cause__
            if isinstance(disk, OSError) and disk.errno in DISK:
                where = disk.filename or "the run folder"
                _leave(name, InputError(f"{where}: cannot be read or written ({disk.strerror})"), debug)
            if passed:
                raise
            _leave(name, error, debug, code=1)  # a launcher or sweeper gave up on what the summary names
        if not passed:
            sys.exit(1)

    return main


def _leave(name: str, error: Exception, debug: bool, code: int = 2) -> NoReturn:
    """Exit with one message."""
    if debug:
        traceback.print_exception(error)
    print(f"avvp_pl.{name}: {_explain(error, name)}", file=sys.stderr)
    sys.exit(1 if isinstance(error, TrainingError) else code)


def _explain(error: Exception, name: str) -> str:
    """One message for a user."""
    root = error.__cause__ or error
    if isinstance(error, TrainingError):
        return str(error)
    if not isinstance(error, USER_ERRORS):
        return f"{type(error).__name__}: {error}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file in PLUGINS:
        extra = PLUGINS[error.missing_cfg_file]
        return f'{error.missing_cfg_file} is not installed: pip install "avvp_pl[{extra}]"'
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        options = sorted(error.options or [])
        return f"there is no {group or 'config'} {choice!r}.{nearest(choice, options)} There are: {', '.join(options)}"
    if isinstance(root, InputError):
        return str(root)
    key = getattr(root, "full_key", None)
    missing = re.search(r"Missing mandatory value: (\S+)", f"{error} {root}")
    if missing:  # reached through an interpolation, the message has the full name; else the exception has it
        name = missing[1] if "interpolation" in f"{error} {root}" else str(key)
        return f"{name} must be given: {name}=..."
    if isinstance(root, OmegaConfBaseException) and key and "not in struct" in str(root):
        return unknown_key(_plain_config(name), str(key))
    if isinstance(root, OmegaConfBaseException):
        return f"{error} {root}".strip() if root is not error else str(root)
    return str(error)


def _check_additions(overrides: list[str]) -> None:
    """Refuse ``+key=value`` where it would be a mistyped group or an argument that nothing takes."""
    groups = [path.name for path in config_dir().iterdir() if path.is_dir()]
    for override in OverridesParser.create().parse_overrides(overrides):
        key = override.key_or_group
        if override.is_add() and key not in groups and not key.startswith(EXTENSIBLE):
            raise InputError(f"there is no group or setting {key!r} to add.{nearest(key, groups)}")


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
