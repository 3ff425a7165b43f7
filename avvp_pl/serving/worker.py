"""A process that holds the model and parses one video at a time. A video that hangs or crashes it is only one error."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
import traceback
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from avvp_pl.errors import InputError

if TYPE_CHECKING:
    from avvp_pl.library.parser import Parser

PAGE = "index.html"
PREVIEW = "preview.mp4"
STEM = "video"  # the files of a result have this name, whatever the name of the upload is
BROKEN = "this video cannot be parsed: it stops the decoder; try to convert it to another format"


class Progress(NamedTuple):
    """How far the parsing of a video is, from 0 to 1, and what is being done."""

    done: float
    doing: str


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

    def parse(self, video: Path, folder: Path, name: str) -> Generator[Progress, None, str]:
        """Parse a video, write its timeline in all formats and as a page into ``folder``, and return it as text.

        ``name`` is what the video is called there. Raises :class:`InputError` for a video that cannot be parsed, that
        is too long, or that takes too long.
        """
        if self._one_at_a_time.locked():
            yield Progress(0.0, "Waiting for another video")
        with self._one_at_a_time:
            if self._process is None or not self._process.is_alive():
                yield Progress(0.0, "Loading the model again")
                self._start()
            assert self._pipe is not None
            self._pipe.send((str(video), str(folder), name, self._longest))
            finished = False
            try:
                text = yield from self._answer(self._pipe)
                finished = True
            except InputError:
                finished = True
                raise
            finally:
                if not finished:  # whoever asked has gone; what the process still says would answer the next video
                    self.close()
            return text

    def interrupt(self) -> None:
        """End what the process is doing: whoever waits for it is told at once."""
        if self._process is not None:
            self._process.kill()

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

    def _answer(self, pipe: Connection) -> Generator[Progress, None, str]:
        """Wait for the end of a video, and pass its progress on."""
        end = time.monotonic() + self._seconds
        while True:
            if not pipe.poll(max(0.0, end - time.monotonic())):
                self.close()
                raise InputError(
                    f"this video takes more than {self._seconds:g} seconds, which is the limit; give a shorter one"
                )
            try:
                kind, content = pipe.recv()
            except (EOFError, ConnectionResetError):  # killed, by a crash in a decoder or for want of memory
                self.close()
                raise InputError(BROKEN) from None
            if kind == "error":
                raise InputError(content)
            if kind == "done":
                return str(content)
            yield Progress(*content)


def _work(pipe: Connection, loading: Loading) -> None:
    """Load the model and parse videos until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then ends this process
    import torch

    import avvp_pl

    if loading.threads is not None:
        torch.set_num_threads(loading.threads)
    try:
        parser = avvp_pl.load(loading.checkpoint, **loading.arguments)
        _ = parser.extractors  # a model that cannot parse videos is no use here
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
        except Exception:  # one video must not end the page; what happened is in the terminal of the server
            traceback.print_exc()
            pipe.send(("error", f"{name}: an unexpected error, which the terminal of the server shows"))


def _parse(parser: Parser, video: Path, folder: Path, name: str, longest: float, pipe: Connection) -> str:
    """Parse one video and write all files; return the timeline as text."""
    from avvp_pl.timelines.page import LARGEST
    from avvp_pl.timelines.saving import FORMATS, HTML, save, suffix_of
    from avvp_pl.video.decode import declared_seconds
    from avvp_pl.video.preview import is_playable, write_preview

    def progress(done: float) -> None:
        pipe.send(("progress", (0.9 * done, "Listening and looking")))

    if (seconds := declared_seconds(video)) > longest:
        raise InputError(f"{name}: it is {seconds / 60:.1f} minutes long; at most {longest / 60:g} are possible")
    parsing = parser.parse(video, [Path(name).stem], missing_track="mask", progress=progress)
    media = video
    if not is_playable(video):
        pipe.send(("progress", (0.9, "Making a copy that browsers can play")))
        media = folder / PREVIEW
        write_preview(video, media)
    timeline = replace(parsing[0], media=media)
    pipe.send(("progress", (0.95, "Writing the timeline")))
    for form in FORMATS:
        embed_media = form == HTML and media.stat().st_size <= LARGEST
        save([timeline], folder / f"{STEM}{suffix_of(form)}", form, embed_media=embed_media)
    save([timeline], folder / PAGE, HTML)
    return str(timeline)
