"""Freed memory is kept, which is seen by the pages that the system has to map again."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from avvp_pl.processes.memory import keep_freed_memory

# A step that needs 3 x 8 MB, again and again; how many pages of 4 KiB a step maps in the end
STEPS = """
import resource, sys
from avvp_pl.processes.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(b"x") * (8 << 20) for _ in range(3)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(max([step() for _ in range(8)][4:]))
"""


def mapped(*arguments: str, **environment: str) -> int:
    command = [sys.executable, "-c", STEPS, *arguments]
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(command, env={**os.environ, **path, **environment}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only GNU's C library has such settings")
def test_memory_of_a_step_is_mapped_once() -> None:
    assert mapped("leave") > 1000
    assert mapped("keep") < 100


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only GNU's C library has such settings")
def test_what_the_user_has_chosen_stays() -> None:
    assert mapped("keep", MALLOC_TRIM_THRESHOLD_="131072") > 1000


def test_nothing_happens_without_such_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: None) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", missing)
    keep_freed_memory()
