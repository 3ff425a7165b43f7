"""Work on many items in processes of their own, of which one may crash or be killed without the others.

The pools of the standard library give up when one of their processes dies. Here the item is lost on which it worked,
which is said, and another process takes its place. Nothing heavy is imported here.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, NamedTuple, TypeVar

from avvp_pl.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_WORKERS = 8  # by default: each has its own copy of what it needs, and of its item
STARTING = "starting"  # what a process sends once it is ready to work


def number_of_workers(wanted: int | None) -> int:
    """Return the number of processes: as many as there are CPU cores for this process, unless it is given."""
    return min(len(os.sched_getaffinity(0)), MOST_WORKERS) if wanted is None else wanted


class Done(NamedTuple, Generic[Item, Result]):
    """An item, and its result or the error that prevented one."""

    item: Item
    result: Result | None
    error: Exception | None


class WorkerDiedError(RuntimeError):
    """The process that worked on an item ended before it was finished."""


def work_on(
    items: Sequence[Item], prepare: Callable[..., Callable[[Item], Result]], arguments: tuple[Any, ...], workers: int
) -> Iterator[Done[Item, Result]]:
    """Yield all items as they are done, in any order.

    Each process calls ``prepare(*arguments)`` once, and what that returns for each of its items. With 0 ``workers``, it
    all happens in this process. An exception of ``prepare`` is raised here; one for an item is returned with it.
    Everything that is sent must be picklable.
    """
    if workers == 0:
        work = prepare(*arguments)
        for item in items:
            yield _attempt(work, item)
    elif items:
        team: _Team[Item, Result] = _Team(prepare, arguments)
        try:
            yield from team.work(items, min(workers, len(items)))
        finally:
            team.stop()


def _attempt(work: Callable[[Item], Result], item: Item) -> Done[Item, Result]:
    try:
        return Done(item, work(item), None)
    except Exception as error:
        return Done(item, None, error)


class _Member(Generic[Item]):
    """One process, and the item that it works on."""

    def __init__(self, prepare: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        context = get_context("spawn")  # a fork would copy the threads' locks of this process, and not the threads
        self.connection, inner = context.Pipe()
        self.process = context.Process(target=_serve, args=(inner, prepare, arguments), daemon=True)
        self.process.start()
        inner.close()  # so that the end of the process closes the connection
        self.item: Item | None = None
        self.ready = False


class _Team(Generic[Item, Result]):
    def __init__(self, prepare: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.prepare, self.arguments = prepare, arguments
        self.members: list[_Member[Item]] = []

    def work(self, items: Sequence[Item], workers: int) -> Iterator[Done[Item, Result]]:
        waiting = list(reversed(items))
        self.members = [_Member(self.prepare, self.arguments) for _ in range(workers)]
        unfinished = len(waiting)
        while unfinished:
            connections = {member.connection: member for member in self.members}
            for connection in wait([*connections]):
                assert isinstance(connection, Connection)
                member = connections[connection]
                try:
                    answer = connection.recv()
                except (EOFError, OSError):
                    lost = self._replace(member, again=bool(waiting))
                    if lost is not None:
                        yield lost
                        unfinished -= 1
                    continue
                if answer == STARTING:
                    member.ready = True
                elif not member.ready:
                    raise answer
                else:
                    assert member.item is not None
                    result, error = answer
                    yield Done(member.item, result, error)
                    unfinished -= 1
                member.item = waiting.pop() if waiting else None
                if member.item is not None:
                    with suppress(BrokenPipeError):  # the process has just died, which the next turn notices
                        connection.send(member.item)

    def _replace(self, member: _Member[Item], again: bool) -> Done[Item, Result] | None:
        """Take a dead process out, with another in its place if there is more to do; return the item that it had."""
        member.process.join()
        reason = _reason(member.process.exitcode)
        if not member.ready:
            raise WorkerDiedError(f"a process could not start: {reason}")
        self.members.remove(member)
        member.connection.close()
        if again:
            self.members.append(_Member(self.prepare, self.arguments))
        if member.item is None:
            return None
        return Done(member.item, None, WorkerDiedError(f"the process that worked on it died: {reason}"))

    def stop(self) -> None:
        for member in self.members:
            member.process.kill()  # what it writes is whole or not there
        for member in self.members:
            member.process.join()
            member.connection.close()


def _reason(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"{name}, perhaps because the memory was full" if -code == signal.SIGKILL else name
    return f"exit code {code}"


def _serve(connection: Connection, prepare: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    """Work on what the parent sends, until it ends. An interrupt of the terminal is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        work = prepare(*arguments)
    except Exception as error:
        connection.send(_sendable(error))
        return
    with suppress(EOFError, BrokenPipeError):
        connection.send(STARTING)
        while True:
            done = _attempt(work, connection.recv())
            connection.send((done.result, None if done.error is None else _sendable(done.error)))


def _sendable(error: Exception) -> Exception:
    """Return an error that another process can surely build again: those of libraries may need arguments of theirs."""
    return error if isinstance(error, InputError) else RuntimeError(f"{type(error).__name__}: {error}")
