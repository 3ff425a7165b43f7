"""ASM-Loc's stages: a network finds intervals in all videos, and the next one learns and is tested with them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from avvp_pl.commands.build import build_videos
from avvp_pl.data.proposals import with_proposals
from avvp_pl.settings.conf import config_dir
from tests.conftest import Command
from tests.small import checkpoint, content, run_once, same_bits, stop_in_epoch, weights

NETWORK = ("network.dim=16", "network.num_heads=2", "network.segments=16", "trainer.accelerator=cpu")
DATA = ("data=synthetic", "data.sizes.train=32", "data.sizes.val=8", "data.sizes.test=8", "data.shortest=4")
PROBABILITIES = "predictions/probabilities.npz"
SETTINGS = (*DATA, "protocol=common", *NETWORK, "trainer.max_epochs=3", "optimizer.learning_rate=0.003", "logger=csv")


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the base network and its proposals."""
    folder = tmp_path_factory.mktemp("asm_loc")
    run_once("train", "+experiment=asm_loc_base", *SETTINGS, f"hydra.run.dir={folder / 'base'}")
    refine = (f"checkpoint={checkpoint(folder / 'base', 'last')}", f"output={folder / 'proposals.json'}")
    run_once("refine", "+refine=asm_loc", *refine, "trainer.accelerator=cpu")
    return folder


def learn(stages: Path, folder: Path, *more: str) -> tuple[str, ...]:
    file = f"data.proposals={stages / 'proposals.json'}"
    return ("+experiment=asm_loc", *SETTINGS, file, f"hydra.run.dir={folder}", *more)


def test_the_base_network_finds_intervals_in_all_videos(stages: Path) -> None:
    found = json.loads((stages / "proposals.json").read_text())
    saved = checkpoint(stages / "base", "last")
    assert found["checkpoint_sha256"] == hashlib.sha256(saved.read_bytes()).hexdigest()
    videos = build_videos(OmegaConf.create(content(stages / "base")["config"]))
    assert list(found["results"]) == [name for split in videos.splits.values() for name in split.names]
    assert videos.train is not None
    assert videos.test is not None
    for name, labels in zip(videos.train.names, videos.train.weak_labels.tolist(), strict=True):
        weak = {event for event, label in zip(videos.events, labels, strict=True) if label}
        assert {entry["label"] for entry in found["results"][name]} <= weak
    assert all(found["results"][name] for name in videos.test.names)  # the best event, at least
    again = with_proposals(videos, stages / "proposals.json").test
    assert again is not None
    assert again.proposals is not None


def test_the_next_network_learns_from_them_and_resumes_exactly(command: Command, stages: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert command("train", *learn(stages, run)) == 0
    names = {name for name in weights(run) if name.startswith("network.")}
    assert any(name.startswith("network.inter.") for name in names)
    assert (weights(run)["network.inter.norm.weight"] != 0).any()  # the attention has learned something
    stop_in_epoch(command, 4, *learn(stages, tmp_path / "stopped", "resume=auto"))
    moved = tmp_path / "moved.json"
    moved.write_bytes((stages / "proposals.json").read_bytes())
    resumed = learn(stages, tmp_path / "stopped", "resume=auto", f"data.proposals={moved}")
    assert command("train", *resumed) == 0
    assert same_bits(weights(run), weights(tmp_path / "stopped"))
    assert (run / PROBABILITIES).read_bytes() == (tmp_path / "stopped" / PROBABILITIES).read_bytes()
    # a test of the checkpoint reads the same file
    assert command("evaluate", f"checkpoint={checkpoint(run)}", f"hydra.run.dir={tmp_path / 'test'}") == 0
    assert (tmp_path / "test" / PROBABILITIES).read_bytes() == (run / PROBABILITIES).read_bytes()


def test_other_proposals_do_not_continue_a_run(
    command: Command, stages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_in_epoch(command, 3, *learn(stages, tmp_path, "resume=auto"))
    other = json.loads((stages / "proposals.json").read_text())
    for entries in other["results"].values():
        entries.clear()
    (tmp_path / "other.json").write_text(json.dumps(other))
    capsys.readouterr()
    resumed = learn(stages, tmp_path, "resume=auto", f"data.proposals={tmp_path / 'other.json'}")
    assert command("train", *resumed) == 2
    assert "or their proposals" in capsys.readouterr().err


def test_what_does_not_fit_together_is_refused(
    command: Command, stages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sampled = ("data.sampling={_target_: avvp_pl.data.sampling.Bins, segments: 6}",)
    refused = {
        "data.proposals=FILE": learn(stages, tmp_path / "1", "data.proposals=null"),
        "data.sampling: a network that is told proposals needs whole videos": learn(stages, tmp_path / "2", *sampled),
        "network=asm_loc": (
            "+experiment=mil",
            "inference=asm_loc",
            *DATA,
            "logger=csv",
            f"hydra.run.dir={tmp_path / '3'}",
        ),
    }
    for said, arguments in refused.items():
        assert command("train", *arguments) == 2
        assert said in capsys.readouterr().err


def test_the_recipe_is_a_chain_of_four_networks() -> None:
    """Each refinement reads the checkpoint of the training before it, and each training its file."""
    loaded = OmegaConf.load(config_dir() / "recipe" / "asm_loc.yaml")
    recipe: Any = OmegaConf.to_container(OmegaConf.merge(loaded, {"paths": {"run_dir": "RUN"}}), resolve=True)
    stages = recipe["stages"]
    commands = [stage["command"] for stage in stages.values()]
    assert commands == ["train", "refine", "train", "refine", "train", "refine", "train"]
    names = list(stages)
    for number in (1, 3, 5):
        settings = dict(setting.split("=", 1) for setting in stages[names[number]]["settings"])
        after = dict(setting.split("=", 1) for setting in stages[names[number + 1]]["settings"])
        assert settings["checkpoint"] == f"RUN/stages/{names[number - 1]}/checkpoints/last.ckpt"
        assert after["data.proposals"] == settings["output"]
    epochs = [
        OmegaConf.load(config_dir() / "experiment" / f"{name}.yaml").trainer.max_epochs
        for name in ("asm_loc_base", "asm_loc")
    ]
    assert epochs == [100, 500]
    for name in ("second", "third"):
        assert "trainer.max_epochs=100" in stages[name]["settings"]
