"""Where the page can be reached."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from avvp_pl import InputError
from avvp_pl.serving.server import address_of, is_local, listening, private_folder


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.7", False),
        ("machine.example", False),
    ],
)
def test_only_addresses_of_the_machine_itself_are_local(host: str, local: bool) -> None:
    assert is_local(host) == local


def test_a_port_that_is_taken_is_said() -> None:
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert address_of(taken) == f"http://127.0.0.1:{port}/"
        with pytest.raises(InputError, match=f"host=127.0.0.1 port={port}: cannot be used .*give another port"):
            listening("127.0.0.1", port)


def test_a_browser_that_comes_early_waits() -> None:
    """The address is printed before the page is served."""
    with listening("127.0.0.1", 0) as bound, socket.create_connection(bound.getsockname(), timeout=5):
        pass


def test_an_address_of_no_machine_is_said() -> None:
    with pytest.raises(InputError, match=r"host=no such host port=1: cannot be used"):
        listening("no such host", 1)


def test_uploads_go_where_only_the_user_can_read_them_and_are_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    with private_folder() as folder:
        assert folder.stat().st_mode & 0o077 == 0
        assert Path(os.environ["GRADIO_TEMP_DIR"]) == folder / "uploads"
        assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
        (folder / "uploads" / "a.mp4").write_bytes(b"0")
    assert not folder.exists()
    assert "GRADIO_TEMP_DIR" not in os.environ
