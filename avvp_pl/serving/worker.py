"""A process that holds the model and parses one video at a time. A video that hangs or crashes it is only one error."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from avvp_pl.errors import InputError

Progress: TypeAlias = Callable[[float, str], None]

POLLING = 0.2  # seconds between two looks at whether the process is alive
PAGE = "index.html"
STEM = "video"  # the files of a result have this name, whatever the name of the upload is
BROKEN = "this video cannot be parsed: it stops the decoder; try to convert it to another format"


class Known(NamedTuple):
    """What the page says about the model."""

    events: tuple[str, ...]
    modalities: tuple[str, ...]
    inference: str


@dataclass(frozen=True)
class Loading:
    """How the model is loaded: the arguments of :func:`avvp_pl.load`, and the number of its threads."""

    checkpoint: str
    arguments: Mapping[str, Any]
    threads: int | None = None


class Worker:
    """The process with the model. It starts at once, and again after a video that it did not survive."""

    def __init__(self, loading: Loading, seconds: float, longest: float) -> None:
        """``seconds`` is how long a video may take, and ``longest`` the duration in seconds that it may have."""
        self._loading, self._seconds, self._longest = loading, seconds, longest
        self._one_at_a_time = threading.Lock()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self.known = self._start()

    def parse(self, video: Path, folder: Path, name: str, progress: Progress) -> str:
        """Parse a video, write its timeline in all formats and as a page into ``folder``, and return it as text.

        ``name`` is what the video is called there. Raises :class:`InputError` for a video that cannot be parsed, that
        is too long, or that takes too long.
        """
        with self._one_at_a_time:
            if self._process is None or not self._process.is_alive():
                progress(0.0, "The model is loaded again")
                self._start()
            assert self._pipe is not None
            self._pipe.send((str(video), str(folder), name, self._longest))
            return self._answer(self._pipe, progress)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def _start(self) -> Known:
        self.close()
        context = multiprocessing.get_context("spawn")  # torch has threads, which a fork would lose
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._loading), daemon=True, name="avvp_pl parser")
        self._process.start()
        theirs.close()
        try:
            kind, content = self._pipe.recv()
        except EOFError:
            raise InputError(f"{self._loading.checkpoint}: the process that loads it has died") from None
        if kind == "error":
            self.close()
            raise InputError(content)
        return Known(*content)

    def _answer(self, pipe: Connection, progress: Progress) -> str:
        """Wait for the end of a video, and pass its progress on."""
        assert self._process is not None
        end = time.monotonic() + self._seconds
        while True:
            if not pipe.poll(POLLING):
                if time.monotonic() > end:
                    self.close()
                    raise InputError(
                        f"this video takes more than {self._seconds:g} seconds, which is the limit; give a shorter one"
                    )
                continue
            try:
                kind, content = pipe.recv()
            except (EOFError, ConnectionResetError):  # killed, by a crash in a decoder or for want of memory
                self.close()
                raise InputError(BROKEN) from None
            if kind == "progress":
                progress(*content)
            elif kind == "error":
                raise InputError(content)
            else:
                return str(content)


def _work(pipe: Connection, loading: Loading) -> None:
    """Load the model and parse videos until the other end is closed."""
    import torch

    import avvp_pl

    if loading.threads is not None:
        torch.set_num_threads(loading.threads)
    try:
        parser = avvp_pl.load(loading.checkpoint, **loading.arguments)
        if not parser.extractors:
            raise InputError(
                f"{loading.checkpoint}: it does not know how features are made of a video; train on features that "
                "python -m avvp_pl.extract has written"
            )
    except InputError as error:
        pipe.send(("error", str(error)))
        return
    pipe.send(("known", (parser.events, tuple(parser.modalities), parser.inference)))
    while True:
        try:
            video, folder, name, longest = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("done", _parse(parser, Path(video), Path(folder), name, longest, pipe)))
        except InputError as error:
            pipe.send(("error", str(error).replace(video, name)))
        except Exception as error:  # one video must not end the page; the log of the server has the details
            pipe.send(("error", f"{name}: an unexpected error, {type(error).__name__}: {error}".replace(video, name)))
