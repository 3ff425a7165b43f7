"""Checkpoints from anywhere: nothing in them is run, and what does not fit is explained in one line."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from avvp_pl.errors import InputError
from avvp_pl.runs.checkpoints import (
    CheckpointFiles,
    read_checkpoint,
    trained_config,
)
from avvp_pl.runs.trust import check_built, packages_outside
from tests.conftest import Command
from tests.small import SMALL, changed, run_once


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint."""
    run = tmp_path_factory.mktemp("trained")
    run_once("train", *SMALL, "logger=csv", "+experiment=ppl_soft", "trainer.max_epochs=2", f"hydra.run.dir={run}")
    return run / "checkpoints" / "last.ckpt"


class Trap:
    """Makes a folder as soon as it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize("command_name", ["evaluate", "predict", "train"])
@pytest.mark.parametrize("hidden", ["everything", "a weight", "the configuration", "a bare pickle"])
def test_a_hostile_checkpoint_runs_nothing(
    command: Command, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], hidden: str, command_name: str
) -> None:
    trap, path = Trap(tmp_path / "sprung"), tmp_path / "hostile.ckpt"
    if hidden == "a bare pickle":
        path.write_bytes(pickle.dumps(trap))
    elif hidden == "everything":
        torch.save(trap, path)
    else:
        part = "state_dict" if hidden == "a weight" else "config"
        changed(trained, path, lambda content: content[part].update({"trap": trap}))
    pickle.loads(pickle.dumps(Trap(tmp_path / "it works")))
    assert (tmp_path / "it works").is_dir()
    arguments = {
        "evaluate": [f"checkpoint={path}"],
        "predict": [f"checkpoint={path}", f"output={tmp_path / 'out'}"],
        "train": [*SMALL, "logger=csv", f"resume={path}", f"hydra.run.dir={tmp_path / 'run'}"],
    }
    assert command(command_name, *arguments[command_name]) == 2
    error = capfd.readouterr().err
    reason = "File is not a zip file" if hidden == "a bare pickle" else "it holds more than plain data"
    assert f"{path}: not a checkpoint of avvp_pl.train ({reason})" in error
    assert "Traceback" not in error
    assert not trap.folder.exists()


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("network._target_", "os.system"),
        ("network._target_", "avvp_pl.commands.command.os.system"),  # through a module of ours
        ("network._target_", "avvp_pl.files.remove_unfinished"),  # ours, but no network
        ("network._target_", "lightning.pytorch.Trainer"),
        ("network._target_", "avvp_pl.methods.guided.Guided"),  # ours, but not a network
        ("network._target_", "avvp_pl.nowhere.Net"),
        ("network._target_", "HAN"),
        ("network._target_", 3),
        ("network.dropout", {"_target_": "avvp_pl.files.remove_unfinished", "folder": "/"}),
        ("network.dropout", [{"_target_": "subprocess.run"}]),
        ("method._target_", "torch.load"),
        ("method._target_", "avvp_pl.models.han.HAN"),
        ("method.targets._target_", "builtins.print"),
        ("labeling._target_", "avvp_pl.runs.folder.RunFolder"),
        ("labeling.inner", [{"_target_": "os.system"}]),
        ("inference.classifier._target_", "subprocess.run"),
        ("protocol.decision._target_", "avvp_pl.tasks.parsing.ParsingTask"),
        ("protocol.task._target_", "avvp_pl.inference.gates.Gates"),
        ("protocol.selection._target_", "os.system"),
        ("name", {"_target_": "os.system"}),
        ("data.source._target_", "builtins.eval"),
        ("data.source._target_", "avvp_pl.files.atomic_write"),
        ("data.source._target_", "avvp_pl.data.llp.LLPFolder"),
        ("data.source._target_", "avvp_pl.data.products.write_product"),  # a function of ours that reads no data set
        ("data.source.root", {"_target_": "avvp_pl.data.llp.load_llp"}),
        ("network._target_", "torch.nn.Linear"),  # a layer, but no network
        ("network.dropout", {"_target_": "torch.nn.utils.parametrize.torch.load"}),  # through a module of torch
        ("network.dropout", {"_target_": "torch.nn.parallel.DistributedDataParallel"}),
        ("network.dropout", {"_target_": "torch.nn.modules.module.register_module_forward_hook"}),
        ("network.dropout", {"_target_": "torch.nn.nowhere.Layer"}),
        ("method.targets", [{"_target_": "avvp_pl.labeling.from_file.read_product"}]),  # through a module that computes
        ("method.targets", {"_target_": "avvp_pl.parts.Part"}),
        ("inference._target_", "avvp_pl.inference.classifier.Classifier"),
    ],
)
def test_only_parts_of_this_package_are_built(
    command: Command, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], key: str, target: Any
) -> None:
    def change(content: dict[str, Any]) -> None:
        *groups, name = key.split(".")
        part = content["config"]
        for group in groups:
            part = part[group]
        part[name] = target

    path = changed(trained, tmp_path / "hostile.ckpt", change)
    assert command("evaluate", f"checkpoint={path}") == 2
    error = capfd.readouterr().err
    assert f"{path}: its configuration would build " in error
    assert key in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("network.dropout", "torch.nn.GELU"),
        ("network.dropout", "torch.nn.modules.activation.GELU"),
        ("network.dropout", "avvp_pl.models.dropout.Dropout"),
        ("method.class_weighting", "avvp_pl.losses.pseudo_label_loss"),
        ("method.targets.smoothing", "avvp_pl.training.optimization.WarmupCosine"),
        ("labeling.seed", "avvp_pl.labeling.bank.PrototypeBank"),
        ("inference.classifier.mean", "torch.nn.Softmax"),
        ("protocol.decision.gate", "avvp_pl.inference.gates.Gates"),
        ("protocol.task.metric", "avvp_pl.metrics.AVVPMetric"),
        ("data.source.noise", "torch.nn.Identity"),
    ],
)
def test_layers_and_what_only_computes_may_be_inside(trained: Path, key: str, target: str) -> None:
    for nested in ({"_target_": target}, [{"inner": {"_target_": target}}]):
        content = read_checkpoint(trained)
        *groups, name = key.split(".")
        part = content["config"]
        for group in groups:
            part = part[group]
        part[name] = nested
        assert packages_outside(content["config"]) == []
        assert trained_config(content, trained, {}).network.dim == 32


def test_no_place_in_a_configuration_builds_what_is_not_trusted(trained: Path) -> None:
    """Of the optimizer nothing is ever built (see tests/commands/test_trust.py)."""

    def nodes(node: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        if isinstance(node, dict):
            yield key, node
        for name, inner in (
            node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        ):
            yield from nodes(inner, f"{key}.{name}" if key else str(name))

    config: Any = OmegaConf.to_container(trained_config(read_checkpoint(trained), trained, {}))
    places = list(nodes(config))
    assert {"data.source", "protocol.decision", "method.targets", "optimizer.schedule"} <= {key for key, _ in places}
    check_built(config, trained)
    for key, node in places:
        kept = dict(node)
        node["_target_"] = "os.system"
        if key.startswith("optimizer"):
            check_built(config, trained)
        else:
            with pytest.raises(InputError, match=r"would build os\.system"):
                check_built(config, trained)
        node.clear()
        node.update(kept)


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "x ${oc.env:WANDB_API_KEY,none}", "${data.root}"])
def test_a_checkpoint_cannot_read_the_environment(trained: Path, value: str) -> None:
    content = read_checkpoint(trained)
    content["config"]["name"] = value
    with pytest.raises(InputError, match="its configuration refers to something outside it"):
        trained_config(content, trained, {})


def test_settings_of_the_run_are_not_used(trained: Path) -> None:
    content = read_checkpoint(trained)
    content["config"]["callbacks"] = {"mine": {"_target_": "os.system"}}
    content["config"]["trainer"]["plugins"] = {"_target_": "os.system"}
    taken = trained_config(content, trained, {})
    assert not {"callbacks", "logger", "paths"} & set(taken)
    assert taken.trainer == {
        "max_epochs": 2,
        "accumulate_grad_batches": 1,
        "devices": 1,
    }  # what was trained, and not how


@pytest.mark.parametrize("value", ["${oc.env:HOME}", {"_target_": "os.system"}])
def test_settings_of_the_trainer_are_checked_as_well(trained: Path, value: Any) -> None:
    content = read_checkpoint(trained)
    content["config"]["trainer"]["max_epochs"] = value
    with pytest.raises(InputError, match=r"refers to something outside it|would build os\.system"):
        trained_config(content, trained, {})
    content["config"]["trainer"] = ["nothing of the kind"]
    assert "trainer" not in trained_config(content, trained, {})


@pytest.mark.parametrize("aim", ["..", "../..", "../precious/file.ckpt", "{precious}/file.ckpt", "{precious}"])
@pytest.mark.parametrize("key", ["best_model_path", "kth_best_model_path", "best_k_models"])
@pytest.mark.parametrize("with_dirpath", [True, False])
def test_a_checkpoint_removes_nothing_but_what_is_beside_it(
    trained: Path, tmp_path: Path, aim: str, key: str, with_dirpath: bool
) -> None:
    """Lightning removes what a callback's state says is an older checkpoint, even a whole folder."""
    precious, folder = tmp_path / "precious", tmp_path / "run" / "checkpoints"
    precious.mkdir()
    folder.mkdir(parents=True)
    (precious / "file.ckpt").touch()
    target = aim.format(precious=precious)

    def change(content: dict[str, Any]) -> None:
        for state in content["callbacks"].values():
            if "best_model_path" in state:
                state[key] = {target: torch.tensor(1.0)} if key == "best_k_models" else target
                if not with_dirpath:
                    del state["dirpath"]

    files = CheckpointFiles()
    content = files.load_checkpoint(changed(trained, folder / "last.ckpt", change))
    for state in content["callbacks"].values():
        if "best_model_path" in state:
            assert state["dirpath"] == str(folder)
            for path in (state["best_model_path"], state["kth_best_model_path"], *state["best_k_models"]):
                assert path == "" or Path(path).parent == folder
    files.remove_checkpoint(target)
    files.remove_checkpoint(folder / aim.format(precious=precious))
    assert precious.is_dir()
    assert (folder / "last.ckpt").exists()


def test_states_of_other_callbacks_are_read_as_they_were_saved(trained: Path, tmp_path: Path) -> None:
    others: dict[str, Any] = {"Own": {"dirpath": "elsewhere", "count": 3}, "Listed": ["best_model_path"]}
    path = changed(trained, tmp_path / "changed.ckpt", lambda content: content["callbacks"].update(others))
    found = CheckpointFiles().load_checkpoint(path)["callbacks"]
    assert {name: found[name] for name in others} == others


def test_an_interruption_while_saving_is_not_taken_for_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch says RuntimeError, whatever happens while a file is written."""

    class Interrupted(io.BytesIO):
        def write(self, content: Any) -> int:
            if self.tell():  # not at the very start, where torch does not
                raise KeyboardInterrupt
            return super().write(content)

    path = tmp_path / "last.ckpt"
    path.write_text("old")
    monkeypatch.setattr(Path, "open", lambda *_: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        CheckpointFiles().save_checkpoint({"weights": torch.zeros(3)}, path)
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_older_checkpoint_is_removed(tmp_path: Path) -> None:
    (tmp_path / "best-v1.ckpt").touch()
    CheckpointFiles().remove_checkpoint(tmp_path / "best-v1.ckpt")
    assert not list(tmp_path.iterdir())


def cut(path: Path, to: Path, keep: float) -> None:
    content = path.read_bytes()
    to.write_bytes(content[: int(keep * len(content))])


def flip(path: Path, to: Path) -> None:
    """Flip one bit of a weight, as a failing disk does."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    content[largest.header_offset + 4096] ^= 1
    to.write_bytes(content)


DAMAGE: dict[str, Callable[[Path, Path], object]] = {
    "missing": lambda path, to: None,
    "empty": lambda path, to: to.write_bytes(b""),
    "a folder": lambda path, to: to.mkdir(),
    "cut to half": lambda path, to: cut(path, to, 0.5),
    "cut by a byte": lambda path, to: to.write_bytes(path.read_bytes()[:-1]),
    "a bit of a weight flipped": flip,
    "text": lambda path, to: to.write_text("filename\tevent_labels\n"),
    "a list": lambda path, to: torch.save([1, 2], to),
    "weights alone": lambda path, to: torch.save({"weight": torch.ones(2)}, to),
    "of another program": lambda path, to: changed(path, to, lambda content: content.pop("config")),
    "without a network": lambda path, to: changed(path, to, lambda content: content["config"].pop("network")),
    "without its training videos": lambda path, to: changed(path, to, lambda content: content.pop("train_videos")),
    "without weights": lambda path, to: changed(path, to, lambda content: content.pop("state_dict")),
    "a weight missing": lambda path, to: changed(
        path, to, lambda content: content["state_dict"].pop("network.event_head.bias")
    ),
    "a weight too many": lambda path, to: changed(path, to, lambda content: content["state_dict"].update({"x": 1})),
    "a weight of another shape": lambda path, to: changed(
        path, to, lambda content: content["state_dict"].update({"network.event_head.bias": torch.ones(3)})
    ),
    "of other events": lambda path, to: changed(path, to, lambda content: content["events"].reverse()),
    "of other streams": lambda path, to: changed(path, to, lambda content: content["streams"].pop()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_line_that_names_the_file(
    command: Command, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], damage: str
) -> None:
    path = tmp_path / "damaged.ckpt"
    DAMAGE[damage](trained, path)
    for name, arguments in (
        ("evaluate", [f"checkpoint={path}"]),
        (
            "train",
            [*SMALL, "logger=csv", "+experiment=ppl_soft", f"resume={path}", f"hydra.run.dir={tmp_path / 'run'}"],
        ),
    ):
        if damage == "without a network" and name == "train":  # it has its own settings
            continue
        assert command(name, *arguments) == 2
        error = capfd.readouterr().err
        assert str(path) in error
        assert len(error.splitlines()) == 1, error
