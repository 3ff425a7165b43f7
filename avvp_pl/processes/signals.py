"""Signals that ask a command to stop, and the exit codes that follow. Nothing heavy is imported here."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None

# SLURM is often configured to send SIGUSR1 before a job reaches its time limit
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def exit_code(number: int) -> int:
    """Return 130 after SIGINT, else 143."""
    return 130 if number == signal.SIGINT else 143


def stop_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """Exit with the code of the signal, after all ``finally`` clauses."""
    raise SystemExit(exit_code(number))


def handlers() -> dict[int, Handler]:
    """Return the present handlers of the stopping signals."""
    return {number: signal.getsignal(number) for number in STOPPING}


def is_foreign(handler: Handler) -> bool:
    """Return whether another program handles a signal, such as a launcher of cluster jobs. Its handler stays."""
    defined_in = str(getattr(handler, "__module__", ""))
    return callable(handler) and handler != signal.default_int_handler and not defined_in.startswith("avvp_pl.")


def handle(wanted: Mapping[int, Handler]) -> None:
    """Set handlers. This is only possible in the main thread."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in wanted.items():
            signal.signal(number, handler)


@contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Handle the stopping signals that no other program handles, and restore the handlers afterwards."""
    before = handlers()
    handle({number: handler for number, present in before.items() if not is_foreign(present)})
    try:
        yield
    finally:
        handle(before)


class StopRequest:
    """Notes a signal that asks to stop, so that the run can stop where it is safe.

    The first signal counts. A second SIGINT (Ctrl-C again) stops at once.
    """

    def __init__(self) -> None:
        self.number = 0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.number == number == signal.SIGINT:
            stop_at_once(number, frame)
        self.number = self.number or number
