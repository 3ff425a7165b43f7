"""help(avvp_pl): it lists every room, and every place that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import avvp_pl

PACKAGE = Path(avvp_pl.__file__).parent
HELP = avvp_pl.__doc__ or ""
ROOMS = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}


def test_every_room_is_listed_and_every_listed_room_is_there() -> None:
    listed = set(re.findall(r"^``(\w+)``", HELP, re.MULTILINE))
    commands = set(re.findall(r"\w+", HELP[HELP.index("the commands: ") :].partition("\n")[0])) - {"the", "commands"}
    used = set(re.findall(r"``(errors|files|figures)``", HELP))
    assert listed | commands | used == ROOMS - {"__init__", "__main__"}


def test_every_place_that_is_named_is_there() -> None:
    table = HELP[HELP.index("Where is ...") :]
    named = [name for name in re.findall(r"``([^`]+)``", table) if not name.startswith("grep")]
    assert len(named) >= 20
    for name in named:
        module = PACKAGE.joinpath(*name.split("."))
        found = (PACKAGE.parent / name).exists() or module.with_suffix(".py").exists() or module.is_dir()
        assert found, name
