"""What objects of a configuration are given, and what is said of those that cannot be built."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from avvp_pl.commands.objects import build
from avvp_pl.errors import InputError

HERE = __name__


class Box:
    """Holds whatever it is given, and another box."""

    def __init__(self, size: int, words: list[str], inner: Any = None) -> None:
        if size < 0:
            raise RuntimeError(f"the size is {size}")
        if size == 13:
            raise InputError("no box has the size 13")
        self.size, self.words, self.inner = size, words, inner

    @classmethod
    def of_size_one(cls, words: list[str]) -> Box:
        return cls(1, words)


class Open:
    """Takes anything."""

    def __init__(self, size: int = 0, **more: Any) -> None:
        self.size, self.more = size, more


GIVEN = {"words": ["a", "b"], "network": object()}
INSIDE = {"words": ["a", "b"]}


def built(target: str = f"{HERE}.Box", kind: type = Box, **settings: Any) -> Any:
    return build("part", OmegaConf.create({"_target_": target, **settings}), kind, GIVEN, INSIDE)


def test_objects_are_given_what_they_name_and_nothing_else() -> None:
    box = built(size=2, inner={"_target_": f"{HERE}.Box", "size": 3, "inner": [{"_target_": f"{HERE}.Open"}]})
    assert (box.size, box.words, box.inner.size, box.inner.words) == (2, ["a", "b"], 3, ["a", "b"])
    assert box.inner.inner[0].more == {}
    assert built(size=2, words=["c"]).words == ["c"]
    assert built(f"{HERE}.Open", Open, size=1, other=2).more == {"other": 2}


def test_a_method_of_a_class_may_build_it() -> None:
    assert built(f"{HERE}.Box.of_size_one").size == 1


def test_a_partial_object_may_lack_arguments() -> None:
    box = built(size=2, inner={"_target_": f"{HERE}.Box", "_partial_": True, "words": []})
    assert box.inner(size=4).size == 4


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "argument missing": (
        {},
        f"part: {HERE}.Box needs the argument 'size', which no setting gives (words, network are given to those that "
        "name them); add the setting part.size, or a default value in the code",
    ),
    "argument of an inner object missing": (
        {"size": 1, "inner": {"x": [{"_target_": f"{HERE}.Box"}]}},
        f"part.inner.x[0]: {HERE}.Box needs the argument 'size', which no setting gives (words are given",
    ),
    "argument mistyped": (
        {"size": 1, "iner": 2},
        f"part: {HERE}.Box does not take the argument 'iner'. Did you mean 'inn",
    ),
    "argument unknown": (
        {"size": 1, "color": 2},
        f"part: {HERE}.Box does not take the argument 'color'. It takes size, words, inner",
    ),
    "constructor fails": ({"size": -1}, "part: RuntimeError: the size is -1 (debug=true shows where)"),
    "constructor explains": ({"size": 13}, "no box has the size 13"),
    "another class": ({"target": "pathlib.Path"}, f"part: pathlib.Path does not build an {HERE}.Box"),
    "no such class": ({"target": f"{HERE}.Bx"}, f"part: {HERE}.Bx cannot be imported (AttributeError: module "),
    "no such module": (
        {"target": "nowhere.at.Box"},
        "part: nowhere.at.Box cannot be imported (ModuleNotFoundError: No mod",
    ),
    "no module": (
        {"target": "Box"},
        "part: Box cannot be imported (ImportError: it names no module); correct the name,",
    ),
    "a module": ({"target": HERE}, f"part: InstantiationException: Expected a callable target, got '<module '{HERE}'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_built_is_named(case: str) -> None:
    settings, message = REFUSED[case]
    with pytest.raises(InputError) as error:
        built(**settings)
    assert str(error.value).startswith(message)


def test_an_object_needs_a_class() -> None:
    with pytest.raises(InputError, match="part: has no _target_, the name of the class to build"):
        build("part", OmegaConf.create({"size": 1}), Box)
