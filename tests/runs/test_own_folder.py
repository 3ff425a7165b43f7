"""Folders that are named by the time: each run and each sweep has one by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf

from avvp_pl.runs.own_folder import OwnFolder

NOW = "2026-11-26_06-41-29"


@pytest.fixture(autouse=True)
def stopped_clock() -> Iterator[None]:
    """All of these runs start in the same second."""
    setup_globals()
    OmegaConf.register_new_resolver("now", lambda pattern: NOW, replace=True)
    yield
    setup_globals()


def configuration(root: Path, name: str = "${now:%Y-%m-%d_%H-%M-%S}") -> DictConfig:
    hydra = OmegaConf.structured(HydraConf)
    hydra.run.dir = hydra.sweep.dir = f"{root}/${{hydra:job.name}}/{name}"
    hydra.job.name = "mil"
    return OmegaConf.create({"hydra": hydra})


def test_runs_of_the_same_second_have_different_folders(tmp_path: Path) -> None:
    before = HydraConfig.instance().cfg  # of a command that another test ran in this process
    for name in (NOW, f"{NOW}_2", f"{NOW}_3"):
        cfg = configuration(tmp_path)
        OwnFolder().on_run_start(cfg)
        assert cfg.hydra.run.dir == f"{tmp_path}/mil/{name}"
        assert Path(cfg.hydra.run.dir).is_dir()
        assert OwnFolder.is_new
    assert HydraConfig.instance().cfg is before


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "mil" / NOW).mkdir(parents=True)
    (tmp_path / "mil" / f"{NOW}_2").touch()
    cfg = configuration(tmp_path)
    OwnFolder().on_run_start(cfg)
    assert Path(cfg.hydra.run.dir).name == f"{NOW}_3"


def test_the_jobs_of_a_sweep_are_told_its_folder(tmp_path: Path) -> None:
    (tmp_path / "it's" / "mil" / NOW).mkdir(parents=True)
    cfg = configuration(tmp_path / "it's")
    OwnFolder().on_multirun_start(cfg)
    assert cfg.hydra.sweep.dir == f"{tmp_path}/it's/mil/{NOW}_2"
    assert OmegaConf.to_container(cfg.hydra.overrides.hydra) == [f"hydra.sweep.dir='{tmp_path}/it\\'s/mil/{NOW}_2'"]
    assert not OwnFolder.is_new


@pytest.mark.parametrize("name", ["mine", "${now:%Y-%m-%d}"])
def test_a_folder_that_the_user_has_named_is_used(tmp_path: Path, name: str) -> None:
    """A run is resumed in it, or an evaluation repeated."""
    cfg = configuration(tmp_path, name)
    before = OmegaConf.to_yaml(cfg)
    OwnFolder().on_run_start(cfg)
    OwnFolder().on_multirun_start(cfg)
    assert OmegaConf.to_yaml(cfg) == before
    assert not OwnFolder.is_new
    assert not list(tmp_path.iterdir())


def test_what_is_wrong_with_a_folder_is_for_hydra_to_say(tmp_path: Path) -> None:
    (tmp_path / "mil").touch()
    cfg = configuration(tmp_path)
    before = OmegaConf.to_yaml(cfg)
    OwnFolder().on_run_start(cfg)
    assert OmegaConf.to_yaml(cfg) == before
    assert not OwnFolder.is_new
