"""Cells and tables in Markdown, for the summary of a sweep and for a report; imports nothing slow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from avvp_pl.errors import printable

SHORT = {"audio": "A", "visual": "V", "audio_visual": "AV", "type_av": "Type", "event_av": "Event"}

# What is markup wherever it stands, and underscores that are not within a word
MARKUP = re.compile(r"[\\|*`\[\]~$]|(?<![^\W_])_|_(?![^\W_])")


def literally(text: str) -> str:
    r"""Text that is no cell's end, no line's, no tag, no entity and no emphasis of Markdown.

    >>> print(literally("ppl_soft <b>a|b\n *c*"))
    ppl_soft &lt;b>a\|b \*c\*
    """
    line = printable(" ".join(text.split()))
    return MARKUP.sub(r"\\\g<0>", line).replace("&", "&amp;").replace("<", "&lt;")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of cells that are Markdown already: a column of labels, which has no head, then these."""
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def heading(score: str) -> str:
    """The head of a score's column: ``seg AV`` for ``segment/audio_visual``."""
    level, _, name = score.partition("/")
    return f"{level.replace('segment', 'seg')} {SHORT.get(name, name)}" if name else score


def with_deviation(mean: float, deviation: float | None) -> str:
    """``59.5 ± 1.1``, without the latter where there is one value."""
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"
