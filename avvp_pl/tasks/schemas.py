"""The JSON schemas of the files that the commands write."""

from __future__ import annotations

import json
from importlib.resources import files

from avvp_pl.errors import InputError, nearest

SCHEMAS = ("scores", "timelines", "timeline", "localization", "detections")


def schema(name: str) -> dict[str, object]:
    """Return the JSON schema (draft 2020-12) of ``NAME.json``, for one of the names in ``SCHEMAS``.

    >>> schema("scores")["title"]
    'scores.json'
    """
    if name not in SCHEMAS:
        raise InputError(f"there is no schema {name!r}; there are {', '.join(SCHEMAS)}.{nearest(name, SCHEMAS)}")
    content: dict[str, object] = json.loads((files("avvp_pl.tasks") / f"{name}.schema.json").read_text("utf-8"))
    return content
