"""Evaluations as runs of a report: which are one setting, and by which labels they differ."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from avvp_pl.runs.reading import by_setting, read_run, read_runs
from tests.commands.conftest import Trained
from tests.commands.evaluating import BOTH, evaluate, ppl_test
from tests.conftest import Command
from tests.small import checkpoint

NETWORK = "dim=32 feedforward_dim=32"  # of the small settings, in a label
SHORT = ("+experiment=han", "data.sizes.train=96", "trainer.max_epochs=2", "optimizer.learning_rate=0.003")


def labels(*folders: Path) -> list[str]:
    return [setting.label for setting in by_setting(read_runs(folders))]


def test_an_evaluation_has_the_settings_of_its_training(command: Command, ppl: Path, tmp_path: Path) -> None:
    """And of each of its inferences."""
    again = evaluate(command, ppl, tmp_path / "again")
    trained, tested = read_runs([ppl]), [read_run(again / inference) for inference in ("prototype", "classifier")]
    assert [run.settings for run in tested] == [run.settings for run in trained]


@pytest.mark.parametrize("inference", [*BOTH, "classifier"])
def test_an_evaluation_says_by_which_inference_it_is_and_by_which_its_epoch_was_selected(
    command: Command, ppl: Path, tmp_path: Path, inference: str
) -> None:
    run = read_run(evaluate(command, ppl, tmp_path / "run", f"inference={inference}"))
    assert (run.name, run.settings["inference"]) == ("ppl_soft", inference)
    assert run.settings["inference.validated_by"] == "prototype"


def test_evaluations_of_several_seeds_are_one_setting(command: Command, trained: Trained, tmp_path: Path) -> None:
    """Each has the seed of its training."""
    for seed in (1, 2):
        ppl_test(command, trained(*SHORT, f"seed={seed}"), tmp_path / str(seed), "labeling.tau=0.05")
    settings = by_setting(read_runs([tmp_path]))
    assert [setting.inference for setting in settings] == list(BOTH)
    for setting, inference in zip(settings, BOTH, strict=True):
        assert setting.label.startswith("han_ppl_test ")
        for part in ("tau=0.05", NETWORK, "learning_rate=0.003"):
            assert part in setting.label
        assert (f"inference={inference}" in setting.label) == (inference != "prototype_hard")  # the first one
        assert setting.settings["inference.validated_by"] == "classifier"
        assert [run.seed for run in setting.runs] == [1, 2]
        assert [OmegaConf.select(run.config, "labeling.seed") for run in setting.runs] == [1, 2]
        assert setting.settings["labeling.tau"] == 0.05
        assert setting.settings["trainer.max_epochs"] == 2  # of the training
        assert setting.settings["method.class_weighting"] == "none"
        assert setting.runs[0].data == "synthetic"
        assert setting.runs[0].protocol == "common"
        assert setting.runs[0].listed == 16
        assert setting.runs[0].config.checkpoint.endswith("best.ckpt")


def test_networks_of_other_trainings_are_other_settings(command: Command, trained: Trained, tmp_path: Path) -> None:
    for number, more in enumerate(((), ("method.weights.visual=0.0",))):
        run = trained(*SHORT, "seed=1", *more)
        ppl_test(command, run, tmp_path / str(number), "inference=prototype")
    one, other = labels(tmp_path)
    assert "weights.visual" not in one
    assert "weights.visual=0" in other


def test_a_training_takes_precedence_over_an_evaluation_of_it(command: Command, ppl: Path, tmp_path: Path) -> None:
    """The evaluation is newer. One of another epoch, or by another inference, is another setting."""
    evaluate(command, ppl, tmp_path / "again")
    setting, _ = by_setting(read_runs([ppl, tmp_path / "again"]))
    assert [run.folder for run in setting.runs] == [ppl]
    last = ("inference=prototype", f"hydra.run.dir={tmp_path / 'last'}")
    assert command("evaluate", f"checkpoint={checkpoint(ppl, 'last')}", *last) == 0
    one, by_classifier, other = labels(ppl, tmp_path / "last")
    assert "checkpoint=best" in one
    assert "inference=classifier" in by_classifier
    assert "checkpoint=last" in other
    evaluate(command, ppl, tmp_path / "by", "inference=prototype_hard")
    one, by_classifier, other = labels(ppl, tmp_path / "by")
    assert one == setting.label
    assert "inference=prototype_hard" in other


def test_several_checkpoints_in_one_command_are_several_runs(
    command: Command, trained: Trained, han: Path, tmp_path: Path
) -> None:
    other = trained("+experiment=han", "trainer.max_epochs=1", "data.sizes.train=96")
    sweep = f"checkpoint={checkpoint(han)},{checkpoint(other)}"
    assert command("evaluate", "-m", sweep, "+experiment=han_ppl_test", f"hydra.sweep.dir={tmp_path / 'sweep'}") == 0
    assert [run.seed for run in read_runs([tmp_path / "sweep"])] == [3, 3, 0, 0]
