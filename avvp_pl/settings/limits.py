"""What settings may be: checked before any work, for a single run and for every job of a sweep."""

from __future__ import annotations

import logging
import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, QuotedString
from omegaconf import DictConfig, ListConfig, OmegaConf
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
        if not abs(value) <= sys.float_info.max:  # NaN fails here, and an infinite weight is no weight
            return False
        above = value > self.low if self.low_open else value >= self.low
        return above and (value < self.high if self.high_open else value <= self.high)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.high == math.inf:
            return f"{kind} {'above' if self.low_open else 'of at least'} {self.low:g}"
        ends = f"{self.low:g}, {int(self.high) if self.whole else format(self.high, 'g')}"
        return f"{kind} in {'(' if self.low_open else '['}{ends}{')' if self.high_open else ']'}"


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


@dataclass(frozen=True)
class Location:
    """A file or folder, there or not. A word, since every other thing would fail deep in some library."""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and bool(value.strip()) and "\0" not in value

    def __str__(self) -> str:
        return "a path (./3 where it looks like a number)"


@dataclass(frozen=True)
class Text:
    """Any words."""

    example: str

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and bool(value.strip())

    def __str__(self) -> str:
        return f"words such as {self.example}"


@dataclass(frozen=True)
class Names:
    """A list of different words; of words that may name a folder, where it is one ``of_folders``."""

    example: str
    of_folders: bool = False
    may_be_empty: bool = True

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, list | ListConfig) or not (value or self.may_be_empty):
            return False
        if not all(isinstance(name, str) and name for name in value) or len(set(value)) < len(value):
            return False
        return not (self.of_folders and any(name in {".", ".."} or re.search(r"[/\\\0]", name) for name in value))

    def __str__(self) -> str:
        return f"a list of different names{' (no paths)' * self.of_folders} such as {self.example}"


@dataclass(frozen=True)
class Modalities:
    """Modalities with their streams. The name of a modality is part of files' and scores' names."""

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, Mapping) or not value:
            return False
        named = (isinstance(name, str) and re.fullmatch(r"[A-Za-z]\w*", name) for name in value)
        return all(named) and not set(value) & SCORES and all(streams in STREAMS for streams in value.values())

    def __str__(self) -> str:
        return "names, each with a list of streams, such as {audio: [vggish], visual: [res152, r2plus1d_18]}"


@dataclass(frozen=True)
class OrNull:
    """What may be left out."""

    limit: Number | Choice | Arguments | Location | Text | Names | OneOrMore

    def __contains__(self, value: object) -> bool:
        return value is None or value in self.limit

    def __str__(self) -> str:
        return f"{self.limit}, or null"


@dataclass(frozen=True)
class OneOrMore:
    """One of something, or a list of different ones."""

    limit: Choice | Location

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, list | ListConfig):
            return value in self.limit
        return len(value) > 0 and all(word in self.limit for word in value) and len(set(value)) == len(value)

    def __str__(self) -> str:
        return f"{self.limit}, or a list of different ones"


Limit = Number | Choice | Flag | Arguments | Location | Text | Names | Modalities | OneOrMore | OrNull

SECRET = re.compile("api_?key|passw|secret|token", re.IGNORECASE)

POSITIVE, WEIGHT, COUNT = Number(0, low_open=True), Number(0), Number(1, whole=True)
SHARE = Number(0, 1)
SEED = Number(0, 2**32 - 1, whole=True)  # as numpy takes it
SIZE = Number(1, 10**6, whole=True)  # of what is made as large as is asked for
PATH = Location()
INFERENCES = Choice(("classifier", "prototype", "prototype_hard"))
STREAMS = Names("[res152, r2plus1d_18]", of_folders=True, may_be_empty=False)
SCORES = {"audio_visual", "type_av", "event_av"}  # beside one of every modality

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
    "method.guided_weights": Arguments("{audio: 1.0, visual: 1.0}"),
    "method.guided_weights.*": WEIGHT,
    "method.guided_smoothing": Arguments("{audio: 1.0, visual: 0.9}"),
    "method.guided_smoothing.*": SHARE,
    "method.start_epoch": Number(0, whole=True),
    "method.max_segments_per_event": OrNull(COUNT),
    "method.kmeans": Choice(("faiss", "torch")),
    "method.feature_memory_gb": WEIGHT,
    "method.learning_rate": POSITIVE,
    "method.weight_decay": WEIGHT,
    "method.labels": Choice(("soft", "hard")),
    "method.label_attending": OrNull(Names("[audio]")),
    "method.source": Choice(("momentum", "best")),
    "method.prototypes": Choice(("shared", "per_modality")),
    "method.class_weighting": Choice(("inverse_frequency", "none")),
    "method.inference": INFERENCES,
    "network.dim": COUNT,
    "network.feedforward_dim": COUNT,
    "network.num_heads": COUNT,
    "network.num_layers": COUNT,
    "network.dropout": Number(0, 1, high_open=True),
    "network.fuse_single_stream": Names("[visual]"),
    "network.cross_attention_dropout": SHARE,
    "data.root": PATH,
    "data.packed": OrNull(PATH),
    "data.modalities.*": STREAMS,
    "data.modalities": Modalities(),
    "data.source": Arguments("{_target_: avvp_pl.data.llp.load_llp}"),
    "data.dtype": Choice(("float32", "float16", "bfloat16")),
    "data.segments": SIZE,
    "data.segment_seconds": POSITIVE,
    "data.batch_size": SIZE,
    "data.eval_batch_size": SIZE,
    "data.max_epochs": COUNT,
    "data.seed": Number(0, whole=True),
    "data.noise": WEIGHT,
    "data.sizes": Arguments("{train: 1500, val: 200, test: 300}"),
    "data.sizes.*": COUNT,
    "data.streams": Arguments("{vggish: 128, res152: 256, r2plus1d_18: 128}"),
    "data.streams.*": COUNT,
    "trainer.max_epochs": COUNT,
    "trainer.num_nodes": COUNT,
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.num_sanity_val_steps": Number(-1, whole=True),
    "trainer.log_every_n_steps": COUNT,
    "trainer.enable_model_summary": Flag(),
    "trainer.use_distributed_sampler": Flag(),
    "callbacks.panels.num_videos": COUNT,
    "callbacks.panels.every_n_epochs": COUNT,
    "logger.wandb.offline": Flag(),
    "paths.output_root": PATH,
    "paths.run_dir": PATH,
    "tags": Names("[baseline]"),
    "seed": SEED,
    "threads": OrNull(COUNT),
    "compile": OrNull(Arguments("{mode: reduce-overhead}")),
    "matmul_precision": Choice(("highest", "high", "medium")),
    "resume": OrNull(PATH),
    "checkpoint": PATH,
    "output": OrNull(PATH),
    "videos": PATH,
    "truth": OrNull(Arguments("{audio: CSV, visual: CSV}")),
    "truth.*": PATH,
    "predicted": OrNull(Arguments("{audio: CSV, visual: CSV}")),
    "predicted.*": PATH,
    "audio": OrNull(PATH),
    "visual": OrNull(PATH),
    "predicted_audio": OrNull(PATH),
    "predicted_visual": OrNull(PATH),
    "classes": OrNull(PATH),
    "segments": SIZE,
    "segment_seconds": POSITIVE,
    "split": Choice(("train", "val", "test")),
    "pictures": Number(0, whole=True),
    "runs": OrNull(OneOrMore(PATH)),
    "title": OrNull(Text("'Five seeds on LLP'")),
    "baseline": OrNull(Text("mil")),
    "shown": OrNull(Names("[mil, ppl_soft]", may_be_empty=False)),
    "figure3": OrNull(Names("[NAME, NAME]")),
    "media": OrNull(PATH),
    "published": OrNull(PATH),
    "wandb": OrNull(Text("ENTITY/PROJECT")),
    "online": Flag(),
}


def check_settings(cfg: DictConfig) -> None:
    """Raise :class:`InputError` for the first setting that is out of its limits, or null where that means nothing."""
    absent = object()
    for key, limit in LIMITS.items():
        if key.endswith(".*"):
            group = OmegaConf.select(cfg, key[:-2])
            found = group if isinstance(group, DictConfig) else {}
            values = {f"{key[:-1]}{name!s}": value for name, value in found.items()}
        else:
            values = {key: OmegaConf.select(cfg, key, default=absent)}
        for name, value in values.items():
            if value is not absent:
                _check(name, value, limit)
    _check_modalities(cfg)
    dim, num_heads = (OmegaConf.select(cfg, f"network.{name}") for name in ("dim", "num_heads"))
    if dim is not None and num_heads is not None and dim % num_heads:
        raise InputError(f"network.num_heads={num_heads}: it must divide network.dim={dim}")
    gamma, beta = (OmegaConf.select(cfg, f"method.{name}") for name in ("gamma", "beta"))
    if gamma is not None and beta is not None and beta > gamma:
        log.warning(
            "method.beta=%s is above method.gamma=%s: segments between them are positive and negative", beta, gamma
        )


def refuse_secrets(settings: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` for a setting that is called like a key or a password, and has a value.

    Settings are written into ``config.yaml``, checkpoints and loggers.
    """
    for key, value in settings.items():
        if isinstance(value, Mapping):
            refuse_secrets({f"{key}.{name}": inner for name, inner in value.items()})
        elif value is not None and SECRET.search(key.rpartition(".")[2]):
            raise InputError(
                f"{key}: a secret must not be a setting, for settings are written into logs and checkpoints; give it "
                "in the environment (WANDB_API_KEY) or by `wandb login`"
            )


def check_sweep(overrides: list[str]) -> None:
    return
    """Check every value that a sweep will take, so that its last job does not fail on a typing error."""
    for override in OverridesParser.create().parse_overrides(overrides):
        key = override.key_or_group
        refuse_secrets({key: _plain(override.value())})
        limit = LIMITS.get(key) or LIMITS.get(f"{key.rpartition('.')[0]}.*")
        if limit is None:
            continue
        for element in [] if override.is_delete() else _values(override):
            value = _plain(element)
            if "${" not in str(value):  # what it refers to is checked in the job
                _check(key, value, limit)


def _values(override: Override) -> Iterable[Any]:
    """All values of an override, or both ends of an interval."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return value.start, value.end
    return override.sweep_iterator() if override.is_sweep_override() else [value]


def _plain(element: Any) -> Any:
    """A value of the command line without Hydra's note of how it was quoted."""
    if isinstance(element, QuotedString):
        return element.text
    if isinstance(element, list):
        return [_plain(inner) for inner in element]
    if isinstance(element, dict):
        return {_plain(name): _plain(inner) for name, inner in element.items()}
    return element


def unknown_key(cfg: DictConfig, key: str) -> str:
    """What to say of a key that the configuration does not have."""
    keys = _keys(cfg)
    if key in keys:
        return f"the setting {key!r} is needed, and was taken away or what it is part of replaced"
    return f"there is no setting {key!r}.{nearest(key, keys)} `--cfg job` prints all settings."


def _check(key: str, value: Any, limit: Limit) -> None:
    if value not in limit:
        raise InputError(f"{key}={'null' if value is None else value}: it must be {limit}")


def _check_modalities(cfg: DictConfig) -> None:
    """Refuse a name that is no modality: it would change nothing, and nobody would know.

    That of a modality which was left out of the data, and still has its guided weight, is no mistake.
    """
    groups = (OmegaConf.select(cfg, key, default={}) for key in ("data.modalities", "method.guided_weights"))
    known = list(dict.fromkeys(str(name) for group in groups for name in group))
    for key in ("network.fuse_single_stream", "method.label_attending"):
        for name in OmegaConf.select(cfg, key) or []:
            if known and name not in known:
                there = f"{', '.join(known)}.{nearest(name, known)}"
                raise InputError(f"{key}={name}: it must be a modality, of {there}")
    if OmegaConf.select(cfg, "network.cross_attention") is False:
        for key in ("network.cross_attention_dropout", "method.label_attending"):
            if value := OmegaConf.select(cfg, key):
                raise InputError(f"{key}={value}: without network.cross_attention there is nothing to leave out")


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
