"""``make audit`` with stand-ins for pip-audit: a finding fails, and not being able to look is no finding."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
CLEAN = {"name": "numpy", "version": "2.0", "vulns": []}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.0)"}
VULNERABLE = {
    "name": "jinja2",
    "version": "3.1.6",
    "vulns": [
        {"id": "CVE-1", "fix_versions": ["3.2", "4.0"], "aliases": [], "description": ""},
        {"id": "CVE-2", "fix_versions": [], "aliases": [], "description": ""},
    ],
}
UNREACHABLE = 'sys.exit("ERROR: Could not connect to PyPI\'s vulnerability feed\\nERROR: Tip: try another service")'


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The script as a module, on a file of its own."""
    specification = importlib.util.spec_from_file_location("audit", REPOSITORY / ".ci" / "audit.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    (tmp_path / "constraints.txt").write_text("numpy==2.0\n")
    monkeypatch.setattr(module, "CONSTRAINTS", tmp_path / "constraints.txt")
    monkeypatch.setattr(module, "ENVIRONMENT", tmp_path / "audit")
    return module


Run = Callable[[str], int]


@pytest.fixture
def run(audit: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Audit with a pip-audit of this code, which can read the file; the exit code."""

    def main(code: str, dry_run: str = "") -> int:
        tool = f"import sys\nif '--dry-run' in sys.argv:\n    sys.exit({dry_run!r} or 0)\n{code}"
        monkeypatch.setattr(audit, "installed", lambda: [sys.executable, "-c", tool])
        return int(audit.main())

    return main


def answer(exit_code: int, *packages: Any) -> str:
    return f"print({json.dumps({'dependencies': packages, 'fixes': []})!r}); sys.exit({exit_code})"


def test_a_vulnerability_fails_and_is_named(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(answer(1, CLEAN, VULNERABLE, UNKNOWN)) == 1
    assert capsys.readouterr().out.splitlines() == [
        "jinja2 3.1.6: CVE-1, fixed in 3.2, 4.0",
        "jinja2 3.1.6: CVE-2, fixed in none",
        "not known to the advisory service: torch",
        "known vulnerabilities in 2 pinned packages: 2",
    ]


def test_without_one_it_passes(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(answer(0, CLEAN)) == 0
    assert capsys.readouterr().out == "known vulnerabilities in 1 pinned packages: none\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (UNREACHABLE, "the advisory service cannot be reached (ERROR: Could not connect to PyPI's vulnerability feed)"),
        ("raise TimeoutError('read timed out')", "the advisory service cannot be reached (TimeoutError: read timed"),
        ("sys.exit(0)", "the advisory service cannot be reached (no reason given)"),
        # pip-audit calls it a success where the registry has nothing but packages
        (answer(0, UNKNOWN), "the advisory service knows none of the 1 pinned packages"),
        ("import time; time.sleep(60)", "the advisory service does not answer (in 0.5 s)"),
    ],
)
def test_where_nothing_can_be_known_one_line_says_why(
    audit: Any, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str, reason: str
) -> None:
    monkeypatch.setattr(audit, "AUDITING", 0.5 if "sleep" in code else 60)
    assert run(code) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"audit skipped: {reason}")


def test_a_file_that_cannot_be_read_is_no_reason_to_skip(audit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = [sys.executable, "-c", "import sys; sys.exit('Expected package name')"]
    monkeypatch.setattr(audit, "installed", lambda: refusing)
    with pytest.raises(SystemExit, match=r"cannot read constraints\.txt:\nExpected package name"):
        audit.main()


def stand_in(folder: Path, script: str) -> Path:
    """A Python of the environment for pip-audit that writes its arguments down."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\n{script}\n')
    python.chmod(0o755)
    return python


def test_where_pip_audit_cannot_be_installed_one_line_says_why(audit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in(audit.ENVIRONMENT, "echo 'ERROR: No matching distribution found for pip-audit' >&2; exit 1")
    assert audit.main() == 0
    reason = "pip-audit cannot be installed (ERROR: No matching distribution found for pip-audit)"
    assert capsys.readouterr().out == f"audit skipped: {reason}\n"


def test_pip_audit_is_installed_once_for_the_same_pins(audit: Any) -> None:
    python = stand_in(audit.ENVIRONMENT, "exit 0")
    calls = audit.ENVIRONMENT / "calls"
    for _ in range(2):
        assert audit.installed() == [str(python), "-m", "pip_audit"]
    assert len(calls.read_text().splitlines()) == 1
    assert f"--constraint {audit.CONSTRAINTS} pip-audit" in calls.read_text()
    audit.CONSTRAINTS.write_text("numpy==2.1\n")
    audit.installed()
    assert len(calls.read_text().splitlines()) == 2


def test_pip_audit_is_pinned() -> None:
    assert "\npip_audit==" in (REPOSITORY / "constraints.txt").read_text()
