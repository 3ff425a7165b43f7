"""Options of a command line that do not exist, and settings that are given as if they were options."""

from __future__ import annotations

from pathlib import Path

import pytest

from avvp_pl import __version__
from tests.conftest import Command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hepl"], "there is no option '--hepl'. Did you mean '--help'? Settings are given without dashes"),
        (["--multi", "seed=0,1"], "Did you mean '--multirun'?"),
        (["--zzz"], "there is no option '--zzz'. Settings are given without dashes"),
        (["--seed", "1"], "there is no option '--seed'; settings are given without dashes: seed=1"),
        (["--seed=1"], "settings are given without dashes: seed=1"),
        (["--seed"], "settings are given without dashes: seed=VALUE"),
        (["--seed", "threads=1"], "settings are given without dashes: seed=VALUE"),
        (["--max-epochs", "3"], "there is no option '--max-epochs'. Did you mean 'data.max_epochs'? Settings are"),
        (["--data.batch-size=8"], "settings are given without dashes: data.batch_size=8"),
        (["--labeling.gamma", "0.5"], "settings are given without dashes: labeling.gamma=0.5"),
        (["--data", "llp"], "settings are given without dashes: data=llp"),
        (["--experiment=ppl_soft"], "settings are given without dashes: +experiment=ppl_soft"),
        (["--experiment", "ppl_soft"], "settings are given without dashes: +experiment=ppl_soft"),
        (["seed=1", "--cfg", "job", "threads=1"], "'threads=1': give all settings in a row"),
        (["--cfg", "jobs"], "argument --cfg/-c: invalid choice: 'jobs' (choose from"),
        (["--config-dir"], "argument --config-dir/-cd: expected one argument; --help lists the options"),
        (["--config-dir", "nowhere"], "--config-dir nowhere: there is no such folder"),
        (["--config-dir=nowhere", "--help"], "--config-dir nowhere: there is no such folder"),
        (["--experimental-rerun", "config.pickle"], "--experimental-rerun is not possible; give the settings again"),
    ],
)
def test_what_is_no_option_is_refused_with_what_was_meant(
    command: Command, capfd: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert command("train", *arguments) == 2
    printed = capfd.readouterr()
    assert message in printed.err
    assert printed.err.startswith("avvp_pl.train: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert not list(tmp_path.iterdir())


def test_a_setting_of_another_command_is_no_setting(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    assert command("score", "--optimizer", "adam") == 2
    assert "there is no option '--optimizer'. Settings are given" in capfd.readouterr().err
    assert command("score", "--labeling.gamma=1") == 2
    assert "there is no option '--labeling.gamma'. Settings are given" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--cfg", "job"], ["--hydra-help"], ["-c", "job", "seed=1"], ["--info", "plugins"]]
)
def test_the_options_of_hydra_work(command: Command, capfd: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert command("train", *arguments) == 0
    assert capfd.readouterr().out


def test_the_version_is_ours(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    assert command("train", "--version") == 0
    assert capfd.readouterr().out.startswith(f"avvp_pl {__version__}, Hydra 1.")
