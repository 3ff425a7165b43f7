"""ELAN (.eaf): a tier for each modality and event, with the confidences as values.

Times are whole milliseconds. ELAN does not allow the intervals of a tier to overlap, as those of localization may: what
overlaps is on further tiers, ``modality: event (2)``. Every event that was found in any modality has a tier in each
modality that is known, and the file has the names of missing modalities as properties.

https://www.mpi.nl/tools/elan/EAFv3.0.xsd
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from xml.etree import ElementTree

from avvp_pl.pages.page import relative_address
from avvp_pl.timelines.timeline import Timeline
from avvp_pl.timelines.words import encodable

# What XML 1.0 cannot contain, not even escaped. Line ends and tabs would not survive in attributes either
ILLEGAL = re.compile("[^\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
KIND = "confidence"  # the linguistic type of all tiers
NO_DATE = "1970-01-01T00:00:00Z"  # a date is required, and the same timeline is always the same file


def write(timeline: Timeline, folder: Path) -> str:
    """Return the text of the file."""
    document = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "avvp_pl",
            "DATE": NO_DATE,
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": SCHEMA,
        },
    )
    _header(ElementTree.SubElement(document, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds"), timeline, folder)
    times = ElementTree.SubElement(document, "TIME_ORDER")
    tiers = list(_tiers(timeline))
    moments = {moment for _, spans in tiers for start, end, _ in spans for moment in (start, end)}
    slots = {moment: f"ts{number}" for number, moment in enumerate(sorted(moments), start=1)}
    for moment, slot in slots.items():
        ElementTree.SubElement(times, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(moment))
    numbers = count(1)
    for name, spans in tiers:
        tier = ElementTree.SubElement(document, "TIER", LINGUISTIC_TYPE_REF=KIND, TIER_ID=name)
        for start, end, confidence in spans:
            annotation = ElementTree.SubElement(
                ElementTree.SubElement(tier, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                ANNOTATION_ID=f"a{next(numbers)}",
                TIME_SLOT_REF1=slots[start],
                TIME_SLOT_REF2=slots[end],
            )
            ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = f"{confidence:.2f}"
    ElementTree.SubElement(
        document,
        "LINGUISTIC_TYPE",
        GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID=KIND,
        TIME_ALIGNABLE="true",
    )
    ElementTree.indent(document)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(document, encoding="unicode") + "\n"


def _header(header: ElementTree.Element, timeline: Timeline, folder: Path) -> None:
    if timeline.media is not None:
        ElementTree.SubElement(
            header,
            "MEDIA_DESCRIPTOR",
            MEDIA_URL=timeline.media.absolute().as_uri(),
            MIME_TYPE=mimetypes.guess_type(timeline.media.name)[0] or "video/mp4",
            RELATIVE_MEDIA_URL=f"./{relative_address(timeline.media, folder)}",
        )
    facts = {"video": timeline.name, **{f"missing {missing}": "no such track" for missing in timeline.missing}}
    for name, value in {**facts, **timeline.made_by}.items():
        ElementTree.SubElement(header, "PROPERTY", NAME=_legal(name)).text = _legal(str(value))


def _tiers(timeline: Timeline) -> Iterator[tuple[str, list[tuple[int, int, float]]]]:
    """Yield each tier: its name, and its intervals in milliseconds, which do not overlap, with their confidences."""
    intervals = timeline.intervals()
    found = {one.event for one in intervals}
    used: set[str] = set()
    for track in timeline.known:
        for event in timeline.events:
            if event not in found:
                continue
            own = [one for one in intervals if (one.modality, one.event) == (track, event)]
            for spans in _lanes([(*_milliseconds(one.start, one.end), one.confidence) for one in own]):
                name = _unused(_legal(f"{track}: {event}"), used)
                used.add(name)
                yield name, spans


def _milliseconds(start: float, end: float) -> tuple[int, int]:
    """Round an interval, which gets at least one millisecond, because ELAN has none of length zero."""
    first = round(1000 * start)
    return first, max(round(1000 * end), first + 1)


def _lanes(spans: list[tuple[int, int, float]]) -> list[list[tuple[int, int, float]]]:
    """Distribute intervals over as few lanes as needed so that none overlap in a lane; without any, one lane."""
    lanes: list[list[tuple[int, int, float]]] = [[]]
    for span in sorted(spans):
        free = next((lane for lane in lanes if not lane or lane[-1][1] <= span[0]), None)
        if free is None:
            lanes.append(free := [])
        free.append(span)
    return lanes


def _unused(name: str, used: set[str]) -> str:
    return next(free for number in count(1) if (free := name if number == 1 else f"{name} ({number})") not in used)


def _legal(text: str) -> str:
    r"""Return text that XML can contain and that a reader gets back unchanged; other signs become escapes.

    >>> _legal("a\x1b\tb")
    'a\\x1b\\tb'
    """
    return ILLEGAL.sub(lambda sign: repr(sign[0])[1:-1], encodable(text))
