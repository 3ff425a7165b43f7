"""Cells and tables in Markdown, for the summary of a sweep and for a report. Nothing slow is imported here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from avvp_pl.errors import printable

SHORT = {"audio": "A", "visual": "V", "audio_visual": "AV", "type_av": "Type", "event_av": "Event"}

# Characters that are markup everywhere, and underscores that are not inside a word
MARKUP = re.compile(r"[\\|*`\[\]~$]|(?<![^\W_])_|_(?![^\W_])")


def literally(text: str) -> str:
    r"""Escape text, so that Markdown and HTML find no markup in it and it stays in its cell of a table.

    >>> print(literally("ppl_soft <b>a|b\n *c*"))
    ppl_soft &lt;b>a\|b \*c\*
    """
    return escape(printable(" ".join(text.split())))


def with_code(text: str) -> str:
    r"""Escape text in the same way, apart from what is between backticks.

    >>> print(with_code("*a|b*: `*a|b*`"))
    \*a\|b\*: `*a\|b*`
    """
    parts = re.split("(`[^`]+`)", text)
    return "".join(part.replace("|", r"\|") if part.startswith("`") else escape(part) for part in parts)


def escape(text: str) -> str:
    """Escape the markup in a part of a line."""
    return MARKUP.sub(r"\\\g<0>", text).replace("&", "&amp;").replace("<", "&lt;")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are already Markdown: a column of labels without a heading, then ``columns``."""
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def heading(score: str) -> str:
    """Return the heading of a score's column: ``seg AV`` for ``segment/audio_visual``, ``val seg AV`` in validation.

    Those of mAP are thresholds of tIoU: ``mAP 0.5``, ``mAP 0.1:0.7``.
    """
    if score.startswith("val/"):
        return f"val {heading(score.removeprefix('val/'))}"
    level, _, name = score.partition("/")
    if level == "map":
        return f"mAP {tiou(name)}"
    return f"{level.replace('segment', 'seg')} {SHORT.get(name, name)}" if name else score


def tiou(name: str) -> str:
    """Return a threshold of tIoU, or a range of them, as tables have it.

    >>> tiou("0.5"), tiou("average_0.1_0.7")
    ('0.5', '0.1:0.7')
    """
    return name.removeprefix("average_").replace("_", ":")


def with_deviation(mean: float, deviation: float | None) -> str:
    """Return ``59.5 ± 1.1``, or ``59.5`` where there is no deviation."""
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"
