"""Errors whose message tells the user what to do: bad input (exit code 2), and a training that failed (exit code 1)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

NO_WINDOWS = "avvp_pl does not run on Windows. Run it in the Windows Subsystem for Linux (WSL), which is Linux."
SHOWN = 60  # characters of a value that a message shows: a cell of a damaged file may have megabytes


class InputError(ValueError):
    """Input is wrong. The message names the file, row or key, and says how to fix it."""


class TrainingError(RuntimeError):
    """Training cannot continue. The message says where, why, and from which checkpoint it can be resumed."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the closest of ``names``, or nothing if none is close.

    >>> nearest("Speach", ["Speech", "Dog"])
    " Did you mean 'Speech'?"
    """
    close = difflib.get_close_matches(name[:SHOWN], list(names), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def quote(value: str) -> str:
    """Return a value from a file as a message shows it: in quotes, on one line, and shortened if it is long.

    >>> quote("1,5"), quote("a" * 100_000) == "'" + "a" * 60 + "'..."
    ("'1,5'", True)
    """
    return repr(value[:SHOWN]) + "..." * (len(value) > SHOWN)


def brief(said: object) -> str:
    """Return a library's message on one line, shortened if it is long: it may quote a value from a file."""
    text = " ".join(str(said).split())
    return text[: 2 * SHOWN] + "..." * (len(text) > 2 * SHOWN)


def printable(text: str) -> str:
    r"""Return text that is safe to show in a terminal or a picture: control characters are written as escapes.

    >>> printable("Föhn\x1b[31m\u202e\n")
    'Föhn\\x1b[31m\\u202e\n'
    """
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)
