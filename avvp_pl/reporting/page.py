"""A report as a page (:mod:`avvp_pl.pages.page`)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avvp_pl.errors import printable
from avvp_pl.figures import COLORS
from avvp_pl.pages.page import BASE, TRACKS, Asset
from avvp_pl.pages.page import write_page as write_filled
from avvp_pl.reporting.browser import KINDS, MARKS, Browser
from avvp_pl.reporting.tables import Cell, Table

TEMPLATE, STYLE, SCRIPT = (Asset("avvp_pl.reporting", f"page.{kind}") for kind in ("html", "css", "js"))


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
    addresses in ``browser``; everything else is in the file itself. Raises :class:`~avvp_pl.errors.InputError` where
    the file cannot be written.
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
    write_filled(path, TEMPLATE, (BASE[0], TRACKS[0], STYLE), (BASE[1], TRACKS[1], SCRIPT), title, content)


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": printable(table.title),
        "columns": table.columns,
        "rows": [
            {
                "label": printable(row.label),
                "seeds": row.seeds,
                "needs": None if row.needs is None else printable(row.needs),
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
