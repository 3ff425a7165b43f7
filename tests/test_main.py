"""``python -m avvp_pl``: the list of the commands, and any command by its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from avvp_pl import __version__
from avvp_pl.__main__ import main
from avvp_pl.commands.help import commands
from avvp_pl.errors import NO_WINDOWS
from tests.small import environment
from tests.test_layering import COMMANDS


def shell(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_commands_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert commands() == sorted(COMMANDS)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["avvp_pl", *arguments])
    main()
    lines = capsys.readouterr().out.splitlines()
    for name in COMMANDS:
        assert any(line.startswith(f"  {name:9} ") for line in lines)
    assert "    python -m avvp_pl.train +experiment=ppl_soft" in lines
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tran", "there is no command 'tran'. Did you mean 'train'? The commands are: app, "),
        ("seed=1", "there is no command 'seed=1'. The commands are: "),
        ("--hlep", "there is no command '--hlep'."),
    ],
)
def test_what_is_no_command_is_refused_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["avvp_pl", name])
    with pytest.raises(SystemExit) as leave:
        main()
    assert leave.value.code == 2
    assert message in capsys.readouterr().err


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["avvp_pl", "--version"])
    main()
    assert capsys.readouterr().out == f"avvp_pl {__version__}\n"


def test_a_command_runs_by_its_name_as_by_its_module(tmp_path: Path) -> None:
    for arguments in (["--help"], ["videos=nowhere.csv", "truth={a: x}", "predicted={a: y}"]):
        by_name = shell(tmp_path, "-m", "avvp_pl", "score", *arguments)
        by_module = shell(tmp_path, "-m", "avvp_pl.score", *arguments)
        assert (by_name.returncode, by_name.stdout, by_name.stderr) == (
            by_module.returncode, by_module.stdout, by_module.stderr
        )  # fmt: skip
    assert "nowhere.csv" in by_name.stderr


@pytest.mark.parametrize("module", ["avvp_pl", *(f"avvp_pl.{name}" for name in COMMANDS)])
def test_windows_is_refused_in_one_line(tmp_path: Path, module: str) -> None:
    """Where fcntl cannot be imported, and some signals do not exist."""
    code = (
        "import runpy, signal, sys; import omegaconf; sys.platform = 'win32'; sys.modules['fcntl'] = None;"
        f"del signal.SIGUSR1; sys.argv = ['-m', '--help']; runpy.run_module({module!r}, run_name='__main__')"
    )
    ran = shell(tmp_path, "-c", code)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", f"{NO_WINDOWS}\n")


def test_windows_is_refused_by_the_library(tmp_path: Path) -> None:
    ran = shell(tmp_path, "-c", "import avvp_pl, sys; sys.platform = 'win32'; avvp_pl.load")
    assert ran.stderr.endswith(f"\nImportError: {NO_WINDOWS}\n")
