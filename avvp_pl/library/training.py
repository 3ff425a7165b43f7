"""Trainings from Python: settings that are composed as on the command line, or by Hydra's own ``compose``."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from avvp_pl.commands.command import USER_ERRORS, check_values, explain
from avvp_pl.errors import InputError
from avvp_pl.runs.names import best_checkpoint, last_checkpoint
from avvp_pl.settings.arguments import for_hydra, replacing
from avvp_pl.settings.check import refuse_secrets
from avvp_pl.settings.conf import ConfigFiles, config_dir
from avvp_pl.settings.identity import leaves
from avvp_pl.settings.names import Names


class Trained(NamedTuple):
    """A finished training: its folder, the checkpoint of the epoch that was tested, and that epoch's validation score.

    The score is None if no epoch was selected by a score.
    """

    folder: Path
    checkpoint: Path
    validation_score: float | None


def compose(*overrides: str, command: str = "train", conf: str | Path | None = None) -> DictConfig:
    """Return the settings of a command, composed and checked as on the command line.

    ``overrides`` are what stands behind the command, such as ``"+experiment=ppl_soft"`` and ``"data.root=DIR"``, and
    ``conf`` is a folder of your own (``--config-dir``). Nothing in the result needs Hydra any more: ``paths.run_dir``
    is the folder that the command would use, which ``"hydra.run.dir=DIR"`` sets. Settings of the result can be changed.
    Hydra may be initialized elsewhere in the program; it stays as it is. Raises :class:`InputError` with the message
    of the command.

    >>> compose("+experiment=ppl_soft", "labeling.k=5").labeling.k
    5
    """
    for override in overrides:
        if not isinstance(override, str) or override.startswith("-"):
            raise InputError(f"{override!r} is not a setting; give each one as compose('+experiment=mil', 'seed=1')")
    own = [] if conf is None else ["--config-dir", str(conf)]
    names = Names(command, ConfigFiles(), ())
    try:
        given = for_hydra(overrides, names.files.laid_over(command, overrides))
        names = Names.of_command_line(command, own, given)
        names.check_choices()
        names.check_folders()
        searched = [f"hydra.searchpath=[{','.join(map(repr, names.files.own))}]"] if own else []
        with _own_hydra():
            cfg = hydra_compose(command, [*searched, *replacing(given)], return_hydra_config=True)
            HydraConfig.instance().set_config(cfg)
            with read_write(cfg.hydra.runtime):
                cfg.hydra.runtime.output_dir = str(Path(str(cfg.hydra.run.dir)).absolute())
            HydraConfig.instance().set_config(cfg)  # it keeps a copy
            names = Names.of_job(command, cfg.hydra)
            choices, mode = cfg.hydra.runtime.choices, cfg.hydra.mode
            names.check_single(cfg.hydra)
            _resolve_hydra(cfg)
            with open_dict(cfg):
                del cfg["hydra"]
        if mode == RunMode.MULTIRUN:
            raise InputError(
                f"a sweep is several runs, but compose returns the settings of one; start it by python -m "
                f"avvp_pl.{command}"
            )
        names.check_additions()
        names.check_keys(cfg, choices)
        _check(cfg, names.given(choices))
    except USER_ERRORS as error:
        raise InputError(explain(error, names)) from error
    return cfg


def fit(cfg: DictConfig, folder: str | Path | None = None) -> Trained:
    """Train, select an epoch and test it, as ``python -m avvp_pl.train`` does with these settings.

    ``cfg`` is the result of :func:`compose`, or of Hydra's own ``compose(config_name="train", overrides=[...])``.
    ``folder`` is the run folder; None: the one in ``cfg``, or, as Hydra's own compose gives none,
    ``outputs/NAME/TIME``. As the command does, this seeds all generators and sets the number of threads. Raises
    :class:`InputError` for bad settings or data, and :class:`TrainingError` if training diverges.
    """
    from avvp_pl.train import train

    names = Names("train", ConfigFiles(), ())
    try:
        ready = _ready(cfg, folder)
        _check(ready)
        score = train(ready)
    except USER_ERRORS as error:
        raise InputError(explain(error, names)) from error
    run = Path(ready.paths.run_dir)
    best = best_checkpoint(run)
    return Trained(run, best if best.exists() else last_checkpoint(run), score)


def _check(cfg: DictConfig, given: Collection[str] = ()) -> None:
    refuse_secrets(_plain(cfg))
    check_values(cfg, given)


def _ready(cfg: DictConfig, folder: str | Path | None) -> DictConfig:
    """Return a copy of the settings in which nothing needs a running Hydra."""
    settings = _plain(cfg)
    if not {"name", "paths", "data", "method", "trainer"} <= set(settings):
        raise InputError("these are not the settings of avvp_pl.train; avvp_pl.compose() returns them")
    ready = OmegaConf.create({name: value for name, value in settings.items() if name != "hydra"})
    if not _resolves(ready, "name"):
        ready.name = "train" if folder is None else Path(folder).name
    if folder is not None:
        ready.paths.run_dir = str(Path(folder).absolute())
    elif not _resolves(ready, "paths.run_dir"):
        started = time.strftime("%Y-%m-%d_%H-%M-%S")
        ready.paths.run_dir = str(Path(ready.paths.output_root, ready.name, started).absolute())
    return ready


def _resolves(cfg: DictConfig, key: str) -> bool:
    try:
        return OmegaConf.select(cfg, key) is not None
    except OmegaConfBaseException:  # it interpolates what only a running Hydra knows
        return False


def _resolve_hydra(cfg: DictConfig) -> None:
    """Replace the settings that interpolate what only a running Hydra knows by their values."""
    for key, value in leaves({str(name): part for name, part in _plain(cfg).items() if name != "hydra"}):
        if isinstance(value, str) and "${hydra:" in value:
            OmegaConf.update(cfg, key, OmegaConf.select(cfg, key))


def _plain(cfg: DictConfig) -> dict[str, object]:
    content = OmegaConf.to_container(cfg)
    return {str(name): value for name, value in content.items()} if isinstance(content, dict) else {}


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Initialize Hydra with ``conf/``, and leave the program's own Hydra, if there is one, as it was."""
    running, settings = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().hydra = None
    try:
        with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = running, settings
