"""Values of settings, refused for one run and for every job of a sweep."""

from __future__ import annotations

import logging
import math
import re
from typing import Any

import pytest
from omegaconf import OmegaConf

from avvp_pl.errors import InputError
from avvp_pl.settings.check import check_names, check_settings, check_sweep, refuse_secrets
from avvp_pl.settings.limits import LIMITS, TOP_LEVEL, Each, Limit, Names, OrNull, limit_of
from tests.settings.test_limits import ACCEPTED, NO_NUMBERS, REFUSED, cases


def of_data(limit: Limit) -> str | None:
    """What the names in a setting are names of."""
    names = limit.limit if isinstance(limit, OrNull) else limit
    return names.of if isinstance(names, Each | Names) else None


def check(key: str, value: Any) -> None:
    cfg = OmegaConf.create({})
    OmegaConf.update(cfg, key, value, force_add=True)
    check_settings(cfg)


@pytest.mark.parametrize(("key", "value"), cases(ACCEPTED))
def test_values_within_limits_pass(key: str, value: Any) -> None:
    check(key, value)


@pytest.mark.parametrize(("key", "value"), cases(REFUSED))
def test_values_beyond_limits_are_refused_by_the_name_of_the_setting(key: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^{re.escape(key)}(\.\w+)?=.*: it must be "):
        check(key, value)


def test_the_message_has_the_value_and_the_limit() -> None:
    with pytest.raises(InputError, match=r"^labeling\.gamma=2: it must be a number in \(0, 1\]$"):
        check("labeling.gamma", 2)
    with pytest.raises(InputError, match=r"^labeling\.seed=null: it must be a whole number in \[0, 4294967295\]$"):
        check("labeling.seed", None)


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("key", ["labeling.gamma", "labeling.k", "method.contrast.tau", "data.sizes.train"])
def test_no_numbers(key: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"{re.escape(key)}=.*: it must be a (whole )?number"):
        check(key, value)


@pytest.mark.parametrize("name", [*LIMITS, *TOP_LEVEL])
def test_absent_settings_are_not_checked_and_null_ones_only_pass_where_null_means_something(name: str) -> None:
    key = name if "." in name or name in TOP_LEVEL else f"group.{name}"
    check_settings(OmegaConf.create({}))
    if isinstance(limit_of(key), OrNull):
        check(key, None)
    else:
        with pytest.raises(InputError, match=f"^{re.escape(key)}=null: it must be "):
            check(key, None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labeling.seed", -1),
        ("callbacks.safe_stop.max_loss", 0),
        ("callbacks.best.mode", "highest"),
        ("callbacks.best.monitor", 3),
        ("labeling.mistake_threshold", 2),
        ("method.weights.video", -1),
        ("inference.prototype.labels", "herd"),
    ],
)
def test_settings_that_once_had_no_limit_are_checked(key: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(key)}="):
        check(key, value)


def test_every_member_of_a_mapping_is_checked() -> None:
    check("data.streams", {"one": 1, "two": 2})
    with pytest.raises(InputError, match=r"^data\.streams\.two=0: it must be a whole number"):
        check("data.streams", {"one": 1, "two": 0})
    with pytest.raises(InputError, match=r"^method\.targets\.smoothing\.visual=1\.5: "):
        check("method.targets.smoothing", {"audio": 1.0, "visual": 1.5})
    with pytest.raises(InputError, match=r"^data\.rows_per_segment\.res152=0: "):
        check("data.rows_per_segment", {"res152": 0})


@pytest.mark.parametrize("streams", [[], "vggish", ["a", "a"], ["a/b"], [".."], ["a\\b"], [3], [None], None])
def test_streams_are_different_names_of_folders(streams: Any) -> None:
    with pytest.raises(InputError, match=r"^data\.modalities\.audio=.*: it must be a list of different names"):
        check("data.modalities", {"audio": streams})


def test_a_setting_of_the_users_own_object_is_checked_by_its_name() -> None:
    check("method.mine.deep.anything", "x")
    with pytest.raises(InputError, match=r"^method\.mine\.deep\.learning_rate=0: it must be a number above 0"):
        check("method.mine.deep.learning_rate", 0)


def test_one_wrong_setting_among_right_ones_is_found() -> None:
    cfg = OmegaConf.create({"seed": 1, "labeling": {"gamma": 0.5, "beta": 0.2, "k": 10, "tau": 0.0}})
    with pytest.raises(InputError, match=r"^labeling\.tau=0\.0"):
        check_settings(cfg)


def test_what_only_a_run_can_resolve_is_left_alone_unless_it_has_a_limit() -> None:
    check_settings(OmegaConf.create({"mine": "${nowhere}", "labeling": {"tau": "???", "mine": "${nowhere}"}}))
    with pytest.raises(InputError, match=r"^labeling\.tau=0"):
        check_settings(OmegaConf.create({"mine": 0, "labeling": {"tau": "${mine}"}}))


def test_a_fused_modality_is_one_that_exists() -> None:
    def fuse(name: str, **modalities: list[str]) -> None:
        cfg = {"data": {"modalities": modalities}, "network": {"fuse_single_stream": [name]}}
        check_settings(OmegaConf.create({**cfg, "method": {"weights": {"video": 1.0, "audio": 1.0, "visual": 1.0}}}))

    fuse("visual", audio=["a"], visual=["b"])
    fuse("visual", audio=["a"])  # left out of the data alone
    fuse("touch", touch=["a"])
    said = r"fuse_single_stream=visul: it must be a modality; the modalities are audio, visual\. Did you mean 'visual'"
    with pytest.raises(InputError, match=said):
        fuse("visul", audio=["a"], visual=["b"])
    with pytest.raises(InputError, match="fuse_single_stream=video: it must be a modality"):
        fuse("video", audio=["a"], visual=["b"])


def test_regrouped_modalities_exist() -> None:
    cfg = {"data": {"modalities": {"audio": ["a"], "visual": ["b"]}}, "network": {"regrouped": ["audoi"]}}
    with pytest.raises(InputError, match=r"^network\.regrouped=audoi: it must be a modality; .* Did you mean 'audio'"):
        check_settings(OmegaConf.create(cfg))


def test_modalities_that_attend_exist() -> None:
    cfg = OmegaConf.create({"data": {"modalities": {"audio": ["a"]}}, "labeling": {"attending": ["sound"]}})
    with pytest.raises(InputError, match=r"^labeling\.attending=sound: it must be a modality; the modalities are aud"):
        check_settings(cfg)
    check_settings(OmegaConf.create({"data": None, "labeling": {"attending": ["sound"]}}))  # the data is not known yet


@pytest.mark.parametrize("name", [name for name, limit in LIMITS.items() if of_data(limit)])
def test_every_setting_by_modality_stream_or_split_has_names_of_the_data(name: str) -> None:
    """Also one that is new: its limit says what its names are."""
    key = name if "." in name else f"network.{name}"
    cfg = OmegaConf.create({"data": {"modalities": {"touch": ["imu"]}}})
    known = {"modality": "touch", "stream": "imu", "split": "val"}[str(of_data(LIMITS[name]))]
    is_mapping = isinstance(LIMITS[name], Each)
    OmegaConf.update(cfg, key, {known: 1} if is_mapping else [known], force_add=True)
    check_names(cfg)
    OmegaConf.update(cfg, key, {f"{known}x": 1} if is_mapping else [f"{known}x"], merge=False)
    with pytest.raises(InputError, match=rf"^{re.escape(key)}.*{known}x: it must be a .*Did you mean '{known}'"):
        check_names(cfg)


@pytest.mark.parametrize(
    "more", [{"network": {"cross_attention_dropout": 0.5}}, {"labeling": {"attending": ["audio"]}}]
)
def test_what_has_no_effect_without_cross_attention_is_refused(more: dict[str, Any]) -> None:
    cfg = OmegaConf.create({"network": {"cross_attention": True}, "data": {"modalities": {"audio": ["a"]}}})
    cfg.merge_with(more)
    check_settings(cfg)
    cfg.network.cross_attention = False
    with pytest.raises(InputError, match=r"it has no effect without network\.cross_attention"):
        check_settings(cfg)


def test_heads_divide_the_dimension() -> None:
    check_settings(OmegaConf.create({"network": {"dim": 512, "num_heads": 4}}))
    with pytest.raises(InputError, match=r"^network\.num_heads=3: it must divide network\.dim=512"):
        check_settings(OmegaConf.create({"network": {"dim": 512, "num_heads": 3}}))


@pytest.mark.parametrize(("beta", "warned"), [(0.5, False), (0.6, True)])
def test_segments_that_are_positive_and_negative_are_warned_of(
    beta: float, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        check_settings(OmegaConf.create({"labeling": {"gamma": 0.5, "beta": beta}}))
    assert ("labeling.beta=0.6 is above labeling.gamma=0.5" in caplog.text) == warned


def test_the_best_epoch_is_chosen_in_one_place() -> None:
    selection = {"monitor": "val/a", "mode": "max"}

    def choose(**callbacks: Any) -> None:
        check_settings(OmegaConf.create({"protocol": {"selection": selection}, "callbacks": callbacks}))

    choose(best=selection)
    choose(best=None)
    for name, value in (("monitor", "val/b"), ("mode", "min")):
        said = f"callbacks.best.{name}={value}: give protocol.selection.{name}={value} instead"
        with pytest.raises(InputError, match=f"^{re.escape(said)}$"):
            choose(best={**selection, name: value})


@pytest.mark.parametrize("name", ["api_key", "api-key", "apikey", "my_password", "Access-Token", "client_secret"])
def test_secrets_are_refused_without_being_repeated(name: str) -> None:
    refuse_secrets({"logger": {name: None, "project": "x"}})
    with pytest.raises(InputError, match=rf"^logger\.{name}: a secret must not be a setting") as error:
        refuse_secrets({"logger": {name: "0123456789"}})
    assert "0123456789" not in str(error.value)


@pytest.mark.parametrize(
    "override",
    [
        "labeling.gamma=0.2,0.5,1",
        "labeling.k=choice(1,10)",
        "labeling.k=range(1,4)",
        "labeling.tau=range(0.1,0.5,0.1)",
        "labeling.labels=soft,hard",
        "labeling.tau=shuffle(0.1,0.2)",
        "labeling.anything=1,abc",
        "+experiment=ppl_soft,npl_soft",
        "experiment=glob(*)",
        "seed=0,1,2",
        "data.root=/some/where,/else/where",
        "labeling.gamma=interval(0.2,1)",
        "labeling.tau=tag(log,interval(0.01,1))",
        "labeling.gamma=0.5",
        "labeling.gamma=${labeling.beta}",
        "labeling.labels=hard",
        "labeling.labels='soft','hard'",
        "labeling.max_segments_per_event=null,5000",
        "labeling=naive,prototype",
        "inference=prototype,[classifier,prototype]",
        "inference.prototype.labels=soft,hard",
        "threads=null,1",
        "data.modalities={audio: ['a'], visual: [b, c]},{audio: [a]}",
        "data.modalities.audio=[a],['b']",
        "data.root='3'",
        "protocol.selection.monitor=null,val/segment/audio",
        "~labeling.gamma",
    ],
)
def test_sweeps_within_limits(override: str) -> None:
    check_sweep(["+experiment=ppl_soft", override])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("labeling.gamma=0.2,0.5,1.5", "labeling.gamma=1.5: it must be a number in (0, 1]"),
        ("labeling.gamma=0,0.5", "labeling.gamma=0:"),
        ("labeling.beta=0.5,1", "labeling.beta=1:"),
        ("labeling.k=choice(1,10,0)", "labeling.k=0:"),
        ("labeling.k=range(3,-1,-1)", "labeling.k=0:"),
        ("labeling.k=1,2.5", "labeling.k=2.5:"),
        ("labeling.tau=range(0.0,0.3,0.1)", "labeling.tau=0.0:"),
        ("labeling.tau=0.1,inf", "labeling.tau=inf:"),
        ("labeling.tau=0.1,nan", "labeling.tau=nan:"),
        ("labeling.tau=0.1,O.2", "labeling.tau=O.2:"),
        ("labeling.labels=soft,herd", "labeling.labels=herd: it must be one of soft, hard"),
        ("+labeling.k=1,0", "labeling.k=0:"),
        ("labeling.gamma=interval(0,1)", "labeling.gamma=0.0: it must be a number in (0, 1]"),
        ("labeling.gamma=interval(0.2,1.5)", "labeling.gamma=1.5:"),
        ("labeling.tau=tag(log,interval(0,1))", "labeling.tau=0.0:"),
        ("labeling.k=interval(1,5)", "labeling.k=1.0: it must be a whole number"),
        ("labeling.gamma=1.5", "labeling.gamma=1.5:"),
        ("inference.prototype.labels=soft,herd", "inference.prototype.labels=herd: it must be one of soft, hard"),
        ("optimizer.schedule.factor=0.1,0", "optimizer.schedule.factor=0: it must be a number in (0, 1]"),
        ("method.weights.audio=1,-1", "method.weights.audio=-1: it must be a number of at least 0"),
        ("+method.weights.touch=1,-1", "method.weights.touch=-1: it must be a number of at least 0"),
        ("data.sizes.train=100,0", "data.sizes.train=0: it must be a whole number"),
        ("seed=0,null", "seed=null: it must be a whole number"),
        ("data.root=a,3", "data.root=3: it must be a path"),
        ("data.modalities={audio: [a]},{audio: [a, a]}", "data.modalities.audio=['a', 'a']: it must be a list"),
    ],
)
def test_sweeps_beyond_limits(override: str, said: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(said)):
        check_sweep(["seed=0,1", override])


def test_a_secret_in_a_sweep_is_refused() -> None:
    with pytest.raises(InputError, match=r"^logger\.wandb\.api_key: a secret"):
        check_sweep(["+logger.wandb.api_key=one,two"])


def test_huge_numbers_are_shown_and_refused() -> None:
    with pytest.raises(InputError, match=r"^labeling\.tau=inf"):
        check("labeling.tau", math.inf)
