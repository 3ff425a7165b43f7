"""A process that has imported everything and forks a real ``avvp_pl.train`` for every line on its standard input.

So a test can start, kill and resume dozens of runs, each in a process group of its own, in a second each. A line is
JSON with ``arguments``, ``log`` (the file for its output), ``environment`` (additional variables), ``largest_file`` (in
bytes, to imitate a full disk), and ``point`` (``module:name``), ``call``, ``signal`` and ``rank``: the signal comes
just before that call of the function ``point``, counted from 1, in the process of that rank; SIGKILL goes to all
processes. The answers are the process id, then the exit status.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import traceback
from itertools import count
from pathlib import Path
from typing import Any


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


def run(order: dict[str, Any]) -> None:
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(order.get("environment", {}))
    if "largest_file" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"], resource.RLIM_INFINITY))
    if "point" in order:
        send_signal_at(order["point"], order["call"], order["signal"], order["rank"])
    module = order.get("module", "avvp_pl.train")  # or another one with a main()
    sys.argv = [module, *order["arguments"]]
    code = 1
    try:
        code = int(importlib.import_module(module).main() or 0)
    except SystemExit as leave:
        code = int(leave.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    for module in (
        "train",
        "commands.build",
        "training.callbacks.panels",
        "training.callbacks.run_files",
        "training.callbacks.safe_stop",
        "runs.folder",
    ):
        importlib.import_module(f"avvp_pl.{module}")
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            run(json.loads(line))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    # A test before may have started a service of W&B. It would outlive a killed run, and call its identifier in use.
    os.environ.pop("WANDB_SERVICE", None)
    os.chdir(Path(sys.argv[1]))
    serve()
