from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from avvp_pl.processes.signals import (
    STOPPING,
    StopRequest,
    exit_code,
    handle,
    handlers,
    handling,
    is_foreign,
    stop_at_once,
)


@pytest.fixture(autouse=True)
def handlers_kept() -> Iterator[None]:
    before = handlers()
    yield
    handle(before)


def launchers_own(number: int, frame: FrameType | None) -> None:
    """As the launcher of a cluster's jobs installs it."""


def test_exit_codes_are_those_of_a_shell() -> None:
    assert [exit_code(number) for number in STOPPING] == [128 + signal.SIGINT, 128 + signal.SIGTERM, 143]


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_leaves_with_its_code_and_handlers_are_put_back(number: int) -> None:
    before = handlers()
    with pytest.raises(SystemExit) as leave, handling(stop_at_once):
        signal.raise_signal(number)
    assert leave.value.code == exit_code(number)
    assert handlers() == before


def test_whoever_else_handles_a_signal_keeps_it() -> None:
    signal.signal(signal.SIGTERM, launchers_own)
    with handling(stop_at_once):
        assert signal.getsignal(signal.SIGTERM) is launchers_own
        assert signal.getsignal(signal.SIGINT) is stop_at_once
        signal.raise_signal(signal.SIGTERM)  # does nothing


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, stop_at_once, None])
def test_defaults_and_our_own_are_not_foreign(handler: object) -> None:
    assert not is_foreign(handler)  # type: ignore[arg-type]
    assert not is_foreign(StopRequest().note)
    assert is_foreign(launchers_own)


def test_the_first_request_stands_and_a_second_ctrl_c_is_obeyed_at_once() -> None:
    request = StopRequest()
    request.note(signal.SIGTERM, None)
    request.note(signal.SIGINT, None)
    request.note(signal.SIGTERM, None)
    assert request.number == signal.SIGTERM
    impatient = StopRequest()
    impatient.note(signal.SIGINT, None)
    with pytest.raises(SystemExit) as leave:
        impatient.note(signal.SIGINT, None)
    assert leave.value.code == 130
