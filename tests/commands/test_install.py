"""What is imported for ``--help``, a package that is installed from a wheel, and the version of Lightning."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from packaging.requirements import Requirement
from packaging.version import Version

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
    module = "hydra.initialize_config_module('avvp_pl.conf', version_base='1.3')"
    assert run("-c", f"import hydra; {module}; print(hydra.compose('train', ['seed=3']).seed)").strip() == "3"
    rooms = ("methods.guided", "labeling.prototype", "inference.gates", "training.callbacks", "runs.names")
    for module in (f"avvp_pl.{room}" for room in rooms):
        assert run("-c", f"import {module} as m; print(m.__file__)").startswith(str(site))
    for path in (copy / "avvp_pl").rglob("*"):
        assert path.is_dir() or (site / path.relative_to(copy)).is_file(), path
    for path in (copy / "conf").rglob("*.yaml"):
        assert (site / "avvp_pl" / path.relative_to(copy)).is_file(), path


def test_lightning_is_pinned_to_the_minor_version_that_is_tested() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (allowed,) = (need for need in map(Requirement, project["dependencies"]) if need.name == "lightning")
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    constraints = {need.name: need for need in map(Requirement, (line for line in lines if line and line[0] != "#"))}
    for name in ("lightning", "pytorch-lightning"):
        (tested,) = (specifier.version for specifier in constraints[name].specifier)
        major, minor, *_ = Version(tested).release
        assert allowed.specifier.contains(tested)
        assert allowed.specifier.contains(f"{major}.{minor}.99")
        assert not allowed.specifier.contains(f"{major}.{minor + 1}.0")
        assert not allowed.specifier.contains(f"{major}.{minor - 1}.99")
    assert allowed.specifier.contains(importlib.metadata.version("lightning"))


def test_the_internals_of_lightning_that_are_used_exist() -> None:
    """A list of them is in pyproject.toml."""
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    loop = trainer.fit_loop.epoch_loop
    assert isinstance(loop._batches_that_stepped, int)
    assert loop.val_loop._has_run is False
    current: Any = loop.batch_progress.current
    assert current.processed == 0
    assert "current" in loop.batch_progress.state_dict()
    for name in ("_save_topk_checkpoint", "_save_checkpoint"):
        assert callable(getattr(ModelCheckpoint, name))
    assert ModelCheckpoint(every_n_train_steps=3)._every_n_train_steps == 3
    assert pl.LightningModule()._trainer is None
    assert callable(_MultiProcessingLauncher.kill)
    for launcher in (_MultiProcessingLauncher, _SubprocessScriptLauncher):
        assert "self.procs" in inspect.getsource(launcher)
