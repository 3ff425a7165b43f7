"""Errors that are a message a user can act on: of bad input (exit code 2), and of a training that failed (1)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something given by the user is wrong; the message names the file, row or key, and the mend."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says where, why, and from which checkpoint it can."""


def nearest(name: str, names: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the closest of ``names``, or nothing if none is close.

    >>> nearest("Speach", ["Speech", "Dog"])
    " Did you mean 'Speech'?"
    """
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
