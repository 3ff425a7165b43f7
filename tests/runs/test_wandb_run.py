"""The names of a run at W&B."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from avvp_pl.runs.wandb_run import name_run
from tests.conftest import composed

SMALL_NETWORK = "dim=16 feedforward_dim=16"  # of these tests


def named(
    monkeypatch: pytest.MonkeyPatch, *overrides: str, sweep: str | None = None, choice: str | None = None, **given: Any
) -> tuple[str, str]:
    """The name and the group of the run of a job with these overrides."""
    cfg = composed("ppl_soft", *overrides).copy()
    cfg.paths = {"run_dir": "run", "output_root": "outputs"}
    cfg.logger = OmegaConf.create({"wandb": {"name": None, "group": None, **given}})
    mode = RunMode.RUN if sweep is None else RunMode.MULTIRUN
    tasks = ["+experiment=ppl_soft", *overrides]
    job = SimpleNamespace(
        mode=mode,
        sweep=SimpleNamespace(dir=sweep),
        runtime=SimpleNamespace(choices={"sweep": choice} if choice else {}),
        overrides=SimpleNamespace(task=tasks),
    )
    monkeypatch.setattr(HydraConfig, "initialized", lambda *_: True)
    monkeypatch.setattr(HydraConfig, "get", lambda *_: job)
    name_run(cfg)
    return cfg.logger.wandb.name, cfg.logger.wandb.group


def test_a_run_is_called_by_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named(monkeypatch) == (f"ppl_soft {SMALL_NETWORK} seed=0", "ppl_soft")
    name, _ = named(monkeypatch, "labeling.gamma=0.5", "data.noise=0.9", "threads=1", "seed=3")
    assert name == f"ppl_soft gamma=0.5 {SMALL_NETWORK} data.noise=0.9 seed=3"
    assert named(monkeypatch, "name=mine", "data.noise=0.9")[0] == "mine data.noise=0.9 seed=0"


def test_the_jobs_of_a_sweep_are_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named(monkeypatch, sweep="outputs/sweeps/monday")[1] == "monday"
    assert named(monkeypatch, sweep="outputs/sweeps/monday", choice="fig4_gamma")[1] == "fig4_gamma monday"


def test_own_names_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named(monkeypatch, name="mine", group="ours", sweep="x") == ("mine", "ours")


def test_a_long_name_is_shortened_before_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    name, group = named(monkeypatch, f"name={'x' * 200}", "seed=12")
    assert name == f"{'x' * 117}... seed=12"
    assert len(name) == 128
    assert group == f"{'x' * 125}..."
