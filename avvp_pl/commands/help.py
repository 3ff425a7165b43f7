"""The pages of ``--help``, and ``docs/settings.md``. Both are made from the comments in ``conf/``."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from avvp_pl.errors import printable
from avvp_pl.runs import markdown
from avvp_pl.settings.comments import Described, Setting
from avvp_pl.settings.conf import GLOBAL, ConfigFiles, config_dir

# Groups that no command has by default, so that a choice is added with +
ADDED = {
    "experiment": "a method with its settings: a row of a table in the paper, or an ablation",
    "recipe": "a method of several stages",
    "refine": "what is computed",
    "sweep": "many runs by one command",
    "launcher": "where the jobs of a sweep run; without one, they run in this process, one after the other",
}
TASK = (
    "Weakly-supervised audio-visual video parsing: which events occur in each second of a video, and are they heard, "
    "seen, or both?"
)
NOTATION = (
    "A setting is given as NAME=VALUE, and in quotes if it contains spaces, brackets or braces. It is shown with its "
    "default: ??? must be given, null is not set, and ${NAME} takes the value of another setting."
)
PAGE = re.compile(r"docs/(\w+\.md)|README\.md")
WIDEST = 120  # columns: longer lines are hard to read
NARROW = 60  # columns: in fewer, a meaning stands below its name and not beside it


@dataclass(frozen=True)
class Choice:
    """A file of a group: what it is for, its settings, and the files of the same group that it builds on."""

    name: str
    header: tuple[str, ...]
    settings: tuple[Setting, ...]
    bases: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """A group of a command. ``default`` is the choice, null, or None if the group is added with ``+``."""

    name: str
    meaning: str
    default: str | None
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Page:
    """What a command does, its settings outside of groups, and its groups. With ``sweeps`` it has ``--multirun``."""

    command: str
    header: tuple[str, ...]
    settings: tuple[Setting, ...]
    groups: tuple[Group, ...]
    sweeps: bool


def commands() -> list[str]:
    """Return the names of all commands."""
    return sorted(path.stem for path in config_dir().glob("*.yaml"))


def page_of(command: str, files: ConfigFiles) -> Page:
    """Return the page of a command, with the groups and choices of the user's own files."""
    described = files.described("", command)
    # a group without a default is a setting, too, whose comment says what null means
    without = {setting.key: setting for setting in described.settings}
    groups: list[Group] = []
    for found in described.groups:
        group = without.get(found.key, found)
        groups.append(_group(files, command, group.key, group.meaning, group.value))
        # the groups in it, such as optimizer/schedule, and those that only other choices have
        inside = [
            one for choice in (str(group.value), *files.choices(group.key)) for one in _inside(files, group.key, choice)
        ]
        first = {one.key: one for one in reversed(inside)}
        groups += [_group(files, command, f"{group.key}/{one.key}", one.meaning, one.value) for one in first.values()]
    own = sorted(set(files.groups) - set(ConfigFiles().groups))
    added = (_group(files, command, name, ADDED.get(name, "a group of your own"), None) for name in [*ADDED, *own])
    experiments, *others = added
    names = {group.name for group in groups}
    settings = tuple(setting for setting in described.settings if setting.key not in names and _is_shown(setting))
    shown = tuple(group for group in [experiments, *groups, *others] if group.choices)
    return Page(command, described.header, settings, shown, _has_sweeps(described))


def _inside(files: ConfigFiles, group: str, choice: str) -> Iterable[Setting]:
    """Return the groups that a choice chooses from inside its own group."""
    found = files.described(group, choice).groups if choice in files.choices(group) else ()
    return (one for one in found if f"{group}/{one.key}" in files.groups)


def _group(files: ConfigFiles, command: str, name: str, meaning: str, default: str | None) -> Group:
    choices = []
    for choice in files.choices(name):
        at_top = files.package(name, choice) == GLOBAL
        if at_top and not _fits(files, command, name, choice):
            continue
        described = files.described(name, choice)
        # what an experiment or a sweep sets is described where it belongs
        shown = tuple(one for one in described.settings if _is_shown(one) and (one.meaning or not at_top))
        choices.append(Choice(choice, described.header, shown, described.bases))
    return Group(name, meaning, default, tuple(choices))


def _is_shown(setting: Setting) -> bool:
    """Return whether a setting is one for users: without a comment, some only pass on a value, or are Hydra's."""
    passed_on = setting.value is None or "${" in setting.value or setting.key.startswith("hydra.")
    return bool(setting.meaning) or not passed_on


def _has_sweeps(command: Described) -> bool:
    return any(setting.key == "hydra.sweep" for setting in command.settings)


def _fits(files: ConfigFiles, command: str, group: str, choice: str) -> bool:
    """Return whether a command has all that a choice changes whose settings stand at the top."""
    if group == command:  # such as refine, whose choices add settings of their own
        return True
    own = files.described("", command)
    if group == "launcher":  # commands ignore the settings of a job that it adds and that they do not have
        return _has_sweeps(own)
    if group == "sweep":
        swept = files.settings(group, choice).get("hydra", {}).get("sweeper", {}).get("params") or {}
        added = [name.lstrip("+") for name in swept if name.startswith("+")]
        summarized = any(setting.key == "hydra.callbacks.summary" for setting in own.settings)
        return summarized and all(_takes(files, command, name) for name in added)
    needed, files_of_it = set(), [choice]
    for name in files_of_it:
        found = files.described(group, name)
        needed |= {setting.key.partition(".")[0] for setting in found.settings}
        needed |= {re.split("[/@]", overridden.strip("/"))[0] for overridden in found.overridden}
        files_of_it += [base for base in found.bases if base not in files_of_it]
    return needed - {"hydra"} <= {setting.key for setting in (*own.settings, *own.groups)}


def _takes(files: ConfigFiles, command: str, group: str) -> bool:
    """Return whether a command has any choice of a group that is added with ``+``."""
    return any(_fits(files, command, group, choice) for choice in files.choices(group))


# in a terminal


def overview(columns: int) -> str:
    """Return the list of the commands."""
    text = _Text(columns)
    text.paragraph(TASK)
    text.verbatim("python -m avvp_pl.COMMAND [SETTINGS]")
    files = ConfigFiles()
    text.beside([(name, _first(files.described("", name).header)) for name in commands()], column=12)
    text.line()
    text.paragraph("python -m avvp_pl.COMMAND --help explains a command. To start with:")
    text.verbatim("    python -m avvp_pl.train +experiment=ppl_soft")
    return str(text)


def in_terminal(page: Page, columns: int) -> str:
    """Return the page of a command for a terminal of so many columns. Only long words and commands are longer."""
    text = _Text(columns)
    groups = " [GROUP=CHOICE ...]" if page.groups else ""
    added = "".join(f" [+{group.name}=NAME]" for group in page.groups if group.name == "experiment")
    text.paragraph(f"python -m avvp_pl.{page.command}{' [-m]' * page.sweeps}{added}{groups} [SETTING=VALUE ...]")
    for words, verbatim in _paragraphs(page.header):
        add = text.verbatim if verbatim else text.paragraph
        add(words)
    text.heading("Options")
    text.beside(_options(page))
    text.heading("Settings")
    text.paragraph(NOTATION)
    text.settings(page.settings)
    for group in page.groups:
        text.heading(_title(group))
        for choice in group.choices:
            text.choice(group, choice)
    return str(text)


def _usage(group: Group) -> str:
    return f"{group.name}=" if group.default is not None else f"+{group.name}="


def _title(group: Group) -> str:
    usage = f"{_usage(group)}NAME"
    default = f" (default: {group.default})" if group.default not in {None, "null"} else ""
    return f"{usage}{default}: {group.meaning}" if group.meaning else f"{usage}{default}"


def _options(page: Page) -> Iterator[tuple[str, str]]:
    if page.sweeps:
        yield "-m, --multirun", "run every combination of several values, such as seed=0,1,2 (docs/sweeps.md)"
    if page.groups:
        yield "--config-dir DIR", "find groups and choices of your own in DIR, such as DIR/data/mine.yaml for data=mine"
    yield "--cfg job", "print all settings with those that are given, and exit"
    yield "--help", "print this page; with --config-dir, your own choices are in it"
    yield "--hydra-help", "print the other options, which are those of Hydra"
    yield "--version", "print the version"


class _Text:
    """Lines for a terminal."""

    def __init__(self, columns: int) -> None:
        self.columns = max(min(columns, WIDEST), 1)
        self.narrow = columns < NARROW
        self.lines: list[str] = []

    def __str__(self) -> str:
        return printable("\n".join(self.lines).rstrip("\n") + "\n")

    def line(self, line: str = "") -> None:
        self.lines.append(line)

    def verbatim(self, lines: str) -> None:
        """Add lines as they are, such as commands that can be copied, and an empty line."""
        self.lines += [lines, ""]

    def heading(self, text: str) -> None:
        if self.lines and self.lines[-1]:
            self.line()
        self.wrap(text, "", "  ")

    def paragraph(self, text: str) -> None:
        self.wrap(text, "", "")
        self.line()

    def wrap(self, text: str, first: str, others: str) -> None:
        self.lines += textwrap.wrap(
            text,
            self.columns,
            initial_indent=first,
            subsequent_indent=others,
            break_long_words=False,
            break_on_hyphens=False,
        )

    def beside(self, rows: Iterable[tuple[str, str]], indent: int = 2, column: int = 20) -> None:
        """Add names with their meanings: beside the names from a column on, or below where there is no room."""
        column, indent = (4, 2) if self.narrow else (column, indent)
        for name, meaning in rows:
            left = " " * indent + name
            fits = bool(meaning) and not self.narrow and len(left) + 2 <= column
            if not fits:
                self.line(left)
            self.wrap(meaning, left.ljust(column) if fits else " " * column, " " * column)

    def settings(self, settings: Iterable[Setting], indent: int = 2) -> None:
        rows = ((one.key if one.value is None else f"{one.key}={one.value}", one.meaning) for one in settings)
        self.beside(rows, indent, indent + 36)

    def choice(self, group: Group, choice: Choice) -> None:
        """Add a choice with its settings."""
        bases = ", ".join(f"{group.name}={base}" for base in choice.bases)
        more = f" It also has the settings of {bases}." if bases else ""
        self.beside([(choice.name, _sentence(_first(choice.header)) + more)], column=22)
        self.settings(choice.settings, indent=6)
        if choice.settings:
            self.line()


def _first(header: tuple[str, ...]) -> str:
    """Return the first paragraph of a header."""
    return next((words for words, verbatim in _paragraphs(header) if not verbatim), "")


def _sentence(words: str) -> str:
    return words if not words or words[-1] in ".:!?" else f"{words}."


def _paragraphs(header: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """Yield the paragraphs of a header, and whether one is to stay as it is because its lines are indented."""
    for block in "\n".join(header).split("\n\n"):
        verbatim = block.startswith("    ")
        if block.strip():
            yield block if verbatim else " ".join(block.split()), verbatim


# in Markdown


def all_settings() -> str:
    """Return ``docs/settings.md``: all commands, and all groups with the choices that any command has."""
    files = ConfigFiles()
    pages = [page_of(command, files) for command in commands()]
    parts = [
        "# Settings",
        "This page is made from the comments in `conf/` by `make docs`. `python -m avvp_pl.COMMAND --help` prints the "
        "part that a command needs.",
        _marked(NOTATION),
        "## Commands",
    ]
    for page in pages:
        parts += [f"### {page.command}", *_of_header(page.header), *_table_of_settings(page.settings)]
        links = (f"[`{_usage(one)}`](#{one.name.replace('/', '')})" for one in page.groups)
        cells = ([_code(one.default), _marked(one.meaning)] for one in page.groups)
        rows = [[link, *others] for link, others in zip(links, cells, strict=True)]
        parts += [markdown.table(["default", "what it is"], rows)] if rows else []
    parts.append("## Groups")
    pages.sort(key=lambda page: len(page.groups), reverse=True)  # train, whose words for a group are the widest
    for name in files.groups:
        parts += _of_group([group for page in pages for group in page.groups if group.name == name])
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _of_group(of_commands: list[Group]) -> Iterator[str]:
    """Yield the parts of a group that several commands have: they may differ in its default and meaning.

    The words are those of the first command that has a default.
    """
    if not of_commands:
        return
    group = min(of_commands, key=lambda one: one.default == "null")
    choices = {choice.name: choice for one in of_commands for choice in one.choices}
    yield f"### {group.name}"
    yield _marked(_sentence(f"`{_usage(group)}NAME`: {group.meaning}"))
    plain = [choice for choice in choices.values() if not choice.settings]
    if plain:
        yield markdown.table(["what it is"], ([f"`{one.name}`", _all(one.header)] for one in plain))
    for choice in choices.values():
        if choice.settings:
            yield f"#### `{_usage(group)}{choice.name}`"
            yield from _of_header(choice.header)
            if choice.bases:
                yield f"It also has the settings of {', '.join(f'`{group.name}={base}`' for base in choice.bases)}."
            yield from _table_of_settings(choice.settings)


def _table_of_settings(settings: Sequence[Setting]) -> Iterator[str]:
    if settings:
        cells = ([f"`{one.key}`", _code(one.value), _marked(one.meaning)] for one in settings)
        yield markdown.table(["default", "meaning"], cells)


def _marked(text: str) -> str:
    """Return Markdown in which the names of other pages are links."""
    return PAGE.sub(lambda found: f"[{found[0]}]({found[1] or '../README.md'})", markdown.with_code(text))


def _code(value: str | None) -> str:
    return "" if value is None else f"`{value}`".replace("|", r"\|")


def _of_header(header: tuple[str, ...]) -> Iterator[str]:
    for words, verbatim in _paragraphs(header):
        yield f"```sh\n{textwrap.dedent(words)}\n```" if verbatim else _marked(_sentence(words))


def _all(header: tuple[str, ...]) -> str:
    return _marked(" ".join(_sentence(words) for words, _ in _paragraphs(header)))


if __name__ == "__main__":
    print(all_settings(), end="")
