"""A command line as its user meant it: paths with any characters, home folders, and values that replace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from avvp_pl.errors import InputError
from avvp_pl.settings.arguments import expand_homes, for_hydra, replacing
from avvp_pl.settings.check import plain

ODD = [
    "/d/lr=0.1/llp",
    "/d/数据/llp",
    "/d/LLP (copy)",
    "/d/it's",
    '/d/a"b',
    "/d/a,b",
    "/d/[x]",
    "[x]",
    "/d/{a}",
    "/d/a b",
]
ODD += ["{x}", "/d/a;b&c#d!", "/d/a\\b", "/d/a\\", "a: b", "\\'", "/d/a%20@+*?<|>^`"]


def value_of(argument: str) -> Any:
    """The value that Hydra reads."""
    return plain(OverridesParser.create().parse_override(argument).value())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("path", ODD)
@pytest.mark.parametrize("key", ["data.root", "output", "checkpoint", "runs", "hydra.run.dir", "+data.root", "title"])
def test_text_may_have_any_characters(key: str, path: str) -> None:
    if key == "runs" and (path == "[x]" or "," in path):
        pytest.skip("several runs are possible")
    [argument] = for_hydra([f"{key}={path}"])
    assert argument.partition("=")[0] == key
    assert value_of(argument) == path
    assert for_hydra([argument]) == [argument]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="$~"), min_size=1))
def test_any_path_is_read_as_it_was_typed(name: str) -> None:
    """Without blanks at its end, which Hydra removes, and without quotes around it, which may be meant for Hydra."""
    path = f"/d/{name.strip()}/x"
    [argument] = for_hydra([f"data.root={path}"])
    assert value_of(argument) == path
    assert for_hydra([argument]) == [argument]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("data.root=/d/plain", "/d/plain"),
        ('data.root="/d/é"', "/d/é"),
        ("data.root='/d/a,b'", "/d/a,b"),
        ("data.packed=null", None),
        ("seed=3", 3),
        ("runs=[/d/数据,/d/LLP (copy),'/c']", ["/d/数据", "/d/LLP (copy)", "/c"]),
        ("figure3=[Fünf_0_10,b]", ["Fünf_0_10", "b"]),
        ("truth={audio: /d/a=1.csv, visual: /d/é.csv}", {"audio": "/d/a=1.csv", "visual": "/d/é.csv"}),
        ("data.modalities={audio: [é, a b], visual: [c]}", {"audio": ["é", "a b"], "visual": ["c"]}),
    ],
)
def test_lists_mappings_and_quoted_values(argument: str, value: Any) -> None:
    assert value_of(for_hydra([argument])[0]) == value


def test_the_home_folder(home: Path) -> None:
    given = ["data.root=~/llp", "output='~/a b'", "runs=[~/x,/y]", "hydra.run.dir=~", "hydra.sweep.dir=~/é", "name=~/x"]
    values = [f"{home}/llp", f"{home}/a b", [f"{home}/x", "/y"], str(home), f"{home}/é", "~/x"]
    assert [value_of(argument) for argument in for_hydra(given)] == values
    assert for_hydra(["--config-dir=~/conf", "~data.modalities.visual"]) == [
        f"--config-dir={home}/conf",
        "~data.modalities.visual",
    ]
    assert for_hydra(["-m", "data.root=~/a,/é"]) == ["-m", f"data.root='{home}/a','/é'"]
    with pytest.raises(InputError, match=r"output=~no_such_user/x: there is no such home folder; write \./~no_such_"):
        for_hydra(["output=~no_such_user/x"])


def test_the_home_folder_in_a_file(home: Path) -> None:
    data = {"root": "~/llp", "packed": "${data.root}/p", "name": "~/n", "modalities": {"audio": ["~s"]}}
    cfg = OmegaConf.create({"data": data, "runs": ["~/a", "b"], "media": None})
    expand_homes(cfg)
    assert OmegaConf.to_container(cfg, resolve=True) == {
        "data": {**data, "root": f"{home}/llp", "packed": f"{home}/llp/p"},
        "runs": [f"{home}/a", "b"],
        "media": None,
    }


def test_no_arguments() -> None:
    assert replacing(for_hydra([])) == []


def test_several_values_stay_several(tmp_path: Path) -> None:
    assert for_hydra(["-m", "data.root=/a,/b", "seed=0,1"]) == ["-m", "data.root=/a,/b", "seed=0,1"]
    there = f"checkpoint={tmp_path},{tmp_path}"
    assert for_hydra([there]) == [there]  # Hydra says that -m is missing


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("seed=1\r", r"'seed=1\\r' contains a carriage return: the script has Windows line ends; convert it"),
        ("\r", "Windows line ends"),
        ("seed=a=b", r"seed=a=b: it must be a whole number in \[0, 4294967295\]"),
        ("+logger.wandb.notes=a (b)", r"""quotes inside the quotes: '\+logger\.wandb\.notes="a \(b\)"'$"""),
        ("mine.note=it's", r"""quotes inside the quotes: 'mine\.note="it'"'"'s"'$"""),
        ("tags=[é", r"""tags=\[é: cannot be read; close every bracket, .* as in 'tags=\["a \(b\)","c=d"\]'"""),
        ("mine={a: [é]}", r"""as in 'mine=\{audio: \["a \(b\)"\]\}'"""),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_type(argument: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        for_hydra([argument])


def test_modalities_replace_those_that_are_there() -> None:
    given = ["data=llp", "data.modalities={text: [bert]}", "+data.modalities.touch=[skin]", "data.segments=5"]
    ready = replacing(for_hydra(given))
    assert ready == [given[0], "data.modalities=null", *given[1:]]
    assert for_hydra(ready) == given  # a process that is started with these arguments reads them again
    assert replacing(["data.modalities.audio=[a]", "+data.modalities={b: [c]}"]) == [
        "data.modalities.audio=[a]",
        "+data.modalities={b: [c]}",
    ]


def test_settings_that_are_laid_over_others_need_no_plus() -> None:
    given = ["data.root=/d/é", "seed=1", "data.modalities={a: [b]}"]
    assert for_hydra(given, ["data"]) == ["+data.root='/d/é'", "seed=1", "+data.modalities={a: [b]}"]
