"""A page as one HTML file that is opened from the disk; it never loads anything from a network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from avvp_pl.errors import printable
from avvp_pl.files import atomic_write

MOST_POINTS = 400  # of a curve; a longer one keeps the maxima of its parts
# the two digits of every percentage; 99 also stands for what is above
_DIGITS = np.array([f"{percent:02d}" for percent in range(100)], dtype="S2")


class Asset(NamedTuple):
    """A file that is inserted into pages: ``assets/name`` of a package."""

    package: str
    name: str

    def text(self) -> str:
        """Return its content."""
        return files(self.package).joinpath("assets", self.name).read_text(encoding="utf-8")


BASE = Asset("avvp_pl.pages", "base.css"), Asset("avvp_pl.pages", "base.js")
TRACKS = Asset("avvp_pl.pages", "tracks.css"), Asset("avvp_pl.pages", "tracks.js")


def write_page(
    path: Path,
    template: Asset,
    styles: Sequence[Asset],
    scripts: Sequence[Asset],
    title: str,
    content: Mapping[str, Any],
    embedded_media: bool = False,
) -> None:
    """Fill in a template, which has places for ``{{policy}}``, ``{{title}}``, ``{{style}}``, ``{{script}}``, and data.

    ``content`` is what the script reads as JSON. The content policy of the page allows its own style and script,
    pictures in it, and media files from the same disk or site (or in the page itself, if they are embedded), and
    nothing else. Raises :class:`~avvp_pl.errors.InputError` where the file cannot be written.
    """
    style, script = ("\n".join(asset.text() for asset in assets) for assets in (styles, scripts))
    parts = {
        "policy": html.escape(_policy(style, script, embedded_media)),
        "title": html.escape(printable(title)),
        "style": style,
        "script": script,
        # "<" could end the script element; other characters that need it, such as U+2028, json.dumps escapes
        "content": json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", r"\u003c"),
    }
    with atomic_write(path) as file:
        # in one pass, because the inserted text may look like a placeholder
        file.write(re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], template.text()))


def _policy(style: str, script: str, embedded_media: bool) -> str:
    """Allow exactly this style and this script, pictures inside the page, and media from the same disk or site."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    media = "'self' file: data:" if embedded_media else "'self' file:"
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; img-src data:; "
        f"media-src {media}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def relative_address(path: Path, folder: Path) -> str:
    """Return the address by which a file in ``folder`` refers to another file, whatever bytes its name has.

    >>> relative_address(Path("/media/a b#1?.mp4"), Path("/reports/one"))
    '../../media/a%20b%231%3F.mp4'
    """
    try:
        relative = Path(os.path.relpath(path.absolute(), folder.absolute()))
    except ValueError:  # on another drive
        return path.absolute().as_uri()
    return "/".join(quote(os.fsencode(part), safe="") for part in relative.parts)


def digits_of(probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.bytes_]:
    """Write probabilities in percent, without rounding any up to the threshold: 0.497 becomes 49, not 50."""
    percents = np.rint(100 * probabilities.astype(np.float64)).clip(0, 99).astype(int)
    below = probabilities < 0.5
    percents[below] = percents[below].clip(max=49)
    digits: npt.NDArray[np.bytes_] = _DIGITS[percents]
    return digits


def pooled(curve: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Return at most :data:`MOST_POINTS` points of a curve [T]: the maxima of parts of the same length."""
    if len(curve) <= MOST_POINTS:
        return curve
    starts = np.linspace(0, len(curve), MOST_POINTS, endpoint=False).astype(int)
    shorter: npt.NDArray[np.floating] = np.maximum.reduceat(curve, starts)
    return shorter
