"""What each limit accepts, how it is found, and that every setting in ``conf/`` has one."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from omegaconf import OmegaConf

from avvp_pl.settings.conf import config_dir
from avvp_pl.settings.limits import (
    LIMITS,
    PASSED_ON,
    TOP_LEVEL,
    Choice,
    Each,
    Limit,
    Number,
    OneOrMore,
    OrNull,
    PathOrFolders,
    Several,
    limit_of,
    members_of,
)

TINY = 5e-324

ACCEPTED: dict[str, list[Any]] = {
    "labeling.gamma": [TINY, 0.5, 1, 1.0],
    "labeling.beta": [TINY, 0.5, math.nextafter(1, 0)],
    "labeling.k": [1, 2, 10**6],
    "labeling.tau": [TINY, 0.05, 1, 1e300],
    "labeling.momentum": [0, 0.0, 0.999],
    "labeling.weight_contrastive": [0, 0.0, 1e9],
    "labeling.start_epoch": [0, 7],
    "labeling.labels": ["soft", "hard"],
    "labeling.seed": [0, 2**32 - 1],
    "labeling.label_threshold": [0, 0.5, 1],
    "labeling.attending": [None, [], ["audio"]],
    "inference.prototype.labels": ["soft", "hard"],
    "method.weights": [{}, {"video": 1.0, "audio": 0}, {"touch": 2}],
    "method.targets.smoothing": [{"audio": 1.0, "visual": 0.9}],
    "method.count": ["joint", "per_modality"],
    "method.confidence": [TINY, 0.9, 1],
    "method.max_count": [1, 20],
    "method.segments.file": ["labels.npz"],
    "method.segments.missing": ["error", "weak"],
    "logits": ["logits.npz", {"audio": "A", "visual": "V"}],
    "folders": [{"audio": "A", "visual": "V"}],
    "thresholds": [0, -2.5, [0, 1], {"Dog": 1}, {"audio": [0, 1], "visual": "v.npy"}, "validation", "t.csv"],
    "optimizer.algorithm": ["adam", "adamw"],
    "optimizer.clip_norm": [None, 1, 0.5],
    "optimizer.betas": [[0.9, 0.999], [0, 0.5]],
    "optimizer.schedule.every": [1, 10],
    "optimizer.schedule.factor": [0.1, 1],
    "optimizer.schedule.warmup": [0, 0.5, 3],
    "optimizer.schedule.floor": [0, 0.01],
    "optimizer.schedule.changes": ["step", "epoch"],
    "protocol.decision.segment_threshold": [0, 0.5, 1],
    "protocol.selection.monitor": [None, "val/segment/type_av"],
    "protocol.selection.mode": ["max", "min"],
    "data.dtype": ["float32", "float16", "bfloat16"],
    "data.resident": ["auto", "device", "host"],
    "data.rows_per_segment": [None, {"res152": 8}],
    "data.shortest": [None, 1, 10],
    "data.seed": [0, 2**40],
    "data.root": ["a b", "./3", "../x"],
    "data.packed": [None, "packed"],
    "data.extracted_as": [None, "features"],
    "data.annotation": [None, "gt.json"],
    "data.ambiguous": [None, "ambiguous.csv"],
    "data.context": [0, 0.0, 1.5],
    "data.modalities": [{"audio": ["a"]}, {"x": ["a b", "c"], "y_2": ["a b"]}],
    "network.dropout": [0, 0.999],
    "network.fuse_single_stream": [[], ["visual"]],
    "network.num_fusion_layers": [0, 6],
    "network.update": ["parallel", "sequential"],
    "network.query_modality": ["visual", "touch"],
    "network.assignment": ["gumbel", "hard", "soft"],
    "network.segment_scores": ["code", "paper"],
    "trainer.max_epochs": [1],
    "callbacks.safe_stop.max_loss": [1e4, 3],
    "seed": [0, 2**32 - 1],
    "threads": [1, None],
    "resume": ["auto", "a/b.ckpt", None],
    "trust": [[], ["mypackage"]],
    "name": [None, "mine"],
    "compile": [None, {}, {"mode": "x"}],
    "task": ["parsing", "localization"],
    "truth": [None, {"audio": "a.csv"}, "gt.json", ["gt.json", "more.json"]],
    "missing_track": ["refuse", "mask"],
    "damaged": ["refuse", "keep"],
    "workers": [None, 0, 64],
    "extractors.logmel.bands": [1, 64],
    "extractors.picture.per_second": [1, 60],
    "extractors.vggish.weights": ["vggish.pth", "a/b"],
    "extractors.clip.device": ["cpu", "cuda", "auto"],
    "extractors.clap.output": ["embedding", "map"],
    "extractors.yamnet.pca": [None, "pca.npz"],
    "extractors.yamnet.name": ["yamnet", "fewer"],
    "extractors.yamnet.log_offset": [1e-6, 0.001],
    "scoring.unit": ["seconds", "segments"],
    "scoring.excluded": [[], ["video_test_0000270"]],
    "scoring.videos": [None, 210],
}
REFUSED: dict[str, list[Any]] = {
    "labeling.gamma": [0, 0.0, -0.1, math.nextafter(1, 2), 2],
    "labeling.beta": [0, -0.1, 1, 1.0, 2],
    "labeling.k": [0, -1, 1.0, 1.5],
    "labeling.tau": [0, 0.0, -TINY],
    "labeling.momentum": [-0.001, 1, 1.0],
    "labeling.weight_contrastive": [-TINY, -1],
    "labeling.start_epoch": [-1, 0.5],
    "method.count": ["each", 3, None],
    "method.confidence": [0, 1.5],
    "method.max_count": [0, 2.5, None],
    "labeling.labels": ["Soft", "", 1, True, 0.5],
    "labeling.seed": [-1, 2**32],
    "labeling.label_threshold": [-0.1, 1.1],
    "labeling.attending": ["audio", ["audio", "audio"]],
    "inference.prototype.labels": ["both", ["soft"]],
    "method.weights": [1.0, [1.0], {"audio": -1}, {"audio": "x"}, {3: 1.0}],
    "method.targets.smoothing": [{"audio": 1.1}],
    "method.segments.file": [3, None],
    "method.segments.missing": ["weak label", None, True],
    "logits": [3, {}, {"audio": 3}, None, ["a"]],
    "folders": ["A", {}, {"audio": None}],
    "thresholds": [None, True, [], {}, ["x"], {"Dog": None}, {"audio": [True]}, math.nan, math.inf],
    "optimizer.algorithm": ["sgd", None],
    "optimizer.clip_norm": [0, -1],
    "optimizer.betas": [0.9, [0.9], [0.9, 1], [0.9, -0.1], [0.9, 0.99, 0.999], ["0.9", 0.999], None],
    "optimizer.schedule.every": [0, 0.5],
    "optimizer.schedule.factor": [0, 1.1],
    "optimizer.schedule.warmup": [-1],
    "optimizer.schedule.floor": [-0.1, 2],
    "optimizer.schedule.changes": ["batch", None],
    "protocol.decision.segment_threshold": [-0.1, 1.1],
    "protocol.selection.monitor": ["", 3],
    "protocol.selection.mode": ["maximum", None],
    "data.dtype": ["float64", "int8", "half", 16],
    "data.resident": ["gpu", True],
    "data.rows_per_segment": [8, {"res152": 0}, {"res152": 1.5}, {"res152": None}],
    "data.shortest": [0, 1.5],
    "data.root": [3, 1.5, "", " ", "a\0b", [], {}, True],
    "data.packed": ["", 0],
    "data.extracted_as": ["", 0],
    "data.segments": [10**6 + 1],
    "data.modalities": [
        3, "audio", [], ["audio"], {}, {"audio_visual": ["a"]}, {"type_av": ["a"]}, {"a/b": ["a"]}, {"": ["a"]},
        {"3": ["a"]}, {"audio": []}, {"audio": "vggish"}, {"audio": ["a", "a"]}, {"audio": ["a/b"]},
        {"audio": [".."]}, {"audio": ["a\\b"]}, {"audio": [3]}, {"audio": [None]}, {"audio": None},
    ],
    "network.dropout": [-0.1, 1],
    "network.fuse_single_stream": ["visual", ["visual", "visual"], [3], [""], {}],
    "network.num_fusion_layers": [-1, 0.5],
    "network.update": ["in turn", True],
    "network.query_modality": ["", None, ["visual"]],
    "network.assignment": ["Gumbel", True],
    "network.segment_scores": ["both", None],
    "trainer.max_epochs": [0, -1],
    "callbacks.safe_stop.max_loss": [0, -1, None],
    "seed": [-1, 1.5, 2**32, 10**400],
    "threads": [0, "all"],
    "resume": [3, "", True, []],
    "trust": ["mypackage", None],
    "name": ["", 3],
    "compile": [True, "x", []],
    "task": ["detection", None],
    "truth": [3, [], "", {}, {"a/b": "a.csv"}, ["gt.json", "gt.json"], [3]],
    "missing_track": ["error", None, True],
    "damaged": ["mask", None],
    "workers": [-1, 1.5, "all"],
    "extractors.logmel.bands": [0, 257, 1.5, None],
    "extractors.picture.per_second": [0, 61, None],
    "extractors.vggish.weights": [None, "", 3],
    "extractors.clip.device": ["gpu", "cuda:1", None],
    "extractors.clap.output": ["maps", None],
    "extractors.yamnet.pca": ["", 3],
    "extractors.yamnet.name": ["a/b", "", None],
    "extractors.yamnet.log_offset": [0, -1, None],
    "scoring.unit": ["frames", None],
    "scoring.excluded": ["video_test_0000270", None],
    "scoring.videos": [0, 2.5],
}  # fmt: skip
NO_NUMBERS = [math.nan, math.inf, -math.inf, "0.5", "1", "abc", "", True, False, [0.5], None]

# Settings without a limit, and why. Everything else in conf/ has one
EXCEPTIONS = {
    "*_target_": "Hydra refuses what it cannot import",
    "hydra.*": "Hydra checks its own settings",
    "trainer.accelerator": "Lightning refuses what it does not know",
    "trainer.devices": "Lightning takes a number, a list or auto, and refuses anything else",
    "trainer.strategy*": "Lightning refuses what it does not know",
    "logger.tensorboard.*": "arguments of TensorBoardLogger, and an empty name is right there",
    "logger.wandb.*": "arguments of WandbLogger and wandb.Settings",
    "stages.*": "a recipe checks its stages, and each stage its settings",
    "data.source.*": "arguments of the function that reads the data, made of the other settings of the data",
}
NOT_SETTINGS = {"hydra", "launcher", "sweep"}  # Hydra's, and what only sets Hydra's


def the_limit_of(key: str) -> Limit:
    limit = limit_of(key)
    assert limit is not None, key
    return limit


def cases(table: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(key, value) for key, values in table.items() for value in values]


@pytest.mark.parametrize(("key", "value"), cases(ACCEPTED))
def test_within_limits(key: str, value: Any) -> None:
    assert value in the_limit_of(key)
    assert OmegaConf.create({"x": value}).x in the_limit_of(key)


@pytest.mark.parametrize(("key", "value"), cases(REFUSED))
def test_beyond_limits(key: str, value: Any) -> None:
    assert value not in the_limit_of(key)


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("key", ["labeling.gamma", "labeling.beta", "labeling.k", "labeling.tau", "data.sizes.train"])
def test_no_numbers(key: str, value: Any) -> None:
    assert value not in the_limit_of(key)


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
        (Each(Number(0, 1), "{a: 1}"), "a mapping such as {a: 1}"),
        (Several(Number(0, 1), 2), "a list of 2 items, each a number in [0, 1]"),
        (PathOrFolders(file=False), "a folder for each modality, such as {audio: DIR, visual: DIR}"),
    ],
)
def test_limits_in_words(limit: Limit, words: str) -> None:
    assert str(limit) == words


def test_a_limit_goes_by_the_name_of_a_setting_wherever_it_stands() -> None:
    for key in ("labeling.tau", "method.tau", "method.contrast.mine.tau", "tau.tau"):
        assert limit_of(key) is LIMITS["tau"]
    assert limit_of("tau") is None  # not in a group
    assert limit_of("labeling.mine") is None


def test_a_dotted_name_is_the_end_of_a_key() -> None:
    assert limit_of("labeling.gamma") is limit_of("method.labeling.gamma") is LIMITS["labeling.gamma"]
    assert limit_of("method.gamma") is None  # of a focal loss it may be 2
    assert limit_of("data.seed") is LIMITS["data.seed"] is not LIMITS["seed"]
    assert limit_of("seed") is TOP_LEVEL["seed"]
    assert limit_of("data.segments") is LIMITS["data.segments"]
    assert limit_of("method.segments") is None  # a group: the labels of segments


def test_members_of_a_mapping_have_its_limit_whatever_they_are_called() -> None:
    assert limit_of("method.weights.audio") == Number(0)  # and not that of the top-level setting `audio`
    assert limit_of("data.rows_per_segment.seed") == Number(1, whole=True)
    assert members_of("data.modalities") is not None
    assert members_of("data.rows_per_segment") is not None
    assert members_of("labeling") is members_of("labeling.gamma") is members_of("compile") is members_of("") is None


def test_mappings_say_what_their_keys_are() -> None:
    """So that a key that the data does not have is refused."""
    limits = {key: limit.limit if isinstance(limit, OrNull) else limit for key, limit in LIMITS.items()}
    silent = {key for key, limit in limits.items() if isinstance(limit, Each) and limit.of is None}
    assert silent == {
        "data.modalities",
        "data.rows_per_segment",
    }  # the first defines modalities, a reader checks the other


def test_arguments_of_other_libraries_have_a_limit_only_by_their_full_key() -> None:
    assert limit_of("callbacks.mine.momentum") is limit_of("logger.mine.seed") is limit_of("trainer.segments") is None
    assert limit_of("callbacks.safe_stop.max_loss") is not None


def walk(content: Any, key: str = "") -> Iterator[str]:
    """The full keys of all leaves. A mapping with its own limit, such as ``method.weights``, is also one."""
    if key and ("." in key or key in TOP_LEVEL or not isinstance(content, Mapping)):
        yield key
    if isinstance(content, Mapping):
        for name, inner in content.items():
            if name != "defaults":
                yield from walk(inner, f"{key}.{name}" if key else str(name))


def settings_in_conf() -> dict[str, str]:
    """Every setting in conf/, with a file that has it."""
    found: dict[str, str] = {}
    groups = {path.name for path in config_dir().iterdir() if path.is_dir()}
    for file in sorted(config_dir().rglob("*.yaml")):
        place = file.relative_to(config_dir())
        if place.parts[0] in NOT_SETTINGS:
            continue
        package = ".".join(place.parent.parts)
        text = file.read_text(encoding="utf-8")
        if text.startswith("# @package"):
            named = text.split()[2]
            package = "" if named == "_global_" else named
        content = OmegaConf.to_container(OmegaConf.create(text))
        for key in walk(content, package):
            if key != package and key not in groups:  # a group itself is no setting: `data: null`
                found[key] = str(place)
    return found


SETTINGS = settings_in_conf()


def has_limit(key: str) -> bool:
    if any(fnmatch.fnmatch(key, pattern) for pattern in EXCEPTIONS):
        return True
    inside = [other for other in SETTINGS if other.startswith(f"{key}.")]
    return limit_of(key) is not None or (bool(inside) and all(map(has_limit, inside)))


@pytest.mark.parametrize("key", sorted(SETTINGS))
def test_every_setting_has_a_limit(key: str) -> None:
    assert has_limit(key), f"{key} in conf/{SETTINGS[key]} needs an entry in avvp_pl/settings/limits.py"


def test_the_walk_finds_settings_of_every_kind() -> None:
    expected = {"seed", "labeling.gamma", "inference.prototype.labels", "optimizer.schedule.every", "data.modalities"}
    expected |= {"method.weights.video", "protocol.selection.monitor", "callbacks.safe_stop.max_loss", "figure3"}
    assert expected <= set(SETTINGS)
    assert not has_limit("labeling.new")  # as a new setting without a limit is


@pytest.mark.parametrize("pattern", EXCEPTIONS)
def test_every_exception_is_needed(pattern: str) -> None:
    covered = [key for key in SETTINGS if fnmatch.fnmatch(key, pattern)]
    assert any(limit_of(key) is None for key in covered)


@pytest.mark.parametrize("key", [*LIMITS, *TOP_LEVEL])
def test_every_limit_is_that_of_a_setting_that_exists(key: str) -> None:
    assert any(other == key or (other.endswith(f".{key}") and key in LIMITS) for other in SETTINGS)


@pytest.mark.parametrize(("key", "limit"), [*LIMITS.items()])
def test_limits_can_be_found(key: str, limit: Limit) -> None:
    """A full key stands first in groups of other libraries; elsewhere a group may be the first part or an inner one."""
    assert limit_of(key if "." in key else f"group.{key}") is limit
    if key.partition(".")[0] not in PASSED_ON:
        assert limit_of(f"group.inner.{key}") is limit
