"""The stages of a recipe: each is a command of its own in a process of its own, and one that has ended is skipped."""

from __future__ import annotations

import ctypes
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from avvp_pl.errors import InputError, TrainingError, nearest, quote
from avvp_pl.files import atomic_write
from avvp_pl.library.training import compose
from avvp_pl.processes.signals import STOPPING, exit_code, handling, stop_at_once
from avvp_pl.runs import names
from avvp_pl.settings.conf import ConfigFiles
from avvp_pl.settings.names import Names
from avvp_pl.timelines.saving import PAGE

log = logging.getLogger(__name__)

# What is given to a recipe and not passed on: it chooses the stages, or where and how often they run
OF_RECIPES = {"recipe", "stages", "last", "only", "name", "sweep", "launcher"}
# The commands that can be stages, and which settings of the recipe each is given: training all but those above. The
# others train nothing and run in one process. They are given no group of the recipe, with one exception: a refinement
# has the data of its checkpoint, and one without a checkpoint that of the recipe
USED: Mapping[str, Collection[str] | None] = {
    "clips": {"debug"},
    "extract": {"debug"},
    "predict": {"seed", "threads", "debug", "trainer.accelerator"},
    "refine": {"seed", "threads", "debug", "trainer.accelerator"},
    "score": {"debug"},
    "train": None,
}


class Stage(NamedTuple):
    """One stage: its name, and the command with its settings."""

    name: str
    command: str
    settings: tuple[str, ...]


class Stages:
    """The stages of a recipe in its ``folder``, which is the run folder of the last training."""

    def __init__(self, stages: Sequence[Stage], folder: Path) -> None:
        self.stages, self.folder = stages, folder

    @classmethod
    def of_job(cls, cfg: DictConfig, folder: Path) -> Stages:
        """Return the stages of a running job, which pass its settings on.

        Raises :class:`InputError` for a recipe that cannot be run.
        """
        described = _described(cfg)
        job = HydraConfig.get()
        own = Names.of_job("recipe", job).files.own
        searched = [f"hydra.searchpath=[{','.join(map(repr, own))}]"] if own else []
        given = _given(job, own)
        if cfg.trainer.get("fast_dev_run"):
            raise InputError(
                "trainer.fast_dev_run writes no checkpoint, but the stages of a recipe need those of the stages before "
                "them; give trainer.max_epochs=1 and less data"
            )
        last, stages = [name for name, (command, _) in described.items() if command == "train"][-1], []
        for name, (command, settings) in described.items():
            with_data = not any(setting.startswith("checkpoint=") for setting in settings)
            passed_on = [setting for key, setting in given if _is_passed_on(key, command, with_data)]
            if command == "refine" and with_data and "data" not in {key for key, _ in given}:
                passed_on.insert(0, f"data={job.runtime.choices['data']}")
            if name == last:
                passed_on += [setting for key, setting in given if key == "name"] + list(cfg.last)
            passed_on += (cfg.only or {}).get(name, [])
            if command == "train":
                passed_on += [
                    "resume=auto",
                    f"hydra.run.dir={folder if name == last else folder / names.STAGES / name}",
                ]
                if name == last:
                    passed_on.append("hydra.output_subdir=null")  # that of the recipe stays there
            stages.append(Stage(name, command, (*searched, *settings, *passed_on)))
        return cls(stages, folder)

    def check(self) -> None:
        """Raise :class:`InputError` for wrong settings of any stage, before the first one begins."""
        for stage in self.stages:
            try:
                compose(*stage.settings, command=stage.command)
            except InputError as error:
                raise InputError(f"stage {stage.name} ({stage.command}): {error}") from None

    def run(self) -> None:
        """Run the stages that have not ended yet, and those after a stage that had to run."""
        done, ran = self._done(), False
        for number, stage in enumerate(self.stages, start=1):
            called = f"stage {number} of {len(self.stages)}, {stage.name}"
            command = [stage.command, *stage.settings]
            if not ran and done.get(stage.name) == command:
                log.info("%s: done before", called)
                continue
            ran = True
            log.info("%s: python -m avvp_pl.%s %s", called, stage.command, " ".join(stage.settings))
            _run(stage)
            done = {**{name: known for name, known in done.items() if name != stage.name}, stage.name: command}
            with atomic_write(self.folder / names.DONE) as file:
                json.dump(done, file, indent=1)

    def pages(self) -> list[Path]:
        """Return the pages of parsed videos that the stages have written."""
        outputs = [
            Path(setting.removeprefix("output="))
            for stage in self.stages
            for setting in stage.settings
            if stage.command == "predict" and setting.startswith("output=")
        ]
        return [output / PAGE for output in outputs if (output / PAGE).is_file()]

    def _done(self) -> dict[str, list[str]]:
        """Return the commands of the stages that have ended."""
        path = self.folder / names.DONE
        with suppress(FileNotFoundError, ValueError):  # a damaged file: the stages find their own results
            done = json.loads(path.read_text(encoding="utf-8"))
            return done if isinstance(done, dict) else {}
        return {}


def _described(cfg: DictConfig) -> dict[str, tuple[str, list[str]]]:
    """Return the command and the settings of each stage."""
    stages: Any = OmegaConf.to_container(cfg.stages, resolve=True) if cfg.stages else {}
    if not stages:
        raise InputError("stages: there are none; give a recipe, such as +recipe=ma")
    described = {}
    for name, stage in stages.items():
        if not isinstance(stage, Mapping) or set(stage) != {"command", "settings"}:
            raise InputError(f"stages.{name}: it must have a command and settings, and nothing else")
        command, settings = stage["command"], stage["settings"]
        if command not in USED:
            raise InputError(f"stages.{name}.command={quote(str(command))}: it must be one of {', '.join(USED)}")
        if not isinstance(settings, list) or not all(isinstance(setting, str) for setting in settings):
            raise InputError(f"stages.{name}.settings: it must be a list such as [+experiment=mil]")
        described[str(name)] = (command, settings)
    if "train" not in {command for command, _ in described.values()}:
        raise InputError("stages: none of them is train, and the folder of a recipe is that of its last training")
    for name in map(str, cfg.only or ()):
        if name not in described:
            raise InputError(
                f"only.{name}: there is no such stage.{nearest(name, described)} The stages are {', '.join(described)}"
            )
    return described


def _given(job: Any, own: Sequence[str]) -> list[tuple[str, str]]:
    """Return the settings that a job was given, each with its key, as stages can be given them.

    A setting of a group that only the stages have was added to the recipe, and may be there or not in a stage.
    """
    settings: Any = OmegaConf.to_container(job.overrides.task)
    laid_over = ConfigFiles(own).laid_over("recipe", settings)
    given = []
    for setting, override in zip(settings, OverridesParser.create().parse_overrides(settings), strict=True):
        key = override.key_or_group
        group, dot, _ = key.partition(".")
        given.append((key, f"++{setting.lstrip('+')}" if dot and group in laid_over else setting))
    return given


def _is_passed_on(key: str, command: str, with_data: bool) -> bool:
    group, used = key.partition(".")[0], USED[command]
    if used is None:
        return group not in OF_RECIPES
    return key in used or (command == "refine" and with_data and group == "data")


def _run(stage: Stage) -> None:
    """Run the command of a stage to its end, with the output of both.

    Signals are passed on. Raises the error of the command, or exits with its code if it was stopped.
    """
    command = [sys.executable, "-m", f"avvp_pl.{stage.command}", *stage.settings]
    message = ""
    # in a process group of its own, a signal from the keyboard arrives once: from here
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, errors="replace", process_group=0, preexec_fn=_die_with_parent
    ) as process:

        def pass_on(number: int, frame: FrameType | None) -> None:
            if process.poll() is not None:
                stop_at_once(number, frame)
            process.send_signal(number)

        with handling(pass_on):
            assert process.stderr is not None
            for line in process.stderr:
                if message or line.startswith(f"avvp_pl.{stage.command}: "):
                    message += line
                else:
                    print(line, end="", file=sys.stderr, flush=True)
            code = process.wait()
    said = message.partition(": ")[2].strip()
    if code in map(exit_code, STOPPING):
        raise SystemExit(code)
    if code == 2:
        raise InputError(f"stage {stage.name}: {said}")
    if code:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise TrainingError(f"stage {stage.name}: {said or f'it was ended by {how}'}; the same command resumes it")


def _die_with_parent() -> None:
    """End this process if its parent is killed, as it would hold the folder against a resumed recipe (on Linux)."""
    with suppress(Exception):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
