"""Processes whose output nobody reads, in a pipe, a notebook or on a server. Each test starts one of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.small import environment

FULL = Path("/dev/full")  # a disk without space
SCRIPT = r"""
import logging, os, sys
from avvp_pl.processes.surroundings import become_independent
become_independent()
logging.basicConfig(stream=sys.stdout)
for number in range(3):
    print("line", number, flush=True)
    logging.warning("logged")
print("\u00e4\u4e2d\udcff")
print("error", file=sys.stderr)
file = open(sys.argv[1], "w")
assert file.fileno() > 2, file.fileno()
file.write(os.environ["MPLBACKEND"])
"""


def run(folder: Path, redirected: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script by a shell; it writes a file if it comes to its end."""
    script = folder / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    line = f"'{sys.executable}' '{script}' '{folder / 'end'}' {redirected}"
    kept = {**environment(), **env}
    return subprocess.run(["bash", "-c", line], env=kept, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    "redirected",
    ["| head -1", "2>&1 | head -1", "| true", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/null"],
)
def test_a_process_comes_to_its_end_without_a_reader(tmp_path: Path, redirected: str) -> None:
    if "/dev/full" in redirected and not FULL.exists():
        pytest.skip("needs /dev/full")
    done = run(tmp_path, redirected, MPLBACKEND="module://no_such_backend")
    assert (tmp_path / "end").read_text() == "agg"
    assert "Traceback" not in done.stdout + done.stderr
    assert "rror" not in done.stderr.replace("error\n", "")


def test_an_output_that_cannot_be_written_is_said_once(tmp_path: Path) -> None:
    if not FULL.exists():
        pytest.skip("needs /dev/full")
    done = run(tmp_path, ">/dev/full")
    assert done.returncode == 0
    assert done.stderr == "the output cannot be written (No space left on device), and is lost\nerror\n"


def test_what_a_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    done = run(tmp_path, "", PYTHONIOENCODING="ascii")
    assert done.stdout.splitlines()[-1] == r"\xe4\u4e2d\udcff"
    assert (tmp_path / "end").exists()
