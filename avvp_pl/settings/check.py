"""The values of settings, checked before any work, for a single run and for every job of a sweep."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, QuotedString, ValueType
from omegaconf import DictConfig, OmegaConf

from avvp_pl.errors import InputError, nearest
from avvp_pl.settings.limits import Each, Limit, OrNull, limit_of

OF_LLP = ("audio", "visual")  # the modalities that settings in conf/ name
SECRET = re.compile("api[_-]?key|passw|secret|token", re.IGNORECASE)

log = logging.getLogger(__name__)


def check_settings(cfg: DictConfig) -> None:
    """Raise :class:`InputError` for the first setting outside its limit, or for settings that contradict each other."""
    _check_all(cfg)
    _check_modalities(cfg)
    _check_selection(cfg)
    dim, num_heads = (OmegaConf.select(cfg, f"network.{name}") for name in ("dim", "num_heads"))
    if dim is not None and num_heads is not None and dim % num_heads:
        raise InputError(f"network.num_heads={num_heads}: it must divide network.dim={dim}")
    gamma, beta = (OmegaConf.select(cfg, f"labeling.{name}") for name in ("gamma", "beta"))
    if gamma is not None and beta is not None and beta > gamma:
        log.warning(
            "labeling.beta=%s is above labeling.gamma=%s: segments between them are both positive and negative",
            beta,
            gamma,
        )


def refuse_secrets(settings: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` for a setting that has a value and is named like a key or a password.

    Settings are written into ``config.yaml``, checkpoints and loggers.
    """
    for key, value in settings.items():
        if isinstance(value, Mapping):
            refuse_secrets({f"{key}.{name}": inner for name, inner in value.items()})
        elif value is not None and SECRET.search(key.rpartition(".")[2]):
            raise InputError(
                f"{key}: a secret must not be a setting, because settings are written into logs and checkpoints; give "
                "it in the environment (WANDB_API_KEY) or by `wandb login`"
            )


def check_sweep(overrides: list[str]) -> None:
    """Check every value that a sweep will take, so that a typing error is found before the first job."""
    for override in OverridesParser.create().parse_overrides(overrides):
        key = override.key_or_group
        refuse_secrets({key: plain(override.value())})
        limit = limit_of(key)
        if limit is None or override.is_delete():
            continue
        for element in values_of(override):
            value = plain(element)
            if "${" not in str(value):  # an interpolation is resolved and checked in the job
                check_value(key, value, limit)


def values_of(override: Override) -> Iterable[Any]:
    """Return all values that an override takes: of an interval both ends, of a pattern none."""
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:  # only Hydra can expand it
        return []
    value = override.value()
    if isinstance(value, IntervalSweep):
        return value.start, value.end
    return override.sweep_iterator() if override.is_sweep_override() else [value]


def plain(element: Any) -> Any:
    """Return a value of the command line without Hydra's note of how it was quoted."""
    if isinstance(element, QuotedString):
        return element.text
    if isinstance(element, list):
        return [plain(inner) for inner in element]
    if isinstance(element, dict):
        return {plain(name): plain(inner) for name, inner in element.items()}
    return element


def _check_all(cfg: DictConfig, prefix: str = "") -> None:
    """Check a mapping of settings and all mappings in it."""
    for name in cfg:
        key = f"{prefix}{name!s}"
        limit = limit_of(key)
        if OmegaConf.is_missing(cfg, name) or (limit is None and OmegaConf.is_interpolation(cfg, str(name))):
            continue
        value = cfg[name]
        if limit is not None:
            check_value(key, value, limit)
        elif isinstance(value, DictConfig):
            _check_all(value, f"{key}.")


def check_value(key: str, value: Any, limit: Limit) -> None:
    """Raise :class:`InputError` for a value outside its limit."""
    members = limit.limit if isinstance(limit, OrNull) else limit
    if isinstance(members, Each) and isinstance(value, Mapping):  # name the member that is wrong
        for name, member in value.items():
            check_value(f"{key}.{name!s}", member, members.limit)
    if value not in limit:
        reason = members.wrong_key(value) if isinstance(members, Each) and isinstance(value, Mapping) else ""
        raise InputError(f"{key}={'null' if value is None else value}: it must be {limit}{reason}")


def _check_modalities(cfg: DictConfig) -> None:
    """Refuse a name that is not a modality: it would have no effect, and nobody would notice.

    A modality that is left out of the data but still has a weight is no mistake, and neither is one of LLP's, which the
    defaults name.
    """
    own = OmegaConf.select(cfg, "data.modalities") or {}
    known = list(dict.fromkeys([*map(str, own), *(OmegaConf.select(cfg, "method.weights") or {}), *OF_LLP]))
    known = [name for name in known if name != "video"] if own else []
    for key in ("network.fuse_single_stream", "network.regrouped", "labeling.attending"):
        for name in OmegaConf.select(cfg, key) or []:
            if known and name not in known:
                raise InputError(
                    f"{key}={name}: it must be a modality; the modalities are {', '.join(known)}.{nearest(name, known)}"
                )
    if OmegaConf.select(cfg, "network.cross_attention") is False:
        for key in ("network.cross_attention_dropout", "labeling.attending"):
            if value := OmegaConf.select(cfg, key):
                raise InputError(f"{key}={value}: it has no effect without network.cross_attention")


def _check_selection(cfg: DictConfig) -> None:
    """Refuse a second way to say which epoch is the best: a report would not know of it."""
    if not OmegaConf.select(cfg, "protocol.selection") or not OmegaConf.select(cfg, "callbacks.best"):
        return
    for name in ("monitor", "mode"):
        given = OmegaConf.select(cfg, f"callbacks.best.{name}")
        if given != OmegaConf.select(cfg, f"protocol.selection.{name}"):
            raise InputError(f"callbacks.best.{name}={given}: give protocol.selection.{name}={given} instead")
