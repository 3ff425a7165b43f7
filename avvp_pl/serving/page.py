"""The page: a video is dropped on it, a bar shows the progress, then a player with the tracks of every event."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from avvp_pl.errors import InputError, printable
from avvp_pl.serving.results import ENDINGS, Results, Upload
from avvp_pl.serving.worker import PAGE, STEM, Known, Worker
from avvp_pl.timelines.saving import FORMATS, suffix_of

RESULTS = "/results"  # the address under which the folders of results are served
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
.timeline { width: 100%; height: max(34rem, 78vh); border: 0; border-radius: 8px; background: Canvas; }
.problem { border-left: 4px solid #c62828; padding: .6rem 1rem; margin: 0; }
.downloads { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; padding: 0; margin: .5rem 0; list-style: none; }
"""


@dataclass(frozen=True)
class Limits:
    """What an upload may be: its size, its duration, how long it may take, and for how long its results are kept."""

    megabytes: float
    minutes: float
    seconds: float
    keep_minutes: float


def build_page(worker: Worker, results: Results, limits: Limits) -> gr.Blocks:
    """Return the page. Nothing on it is an interface for programs; :func:`avvp_pl.load` is one."""

    def parse(path: str | None, token: str | None, progress: gr.Progress = gr.Progress()) -> tuple[str, str | None]:  # noqa: B008 - gradio finds it here
        results.delete(token)
        if path is None:
            return "", None
        upload = Upload(Path(path))
        token = results.new()
        try:
            shown = _parsed(worker, results, upload, token, lambda done, what: progress(done, desc=what))
        except InputError as error:
            results.delete(token)
            return _problem(str(error).replace(path, upload.name)), None
        finally:
            upload.path.unlink(missing_ok=True)  # of a video that was parsed, it is with the results now
        return shown, token

    def delete(token: str | None) -> tuple[None, str, None]:
        results.delete(token)
        return None, "", None

    with gr.Blocks(title="avvp_pl", analytics_enabled=False, delete_cache=(60, 60)) as page:
        token = gr.State(None, time_to_live=limits.keep_minutes * 60, delete_callback=results.delete)
        gr.Markdown(_introduction(worker.known, limits))
        video = gr.File(label="Video", file_types=list(ENDINGS), elem_id="video", height=140)
        button = gr.Button("Delete the video and its results", variant="secondary", size="sm", elem_id="delete")
        shown = gr.HTML(elem_id="shown")
        private = {"api_visibility": "private", "show_progress_on": [shown], "concurrency_limit": 4}
        video.upload(parse, [video, token], [shown, token], **private)
        video.clear(delete, [token], [video, shown, token], api_visibility="private")
        button.click(delete, [token], [video, shown, token], api_visibility="private")
    return page


def _parsed(
    worker: Worker, results: Results, upload: Upload, token: str, progress: Callable[[float, str], None]
) -> str:
    """Parse an upload and return what the page shows of it."""
    if upload.ending not in ENDINGS:
        raise InputError(f"{upload.name}: this is not a video file; give one of {', '.join(ENDINGS)}")
    folder = results.folder(token)
    kept = folder / f"{STEM}{upload.ending}"
    upload.path.replace(kept)
    text = worker.parse(kept, folder, upload.name, progress)
    return _result(f"{RESULTS}/{token}", upload.name, text)


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
