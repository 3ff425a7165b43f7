"""A process that has imported everything and forks a real ``avvp_pl.train`` for each line it is told.

So a test can start, kill and start again dozens of runs, each in a process group of its own, in a second each. A line
is JSON: ``arguments``, ``log`` (where its output goes) and, to be killed from inside, ``point`` (``module:name``) with
``call``: SIGKILL comes instead of that call, counted from 1. Answers are the process's number, then its exit status.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Any


def replace_by_kill(point: str, call: int) -> None:
    module, _, path = point.partition(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), count(1)

    def kill_or_call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            os.killpg(0, signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, kill_or_call)


def run(order: dict[str, Any]) -> None:
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if order.get("point"):
        replace_by_kill(order["point"], order["call"])
    sys.argv = ["avvp_pl.train", *order["arguments"]]
    code = 1
    try:
        importlib.import_module("avvp_pl.train").main()
        code = 0
    except SystemExit as leave:
        code = int(leave.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    for module in ("train", "assemble", "callbacks.panels", "callbacks.run_files", "callbacks.safe_stop", "run_folder"):
        importlib.import_module(f"avvp_pl.{module}")
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            run(json.loads(line))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    os.chdir(Path(sys.argv[1]))
    serve()
