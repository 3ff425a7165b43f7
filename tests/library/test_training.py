"""Settings that are composed in Python, and a training from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

import avvp_pl
from avvp_pl import InputError
from avvp_pl.settings.conf import config_dir
from tests.conftest import Command
from tests.small import SMALL, checkpoint, same_bits, weights

SETTINGS = (*SMALL, "logger=csv", "trainer.max_epochs=2", "threads=1")


def test_settings_are_those_of_the_command(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("+experiment=ppl_soft", "labeling.k=5", "~data.modalities.audio", f"hydra.run.dir={tmp_path}/run")
    assert command("train", *arguments, "--cfg", "job") == 0
    expected = OmegaConf.create(capfd.readouterr().out)
    found = avvp_pl.compose(*arguments)
    assert found.paths.run_dir == str(tmp_path / "run")
    found.paths.run_dir = expected.paths.run_dir = "run"
    assert OmegaConf.to_container(found) == OmegaConf.to_container(expected)


def test_nothing_in_the_settings_needs_hydra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("train", "prepare", "report"):
        given = {"train": (), "prepare": ("data.root=DIR",), "report": ("runs=DIR", "output=DIR")}[name]
        OmegaConf.to_container(avvp_pl.compose(*given, command=name), resolve=True, throw_on_missing=True)
    cfg = avvp_pl.compose()
    assert cfg.name == "mil"
    assert Path(cfg.paths.run_dir).parent == tmp_path / "outputs" / "mil"
    cfg.data.sizes.train = 5
    assert cfg.data.source.sizes.train == 5  # interpolations of other settings are still there


def test_own_configuration_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nname: mine\nseed: 7\n")
    cfg = avvp_pl.compose("+experiment=mine", conf=tmp_path)
    assert (cfg.name, cfg.seed) == ("mine", 7)


def test_settings_are_read_as_on_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cfg = avvp_pl.compose("data=llp", "data.root=~/my videos (é)=1", "data.modalities={audio: [yamnet]}")
    assert cfg.data.root == str(tmp_path / "my videos (é)=1")
    assert cfg.data.modalities == {"audio": ["yamnet"]}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["labeling.gama=1"], "there is no setting 'labeling.gama'. Did you mean 'labeling.gamma'?"),
        (["+experiment=ppl_sof"], "there is no experiment 'ppl_sof'. Did you mean 'ppl_soft'?"),
        (["optimizer.learning_rate=fast"], "optimizer.learning_rate=fast: it must be"),
        (["data=llp"], "data.root must be given: data.root=..."),
        (["seed"], "'seed' has no value; settings are given as NAME=VALUE"),
        (["+logger.api_key=abc"], "a secret must not be a setting"),
        (["-m", "seed=1,2"], "'-m' is not a setting; give each one as compose('+experiment=mil', 'seed=1')"),
        (["--cfg=job"], "'--cfg=job' is not a setting"),
        ([["seed=1"]], "['seed=1'] is not a setting; give each one as"),
    ],
)
def test_wrong_settings_are_refused_with_the_message_of_the_command(overrides: list[Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        avvp_pl.compose(*overrides)
    assert message in str(error.value)


def test_a_sweep_is_not_the_settings_of_one_run(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^a sweep is several runs, but compose returns the settings of one; start it"
    ):
        avvp_pl.compose("+sweep=seeds")
    (tmp_path / "experiment").mkdir()
    params = "hydra: {sweeper: {params: {seed: '0,1'}}}"
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{params}\n")
    with pytest.raises(InputError, match=r"^experiment/mine\.yaml: hydra\.sweeper\.params has the values of a sweep"):
        avvp_pl.compose("+experiment=mine", conf=tmp_path)


def test_a_training_is_that_of_the_command(command: Command, tmp_path: Path) -> None:
    arguments = (*SETTINGS, "+experiment=ppl_soft")
    assert command("train", *arguments, f"hydra.run.dir={tmp_path / 'command'}") == 0
    trained = avvp_pl.fit(avvp_pl.compose(*arguments), folder=tmp_path / "library")
    assert trained.folder == tmp_path / "library"
    assert trained.checkpoint == checkpoint(trained.folder)
    assert trained.validation_score is not None
    assert same_bits(weights(trained.folder), weights(tmp_path / "command"))
    for name in ("metrics.csv", "scores.json"):
        assert (trained.folder / name).read_bytes() == (tmp_path / "command" / name).read_bytes()
    with pytest.raises(InputError, match="already holds a run"):
        avvp_pl.fit(avvp_pl.compose(*arguments), folder=tmp_path / "library")


def test_hydras_own_compose_can_be_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook, in which Hydra stays initialized."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # commands of other tests ran in this process
    try:
        hydra.initialize_config_dir(str(config_dir().resolve()), version_base="1.3")
        cfg = hydra.compose("train", overrides=list(SETTINGS))
        assert avvp_pl.compose(*SETTINGS).name == "mil"
        assert hydra.compose("train", overrides=list(SETTINGS)) == cfg  # Hydra is as it was
        assert not HydraConfig.initialized()
        videos = avvp_pl.build_videos(cfg)
        assert len(avvp_pl.build_model(cfg, videos).events) == 25
        trained = avvp_pl.fit(cfg, folder=tmp_path / "mine")
        assert OmegaConf.load(trained.folder / "config.yaml").name == "mine"
        assert avvp_pl.fit(cfg).folder.parent == tmp_path / "outputs" / "train"
        whole = hydra.compose("train", overrides=list(SETTINGS), return_hydra_config=True)
        assert "hydra" not in OmegaConf.load(avvp_pl.fit(whole, tmp_path / "other").folder / "config.yaml")
    finally:
        GlobalHydra.instance().clear()


def test_other_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="these are not the settings of"):
        avvp_pl.fit(OmegaConf.create({"seed": 0}), tmp_path)
    cfg = avvp_pl.compose(*SETTINGS)
    cfg.seed = -1
    with pytest.raises(InputError, match="seed=-1: it must be"):
        avvp_pl.fit(cfg, tmp_path)
    cfg = avvp_pl.compose(*SETTINGS)
    OmegaConf.set_struct(cfg, False)
    del cfg.method["targets"]
    with pytest.raises(InputError, match="targets"):
        avvp_pl.fit(cfg, tmp_path / "run")
