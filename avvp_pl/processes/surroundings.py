"""What a process was started from, such as a pipe, a notebook or a server. Nothing heavy is imported here."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

GONE = {errno.EPIPE, errno.EIO}  # the reader of a pipe has ended, or the terminal was closed: nobody waits for more


class Outlet(io.FileIO):
    """Standard output or error. What it cannot take goes nowhere: the results of most commands are in files."""

    failed = False
    lost = False  # failed, and not because the reader has left

    def write(self, content: Any) -> int:
        """Write; say once what went wrong, unless the reader has left, as ``head`` does."""
        try:
            return super().write(content)
        except OSError as error:
            if not self.failed and error.errno not in GONE:
                self.lost = True
                with suppress(OSError):
                    os.write(2, f"the output cannot be written ({error.strerror}), and is lost\n".encode())
            self.failed = True
            return memoryview(content).nbytes


def is_output_lost() -> bool:
    """Return whether standard output could not be written, on a full disk for example, though someone may read it."""
    sys.stdout.flush()
    outlet = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(outlet, Outlet) and outlet.lost


def become_independent() -> None:
    """Let this process run to its end whether or not its output can be written, and draw without a display.

    A closed standard stream becomes the null device. A character that the terminal cannot show is written as an escape.
    """
    # all pictures are files: the backend of a notebook may not be installed here, and a server has no display
    os.environ["MPLBACKEND"] = "agg"
    for number in range(3):  # else the next file that is opened would get the number, and what others print
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", errors="replace"))  # noqa: SIM115
        elif stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            stream.flush()
            outlet = io.BufferedWriter(Outlet(number, "w", closefd=False))
            by_line = stream.line_buffering
            setattr(sys, name, io.TextIOWrapper(outlet, stream.encoding, "backslashreplace", line_buffering=by_line))
