"""The documentation: links lead somewhere, settings exist, and the words are American."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from avvp_pl.settings.conf import GLOBAL, ConfigFiles, config_dir, keys_of
from avvp_pl.settings.limits import members_of

REPOSITORY = Path(__file__).resolve().parents[1]
GENERATED = REPOSITORY / "docs" / "bad_input.md"  # full of settings that are wrong on purpose
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
LONGEST_README = 205  # lines
BRITISH = re.compile(r"\b\w*(labelling|labelled|colour|centre|normalis|behaviour|grey)\w*", re.IGNORECASE)

FENCE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"python -m avvp_pl\.([a-z]+)((?:\\\n|[^\n#])*)")
SETTING = re.compile(r"(?<![\w./$-])[~+]*([a-z_]+(?:[./][a-z_]\w*)*)=([^\s`)]*)")
NAMED = re.compile(r"~?([a-z_]+(?:\.[a-z_]\w*)+)")  # a setting without a value


@cache
def settings_by_name() -> frozenset[str]:
    """Return the full names of all settings in the files of all groups."""
    files = ConfigFiles()
    found = set()
    for group, choices in files.groups.items():
        for choice in choices:
            package = files.package(group, choice)
            if package != GLOBAL:
                found |= {f"{package}.{key}" for key in keys_of(files.settings(group, choice))}
    return frozenset(found)


@cache
def top_level(command: str) -> frozenset[str]:
    """Return the settings of a command that are in no group, those that its own group adds included."""
    files = [config_dir() / f"{command}.yaml", *(config_dir() / command).glob("*.yaml")]
    contents = [OmegaConf.to_container(OmegaConf.load(file)) for file in files]
    return frozenset(str(key) for content in contents if isinstance(content, dict) for key in content)


def links(text: str) -> list[str]:
    """Return the targets of all relative links of a page."""
    prose = INLINE.sub("", FENCE.sub("", text))
    return [target for target in LINK.findall(prose) if not re.match(r"\w+:", target)]


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(next(a for a in chain([anchor], (f"{anchor}-{n}" for n in range(1, 100))) if a not in found))
    return found


def broken_links(page: Path, text: str) -> Iterator[str]:
    """Yield the links of a page that lead to no file or to no heading."""
    for target in links(text):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield target
        elif anchor and file.suffix == ".md":
            content = text if file == page else file.read_text(encoding="utf-8")
            if anchor not in anchors(content):
                yield target


def unknown_settings(text: str) -> Iterator[str]:
    """Yield what a page says of settings and choices that ``conf/`` does not have."""
    files = ConfigFiles()
    code = [found.group() for found in FENCE.finditer(text)] + INLINE.findall(FENCE.sub("", text))
    for part in code:
        for command, arguments in COMMAND.findall(part):
            yield from _unknown_arguments(files, command, arguments.replace("\\\n", " "))
        for key, values in SETTING.findall(part):
            if key in files.groups:
                wrong = (choice for choice in _choices(values) if not _is_choice(files, key, choice, text))
                yield from (f"{key}={choice}" for choice in wrong)
            elif key.partition(".")[0] in files.groups and "." in key and not _is_setting(part, key, text):
                yield f"{key}="
        named = NAMED.fullmatch(part)
        if named and named[1].partition(".")[0] in files.groups and not _is_setting(part, named[1], text):
            yield named[1]


def _unknown_arguments(files: ConfigFiles, command: str, arguments: str) -> Iterator[str]:
    """Yield the names of arguments that a command does not have, groups and settings in groups aside."""
    for argument in shlex.split(arguments.partition("\n")[0]):
        key = argument.partition("=")[0].lstrip("+~")
        if "=" not in argument or key.startswith(("-", "hydra")) or key in files.groups:
            continue
        if key.partition(".")[0] not in files.groups and key not in top_level(command):
            yield f"avvp_pl.{command} {key}="


def _choices(values: str) -> list[str]:
    """Return the names among the values of a group; neither placeholders such as NAME nor shell variables."""
    words = re.split(r"[\[\],'\"]+", values)
    return [word for word in words if re.fullmatch(r"[a-z][a-z0-9_]*", word) and word != "null"]


def _is_choice(files: ConfigFiles, group: str, choice: str, text: str) -> bool:
    """Whether a choice exists, or the page itself shows the file of it."""
    return choice in files.choices(group) or f"{group}/{choice}.yaml" in text


def _is_setting(part: str, key: str, text: str) -> bool:
    """Whether a setting exists, may be added, or is one that the page itself shows in a YAML file."""
    group, _, name = key.rpartition(".")
    may_be_added = members_of(group) is not None  # such as a modality
    passed_on = f"+{key}=" in part and key.startswith(("trainer.", "logger.", "callbacks."))
    shown = re.search(rf"^ *{name}:", "\n".join(FENCE.findall(text)), re.MULTILINE)
    return key in settings_by_name() or may_be_added or passed_on or shown is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    assert list(broken_links(page, page.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page != GENERATED], ids=lambda page: page.relative_to(REPOSITORY).as_posix()
)
def test_settings_exist(page: Path) -> None:
    assert list(unknown_settings(page.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_spelling_is_american(page: Path) -> None:
    assert [found.group() for found in BRITISH.finditer(page.read_text(encoding="utf-8"))] == []


def test_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= LONGEST_README


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[data](docs/data.md), [web](https://example.org), `[code](nowhere.md)`", []),
        ("[data](docs/date.md)", ["docs/date.md"]),
        ("![picture](docs/nowhere.png)", ["docs/nowhere.png"]),
        ("[memory](docs/data.md#memory)", []),
        ("[memory](docs/data.md#memories)", ["docs/data.md#memories"]),
        ("# What `it` is: a test\n[here](#what-it-is-a-test), [there](#there)", ["#there"]),
        ("# One\n# One\n[second](#one-1), [third](#one-2)", ["#one-2"]),
        ("```\n# no heading\n```\n[here](#no-heading)", ["#no-heading"]),
    ],
)
def test_a_wrong_link_is_found(text: str, broken: list[str]) -> None:
    assert list(broken_links(REPOSITORY / "README.md", text)) == broken


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("`labeling.gamma=0.5` and `'+data.modalities.flow=[i3d]'` and `~data.modalities.audio`", []),
        ("`method.gamma=0.5`", ["method.gamma="]),
        ("`labeling.gama`", ["labeling.gama"]),
        ("`method.weights.visual=0`, `method.weight.visual=0`", ["method.weight.visual="]),
        ("`optimizer.schedule.every=6`, `optimizer.schedule.evry=6`", ["optimizer.schedule.evry="]),
        ("`+trainer.precision=bf16-mixed`, `trainer.precision=bf16-mixed`", ["trainer.precision="]),
        ("`+experiment=ppl_soft`, `+experiment=ppl_soff`, `+experiment=NAME`", ["experiment=ppl_soff"]),
        ("`+sweep=fig4_gama`", ["sweep=fig4_gama"]),
        ("`labeling=prototypes`, `labeling=none,naive`", ["labeling=prototypes"]),
        ("`optimizer/schedule=linear`", ["optimizer/schedule=linear"]),
        ("`'inference=[prototype,classifiers]'`", ["inference=classifiers"]),
        ("`method=own` is not there", ["method=own"]),
        ("`method=own` is in `conf/method/own.yaml`", []),
        ("```yaml\nweight: 1\n```\n`method.weight=2`", []),
        ("`python -m avvp_pl.score video=CSV`", ["avvp_pl.score video="]),
        ("```sh\npython -m avvp_pl.train seeds=0,1 \\\n    'data.root=DIR' recipes=x # a=b\n```",
         ["avvp_pl.train seeds=", "avvp_pl.train recipes="]),
        ("gamma=0.5 in prose, and `gamma=0.5` without a group", []),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_found(text: str, unknown: list[str]) -> None:
    assert list(unknown_settings(text)) == unknown


@pytest.mark.parametrize("word", ["labelling", "Labelled", "colours", "centre", "normalised", "behaviour", "grey"])
def test_british_spelling_is_found(word: str) -> None:
    assert BRITISH.search(f"The {word} of it.")
