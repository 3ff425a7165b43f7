"""Commands in forks of one process that has imported everything: a second each, where a new process takes five."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]


class Zygote:
    """The client of ``tests/zygote.py``, of which one is enough for all the tests in a process."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "ignore", "-m", "tests.zygote"]
        self.process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.running: int | None = None
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def start(self, *, folder: Path, out: Path, err: Path, **order: Any) -> int:
        """Start a process in a folder, whose output goes to these files; its number. ``order``: see the zygote."""
        if self.running is not None:  # a test has failed before it ended
            with suppress(ProcessLookupError):
                os.killpg(self.running, signal.SIGKILL)
            self.ended()
        assert self.process.stdin is not None
        order |= {"folder": str(folder), "out": str(out), "err": str(err)}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        self.running = int(self._answer())
        return self.running

    def ended(self) -> int:
        """The exit status of the process that was started last."""
        status = int(self._answer())
        self.running = None
        return status

    def shell(self, name: str, *arguments: str, folder: Path, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command as :func:`tests.small.shell` does, but in a fork."""
        with tempfile.TemporaryDirectory() as kept:
            out, err = Path(kept) / "out", Path(kept) / "err"
            self.start(module=f"avvp_pl.{name}", arguments=arguments, folder=folder, out=out, err=err)
            done = subprocess.CompletedProcess(arguments, self.ended(), out.read_text(), err.read_text())
        assert not check or done.returncode == 0, done.stderr
        return done

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
