"""Checkpoints that use packages outside avvp_pl: evaluated only if the user trusts these packages, by name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from avvp_pl.runs.trust import packages_outside
from tests.commands.conftest import Trained
from tests.commands.evaluating import FILES
from tests.conftest import Command
from tests.small import SMALL, changed, checkpoint, content, same_bits, train, weights

PACKAGE = '''
from pathlib import Path

Path(__file__).with_name("imported").touch()

from dataclasses import replace

from torch import nn
from torch.nn import GELU
from torchmetrics import MeanMetric

from avvp_pl.inference.classifier import Classifier
from avvp_pl.methods.guided import Guided
from avvp_pl.methods.targets import Smoothed
from avvp_pl.models.han import HAN


class Method(Guided):
    """Their method."""


class Targets(Smoothed):
    """Their targets."""


class Network(HAN):
    """Their network."""


class Inference(Classifier):
    """Their inference."""


class Nested(HAN):
    """Their network, with a module inside that the settings choose."""

    def __init__(self, modalities, stream_dims, num_events, inner, **settings):
        super().__init__(modalities, stream_dims, num_events, **settings)
        self.inner = inner

    def forward(self, batch):
        output = super().forward(batch)
        inner = self.inner(output.features)
        return replace(output, features=inner) if inner.shape == output.features.shape else output


class Scale(nn.Module):
    """Their module."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


class Optimization:
    def __init__(self, **_):
        Path(__file__).with_name("built").touch()


def generate(**arguments):
    from avvp_pl.data.synthetic import generate

    return generate(**arguments)
'''
THEIRS = "strangers"


class Package:
    """A package whose import leaves a mark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "__init__.py").write_text(PACKAGE)

    def forget(self) -> None:
        """Let the package be as if it had never been imported."""
        for name in [name for name in sys.modules if name.partition(".")[0] == THEIRS]:
            del sys.modules[name]
        (self.folder / "imported").unlink(missing_ok=True)

    @property
    def was_imported(self) -> bool:
        return THEIRS in sys.modules or (self.folder / "imported").exists()

    @property
    def was_built(self) -> bool:
        return (self.folder / "built").exists()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(tmp_path)
    made = Package(tmp_path / THEIRS)
    made.forget()
    return made


def use(command: Command, name: str, path: Path, folder: Path, *arguments: str) -> int:
    place = f"output={folder}" if name == "predict" else f"hydra.run.dir={folder}"
    return command(name, f"checkpoint={path}", place, *arguments)


def test_a_run_that_uses_a_package_says_so_and_is_evaluated_with_trust(
    command: Command, package: Package, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = train(command, tmp_path / "run", f"method._target_={THEIRS}.Method", "trainer.max_epochs=1")
    log = (run / "train.log").read_text().splitlines()
    (line,) = [number for number, text in enumerate(log) if f"trust=[{THEIRS}]" in text]
    assert "INFO" in log[line]
    assert not any("epoch 0" in text for text in log[:line])
    for name in ("evaluate", "predict"):
        for trust in ([], ["trust=[other]"]):
            package.forget()
            capfd.readouterr()
            assert use(command, name, checkpoint(run), tmp_path / "refused", *trust) == 2
            error = capfd.readouterr().err
            assert f"would build {THEIRS}.Method as method._target_" in error
            assert error.rstrip().endswith(f"if you trust the package {THEIRS}, give trust=[{THEIRS}]")
            assert len(error.splitlines()) == 1
            assert not package.was_imported
    tested, parsed = tmp_path / "tested", tmp_path / "parsed"
    assert use(command, "evaluate", checkpoint(run), tested, f"trust=[{THEIRS}]") == 0
    assert use(command, "predict", checkpoint(run), parsed, f"trust=[{THEIRS}]") == 0
    for name in FILES:
        assert (tested / name).read_bytes() == (run / name).read_bytes()
    assert (parsed / "probabilities.npz").read_bytes() == (run / "predictions" / "probabilities.npz").read_bytes()
    assert package.was_imported


def test_a_run_of_this_package_alone_says_nothing(command: Command, tmp_path: Path) -> None:
    run = train(command, tmp_path / "run", "+experiment=ppl_soft", "trainer.max_epochs=1")
    assert "trust" not in (run / "train.log").read_text()


def test_resuming_needs_no_trust(command: Command, package: Package, tmp_path: Path) -> None:
    same = (f"method._target_={THEIRS}.Method", "resume=auto")
    run = train(command, tmp_path / "run", *same, "trainer.max_epochs=1")
    train(command, run, *same, "trainer.max_epochs=2")
    assert content(run)["epoch"] == 1
    whole = train(command, tmp_path / "whole", *same, "trainer.max_epochs=2")
    assert same_bits(weights(run), weights(whole))


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("method._target_", "Method"),
        ("method.targets._target_", "Targets"),
        ("network._target_", "Network"),
        ("inference.classifier._target_", "Inference"),
        ("data.source._target_", "generate"),
    ],
)
def test_wherever_a_package_is_used_it_must_be_trusted(
    command: Command, package: Package, tmp_path: Path, capfd: pytest.CaptureFixture[str], key: str, name: str
) -> None:
    run = train(command, tmp_path / "run", f"{key}={THEIRS}.{name}", "trainer.max_epochs=1")
    assert packages_outside(content(run)["config"]) == [THEIRS]
    package.forget()
    assert use(command, "evaluate", checkpoint(run), tmp_path / "refused") == 2
    assert f"would build {THEIRS}.{name} as {key}" in capfd.readouterr().err
    assert not package.was_imported
    assert use(command, "evaluate", checkpoint(run), tmp_path / "tested", f"trust=[{THEIRS}]") == 0


def nested(folder: Path, inner: str) -> list[str]:
    """Arguments for their network with this module inside."""
    (folder / "conf" / "network").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "network" / "nested.yaml").write_text(
        f"defaults: [han, _self_]\n_target_: {THEIRS}.Nested\ninner: {inner}\n"
    )
    return [f"hydra.searchpath=[file://{folder / 'conf'}]", "network=nested", "trainer.max_epochs=1"]


@pytest.mark.parametrize(
    ("inner", "packages"),
    [
        ("{_target_: torch.nn.GELU}", [THEIRS]),
        ("{_target_: torch.nn.modules.linear.Linear, in_features: 32, out_features: 32}", [THEIRS]),
        (
            "{_target_: torch.nn.Sequential, _args_: [{_target_: torch.nn.Linear, in_features: 32, out_features: 32}, "
            "{_target_: torch.nn.GELU}]}",
            [THEIRS],
        ),
        (f"{{_target_: {THEIRS}.Scale, factor: 0.5}}", [THEIRS]),
        (f"{{_target_: {THEIRS}.GELU}}", [THEIRS]),  # passes through their package
        ("{_target_: torch.nn.functional.relu, _partial_: true}", [THEIRS, "torch"]),
        (f"{{_target_: {THEIRS}.MeanMetric}}", [THEIRS, "torchmetrics"]),
    ],
)
def test_a_network_with_a_module_of_the_settings_inside_is_evaluated_as_it_was_trained(
    command: Command,
    package: Package,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    inner: str,
    packages: list[str],
) -> None:
    run = train(command, tmp_path / "run", *nested(tmp_path, inner))
    trust = f"trust=[{','.join(packages)}]"
    assert f"evaluate and predict need {trust}\n" in (run / "train.log").read_text()
    for count in range(len(packages)):
        assert use(command, "evaluate", checkpoint(run), tmp_path / "x", f"trust=[{','.join(packages[:count])}]") == 2
        error = capfd.readouterr().err
        assert f"{packages[count]}" in error.rpartition("give trust=")[2]
        assert len(error.splitlines()) == 1
    assert use(command, "evaluate", checkpoint(run), tmp_path / "tested", trust) == 0
    for name in FILES:
        assert (tmp_path / "tested" / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.parametrize("inner", ["{_target_: operator.neg, _partial_: true}", "{_target_: builtins.dict}"])
def test_a_run_whose_checkpoints_could_not_be_evaluated_is_refused(
    command: Command, package: Package, tmp_path: Path, capfd: pytest.CaptureFixture[str], inner: str
) -> None:
    arguments = (*SMALL, "logger=csv", *nested(tmp_path, inner), f"hydra.run.dir={tmp_path / 'run'}")
    assert command("train", *arguments) == 2
    error = capfd.readouterr().err
    target = inner.removeprefix("{_target_: ").partition(",")[0].rstrip("}")
    assert (
        f"network.inner._target_={target}: evaluate and predict would refuse to build this from a checkpoint" in error
    )
    assert not checkpoint(tmp_path / "run", "last").exists()


def test_groups_of_the_users_own_are_never_built(command: Command, package: Package, tmp_path: Path) -> None:
    """Whatever they contain, nothing but the settings that refer to them uses them."""
    (tmp_path / "conf" / "augment").mkdir(parents=True)
    (tmp_path / "conf" / "augment" / "mine.yaml").write_text("{_target_: os.system, command: touch harm}\n")
    own = f"hydra.searchpath=[file://{tmp_path / 'conf'}]"
    run = train(command, tmp_path / "run", own, "+augment=mine", "trainer.max_epochs=1")
    assert use(command, "evaluate", checkpoint(run), tmp_path / "tested") == 0
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("place", ["optimizer", "optimizer.schedule"])
def test_an_optimizer_in_a_checkpoint_is_never_built(
    command: Command, trained: Trained, package: Package, tmp_path: Path, place: str
) -> None:
    run = trained("+experiment=mil", "trainer.max_epochs=1")

    def change(saved: dict[str, Any]) -> None:
        node = saved["config"]
        for name in place.split("."):
            node = node[name]
        node["_target_"] = f"{THEIRS}.Optimization"

    path = changed(checkpoint(run), tmp_path / "theirs.ckpt", change)
    assert packages_outside(torch.load(path, weights_only=True)["config"]) == []
    for trust in ([], [f"trust=[{THEIRS}]"]):
        assert use(command, "evaluate", path, tmp_path / "tested", *trust) == 0
        assert use(command, "predict", path, tmp_path / "parsed", *trust) == 0
    assert not package.was_imported
    assert not package.was_built


def test_a_trainer_in_a_checkpoint_is_never_built(
    command: Command, trained: Trained, package: Package, tmp_path: Path
) -> None:
    """Of the trainer only a few settings are kept, such as the number of epochs."""
    run = trained("+experiment=mil", "trainer.max_epochs=1")

    def change(saved: dict[str, Any]) -> None:
        saved["config"]["trainer"] |= {"_target_": f"{THEIRS}.Optimization", "plugins": [{"_target_": f"{THEIRS}.X"}]}
        saved["config"]["callbacks"]["mine"] = {"_target_": f"{THEIRS}.Optimization"}
        saved["config"]["logger"]["mine"] = {"_target_": f"{THEIRS}.Optimization"}

    path = changed(checkpoint(run), tmp_path / "theirs.ckpt", change)
    assert use(command, "evaluate", path, tmp_path / "tested") == 0
    kept = OmegaConf.load(tmp_path / "tested" / "config.yaml").trainer
    assert kept == {"max_epochs": 1, "accumulate_grad_batches": 1, "devices": 1}
    assert not package.was_imported
    assert not package.was_built


@pytest.mark.parametrize("target", ["os.system", "subprocess.run", "builtins.eval", "importlib.import_module"])
def test_pythons_own_modules_are_never_trusted(
    command: Command, trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str], target: str
) -> None:
    run = trained("+experiment=mil", "trainer.max_epochs=1")
    path = changed(
        checkpoint(run),
        tmp_path / "hostile.ckpt",
        lambda saved: saved["config"]["method"].update(_target_=target, args="touch harm", source="1", name="this"),
    )
    module = target.partition(".")[0]
    for trust in ([], [f"trust=[{module}]"]):
        assert use(command, "evaluate", path, tmp_path / "tested", *trust) == 2
        error = capfd.readouterr().err
        assert f"would build {target} as method._target_, which avvp_pl does not trust" in error
        assert "trust=" not in error
    assert not (tmp_path / "harm").exists()


def test_a_trusted_package_that_is_not_there_is_named(
    command: Command, package: Package, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = train(command, tmp_path / "run", f"method._target_={THEIRS}.Method", "trainer.max_epochs=1")
    package.forget()
    package.folder.rename(tmp_path / "elsewhere")
    sys.path_importer_cache.clear()
    assert use(command, "evaluate", checkpoint(run), tmp_path / "tested", f"trust=[{THEIRS}]") == 2
    error = capfd.readouterr().err
    assert f"No module named '{THEIRS}'" in error
    assert len(error.splitlines()) == 1
