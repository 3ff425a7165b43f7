"""The server of the page. It is reached from this machine only, unless another address is asked for."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from avvp_pl.errors import InputError
from avvp_pl.processes.signals import exit_code, handling

# Gradio asks its makers about news, and counts uses, unless it is told not to before its import
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
PATIENCE = 8.0  # seconds that the server may take to stop; libraries may wait for connections or threads for ever
UPLOADS, RESULTS = "uploads", "results"
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
LOCAL = ["localhost", "127.0.0.1", "[::1]"]


def is_local(host: str) -> bool:
    """Return whether an address is only reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens at the address; port 0: any free one. Raises :class:`InputError`.

    So a browser that comes before the page is served waits for it.
    """
    bound = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen()
    except OSError as error:
        if bound is not None:
            bound.close()
        raise InputError(
            f"host={host} port={port}: cannot be used ({error.strerror}); give another port, or port=0 for any free one"
        ) from None
    return bound


def address_of(bound: socket.socket) -> str:
    """Return the address that a browser is given."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder for uploads and results that only this user can read; it is deleted at the end."""
    with TemporaryDirectory(prefix="avvp_pl-app-") as made:
        folder = Path(made)
        for name in (UPLOADS, RESULTS):
            (folder / name).mkdir(mode=0o700)
        before = dict(os.environ)
        os.environ |= QUIET | {"GRADIO_TEMP_DIR": str(folder / UPLOADS), "TMPDIR": str(folder / UPLOADS)}
        try:
            yield folder
        finally:
            os.environ.clear()
            os.environ |= before


def serve(
    page: Any, folder: Path, bound: socket.socket, host: str, megabytes: float, interrupt: Callable[[], None]
) -> None:
    """Serve a page of Gradio, and the results in a :func:`private_folder`, until a signal asks to stop.

    ``interrupt`` is called then: it ends what threads of the server wait for. Raises SystemExit with the code of the
    signal.
    """
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI, Request, Response
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.staticfiles import StaticFiles

    from avvp_pl.serving.page import STYLE

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if is_local(host):  # another site could otherwise reach the page by a name of its own for this address
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOCAL)

    @app.middleware("http")
    async def add_headers(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        if request.url.path.startswith(f"/{RESULTS}/"):
            response.headers.update(HEADERS)
        return response

    app.mount(f"/{RESULTS}", StaticFiles(directory=folder / RESULTS))
    app = gr.mount_gradio_app(
        app,
        page,
        "/",
        css=STYLE,
        footer_links=[],
        show_error=True,
        max_file_size=int(megabytes * 1e6),
        ssr_mode=False,
        pwa=False,
        enable_monitoring=False,
    )
    # open pages keep a connection, and each would be an error with a traceback when the command ends
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on", timeout_graceful_shutdown=2))
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment] # this command has handlers of its own
    received = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal received
        if not received:
            received = number
            server.should_exit = True
            interrupt()
            last = threading.Timer(PATIENCE, _leave, (folder, exit_code(number)))
            last.daemon = True
            last.start()

    with handling(stop):
        server.run(sockets=[bound])
    if received:
        raise SystemExit(exit_code(received))


def _leave(folder: Path, code: int) -> None:
    """End the process, whatever it is waiting for, without leaving anything behind."""
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(code)
