"""Every experiment of localization on a small twin of THUMOS14: it learns, resumes exactly, and can be distributed.

Those that need a file of proposals are in ``test_asm_loc.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.commands.experiments import settings_of
from tests.commands.test_experiments import assert_the_loss_falls
from tests.commands.test_two_processes import assert_alike
from tests.forks import Zygote
from tests.restarts import Runs, assert_same, kill_at_random
from tests.small import LOCALIZING, scores

SETTINGS = (
    "data.sizes.train=40",
    "data.sizes.test=8",
    "data.segment_seconds=2.56",  # a quarter of the segments
    "data.batch_size=16",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=4",
    "optimizer.learning_rate=0.001",
    "threads=1",
    "logger=csv",
    "resume=auto",
)
# what is smaller than shipped, where an experiment has it
SMALLER = {
    "network.dim": 32,
    "network.attention_dim": 16,
    "network.segments": 16,
    "network.num_heads": 2,
    "data.sampling.segments": 30,
    "data.order.batches": 6,
    "inference.bas_net.segments": 30,
    "inference.um.segments": 30,
    "labeling.start_epoch": 1,
}
FASTER = {"um": ["optimizer.learning_rate=0.01"]}  # its loss of magnitudes is large and falls slowly
WITHOUT_FILES = [name for name in LOCALIZING if name != "asm_loc"]
# a batch of DELU is of one process, ASM-Loc has batch normalization, and UM drops the same features of all segments
ALIKE = ["tal_mil", "tal_ppl_soft", "bas_net", "em_mil"]


def settings_for(experiment: str) -> list[str]:
    cfg = OmegaConf.create(settings_of(experiment))
    smaller = [f"{key}={value}" for key, value in SMALLER.items() if OmegaConf.select(cfg, key) is not None]
    return [f"+experiment={experiment}", *smaller, *FASTER.get(experiment, [])]


@pytest.fixture(scope="module")
def runs(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(zygote, tmp_path_factory.mktemp("runs"), SETTINGS, from_python=True)


@pytest.fixture(scope="module")
def undisturbed(runs: Runs, request: pytest.FixtureRequest) -> tuple[str, Path]:
    """An experiment, and the folder of its run."""
    return request.param, runs.timed(request.param, *settings_for(request.param))


@pytest.mark.parametrize("undisturbed", WITHOUT_FILES, indirect=True)
def test_the_loss_falls(undisturbed: tuple[str, Path]) -> None:
    experiment, run = undisturbed
    assert OmegaConf.load(run / "config.yaml").name == experiment
    assert_the_loss_falls(run)
    assert scores(run)["videos"]["listed"] == 8
    assert scores(run)["protocol"].startswith("localization, seconds_210")


@pytest.mark.parametrize("undisturbed", WITHOUT_FILES, indirect=True)
def test_killed_at_random_and_resumed_it_has_the_same_bits(runs: Runs, undisturbed: tuple[str, Path]) -> None:
    experiment, run = undisturbed
    name = f"{experiment}_killed"
    killed = kill_at_random(runs, name, sum(map(ord, experiment)), 1, *settings_for(experiment))
    assert_same(killed, run)
    found = "predictions/detections.json"
    assert (killed / found).read_bytes() == (run / found).read_bytes()


@pytest.mark.parametrize("experiment", ALIKE)
def test_two_processes_train_as_one(runs: Runs, experiment: str) -> None:
    assert_alike(runs, experiment, *settings_for(experiment), "data.sizes.train=32")
