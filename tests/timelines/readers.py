"""Readers of subtitles, written from what the formats demand, and stricter than any player."""

from __future__ import annotations

import re
from typing import NamedTuple


class Cue(NamedTuple):
    """A subtitle: bounds in milliseconds, and its text without markup."""

    start: int
    end: int
    text: str


ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">"}


def read_webvtt(text: str) -> tuple[list[Cue], list[str]]:
    """Return the cues and the comments of a file, by section 4 of https://www.w3.org/TR/webvtt1/."""
    assert "\0" not in text
    assert "\r" not in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    signature, *blocks = text[:-1].split("\n\n")
    assert signature == "WEBVTT"
    cues, notes = [], []
    for block in blocks:
        first, *rest = block.split("\n")
        assert first, "a blank line where none may be"
        if first == "NOTE":
            assert "-->" not in block
            notes.append(_plain("\n".join(rest)))
            continue
        assert rest
        assert all("-->" not in line for line in rest)
        found = re.fullmatch(r"(\d\d):([0-5]\d):([0-5]\d)\.(\d{3}) --> (\d\d):([0-5]\d):([0-5]\d)\.(\d{3})", first)
        assert found, first
        cues.append(Cue(*_bounds(found), _plain("\n".join(rest))))
    assert all(cue.start < cue.end for cue in cues)
    assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
    return cues, notes


def _plain(text: str) -> str:
    """Return a text without its entities; in this reader, no tags are known."""
    assert "<" not in text
    assert set(re.findall("&[^;]*;?", text)) <= set(ENTITIES)
    return re.sub("&(?:amp|lt|gt);", lambda entity: ENTITIES[entity[0]], text)


def read_srt(text: str) -> list[Cue]:
    """Return the subtitles of a file: a number, the times, the text, and a blank line after each but the last."""
    if not text:
        return []
    assert text.endswith("\n")
    cues = []
    for number, block in enumerate(text[:-1].split("\n\n"), start=1):
        said, times, *rest = block.split("\n")
        assert said == str(number)
        found = re.fullmatch(r"(\d\d):([0-5]\d):([0-5]\d),(\d{3}) --> (\d\d):([0-5]\d):([0-5]\d),(\d{3})", times)
        assert found, times
        assert len(rest) == 1
        assert not re.search(r"[<>{}]|-->", rest[0])  # players would take it for a style, or for times
        cues.append(Cue(*_bounds(found), rest[0]))
    assert all(cue.start < cue.end for cue in cues)
    return cues


def _bounds(found: re.Match[str]) -> tuple[int, int]:
    numbers = [int(group) for group in found.groups()]
    start, end = (((h * 60 + m) * 60 + s) * 1000 + ms for h, m, s, ms in (numbers[:4], numbers[4:]))
    return start, end
