"""``evaluate`` as a user runs it: what it writes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.commands.conftest import Trained
from tests.commands.evaluating import BOTH, FILES, evaluate
from tests.conftest import Command
from tests.small import checkpoint, scores, train, weights


def test_evaluate_repeats_the_test_of_the_training(command: Command, ppl: Path, tmp_path: Path) -> None:
    """By prototypes, and by the classifier: the training has the files of the first in its own folder."""
    assert scores(ppl)["videos"]["listed"] == 16
    again = evaluate(command, ppl, tmp_path / "again")
    assert not (again / "scores.json").exists()
    trained = OmegaConf.load(ppl / "config.yaml")
    for inference, folder in (("prototype", ppl), ("classifier", ppl / "classifier")):
        for name in FILES:
            assert (again / inference / name).read_bytes() == (folder / name).read_bytes(), name
        tested = OmegaConf.load(again / inference / "config.yaml")
        for group in ("data", "network", "method", "labeling", "protocol", "optimizer", f"inference.{inference}"):
            assert OmegaConf.select(tested, group) == OmegaConf.select(trained, group), group
        assert (list(tested.inference), tested.trained_inference) == ([inference], "prototype")
        assert (tested.name, tested.seed) == ("ppl_soft", 3)
        assert tested.checkpoint == str(checkpoint(ppl))
        assert tested.trainer.max_epochs == 12  # of the training
    assert scores(again / "prototype") != scores(again / "classifier")


def test_an_evaluation_may_have_other_inferences(command: Command, ppl: Path, tmp_path: Path) -> None:
    run = evaluate(command, ppl, tmp_path / "run", "inference=[classifier,prototype_hard]")
    assert {path.parent.name for path in run.rglob("scores.json")} == {"classifier", "prototype_hard"}
    for name in FILES:
        assert (run / "classifier" / name).read_bytes() == (ppl / "classifier" / name).read_bytes(), name
    assert scores(run / "prototype_hard") != scores(ppl)
    assert list(OmegaConf.load(run / "prototype_hard" / "config.yaml").inference) == ["prototype_hard"]


def test_an_evaluation_can_be_repeated_in_its_folder(command: Command, ppl: Path, tmp_path: Path) -> None:
    folder = evaluate(command, ppl, tmp_path / "run", "inference=prototype_hard")
    first = scores(folder)
    evaluate(command, ppl, folder, "inference=prototype")
    assert scores(folder) == scores(ppl) != first
    assert list(OmegaConf.load(folder / "config.yaml").inference) == ["prototype"]


def test_an_evaluation_leaves_nothing_of_an_earlier_one(command: Command, ppl: Path, tmp_path: Path) -> None:
    one = evaluate(command, ppl, tmp_path / "run", "inference=prototype")
    evaluate(command, ppl, one, "inference=[prototype,prototype_hard]")
    assert {path.parent.name for path in one.rglob("scores.json")} == {"prototype", "prototype_hard"}
    evaluate(command, ppl, one, "inference=classifier")
    assert [path.parent for path in one.rglob("scores.json")] == [one]
    assert [path.parent for path in one.rglob("config.yaml") if ".hydra" not in path.parts] == [one]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["callbacks.fit=null", "inference=prototype", "labeling=prototype"], 2),
        (["+trainer.limit_test_batches=0"], 2),
        (["+trainer.fast_dev_run=true"], 0),
    ],
)
def test_an_evaluation_without_results_loses_nothing(
    command: Command, ppl: Path, tmp_path: Path, arguments: list[str], code: int
) -> None:
    folder = evaluate(command, ppl, tmp_path / "run", "inference=classifier")
    before = {name: (folder / name).read_bytes() for name in (*FILES, "config.yaml")}
    assert command("evaluate", f"checkpoint={checkpoint(ppl)}", f"hydra.run.dir={folder}", *arguments) == code
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_no_training_run_is_overwritten(command: Command, trained: Trained, capfd: pytest.CaptureFixture[str]) -> None:
    run = trained("+experiment=mil", "trainer.max_epochs=1")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and ".hydra" not in path.parts}
    for arguments in ([], ["+experiment=han_ppl_test"]):
        assert command("evaluate", f"checkpoint={checkpoint(run)}", f"hydra.run.dir={run}", *arguments) == 2
        assert f"{run} holds a training run" in capfd.readouterr().err
    assert all(path.read_bytes() == content for path, content in before.items())


def test_prototypes_that_do_not_exist_yet_are_built(command: Command, tmp_path: Path) -> None:
    """The first epoch ends before there are any. Those of the training's own test are kept."""
    run = train(command, tmp_path / "run", "+experiment=ppl_soft", "trainer.max_epochs=1")
    assert not weights(run, "best")["labeling.bank.positive_mask"].any()
    assert "32 training videos: " in (run / "train.log").read_text()
    assert scores(run) != scores(run / "classifier")
    for inference in BOTH:
        one = evaluate(command, run, tmp_path / inference, f"inference={inference}")
        assert scores(one) != scores(run / "classifier")
        assert (scores(one) == scores(run)) == (inference == "prototype")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resume=auto"], "'resume' in avvp_pl.evaluate; it is for python -m avvp_pl.train"),
        (["inference=prototype"], "labeling NoLabels has none; labeling=prototype has, and evaluate with"),
        (["inference=prototype", "labeling=none"], "labeling NoLabels has none; labeling=prototype has"),
        (["inference=prototype", "labeling=naive"], "labeling Naive has none; labeling=prototype has"),
        (["inference=[prototype,both]"], "both"),
        (["labeling=prototype", "labeling.attending=[visul]"], "labeling.attending=visul: it must be a modality; the"),
        (["+experiment=han_ppl_test", "labeling.gamma=2"], "gamma=2: it must be a number in (0, 1]"),
        (["+experiment=han_ppl_test", "labeling.gama=1"], "Did you mean 'labeling.gamma'?"),
    ],
)  # fmt: skip
def test_impossible_settings_are_one_line(
    command: Command, han: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert command("evaluate", f"checkpoint={checkpoint(han)}", *arguments) == 2
    error = capfd.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
