"""The values of settings, checked before any work, for a single run and for every job of a sweep."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, QuotedString, ValueType
from omegaconf import DictConfig, OmegaConf

from avvp_pl.errors import InputError, nearest
from avvp_pl.settings.limits import Each, Kind, Limit, Names, OrNull, limit_of

SPLITS = ("train", "val", "test")
# what settings in conf/ name: data may well have other modalities
IN_CONF: Mapping[Kind, Collection[str]] = {
    "modality": ("audio", "visual"),
    "stream": ("vggish", "res152", "r2plus1d_18"),
    "split": SPLITS,
}
SECRET = re.compile("api[_-]?key|passw|secret|token", re.IGNORECASE)

log = logging.getLogger(__name__)


def check_settings(cfg: DictConfig, given: Collection[str] = ()) -> None:
    """Raise :class:`InputError` for the first setting outside its limit, or for settings that contradict each other.

    ``given`` are the full keys of the settings that the user gives: see :func:`check_names`.
    """
    for key, limit, place in _limited(cfg):
        check_value(key, place.value, limit, place.misspelled(key))
    check_names(cfg, given)
    _check_attention(cfg)
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


class _Place(NamedTuple):
    """Where a setting stands. Its value may interpolate what only a run can resolve."""

    mapping: DictConfig
    name: Any

    @property
    def value(self) -> Any:
        return self.mapping[self.name]

    def misspelled(self, key: str) -> str:
        """Say which unknown setting beside this one, which is null, may have been meant for it, or nothing."""
        if self.value is not None:
            return ""
        above = key.rpartition(".")[0]
        others = [str(name) for name in self.mapping if limit_of(f"{above}.{name!s}".lstrip(".")) is None]
        close = difflib.get_close_matches(str(self.name), others, n=1, cutoff=0.8)
        return f"; is {close[0]!r} beside it a misspelling?" if close else ""


def _limited(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, Limit, _Place]]:
    """Yield all settings that have a value and a limit: the full key of each, its limit, and where it stands."""
    for name in cfg:
        key = f"{prefix}{name!s}"
        limit = limit_of(key)
        if OmegaConf.is_missing(cfg, name) or (limit is None and OmegaConf.is_interpolation(cfg, str(name))):
            continue
        place = _Place(cfg, name)
        if limit is not None:
            yield key, limit, place
        elif isinstance(place.value, DictConfig):
            yield from _limited(place.value, f"{key}.")


def check_value(key: str, value: Any, limit: Limit, misspelled: str = "") -> None:
    """Raise :class:`InputError` for a value outside its limit."""
    members = limit.limit if isinstance(limit, OrNull) else limit
    if isinstance(members, Each) and isinstance(value, Mapping):  # name the member that is wrong
        for name, member in value.items():
            check_value(f"{key}.{name!s}", member, members.limit)
    if value not in limit:
        reason = members.wrong_key(value) if isinstance(members, Each) and isinstance(value, Mapping) else ""
        raise InputError(f"{key}={'null' if value is None else value}: it must be {limit}{reason}{misspelled}")


def check_names(cfg: DictConfig, given: Collection[str] = ()) -> None:
    """Raise :class:`InputError` for a name of a modality, stream or split that the data does not have.

    The setting would have no effect, and nobody would notice. What ``conf/`` names is no mistake, unless the setting is
    one of those that the user gives (``given``), or is null there. Data that ``cfg`` does not describe is not checked.
    """
    modalities = OmegaConf.select(cfg, "data.modalities") or {}
    known: Mapping[Kind, list[str]] = {
        "modality": [str(name) for name in modalities],
        "stream": [str(name) for streams in modalities.values() for name in streams],
        "split": list(SPLITS),
    }
    for key, limit, place in _limited(cfg):
        names = limit.limit if isinstance(limit, OrNull) else limit
        if not isinstance(names, Each | Names) or names.of is None or not known[names.of]:
            continue
        beside = names.beside if isinstance(names, Each) else ()
        for name in place.value or ():
            own = f"{key}.{name}" if isinstance(names, Each) else key
            of_conf = () if isinstance(limit, OrNull) or own in given else IN_CONF[names.of]
            if name not in {*known[names.of], *beside, *of_conf}:
                said = own if isinstance(names, Each) else f"{key}={name}"
                kinds = {"modality": "modalities"}.get(names.of, f"{names.of}s")
                also = f" or one of {', '.join(beside)}" if beside else ""
                raise InputError(
                    f"{said}: it must be a {names.of}{also}; the {kinds} are {', '.join(known[names.of])}."
                    f"{nearest(str(name), [*known[names.of], *beside])}"
                )


def _check_attention(cfg: DictConfig) -> None:
    """Refuse settings of cross-attention where there is none."""
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
