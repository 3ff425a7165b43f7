"""The folders of parsed videos: one for each, under a name that cannot be guessed, until it is deleted."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from avvp_pl.errors import printable

# The endings of the files that can be uploaded, which are also those under which they are kept: a browser is told by
# them what it is given, and nothing else of the name of an upload reaches the disk
ENDINGS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".ogv", ".flv", ".wmv", ".3gp")
LONGEST_NAME = 80  # characters of the name of an upload that are shown


class Results:
    """The folders in ``root``. Each is deleted when its owner asks for it, or ``seconds`` after it was made.

    So is what is left in ``uploads`` of files that were never parsed, such as those that are too large.
    """

    def __init__(self, root: Path, uploads: Path, seconds: float) -> None:
        self._root, self._uploads, self._seconds = root, uploads, seconds
        self._made: dict[str, float] = {}
        self._lock = threading.Lock()

    def keep_tidy(self, every: float = 30.0) -> None:
        """Delete what is old, again and again, as long as the program runs."""

        def tidy() -> None:
            while True:
                time.sleep(every)
                self.delete_old()

        threading.Thread(target=tidy, daemon=True, name="avvp_pl results").start()

    def new(self) -> str:
        """Make a folder and return its name."""
        token = secrets.token_urlsafe(16)
        (self._root / token).mkdir(mode=0o700)
        with self._lock:
            self._made[token] = time.monotonic()
        return token

    def folder(self, token: str) -> Path:
        """Return the path of a folder that :meth:`new` has made."""
        return self._root / token

    def delete(self, token: str | None) -> None:
        """Delete a folder with all that is in it; nothing happens if there is none."""
        with self._lock:
            known = self._made.pop(token, None) if token else None
        if known is not None and token:
            shutil.rmtree(self._root / token, ignore_errors=True)

    def delete_old(self) -> None:
        """Delete what has been here for longer than it may."""
        for path in self._uploads.rglob("*"):
            with suppress(OSError):  # it may be gone by now
                if path.is_file() and time.time() - path.stat().st_mtime > self._seconds:
                    path.unlink()
        now = time.monotonic()
        with self._lock:
            old = [token for token, made in self._made.items() if now - made > self._seconds]
        for token in old:
            self.delete(token)


@dataclass(frozen=True)
class Upload:
    """An uploaded file. ``name`` is what its owner calls it, made harmless, and ``ending`` one of :data:`ENDINGS`."""

    path: Path
    name: str = field(init=False)
    ending: str = field(init=False)

    def __post_init__(self) -> None:
        # whatever looks like a folder belongs to the machine of the owner
        last = re.split(r"[\\/]", str(self.path))[-1]
        name = " ".join(printable(last).split()) or "video"
        short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 9]}…{name[-8:]}"
        object.__setattr__(self, "name", short)
        object.__setattr__(self, "ending", self.path.suffix.lower())
