from __future__ import annotations

import pytest

from avvp_pl.runs.markdown import heading, literally, table, with_deviation


def test_a_table_has_a_column_of_labels_without_a_head() -> None:
    assert table(["seeds", "A"], [["x", "3", "1.0"]]) == "| | seeds | A |\n|---|---|---|\n| x | 3 | 1.0 |\n"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("<img src=x>", "&lt;img src=x>"),
        ("&lt;", "&amp;lt;"),
        ("a\n| b\r\nc", r"a \| b c"),
        ("**x** `y` ~z~ $w$", r"\*\*x\*\* \`y\` \~z\~ \$w\$"),
        ("[x](http://y)", r"\[x\](http://y)"),
        ("_x_ ppl_soft __init__", r"\_x\_ ppl_soft \_\_init\_\_"),
        ("\\", "\\\\"),
        ("\x1b[31m\u202e", "\\\\x1b\\[31m\\\\u202e"),
    ],
)
def test_text_is_no_markup(text: str, escaped: str) -> None:
    assert literally(text) == escaped


def test_heads_are_short() -> None:
    names = ("segment/audio", "event/type_av", "segment/audio_visual", "event/depth", "average")
    assert [heading(name) for name in names] == ["seg A", "event Type", "seg AV", "event depth", "average"]


def test_a_deviation_is_shown_where_there_is_one() -> None:
    assert with_deviation(12.345, None) == "12.3"
    assert with_deviation(12.3, 1.26) == "12.3 ± 1.3"
