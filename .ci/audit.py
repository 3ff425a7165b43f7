"""Look for known vulnerabilities in the pinned dependencies: ``make audit``.

Exits with 1 where there are any and names them. Where that cannot be known (no network, a registry without an advisory
service, pip-audit not to be had) one line says why, and the exit code is 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
CONSTRAINTS = REPOSITORY / "constraints.txt"
ENVIRONMENT = REPOSITORY / ".venv" / "audit"  # of its own: nothing else needs what pip-audit requires
CONNECTING = 5  # seconds to wait for any one answer
INSTALLING, AUDITING = 180, 120  # seconds in all; there are hundreds of answers


class Skipped(Exception):  # noqa: N818 - nothing is wrong
    """Nothing can be known; the message says why."""


def main() -> int:
    """Audit, print what was found, and return the exit code."""
    try:
        findings, unknown, audited = judge(audit(installed()))
    except Skipped as reason:
        print(f"audit skipped: {reason}")
        return 0
    for finding in findings:
        print(finding)
    if unknown:
        print(f"not known to the advisory service: {', '.join(unknown)}")
    print(f"known vulnerabilities in {audited} pinned packages: {len(findings) or 'none'}")
    return int(bool(findings))


def judge(report: dict[str, Any]) -> tuple[list[str], list[str], int]:
    """A line for each vulnerability, the packages that the service does not know, and how many it knows.

    A registry without an advisory service answers that it knows no package; pip-audit calls that a success.
    """
    known = [package for package in report["dependencies"] if "skip_reason" not in package]
    unknown = [package["name"] for package in report["dependencies"] if "skip_reason" in package]
    if not known:
        raise Skipped(f"the advisory service knows none of the {len(unknown)} pinned packages")
    findings = [
        f"{package['name']} {package['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'none'}"
        for package in known
        for found in package["vulns"]
    ]
    return findings, unknown, len(known)


def audit(tool: Sequence[str]) -> dict[str, Any]:
    """What pip-audit has to say, which only answers if all packages could be asked for.

    Its exit code is 1 for a vulnerability and for an error alike, but only the former comes with a report.
    """
    command = [*tool, "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    tried = _run([*command, "--dry-run"], CONNECTING * 10, "pip-audit does not start")
    if tried.returncode:  # without any network: what is wrong is here
        sys.exit(f"pip-audit cannot read {CONSTRAINTS.name}:\n{tried.stderr}")
    asked = [*command, "--format", "json", "--timeout", str(CONNECTING)]
    ended = _run(asked, AUDITING, "the advisory service does not answer")
    try:
        report: dict[str, Any] = json.loads(ended.stdout)
    except ValueError:
        raise Skipped(f"the advisory service cannot be reached ({_last_line(ended.stderr)})") from None
    return report


def installed() -> list[str]:
    """The command pip-audit, of the pinned version."""
    python, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".installed"
    if not stamp.exists() or stamp.read_text() != CONSTRAINTS.read_text():
        if not python.exists():
            _install([sys.executable, "-m", "venv", str(ENVIRONMENT)])
        quickly = ["--disable-pip-version-check", "--retries", "0", "--timeout", str(CONNECTING)]
        pip = [str(python), "-m", "pip", "install", "--quiet", *quickly]
        _install([*pip, "--constraint", str(CONSTRAINTS), "pip-audit"])
        stamp.write_text(CONSTRAINTS.read_text())
    return [str(python), "-m", "pip_audit"]


def _install(command: Sequence[str]) -> None:
    ended = _run(command, INSTALLING, "pip-audit cannot be installed")
    if ended.returncode:
        raise Skipped(f"pip-audit cannot be installed ({_last_line(ended.stderr)})")


def _run(command: Sequence[str], seconds: float, otherwise: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise Skipped(f"{otherwise} (in {seconds:g} s)") from None
    except OSError as error:
        raise Skipped(f"{otherwise} ({error})") from None


def _last_line(text: str) -> str:
    """The line that says what is wrong; pip-audit follows it with a tip."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and "Tip:" not in line]
    return textwrap.shorten(lines[-1], 200, placeholder=" ...") if lines else "no reason given"


if __name__ == "__main__":
    sys.exit(main())
