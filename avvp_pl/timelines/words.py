"""Names of events, modalities and videos as they are written into files and shown to readers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from hashlib import sha256

from avvp_pl.errors import printable
from avvp_pl.timelines.timeline import Interval, Timeline

LONGEST = 200  # bytes of a file's name, so that endings and the names of temporary files have room


def line(text: str) -> str:
    r"""Return text on one line, without control characters or anything that UTF-8 cannot have.

    >>> line("a\tb\x1b\n"), line("Föhn \udcff")
    ('a b\\x1b', 'Föhn \\udcff')
    """
    return printable(" ".join(text.split()))


def spoken(name: str) -> str:
    """Return the name of an event or modality for readers.

    >>> spoken("Baby_cry_infant_cry")
    'Baby cry infant cry'
    """
    return line(name.replace("_", " "))


def encodable(text: str) -> str:
    r"""Return text that can be written as UTF-8: half signs, as names of files may have, become escapes.

    >>> encodable("a\udcff")
    'a\\udcff'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def absence(timeline: Timeline, track: str) -> str:
    """Say why a track has no intervals."""
    return "not known, the video has no such track" if track in timeline.missing else "nothing was found"


def clock(seconds: float, mark: str) -> str:
    """Return a time as hours, minutes, seconds and, after ``mark``, milliseconds.

    >>> clock(3661.5, "."), clock(0.9999, ",")
    ('01:01:01.500', '00:00:01,000')
    """
    whole, thousandths = divmod(round(1000 * seconds), 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}{mark}{thousandths:03d}"


def caption(interval: Interval) -> str:
    """Return what a subtitle or label says of an interval.

    >>> caption(Interval("audio", "Baby_laughter", 0.0, 1.0, 0.934))
    'audio: Baby laughter'
    """
    return f"{spoken(interval.modality)}: {spoken(interval.event)}"


def cues(timeline: Timeline) -> Iterator[tuple[float, float, str]]:
    """Yield the start, the end and the text of a subtitle for each interval, by time; the text has the confidence."""
    for one in sorted(timeline.intervals(), key=lambda one: (one.start, one.end)):
        # a subtitle ends after it begins, also in whole milliseconds
        yield one.start, max(one.end, one.start + 0.001), f"{caption(one)} ({one.confidence:.2f})"


def file_names(stems: Sequence[str]) -> list[str]:
    """Return a name for the file of each video: different ones, not too long, and none that leads out of a folder.

    >>> file_names(["a", "A", "../b"])
    ['a', 'A-2', '_._b']
    """
    names: list[str] = []
    used: set[str] = set()
    for stem in stems:
        safe = re.sub(r"[^\w.=-]|^\.", "_", stem) or "_"
        if len(safe.encode()) > LONGEST:
            safe = f"{safe.encode()[: LONGEST - 9].decode(errors='ignore')}-{sha256(stem.encode()).hexdigest()[:8]}"
        names.append(_unused(safe, used))
        used.add(names[-1].casefold())  # a disk may not tell large letters from small ones
    return names


def _unused(name: str, used: Collection[str]) -> str:
    number, free = 1, name
    while free.casefold() in used:
        number += 1
        free = f"{name}-{number}"
    return free
