"""``python -m avvp_pl``: the list of the commands; with the name of a command, that command."""

from __future__ import annotations

import runpy
import shutil
import sys

from avvp_pl import __version__
from avvp_pl.commands.help import commands, overview
from avvp_pl.errors import nearest
from avvp_pl.processes.surroundings import become_independent


def main() -> None:
    """Print the list of the commands, or run one."""
    become_independent()
    name = next(iter(sys.argv[1:]), "--help")
    if name in {"--help", "-h"}:
        print(overview(shutil.get_terminal_size().columns), end="")
    elif name == "--version":
        print(f"avvp_pl {__version__}")
    elif name in commands():
        del sys.argv[1]
        runpy.run_module(f"avvp_pl.{name}", run_name="__main__", alter_sys=True)
    else:
        wrong = f"there is no command {name!r}.{nearest(name, commands())} The commands are: {', '.join(commands())}"
        print(f"avvp_pl: {wrong}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
