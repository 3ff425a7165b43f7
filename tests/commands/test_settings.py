"""Settings are checked before any work, and secrets are never written anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Command
from tests.small import KEY, SMALL

PPL = "+experiment=ppl_soft"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+experiment=ppl_sof"], "Did you mean 'ppl_soft'?"),
        (["+experimet=ppl_soft"], "Did you mean 'experiment'?"),
        ([PPL, "labeling.gama=1"], "Did you mean 'labeling.gamma'?"),
        (["+labeling.gama=1", PPL], "'labeling.gama'"),
        (["data=lp"], "Did you mean 'llp'?"),
        (["data=llp"], "data.root must be given"),
        (["data=llp", "data.root=nowhere"], "LLP folder"),
        ([PPL, "labeling.gamma=0"], "labeling.gamma=0: it must be a number in (0, 1]"),
        ([PPL, "labeling.gamma=1.01"], "it must be a number in (0, 1]"),
        ([PPL, "labeling.beta=1"], "it must be a number in (0, 1)"),
        ([PPL, "labeling.k=0"], "it must be a whole number of at least 1"),
        ([PPL, "labeling.tau=0"], "it must be a number above 0"),
        ([PPL, "labeling.tau=nan"], "it must be a number above 0"),
        (["-m", PPL, "labeling.gamma=0.5,2"], "labeling.gamma=2: it must be"),
        (["-m", PPL, "labeling.gamma=2", "seed=0,1"], "labeling.gamma=2: it must be"),
        (["+sweep=methods", "data.noise=0.5,-1"], "data.noise=-1: it must be"),
        (["network.cross_attention=off"], "network.cross_attention=off: it must be true or false"),
        ([PPL, "labeling.labels=sft"], "it must be one of soft, hard"),
        ([PPL, "labeling.kmeans=cuml"], "it must be one of faiss, torch"),
        (["network.num_heads=3"], "network.num_heads=3: it must divide network.dim=512"),
        (["+experiment=han_ppl_test"], "'checkpoint' in avvp_pl.train; it is for python -m avvp_pl.evaluate"),
        (["inference=prototype"], "labeling NoLabels has none; labeling=prototype has"),
        (["inference=[classifier,classifier]"], "inference=[classifier,classifier]: it must be"),
        (["+truth={audio: a.csv}"], "avvp_pl.score"),
        (["compile=true"], "{mode: reduce-overhead}"),
    ],
)
def test_bad_settings_are_refused_before_any_work(
    command: Command, capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert command("train", *arguments) == 2
    error = capfd.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "setting",
    [
        "+logger.wandb.settings.api_key={key}",
        "logger.wandb.settings={{_target_: wandb.Settings, api_key: {key}}}",
        "+hydra.job.env_set.WANDB_API_KEY={key}",
        "+trainer.my_password={key}",
        "+callbacks.panels.Access-Token={key}",
        "-m +logger.wandb.settings.apikey={key},x",
    ],
)
def test_a_key_is_refused_before_anything_is_written(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str], setting: str
) -> None:
    assert command("train", *setting.format(key=KEY).split(" ", 1 if setting[0] == "-" else 0), *SMALL) == 2
    printed = capfd.readouterr()
    assert "a secret must not be a setting" in printed.err
    assert KEY not in printed.err + printed.out
    assert not list(tmp_path.rglob("*"))


def test_a_key_in_a_file_of_settings_is_refused(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        f"# @package _global_\nlogger:\n  wandb:\n    settings:\n      api_key: '{KEY}'\n"
    )
    assert command("train", *SMALL, f"hydra.searchpath=[file://{tmp_path}]", "+experiment=mine") == 2
    error = capfd.readouterr().err
    assert "logger.wandb.settings.api_key: a secret must not be a setting" in error
    assert KEY not in error
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and KEY in path.read_text()]
    assert [path.name for path in kept] == ["mine.yaml"]
