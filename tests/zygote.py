"""A process that has imported everything and forks a real command of ``avvp_pl`` for every line on its standard input.

So a test can start, kill and resume dozens of runs, each in a process group of its own, in a second each. A line is
JSON with ``module``, ``arguments``, ``folder``, ``out`` and ``err`` (the files for its output), ``environment``
(additional variables), ``path`` (folders in which Python looks for modules first), ``largest_file`` (in bytes, to
imitate a full disk), and ``point`` (``module:name``), ``call``, ``signal`` and ``rank``: the signal comes just before
that call of the function ``point``, counted from 1, in the process of that rank; SIGKILL goes to all processes. The
answers are the process id, then the exit status.

Instead of ``module`` and ``arguments`` there may be ``settings`` and ``run``, for a training from Python in the folder
``run``. Its settings are composed before the fork, once for all runs that have the same.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import count
from types import SimpleNamespace
from typing import Any, NoReturn

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from avvp_pl.commands import stages
from avvp_pl.errors import InputError
from avvp_pl.library.training import compose, fit
from avvp_pl.processes.signals import STOPPING
from avvp_pl.runs.sweeps import SweepSummary
from avvp_pl.settings.conf import ConfigFiles

# What a training consists of; other rooms may need what is not installed
ROOMS = (
    *("data", "models", "losses", "pseudo_labels", "metrics", "methods", "labeling", "inference"),
    *("training", "tasks", "runs", "settings", "processes"),
)


def send_signal_at(point: str, call: int, number: int, rank: int) -> None:
    module, _, path = point.partition(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), count(1)

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        now = next(calls) == call
        if now and number == signal.SIGKILL:
            os.killpg(0, number)
        elif now and int(os.environ.get("LOCAL_RANK", "0")) == rank:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    setattr(owner, name, interrupted)


class Stage:
    """What a recipe uses of ``subprocess.Popen`` for its stages, as a fork: nothing has to be imported again."""

    def __init__(self, command: list[str], *, preexec_fn: Callable[[], None], **options: Any) -> None:
        assert options == {"stderr": subprocess.PIPE, "text": True, "errors": "replace", "process_group": 0}
        assert command[:2] == [sys.executable, "-m"]
        sys.stdout.flush()
        sys.stderr.flush()
        reading, writing = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            preexec_fn()
            for number in STOPPING:
                signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
            os.dup2(writing, 2)
            os.closerange(3, 256)  # above all that of the lock of a folder
            GlobalHydra.instance().clear()
            SweepSummary.folder = None
            call(command[2], command[3:])
        os.close(writing)
        self.stderr = os.fdopen(reading, errors="replace")

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.stderr.close()
        self.wait()

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def run(order: dict[str, Any]) -> None:
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, stream in ((1, "out"), (2, "err")):
        os.dup2(os.open(order[stream], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
    os.chdir(order["folder"])
    os.environ.update(order.get("environment", {}))
    sys.path[:0] = order.get("path", [])
    sys.dont_write_bytecode, sys.pycache_prefix = False, None  # compiled files tell which modules were imported
    if "largest_file" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"], resource.RLIM_INFINITY))
    if "point" in order:
        send_signal_at(order["point"], order["call"], order["signal"], order["rank"])
    vars(stages)["subprocess"] = SimpleNamespace(Popen=Stage, PIPE=subprocess.PIPE)
    if "settings" in order:
        end_with(lambda: train(order["settings"], order["run"]))
    call(order["module"], order["arguments"])


def train(settings: list[str], run: str) -> None:
    fit(composed(*settings), run)


@cache
def composed(*settings: str) -> DictConfig:
    return compose(*settings)


def call(module: str, arguments: list[str]) -> NoReturn:
    """Do what ``python -m MODULE ARGUMENTS`` does, and end this process."""
    sys.argv = [module, *arguments]
    end_with(importlib.import_module(module).main)


def end_with(main: Callable[[], int | None]) -> NoReturn:
    code = 1
    try:
        code = int(main() or 0)
    except SystemExit as leave:
        code = int(leave.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def warm_up() -> None:
    """Import what runs would import, and read what they would read, once and not in every fork."""
    yaml.SafeLoader = yaml.CSafeLoader  # as in conftest.py
    for name in ("build", "launching", "refining", "restore"):
        importlib.import_module(f"avvp_pl.commands.{name}")
    for room in ROOMS:
        package = importlib.import_module(f"avvp_pl.{room}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    Plugins.instance()
    files = ConfigFiles()
    for group, choices in files.groups.items():
        for choice in choices:
            files.settings(group, choice)
    gc.freeze()  # else a fork copies all memory as soon as it collects garbage


def serve() -> None:
    warm_up()
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "settings" in order:
            with suppress(InputError):  # the fork is told so, too
                composed(*order["settings"])
        pid = os.fork()
        if pid == 0:
            run(order)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    # A test before may have started a service of W&B. It would outlive a killed run, and call its identifier in use.
    os.environ.pop("WANDB_SERVICE", None)
    serve()
