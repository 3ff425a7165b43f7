"""Limits of settings, for one run and for every job of a sweep."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import avvp_pl
from avvp_pl.errors import InputError
from avvp_pl.settings.limits import LIMITS, Choice, Number, OneOrMore, OrNull, check_settings, check_sweep, unknown_key

CONF = Path(avvp_pl.__file__).parents[1] / "conf"
TINY = 5e-324

ACCEPTED: dict[str, list[Any]] = {
    "method.gamma": [TINY, 0.5, 1, 1.0],
    "method.beta": [TINY, 0.5, math.nextafter(1, 0)],
    "method.k": [1, 2, 10**6],
    "method.tau": [TINY, 0.05, 1, 1e300],
    "method.momentum": [0, 0.0, 0.999],
    "method.weight_contrastive": [0, 0.0, 1e9],
    "method.start_epoch": [0, 7],
    "method.labels": ["soft", "hard"],
    "method.inference": ["classifier", "prototype", "prototype_hard"],
    "inference": [None, "prototype", ["prototype"], ["prototype_hard", "classifier"]],
    "data.dtype": ["float32", "float16", "bfloat16"],
    "network.dropout": [0, 0.999],
    "trainer.max_epochs": [1],
    "seed": [0, 2**32 - 1],
    "threads": [1, None],
    "resume": ["auto", "a/b.ckpt", None],
    "data.root": ["a b", "./3", "../x"],
    "data.packed": [None, "packed"],
    "data.modalities": [{"audio": ["a"]}, {"x": ["a b", "c"], "y_2": ["a b"]}],
    "network.fuse_single_stream": [[], ["visual"]],
    "compile": [None, {}, {"mode": "x"}],
}
REFUSED: dict[str, list[Any]] = {
    "method.gamma": [0, 0.0, -0.1, math.nextafter(1, 2), 2],
    "method.beta": [0, -0.1, 1, 1.0, 2],
    "method.k": [0, -1, 1.0, 1.5],
    "method.tau": [0, 0.0, -TINY],
    "method.momentum": [-0.001, 1, 1.0],
    "method.weight_contrastive": [-TINY, -1],
    "method.start_epoch": [-1, 0.5],
    "method.labels": ["Soft", "", 1, True, 0.5],
    "method.inference": ["both", ["prototype"]],
    "inference": ["both", [], ["prototype", "prototype"], ["prototype", "both"], {}, 1],
    "data.dtype": ["float64", "int8", "half", 16],
    "network.dropout": [-0.1, 1],
    "trainer.max_epochs": [0, -1],
    "seed": [-1, 1.5, 2**32, 10**400],
    "threads": [0, "all"],
    "resume": [3, "", True, []],
    "data.root": [3, 1.5, "", " ", "a\0b", [], {}, True],
    "data.packed": ["", 0],
    "data.segments": [10**6 + 1],
    "data.modalities": [
        3, "audio", [], ["audio"], {}, {"audio_visual": ["a"]}, {"type_av": ["a"]}, {"a/b": ["a"]}, {"": ["a"]},
        {"3": ["a"]},
    ],
    "network.fuse_single_stream": ["visual", ["visual", "visual"], [3], [""], {}],
    "compile": [True, "x", []],
}  # fmt: skip
NO_NUMBERS = [math.nan, math.inf, -math.inf, "0.5", "1", "abc", "", True, False, [0.5]]


def cases(table: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(key, value) for key, values in table.items() for value in values]


def check(key: str, value: Any) -> None:
    cfg = OmegaConf.create({})
    OmegaConf.update(cfg, key, value, force_add=True)
    check_settings(cfg)


@pytest.mark.parametrize(("key", "value"), cases(ACCEPTED))
def test_within_limits(key: str, value: Any) -> None:
    check(key, value)


@pytest.mark.parametrize(("key", "value"), cases(REFUSED))
def test_beyond_limits(key: str, value: Any) -> None:
    with pytest.raises(InputError, match=re.escape(f"{key}={value}: it must be {LIMITS[key]}")):
        check(key, value)


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("key", ["method.gamma", "method.beta", "method.k", "method.tau", "data.sizes.train"])
def test_no_numbers(key: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"{re.escape(key)}=.*: it must be a (whole )?number"):
        check(key, value)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (Number(0, 1), "a number in [0, 1]"),
        (Number(0, 1, low_open=True), "a number in (0, 1]"),
        (Number(0, 1, high_open=True), "a number in [0, 1)"),
        (Number(0, low_open=True), "a number above 0"),
        (Number(1, whole=True), "a whole number of at least 1"),
        (Number(1, 10**6, whole=True), "a whole number in [1, 1000000]"),
        (Choice(("soft", "hard")), "one of soft, hard"),
        (OrNull(Choice(("soft", "hard"))), "one of soft, hard, or null"),
        (OneOrMore(Choice(("soft", "hard"))), "one of soft, hard, or a list of different ones"),
    ],
)
def test_limits_in_words(limit: Number | Choice | OneOrMore | OrNull, words: str) -> None:
    assert str(limit) == words


@pytest.mark.parametrize("key", LIMITS)
def test_absent_settings_are_unset_and_null_ones_only_where_it_means_something(key: str) -> None:
    check_settings(OmegaConf.create({}))
    group, _, rest = key.rpartition(".")
    where, name = (group, f"{group}.audio") if rest == "*" else (key, key)
    value = {"audio": None} if rest == "*" else None
    if isinstance(LIMITS[key], OrNull):
        check(where, value)
    else:
        with pytest.raises(InputError, match=f"^{re.escape(name)}=null: it must be "):
            check(where, value)


def test_every_member_of_a_group_is_checked() -> None:
    check("data.streams", {"one": 1, "two": 2})
    with pytest.raises(InputError, match=r"^data\.streams\.two=0: "):
        check("data.streams", {"one": 1, "two": 0})
    with pytest.raises(InputError, match=r"^method\.guided_smoothing\.visual=1\.5: "):
        check("method.guided_smoothing", {"audio": 1.0, "visual": 1.5})


@pytest.mark.parametrize("streams", [[], "vggish", ["a", "a"], ["a/b"], [".."], ["a\\b"], [3], [None], None])
def test_streams_are_different_names_of_folders(streams: Any) -> None:
    with pytest.raises(InputError, match=r"^data\.modalities\.audio=.*: it must be a list of different names"):
        check("data.modalities", {"audio": streams})


def test_a_fused_modality_is_one_that_there_is() -> None:
    def fuse(name: str, **modalities: list[str]) -> None:
        cfg = {"data": {"modalities": modalities}, "network": {"fuse_single_stream": [name]}}
        check_settings(OmegaConf.create({**cfg, "method": {"guided_weights": {"audio": 1.0, "visual": 1.0}}}))

    fuse("visual", audio=["a"], visual=["b"])
    fuse("visual", audio=["a"])  # left out of the data alone
    fuse("touch", touch=["a"])
    said = r"fuse_single_stream=visul: it must be a modality, of audio, visual\. Did you mean 'visual'"
    with pytest.raises(InputError, match=said):
        fuse("visul", audio=["a"], visual=["b"])


@pytest.mark.parametrize(
    "more", [{"network": {"cross_attention_dropout": 0.5}}, {"method": {"label_attending": ["audio"]}}]
)
def test_without_cross_attention_there_is_nothing_to_leave_out(more: dict[str, Any]) -> None:
    cfg = OmegaConf.create({"network": {"cross_attention": True}, "data": {"modalities": {"audio": ["a"]}}})
    cfg.merge_with(more)
    check_settings(cfg)
    cfg.network.cross_attention = False
    with pytest.raises(InputError, match="there is nothing to leave out"):
        check_settings(cfg)


def test_one_wrong_setting_among_right_ones_is_found() -> None:
    cfg = OmegaConf.create({"seed": 1, "method": {"gamma": 0.5, "beta": 0.2, "k": 10, "tau": 0.0}})
    with pytest.raises(InputError, match=r"^method\.tau=0\.0"):
        check_settings(cfg)


@pytest.mark.parametrize("key", LIMITS)
def test_every_limit_is_that_of_a_setting_that_exists(key: str) -> None:
    group, _, rest = key.removesuffix(".*").partition(".")
    files = sorted((CONF / group if rest else CONF).glob("*.yaml"))
    assert any(has(OmegaConf.to_container(OmegaConf.load(file)), (rest or group).split(".")) for file in files), files


def has(content: Any, way: list[str]) -> bool:
    return not way or (isinstance(content, dict) and way[0] in content and has(content[way[0]], way[1:]))


@pytest.mark.parametrize(
    "override",
    [
        "method.gamma=0.2,0.5,1",
        "method.k=choice(1,10)",
        "method.k=range(1,4)",
        "method.tau=range(0.1,0.5,0.1)",
        "method.labels=soft,hard",
        "method.tau=shuffle(0.1,0.2)",
        "method.anything=1,abc",
        "+experiment=ppl_soft,npl_soft",
        "seed=0,1,2",
        "data.root=/some/where,/else/where",
        "method.gamma=interval(0.2,1)",
        "method.tau=tag(log,interval(0.01,1))",
        "method.gamma=0.5",
        "method.gamma=${method.beta}",
        "method.labels=hard",
        "method.max_segments_per_event=null",
        "~method.gamma",
    ],
)
def test_sweeps_within_limits(override: str) -> None:
    check_sweep(["+experiment=ppl_soft", override])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("method.gamma=0.2,0.5,1.5", "method.gamma=1.5: it must be a number in (0, 1]"),
        ("method.gamma=0,0.5", "method.gamma=0:"),
        ("method.beta=0.5,1", "method.beta=1:"),
        ("method.k=choice(1,10,0)", "method.k=0:"),
        ("method.k=range(3,-1,-1)", "method.k=0:"),
        ("method.k=1,2.5", "method.k=2.5:"),
        ("method.tau=range(0.0,0.3,0.1)", "method.tau=0.0:"),
        ("method.tau=0.1,inf", "method.tau=inf:"),
        ("method.tau=0.1,nan", "method.tau=nan:"),
        ("method.tau=0.1,O.2", "method.tau=O.2:"),
        ("method.labels=soft,herd", "method.labels=herd: it must be one of soft, hard"),
        ("+method.k=1,0", "method.k=0:"),
        ("method.gamma=interval(0,1)", "method.gamma=0.0: it must be a number in (0, 1]"),
        ("method.gamma=interval(0.2,1.5)", "method.gamma=1.5:"),
        ("method.tau=tag(log,interval(0,1))", "method.tau=0.0:"),
        ("method.k=interval(1,5)", "method.k=1.0: it must be a whole number"),
        ("method.gamma=1.5", "method.gamma=1.5:"),
        ("seed=0,null", "seed=null: it must be a whole number"),
        ("data.root=a,3", "data.root=3: it must be a path"),
        ("data.modalities={audio: [a]},{audio: [a, a]}", "data.modalities={'audio': ['a', 'a']}: it must be names"),
    ],
)
def test_sweeps_beyond_limits(override: str, said: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(said)):
        check_sweep(["seed=0,1", override])


@pytest.mark.parametrize(
    "override",
    [
        "method.labels='soft','hard'",
        "method.max_segments_per_event=null,5000",
        "threads=null,1",
        "data.modalities={audio: ['a'], visual: [b, c]},{audio: [a]}",
        "data.modalities.audio=[a],['b']",
        "data.root='3'",
    ],
)
def test_sweeps_may_take_what_a_single_run_may(override: str) -> None:
    check_sweep([override])


@pytest.mark.parametrize("override", ["method.guided_weights.audio=1,-1", "data.sizes.train=100,0"])
def test_sweeps_over_members_of_a_group_are_checked(override: str) -> None:
    with pytest.raises(InputError, match="it must be"):
        check_sweep([override])


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("method.gama", "there is no setting 'method.gama'. Did you mean 'method.gamma'?"),
        ("data.size.train", "Did you mean 'data.sizes.train'?"),
        ("sead", "Did you mean 'seed'?"),
        ("xyzzy", "there is no setting 'xyzzy'. `--cfg job`"),
        ("seed", "the setting 'seed' is needed, and was taken away"),
        ("method.link", "Did you mean 'method.linked'?"),
        ("data.rot", "Did you mean 'data.root'?"),
    ],
)
def test_unknown_keys_are_answered_with_the_nearest(key: str, said: str) -> None:
    cfg = OmegaConf.create(
        {
            "seed": 0,
            "method": {"gamma": 0.5, "beta": 0.2, "linked": "${elsewhere.that_is_nowhere}"},
            "data": {"root": "???", "sizes": {"train": 1}},
        }
    )
    assert said in unknown_key(cfg, key)
