"""What is imported for ``--help``, and a package that is installed from a wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.small import REPOSITORY, environment


def test_help_is_fast(tmp_path: Path) -> None:
    """Nothing heavy is imported for it (its time is measured by a benchmark)."""
    code = (
        "import sys, avvp_pl.train; print({'torch', 'lightning', 'wandb', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "set()"


def test_an_installed_wheel_finds_its_configuration(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    copy, site = tmp_path / "source", tmp_path / "site"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(copy)], check=True)
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(copy)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)

    def run(*arguments: str) -> str:
        installed = {**os.environ, "PYTHONPATH": str(site)}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=installed, capture_output=True, text=True, check=True).stdout

    assert "name: ppl_soft" in run("-m", "avvp_pl.train", "--cfg", "job", "+experiment=ppl_soft")
    rooms = ("methods.guided", "labeling.prototype", "inference.gates", "training.callbacks", "runs.names")
    for module in (f"avvp_pl.{room}" for room in rooms):
        assert run("-c", f"import {module} as m; print(m.__file__)").startswith(str(site))
    for path in (copy / "avvp_pl").rglob("*"):
        assert path.is_dir() or (site / path.relative_to(copy)).is_file(), path
    for path in (copy / "conf").rglob("*.yaml"):
        assert (site / "avvp_pl" / path.relative_to(copy)).is_file(), path
