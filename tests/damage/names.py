"""Names that mean something to a file system, a terminal or a drawing library."""

from __future__ import annotations

from tests.damage.place import Case

CASES: dict[str, list[Case]] = {
    "Names that mean something elsewhere": [
        Case("a formula", "read", "", lambda p: p.rename("$x_{$"), "predict"),
        Case("markup", "read", "", lambda p: p.rename("[red]x[nope]"), "predict"),
        Case("a hidden file", "read", "", lambda p: p.rename(".hidden"), "predict"),
        Case("signs that turn the writing round", "read", "", lambda p: p.rename("a\u202eb"), "predict"),
        Case("a name that only fits without its ending", "read", "", lambda p: p.rename("y" * 251), "predict"),
    ],
}
