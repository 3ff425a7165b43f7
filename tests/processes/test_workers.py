"""Processes that share items: all are done once, and one that dies takes only its own item with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from avvp_pl.errors import InputError
from avvp_pl.processes.workers import Done, WorkerDiedError, work_on


def prepare(factor: int) -> Callable[[int], int]:
    if factor == 0:
        raise InputError("the factor is 0")
    if factor < 0:
        os._exit(7)

    def work(item: int) -> int:
        if item == 13:
            raise InputError("13 brings bad luck")
        if item == 14:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "an error that cannot be built from its message")
        if item == 15:
            os.kill(os.getpid(), signal.SIGKILL)
        if item == 16:
            os._exit(3)
        return factor * item

    return work


def by_item(done: list[Done[int, int]]) -> dict[int, Done[int, int]]:
    assert len({one.item for one in done}) == len(done)
    return {one.item: one for one in done}


def test_every_item_is_done_and_errors_stay_with_their_item() -> None:
    done = by_item(list(work_on(range(10, 20), prepare, (3,), 2)))
    assert sorted(done) == list(range(10, 20))
    assert all(done[item].result == 3 * item for item in (10, 11, 12, 17, 18, 19))
    assert isinstance(done[13].error, InputError)
    assert str(done[13].error) == "13 brings bad luck"
    assert str(done[14].error).startswith("UnicodeDecodeError: ")
    assert isinstance(done[15].error, WorkerDiedError)
    assert "SIGKILL, perhaps because the memory was full" in str(done[15].error)
    assert "exit code 3" in str(done[16].error)


def test_this_process_can_do_it_alone() -> None:
    done = by_item(list(work_on([1, 13, 2], prepare, (5,), 0)))
    assert (done[1].result, done[2].result) == (5, 10)
    assert str(done[13].error) == "13 brings bad luck"


@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_begin_is_an_error(workers: int) -> None:
    with pytest.raises(InputError, match="the factor is 0"):
        list(work_on([1], prepare, (0,), workers))


def test_a_process_that_dies_at_its_start_is_an_error() -> None:
    with pytest.raises(WorkerDiedError, match="a process could not start: exit code 7"):
        list(work_on([1], prepare, (-1,), 1))


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_to_do(workers: int) -> None:
    assert list(work_on([], prepare, (1,), workers)) == []
