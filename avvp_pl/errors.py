"""Errors that are a message a user can act on: of bad input (exit code 2), and of a training that failed (1)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SHOWN = 60  # characters of a value in a message: a damaged file may have a cell of megabytes


class InputError(ValueError):
    """Something given by the user is wrong; the message names the file, row or key, and the mend."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says where, why, and from which checkpoint it can."""


def nearest(name: str, names: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the closest of ``names``, or nothing if none is close.

    >>> nearest("Speach", ["Speech", "Dog"])
    " Did you mean 'Speech'?"
    """
    close = difflib.get_close_matches(name[:SHOWN], list(names), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def quote(value: str) -> str:
    """A value of a file as a message shows it: in quotes, on one line, cut if it is long.

    >>> quote("1,5"), quote("a" * 100_000) == "'" + "a" * 60 + "'..."
    ("'1,5'", True)
    """
    return repr(value[:SHOWN]) + "..." * (len(value) > SHOWN)


def brief(said: object) -> str:
    """What a library says of a value of a file, which it may quote: on one line, and cut if it is long."""
    text = " ".join(str(said).split())
    return text[: 2 * SHOWN] + "..." * (len(text) > 2 * SHOWN)


def printable(text: str) -> str:
    r"""Text for a terminal or a picture: what is no sign (of color, of direction, of nothing) is spelled out.

    >>> printable("Föhn\x1b[31m\u202e\n")
    'Föhn\\x1b[31m\\u202e\n'
    """
    return "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in text)
