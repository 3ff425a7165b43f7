"""A folder for every run, evaluation and sweep by itself, also for those that start in the same second."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

TIME = re.compile(r"\$\{now:[^}]*%[ST]")  # a folder that is named by the second is meant to be a new one


class OwnFolder(Callback):
    """Hydra callback that creates a folder named by the time, and adds a number to its name where it exists already.

    Creating a folder succeeds in one process only, on shared disks as well. A folder that the user has named is not
    changed: a run may be resumed there, and an evaluation repeated.
    """

    is_new: ClassVar[bool] = False  # whether the run of this process has such a folder

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Create the folder of a run or an evaluation."""
        OwnFolder.is_new = _create(config, "run") is not None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Create the folder of a sweep, and tell its jobs, each of which composes a configuration of its own."""
        OwnFolder.is_new = False
        folder = _create(config, "sweep")
        if folder is not None:
            quoted = folder.replace("'", r"\'")
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{quoted}'")


def _create(config: DictConfig, kind: str) -> str | None:
    """Create the folder of a run or a sweep and return its name; None where it is not named by the time."""
    place = config.hydra[kind]
    as_given: Any = OmegaConf.to_container(place)
    if not TIME.search(str(as_given["dir"])):
        return None
    with _resolving(config), suppress(OSError, OmegaConfBaseException):  # Hydra itself says what is wrong with a folder
        wanted = str(place.dir)
        for number in count(1):
            folder = wanted if number == 1 else f"{wanted}_{number}"
            with suppress(FileExistsError):
                Path(folder).mkdir(parents=True)
                place.dir = folder
                return folder
    return None


@contextmanager
def _resolving(config: DictConfig) -> Iterator[None]:
    """Let ``${hydra:...}`` have a value before Hydra starts the job."""
    hydra = HydraConfig.instance()
    before = hydra.cfg
    hydra.set_config(copy.deepcopy(config))  # it makes what it is given read-only
    try:
        yield
    finally:
        hydra.cfg = before
