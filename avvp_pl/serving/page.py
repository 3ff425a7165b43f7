"""The page: a video is dropped on it, a bar shows the progress, then a player with the tracks of every event."""

from __future__ import annotations

import html
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import gradio as gr

from avvp_pl.errors import InputError, printable
from avvp_pl.serving.results import ENDINGS, Results, Upload
from avvp_pl.serving.server import RESULTS
from avvp_pl.serving.worker import PAGE, STEM, Known, Progress, Worker
from avvp_pl.timelines.saving import FORMATS, suffix_of

TITLES = {
    "json": "JSON",
    "csv": "tables (CSV)",
    "vtt": "subtitles (WebVTT)",
    "srt": "subtitles (SRT)",
    "audacity": "Audacity labels",
    "elan": "ELAN",
    "html": "page (HTML)",
}
STYLE = """
.gradio-container { max-width: 1100px !important; }
.timeline { width: 100%; height: 78vh; border: 0; border-radius: 8px; background: Canvas; }
.problem { border-left: 4px solid #c62828; padding: .6rem 1rem; margin: 0; }
.progress { width: 100%; height: 1rem; }
.downloads { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; padding: 0; margin: .5rem 0; list-style: none; }
"""
# The player is as high as its content, so that only one thing scrolls
FITTING = """() => {
  const player = document.querySelector("#shown iframe.timeline");
  if (!player) return;
  const fit = () => {
    const body = player.contentDocument?.body;
    if (!body) return;
    const set = () => { player.style.height = `${Math.ceil(body.getBoundingClientRect().height) + 48}px`; };
    new ResizeObserver(set).observe(body);
    set();
  };
  player.addEventListener("load", fit);
  fit();
}"""

# What the page shows: the field for a video, a text, the folder of the results, and the button that deletes them
Shown: TypeAlias = tuple[Any, str, str | None, Any]


@dataclass(frozen=True)
class Limits:
    """What an upload may be: its size, its duration, how long it may take, and for how long its results are kept."""

    megabytes: float
    minutes: float
    seconds: float
    keep_minutes: float


def build_page(worker: Worker, results: Results, limits: Limits) -> gr.Blocks:
    """Return the page. Nothing on it is an interface for programs; :func:`avvp_pl.load` is one."""

    def parse(path: str | None, token: str | None) -> Iterator[Shown]:
        results.delete(token)
        if path is None:
            return
        upload, token = Upload(Path(path)), results.new()
        try:
            parsing = _parsed(worker, results.folder(token), upload, limits)
            shown = yield from _shown_while(parsing, upload.name)
        except InputError as error:
            results.delete(token)
            yield _field(), _problem(str(error).replace(path, upload.name)), None, _button(False)
        else:
            yield _field(), _result(f"/{RESULTS}/{token}", upload.name, shown), token, _button(True)
        finally:
            upload.path.unlink(missing_ok=True)  # a video that was parsed is with its results now

    def delete(token: str | None) -> Shown:
        results.delete(token)
        return _field(), "", None, _button(False)

    page = gr.Blocks(title="avvp_pl", analytics_enabled=False, delete_cache=(60, 60))
    with page:
        token = gr.State(None)
        gr.Markdown(_introduction(worker.known, limits))
        video, shown, button = _field(), gr.HTML(elem_id="shown"), _button(False)
        changed = [video, shown, token, button]
        given: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        parsed = video.upload(parse, [video, token], changed, concurrency_limit=4, **given)
        parsed.then(None, js=FITTING, **given)
        button.click(delete, [token], changed, **given)
    return page


def _field() -> gr.File:
    return gr.File(None, label="Video", file_types=list(ENDINGS), elem_id="video", height=140)


def _button(visible: bool) -> gr.Button:
    return gr.Button("Delete the video and its results", size="sm", elem_id="delete", visible=visible)


def _parsed(worker: Worker, folder: Path, upload: Upload, limits: Limits) -> Generator[Progress, None, str]:
    """Parse an upload; it is moved into the folder of its results."""
    if upload.ending not in ENDINGS:
        raise InputError(f"{upload.name}: this is not a video file; give one of {', '.join(ENDINGS)}")
    if upload.path.stat().st_size > limits.megabytes * 1e6:
        raise InputError(f"{upload.name}: it is larger than {limits.megabytes:g} MB")
    kept = folder / f"{STEM}{upload.ending}"
    upload.path.replace(kept)
    return (yield from worker.parse(kept, folder, upload.name))


def _shown_while(parsing: Generator[Progress, None, str], name: str) -> Generator[Shown, None, str]:
    """Show the progress of the parsing, and return its result."""
    while True:
        try:
            now = next(parsing)
        except StopIteration as end:
            return str(end.value)
        bar = f'<progress class="progress" max="1" value="{now.done:.3f}" aria-label="Progress"></progress>'
        yield gr.skip(), f'<p role="status">{html.escape(name)}: {now.doing} …</p>{bar}', gr.skip(), gr.skip()


def _introduction(known: Known, limits: Limits) -> str:
    events = ", ".join(html.escape(printable(event.replace("_", " "))) for event in known.events)
    modalities = " and ".join(html.escape(printable(modality)) for modality in known.modalities)
    return (
        f"# What happens in a video, and when?\n\nDrop a video of up to {limits.minutes:g} minutes and "
        f"{limits.megabytes:g} MB. The model looks for {len(known.events)} events in {modalities}. The video stays on "
        f"this machine, and is deleted when you say so, when you give the next one, or after {limits.keep_minutes:g} "
        f"minutes.\n\n<details><summary>The events</summary>\n\n{events}\n\n</details>"
    )


def _result(address: str, name: str, text: str) -> str:
    links = "".join(
        f'<li><a href="{address}/{STEM}{suffix_of(form)}" download>{TITLES.get(form, form)}</a></li>'
        for form in FORMATS
    )
    return (
        f'<iframe class="timeline" src="{address}/{PAGE}" title="Player and timeline of {html.escape(name)}"></iframe>'
        f'<h3>Downloads</h3><ul class="downloads">{links}</ul>'
        f"<details><summary>As text</summary><pre>{html.escape(text)}</pre></details>"
    )


def _problem(message: str) -> str:
    return f'<p class="problem" role="alert">{html.escape(printable(message))}</p>'
