"""A report as one HTML file that is opened from the disk; it never loads anything from a network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from avvp_pl.errors import printable
from avvp_pl.figures import COLORS
from avvp_pl.files import atomic_write
from avvp_pl.reporting.browser import KINDS, MARKS, Browser
from avvp_pl.reporting.tables import Cell, Table


def write_page(
    path: Path,
    title: str,
    tables: Sequence[Table],
    drawings: Sequence[tuple[str, str, str]],
    browser: Browser | None,
    notes: Sequence[str],
    facts: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the page: ``facts`` (what was compared), tables, drawings, videos, and the notes.

    Each note stands once, at the end: those in ``notes``, then those of the tables, which name their tables unless all
    have them. ``drawings`` are titles, captions and the texts of SVG files. Media files are referred to by the
    addresses in ``browser``; everything else is in the file itself. The content policy of the page allows its own
    script, the pictures in it, and media files from the same disk or site, and nothing else. Raises
    :class:`~avvp_pl.errors.InputError` where the file cannot be written.
    """
    content = {
        "facts": [(printable(name), printable(value)) for name, value in facts],
        "notes": [("", printable(note)) for note in notes] + _notes(tables),
        "tables": [_table(table) for table in tables],
        "drawings": [
            {"title": printable(name), "caption": printable(caption), "svg": base64.b64encode(svg.encode()).decode()}
            for name, caption, svg in drawings
        ],
        "colors": COLORS,
        "kinds": [(kind, MARKS[kind]) for kind in KINDS],
        "browser": None if browser is None else _browser(browser),
    }
    template, style, script = (_asset(name) for name in ("page.html", "page.css", "page.js"))
    parts = {
        "policy": html.escape(_policy(style, script)),
        "title": html.escape(printable(title)),
        "style": style,
        "script": script,
        # "<" could end the script element; other characters that need it, such as U+2028, json.dumps escapes
        "content": json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", r"\u003c"),
    }
    with atomic_write(path) as file:
        # in one pass, because the inserted text may look like a placeholder
        file.write(re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], template))


def _asset(name: str) -> str:
    return files("avvp_pl.reporting").joinpath("assets", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Allow exactly this style and this script, pictures inside the page, and media from the same disk or site."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; img-src data:; "
        "media-src 'self' file:; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": printable(table.title),
        "columns": table.columns,
        "rows": [
            {
                "label": printable(row.label),
                "seeds": row.seeds,
                "cells": {column: _cell(cell) for column, cell in row.cells.items()},
                "printed": dict(row.printed),
            }
            for row in table.rows
        ],
    }


def _notes(tables: Sequence[Table]) -> list[tuple[str, str]]:
    """Return each note of the tables once, after the names of its tables (empty: all of them)."""
    of_note: dict[str, list[str]] = {}
    for table in tables:
        for note in dict.fromkeys(table.notes):
            of_note.setdefault(note, []).append(table.title.partition(":")[0])
    return [
        ("" if len(names) == len(tables) else printable(", ".join(names)), printable(note))
        for note, names in of_note.items()
    ]


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "mean": cell.mean,
        "deviation": cell.deviation,
        "difference": cell.difference,
        "interval": cell.interval,
    }


def _browser(browser: Browser) -> dict[str, Any]:
    return {
        "events": [printable(event.replace("_", " ")) for event in browser.events],
        "modalities": [printable(modality.replace("_", " ")) for modality in browser.modalities],
        "seconds": browser.segment_seconds,
        "timed": browser.timed,
        "methods": [(printable(label), *others) for label, *others in browser.methods],
        "videos": [
            (
                printable(video.name),
                video.segments,
                video.media,
                [round(score, 1) for score in video.scores],
                video.shown,
            )
            for video in browser.videos
        ],
    }
