"""What the comments in a configuration file say of the file and of each of its settings.

The comment at the top of a file says what the file is for. The comment of a setting stands at the end of its line, and
continues in lines that are indented more than the setting; or it stands in lines of its own above the setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Literal

import yaml

from avvp_pl.settings.limits import limit_of

OF_HYDRA = re.compile(r"@package\b")  # not for people
SPACES = re.compile(r"\s+")


@dataclass(frozen=True)
class Setting:
    """A setting as a file writes it. The ``value`` is None for a mapping whose own settings follow."""

    key: str
    value: str | None
    meaning: str = ""


@dataclass(frozen=True)
class Described:
    """What a file says: its ``header`` line by line, its settings, and its defaults list.

    Of a group in that list, ``key`` is the name, such as ``schedule``, and ``value`` the choice. ``bases`` are the
    files that it builds on, and ``overridden`` the groups whose choice it replaces.
    """

    header: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    groups: tuple[Setting, ...] = ()
    bases: tuple[str, ...] = ()
    overridden: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Comment:
    line: int
    column: int
    text: str
    alone: bool  # on its line


@dataclass
class _Entry:
    """What a comment can belong to."""

    kind: Literal["setting", "group", "base", "overridden", "other"]
    line: int
    column: int
    key: str
    value: str | None
    comments: list[str] = field(default_factory=list)


def describe(text: str, package: str) -> Described:
    """Return the comments of a file whose settings stand under the key ``package``; none if it is not YAML."""
    try:
        content = yaml.compose(text, Loader=yaml.SafeLoader)
        comments = list(_comments(text))
    except yaml.YAMLError:
        return Described()
    entries = list(_entries(content, package, text))
    first = content.start_mark.line if content is not None else len(text)
    header = _header([comment for comment in comments if comment.line < first])
    _attach([comment for comment in comments if comment not in header], entries)

    def of_kind(kind: str) -> Iterator[Setting]:
        return (Setting(one.key, one.value, " ".join(one.comments)) for one in entries if one.kind == kind)

    return Described(
        header=tuple(comment.text.removeprefix(" ").rstrip() for comment in header),
        settings=tuple(of_kind("setting")),
        groups=tuple(of_kind("group")),
        bases=tuple(base.key for base in of_kind("base")),
        overridden=tuple(group.key for group in of_kind("overridden")),
    )


def _comments(text: str) -> Iterator[_Comment]:
    """Yield all comments: they are in the gaps between the tokens of YAML, where nothing else has a ``#``."""
    for before, after in pairwise(yaml.scan(text, Loader=yaml.SafeLoader)):
        gap = text[before.end_mark.index : after.start_mark.index]
        for found in re.finditer(r"#(.*)", gap):
            place = before.end_mark.index + found.start()
            start = text.rfind("\n", 0, place) + 1
            alone = not text[start:place].strip(" \t\ufeff")
            yield _Comment(text.count("\n", 0, place), place - start, found[1], alone)


def _entries(node: yaml.Node | None, prefix: str, text: str) -> Iterator[_Entry]:
    """Yield the settings of a mapping and of the mappings in it, in the order of the file."""
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        mark, key = name.start_mark, f"{prefix}.{name.value}" if prefix else str(name.value)
        if name.value == "defaults" and isinstance(value, yaml.SequenceNode):
            yield _Entry("other", mark.line, mark.column, key, None)
            yield from _defaults(value, text)
        elif isinstance(value, yaml.MappingNode) and not value.flow_style and limit_of(key) is None:
            yield _Entry("setting", mark.line, mark.column, key, None)
            yield from _entries(value, key, text)
        else:
            kind: Literal["setting", "other"] = "other" if name.value == "_target_" else "setting"
            yield _Entry(kind, mark.line, mark.column, key, _written(value, text))


def _defaults(node: yaml.SequenceNode, text: str) -> Iterator[_Entry]:
    """Yield the groups and files of a defaults list, such as ``override /method: mil``."""
    for item in node.value:
        place = item.start_mark.line, node.start_mark.column  # of the dash, or of the bracket around all items
        if not isinstance(item, yaml.MappingNode):
            yield _Entry("base", *place, _written(item, text), None)
            continue
        for name, value in item.value:
            group = str(name.value)
            kind: Literal["overridden", "group"] = "overridden" if group.startswith("override ") else "group"
            yield _Entry(kind, *place, group.removeprefix("override "), _written(value, text))


def _written(node: yaml.Node, text: str) -> str:
    """Return a value as it is written, but on one line."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        if node.value[0][0].value == "_target_":  # the arguments of an object are many
            return f"{{_target_: {node.value[0][1].value}, ...}}"
        return f"{{{', '.join(f'{name.value}: {_written(value, text)}' for name, value in node.value)}}}"
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        return f"[{', '.join(_written(value, text) for value in node.value)}]"
    return SPACES.sub(" ", text[node.start_mark.index : node.end_mark.index]).strip() or "null"


def _header(comments: list[_Comment]) -> list[_Comment]:
    """Return the first lines of comments that follow each other, without those for Hydra."""
    lines = [comment for comment in comments if not OF_HYDRA.match(comment.text.strip())]
    end = next((number for number, (a, b) in enumerate(pairwise(lines), 1) if b.line > a.line + 1), len(lines))
    return lines[:end]


def _attach(comments: list[_Comment], entries: list[_Entry]) -> None:
    """Give each comment to the entry that it belongs to, if there is one."""
    starts = {entry.line: entry for entry in reversed(entries)}
    alone = {comment.line for comment in comments if comment.alone}
    last: tuple[int, _Entry] | None = None  # the line of the comment before, and whose it is
    for comment in comments:
        if comment.alone:
            owner = starts.get(next(line for line in count(comment.line) if line not in alone))
            deeper = owner is None or comment.column > owner.column
            if last is not None and last[0] == comment.line - 1 and deeper:
                owner = last[1]
        else:
            owner = next((entry for entry in reversed(entries) if entry.line <= comment.line), None)
        if owner is not None and comment.text.strip():
            owner.comments.append(comment.text.strip())
        last = None if owner is None else (comment.line, owner)
