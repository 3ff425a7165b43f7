"""What settings may be: checked before any work, for a single run and for every job of a sweep."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, QuotedString
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from avvp_pl.errors import InputError, nearest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Number:
    """An interval; its ends belong to it unless they are ``open``."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        if not math.isfinite(value):  # NaN fails here, and an infinite weight is no weight
            return False
        above = value > self.low if self.low_open else value >= self.low
        return above and (value < self.high if self.high_open else value <= self.high)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.high == math.inf:
            return f"{kind} {'above' if self.low_open else 'of at least'} {self.low:g}"
        return f"{kind} in {'(' if self.low_open else '['}{self.low:g}, {self.high:g}{')' if self.high_open else ']'}"


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.words

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}"


@dataclass(frozen=True)
class Flag:
    """True or false; YAML's off and no are words to Hydra, and every word would count as true."""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class Arguments:
    """Names and values that are passed on."""

    example: str

    def __contains__(self, value: object) -> bool:
        return isinstance(value, DictConfig | dict)  # of the command line it is a dict

    def __str__(self) -> str:
        return f"names and values such as {self.example}"


Limit = Number | Choice | Flag | Arguments

POSITIVE, WEIGHT, COUNT = Number(0, low_open=True), Number(0), Number(1, whole=True)
SHARE = Number(0, 1)

LIMITS: dict[str, Limit] = {
    "method.momentum_warmup": Flag(),
    "method.normalize_features": Flag(),
    "method.include_self": Flag(),
    "network.cross_attention": Flag(),
    "debug": Flag(),
    "method.gamma": Number(0, 1, low_open=True),
    "method.beta": Number(0, 1, low_open=True, high_open=True),
    "method.k": COUNT,
    "method.tau": POSITIVE,
    "method.tau_contrastive": POSITIVE,
    "method.momentum": Number(0, 1, high_open=True),
    "method.min_modality": SHARE,
    "method.weight_pseudo_label": WEIGHT,
    "method.weight_contrastive": WEIGHT,
    "method.guided_weights.*": WEIGHT,
    "method.guided_smoothing.*": SHARE,
    "method.start_epoch": Number(0, whole=True),
    "method.max_segments_per_event": COUNT,
    "method.kmeans": Choice(("faiss", "torch")),
    "method.feature_memory_gb": WEIGHT,
    "method.learning_rate": POSITIVE,
    "method.weight_decay": WEIGHT,
    "method.labels": Choice(("soft", "hard")),
    "method.source": Choice(("momentum", "best")),
    "method.prototypes": Choice(("shared", "per_modality")),
    "method.class_weighting": Choice(("inverse_frequency", "none")),
    "method.inference": Choice(("classifier", "prototype")),
    "network.dim": COUNT,
    "network.feedforward_dim": COUNT,
    "network.num_heads": COUNT,
    "network.num_layers": COUNT,
    "network.dropout": Number(0, 1, high_open=True),
    "data.dtype": Choice(("float32", "float16", "bfloat16")),
    "data.segments": COUNT,
    "data.segment_seconds": POSITIVE,
    "data.batch_size": COUNT,
    "data.eval_batch_size": COUNT,
    "data.seed": Number(0, whole=True),
    "data.noise": WEIGHT,
    "data.sizes.*": COUNT,
    "data.streams.*": COUNT,
    "trainer.max_epochs": COUNT,
    "seed": Number(0, whole=True),
    "threads": COUNT,
    "compile": Arguments("{mode: reduce-overhead}"),
    "matmul_precision": Choice(("highest", "high", "medium")),
    "segments": COUNT,
    "segment_seconds": POSITIVE,
    "split": Choice(("train", "val", "test")),
    "pictures": Number(0, whole=True),
    "inference": Choice(("classifier", "prototype")),
}


def check_settings(cfg: DictConfig) -> None:
    """Raise :class:`InputError` for the first setting that is out of its limits; null means unset."""
    for key, limit in LIMITS.items():
        if key.endswith(".*"):
            group = OmegaConf.select(cfg, key[:-2])
            found = group if isinstance(group, DictConfig) else {}
            values = {f"{key[:-1]}{name!s}": value for name, value in found.items()}
        else:
            values = {key: OmegaConf.select(cfg, key)}
        for name, value in values.items():
            if value is not None:
                _check(name, value, limit)
    dim, num_heads = (OmegaConf.select(cfg, f"network.{name}") for name in ("dim", "num_heads"))
    if dim is not None and num_heads is not None and dim % num_heads:
        raise InputError(f"network.num_heads={num_heads}: it must divide network.dim={dim}")
    gamma, beta = (OmegaConf.select(cfg, f"method.{name}") for name in ("gamma", "beta"))
    if gamma is not None and beta is not None and beta > gamma:
        log.warning(
            "method.beta=%s is above method.gamma=%s: segments between them are positive and negative", beta, gamma
        )


def check_sweep(overrides: list[str]) -> None:
    """Check every value that a sweep will take, so that its last job does not fail on a typing error."""
    for override in OverridesParser.create().parse_overrides(overrides):
        key = override.key_or_group
        limit = LIMITS.get(key) or LIMITS.get(f"{key.rpartition('.')[0]}.*")
        if limit is None:
            continue
        for element in _values(override):
            value = element.text if isinstance(element, QuotedString) else element
            if value is not None and "${" not in str(value):  # what it refers to is checked in the job
                _check(key, value, limit)


def _values(override: Override) -> Iterable[Any]:
    """All values of an override, or both ends of an interval."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return value.start, value.end
    return override.sweep_iterator() if override.is_sweep_override() else [value]


def unknown_key(cfg: DictConfig, key: str) -> str:
    """What to say of a key that the configuration does not have."""
    return f"there is no setting {key!r}.{nearest(key, _keys(cfg))} `--cfg job` prints all settings."


def _check(key: str, value: Any, limit: Limit) -> None:
    if value not in limit:
        raise InputError(f"{key}={value}: it must be {limit}")


def _keys(cfg: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for name in cfg:
        keys.append(f"{prefix}{name!s}")
        try:
            value = cfg[name]
        except OmegaConfBaseException:  # missing, or an interpolation that only a run can resolve
            continue
        if isinstance(value, DictConfig):
            keys += _keys(value, f"{prefix}{name!s}.")
    return keys
