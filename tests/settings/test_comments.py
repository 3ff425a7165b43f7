"""The comments of configuration files: to which setting each belongs, and that every setting in ``conf/`` has one."""

from __future__ import annotations

from pathlib import Path

import pytest

from avvp_pl.settings.comments import Described, Setting, describe
from avvp_pl.settings.conf import GLOBAL, ConfigFiles, config_dir

FILES = ConfigFiles()
SHIPPED = [("", path.stem) for path in sorted(config_dir().glob("*.yaml"))]
SHIPPED += [(group, choice) for group in FILES.groups for choice in FILES.choices(group)]
# Hydra's settings that say how a command works inside, and the values of a sweep, which are settings of other files
# Hydra's own, and what a recipe sets, which conf/recipe.yaml describes
INNER = (
    "stages.",
    "hydra.mode",
    "hydra.job.",
    "hydra.run.",
    "hydra.callbacks.",
    "hydra.output_subdir",
    "hydra.sweeper.params.",
)


def meanings(text: str, package: str = "labeling") -> dict[str, str]:
    return {setting.key: setting.meaning for setting in describe(text, package).settings}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1 # one\nb: 2\n", {"labeling.a": "one", "labeling.b": ""}),
        ("a: 1 # one\n  # more\n  # and more\nb: 2 # two\n", {"labeling.a": "one more and more", "labeling.b": "two"}),
        ("a: 1 # one\n# of both\nb: 2 # two\n", {"labeling.a": "one", "labeling.b": "of both two"}),
        ("x: 0\n# one\n# and more\na: 1\n", {"labeling.x": "", "labeling.a": "one and more"}),
        ("a: 1 # one\n# and more\n", {"labeling.a": "one and more"}),  # there is no setting below
        ("a: 1 # one\n\n# of nothing\n\nb: 2\n", {"labeling.a": "one", "labeling.b": ""}),
        ("a: {x: '#', y: 2} # one\nb: \"# no comment\"\n", {"labeling.a": "one", "labeling.b": ""}),
        ("a: 3#4\nb: '\n\n  # no comment'\n", {"labeling.a": "", "labeling.b": ""}),
        ("a: |\n  # no comment\nb: 1 # two\n", {"labeling.a": "", "labeling.b": "two"}),
        ("a: {x: 1, # one\n  y: 2} # two\n", {"labeling.a": "one two"}),
        ("a:\n  - x # one\n  - y # two\nb: 2 # three\n", {"labeling.a": "one two", "labeling.b": "three"}),
        ("a: # all of it\n  x: 1 # one\n  # two\n  y: 2\n", {
            "labeling.a": "all of it", "labeling.a.x": "one", "labeling.a.y": "two",
        }),
        ("_target_: mine.It # the class\na: 1\n", {"labeling.a": ""}),
        ("defaults: # of it\n  - naive # the base\n  - _self_\na: 1 # one\n", {"labeling.a": "one"}),
        ("\ufeffa: 1 # one\r\nb: 2 # two\r\n", {"labeling.a": "one", "labeling.b": "two"}),
        ("a: 1 #\nb: 2 ## two\n", {"labeling.a": "", "labeling.b": "# two"}),
        ("a: ä # ö\nb: 2 # ü\n", {"labeling.a": "ö", "labeling.b": "ü"}),
    ],
)  # fmt: skip
def test_a_comment_belongs_to_a_setting(text: str, expected: dict[str, str]) -> None:
    assert meanings(text) == expected


def test_values_are_as_they_are_written() -> None:
    text = (
        "a: 1e4\nb: '${x}/y'\nc:\nd: {x: 1,\n  y: [2]}\ne:\n  - 1\n  - {z: 3}\nf: {}\ng:\n  x: 1\n"
        "modalities:\n  audio: [a]\n  visual:\n    - b\nsource:\n  _target_: mine.read\n  root: x\n"
    )
    assert describe(text, "data").settings == (
        Setting("data.a", "1e4"),
        Setting("data.b", "'${x}/y'"),
        Setting("data.c", "null"),
        Setting("data.d", "{x: 1, y: [2]}"),
        Setting("data.e", "[1, {z: 3}]"),
        Setting("data.f", "{}"),
        Setting("data.g", None),
        Setting("data.g.x", "1"),
        Setting("data.modalities", "{audio: [a], visual: [b]}"),  # a mapping with a limit is one setting
        Setting("data.source", "{_target_: mine.read, ...}"),
    )


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("# What it is\n# for\n#\n#   indented\na: 1\n", ("What it is", "for", "", "  indented")),
        ("# @package _global_\n# What it is\na: 1\n", ("What it is",)),
        ("\n# @package some.where\n\n# What it is\n\n# of a\na: 1\n", ("What it is",)),
        ("# What it is\n", ("What it is",)),
        ("a: 1\n# no header\n", ()),
        ("", ()),
        ("a: [\n", ()),
    ],
)
def test_the_first_comment_is_that_of_the_file(text: str, header: tuple[str, ...]) -> None:
    assert describe(text, "").header == header


def test_a_comment_below_the_header_belongs_to_the_first_setting() -> None:
    assert meanings("# What it is\n\n# one\na: 1\n") == {"labeling.a": "one"}
    assert meanings("# What it is\na: 1\n") == {"labeling.a": ""}


def test_groups_are_those_of_the_defaults_list() -> None:
    text = "defaults:\n  - data: llp # the videos\n  - x/y: null\n  - override /z: it # no group\n  - _self_\n"
    assert describe(text, "").groups == (Setting("data", "llp", "the videos"), Setting("x/y", "null"))


def test_the_comment_of_a_group_may_have_several_lines() -> None:
    text = (
        "defaults:\n  - data: llp # the videos,\n    # which are read\n  # of it\n  - x: null # one\n  - _self_\na: 1\n"
    )
    assert describe(text, "").groups == (
        Setting("data", "llp", "the videos, which are read"),
        Setting("x", "null", "of it one"),
    )


def test_a_setting_stands_under_the_package_of_its_file() -> None:
    assert list(meanings("a: 1", GLOBAL)) == ["a"]
    assert list(meanings("a: 1", "optimizer.schedule")) == ["optimizer.schedule.a"]


@pytest.mark.parametrize(
    "text", ["a: [", "\ta: 1", "- 1\n- 2", "word", "a: !x 1\n", "a: &x 1\nb: *x\n", "? [a]\n: 1\n", "a: \0"]
)
def test_no_file_is_an_error(text: str) -> None:
    """A damaged file is for Hydra to report if it is chosen."""
    assert isinstance(describe(text, "labeling"), Described)


@pytest.mark.parametrize(("group", "choice"), SHIPPED, ids=lambda part: part or "command")
def test_every_shipped_file_says_what_it_is_for(group: str, choice: str) -> None:
    path = f"conf/{group}/{choice}.yaml" if group else f"conf/{choice}.yaml"
    assert FILES.described(group, choice).header, f"{path} needs a comment at the top: what it is for"


@pytest.mark.parametrize(("group", "choice"), SHIPPED, ids=lambda part: part or "command")
def test_every_setting_has_a_comment(group: str, choice: str) -> None:
    """In its file, or in one that this file builds on. What an experiment sets is described where it belongs."""
    path = f"conf/{group}/{choice}.yaml" if group else f"conf/{choice}.yaml"
    settings = FILES.described(group, choice).settings
    described = {setting.key for setting in settings if setting.meaning}
    if group and FILES.package(group, choice) == GLOBAL:
        described |= elsewhere()
    for setting in settings:
        inside = setting.key.rpartition(".")[0]
        passed_on = "${" in (setting.value or "") and inside in described  # a value of another setting, in an object
        is_mapping = setting.value is None
        if setting.key not in described and not passed_on and not is_mapping and not setting.key.startswith(INNER):
            pytest.fail(
                f"{path}: {setting.key} needs a comment at the end of its line: what it means, for --help and "
                "docs/settings.md (then run `make docs`)"
            )


def elsewhere() -> set[str]:
    """The settings that are described in files of groups."""
    chosen = ((group, choice) for group, choice in SHIPPED if not group or FILES.package(group, choice) != GLOBAL)
    return {setting.key for file in chosen for setting in FILES.described(*file).settings if setting.meaning}


def test_a_setting_without_a_comment_is_found(tmp_path: Path) -> None:
    (tmp_path / "labeling").mkdir()
    (tmp_path / "labeling" / "mine.yaml").write_text("defaults: [naive, _self_]\nmomentum: 0.9\nshare: 0.5\n")
    found = ConfigFiles([str(tmp_path)]).described("labeling", "mine").settings
    assert [setting.key for setting in found if not setting.meaning] == ["labeling.share"]
