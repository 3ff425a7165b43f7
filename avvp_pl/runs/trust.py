"""What may be built from the configuration in a file, such as a checkpoint of a stranger.

That is parts of this package, layers of ``torch.nn``, and what the packages define that the user trusts.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from avvp_pl.data.order import BatchOrder
from avvp_pl.data.sampling import SegmentSampling
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError, brief
from avvp_pl.parts import Decision, Inference, Labeling, Method
from avvp_pl.settings.identity import OF_THE_RUN, leaves
from avvp_pl.settings.limits import TOP_LEVEL
from avvp_pl.tasks.task import Task
from avvp_pl.types import ParsingNetwork
from avvp_pl.video.extractor import Extractor

# What a test builds from the configuration in a checkpoint, by key (a regular expression): an object of this class, or
# (None) what a function returns that reads data. Inside of each may be other objects
BUILT: dict[str, type | None] = {
    r"network": ParsingNetwork,
    r"data\.source": None,
    r"data\.sampling": SegmentSampling,
    r"data\.order": BatchOrder,
    r"protocol\.task": Task,
    r"protocol\.decision": Decision,
    r"method": Method,
    r"labeling": Labeling,
    r"inference\.[^.]*": Inference,
    r"extractors\.[^.]*": Extractor,
}
# The modules of this package that may be used inside of these: they only compute
COMPUTING = (
    "avvp_pl.models.",
    "avvp_pl.losses.",
    "avvp_pl.pseudo_labels.",
    "avvp_pl.metrics.",
    "avvp_pl.methods.",
    "avvp_pl.labeling.",
    "avvp_pl.inference.",
    "avvp_pl.tasks.scoring.",
    "avvp_pl.training.optimization.",
)
# The groups that a test builds something of, or has of its own. All others are information about the training
GROUPS = {"network", "data", "protocol", "method", "labeling", "inference", "extractors", *OF_THE_RUN}


def check_built(config: Mapping[str, Any], path: Path, trust: Sequence[str] = ()) -> None:
    """Raise :class:`InputError` if the configuration in a file would build anything that is not trusted.

    Trusted are the parts, networks and data readers of this package; inside of them, whatever its modules define that
    only compute, and the layers of ``torch.nn``; and everything that is defined in the packages that the user names in
    ``trust`` (never Python's own). Nothing of another package is imported. A configuration that refers to anything
    outside itself, such as the environment, is refused as well.
    """
    for key, value in leaves(dict(config)):
        if isinstance(value, str) and "${" in value:
            raise InputError(
                f"{path}: its configuration refers to something outside it ({key}={value}): do not trust it"
            )
    for key, target in _targets(config):
        _check_target(key, target, path, trust)


def packages_outside(config: Mapping[str, Any]) -> list[str]:
    """Return the packages outside this one that a user of the checkpoints of a run must trust.

    Raises :class:`InputError` if the configuration builds anything that a test would refuse, whatever it may trust.
    """
    packages: dict[str, None] = {}
    for key, target in _targets({name: part for name, part in config.items() if name not in OF_THE_RUN}):
        own: list[str] = []
        if not _is_layer(target):
            own.append(str(target).partition(".")[0])
            with suppress(Exception):  # of an import
                found = _found(target)
                own += [] if _is_layer(found) else [_package_of(found)]
        try:
            _check_target(key, target, Path(), own)
        except InputError:
            raise InputError(
                f"{key}={brief(target)}: evaluate and predict would refuse to build this from a checkpoint of the run; "
                "give a class or function that is defined in a package of your own (see docs/extending.md)"
            ) from None
        packages |= dict.fromkeys(own)
    return [package for package in packages if package != "avvp_pl"]


def _targets(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every ``_target_`` that a test could come to build, with its key.

    It builds nothing of the optimizer, nor of groups of the user's own.
    """
    for key, value in leaves(dict(config)):
        if key.rpartition(".")[2] == "_target_" and re.split(r"[.\[]", key)[0] in {"_target_", *GROUPS, *TOP_LEVEL}:
            yield key, value


def _check_target(key: str, target: Any, path: Path, trust: Sequence[str]) -> None:
    """Raise :class:`InputError` unless ``target`` is what ``key`` may build, and a trusted package defines it.

    A name such as ``avvp_pl.files.os.system`` only passes through this package.
    """
    refused = f"{path}: its configuration would build {brief(target)} as {key}, which avvp_pl does not trust"
    package = str(target).partition(".")[0]
    trusted = {"avvp_pl", *trust} - sys.stdlib_module_names
    place = next((place for place in BUILT if re.match(rf"{place}[.\[]", key)), None)
    if place is None or package in sys.stdlib_module_names or "." not in str(target):
        raise InputError(refused)
    inside = not re.fullmatch(rf"{place}\._target_", key)
    if inside and _is_layer(target):
        return
    if package not in trusted:
        hint = f"; if you trust the package {package}, give trust=[{package}]" if package.isidentifier() else ""
        raise InputError(f"{refused}{hint}")
    try:
        found = _found(target)
    except Exception as error:  # whatever a module raises while it is imported
        if package == "avvp_pl":
            raise InputError(refused) from None
        raise InputError(
            f"{path}: {brief(target)}, its {key}, cannot be imported ({type(error).__name__}: {brief(error)}); install "
            f"the package {package}, or run in the folder that has it"
        ) from error
    home = _package_of(found)
    if inside and _is_layer(found):
        return
    if home not in trusted:
        outside = home.isidentifier() and home not in sys.stdlib_module_names
        both = f"; it is defined in the package {home}: if you trust it as well, give trust=[{package},{home}]"
        raise InputError(f"{refused}{both if outside and package != 'avvp_pl' else ''}")
    if not (callable(found) if home != "avvp_pl" else _is_own(found, BUILT[place], inside)):
        raise InputError(refused)


def _found(target: Any) -> Any:
    """Import what a name stands for."""
    module, _, name = str(target).rpartition(".")
    return getattr(importlib.import_module(module), name)


def _package_of(found: Any) -> str:
    """Return the package that defines a class or function; nothing where it is not known."""
    return str(getattr(found, "__module__", "")).partition(".")[0]


def _is_layer(target: Any) -> bool:
    """Whether this is a layer of ``torch.nn``, or its name: it computes, whatever its arguments are."""
    if isinstance(target, str):
        if not target.startswith("torch.nn."):
            return False
        try:
            target = _found(target)
        except Exception:  # whatever the import of such a name raises
            return False
    home = str(getattr(target, "__module__", ""))
    return inspect.isclass(target) and issubclass(target, nn.Module) and home.startswith("torch.nn.modules.")


def _is_own(found: Any, kind: type | None, inside: bool) -> bool:
    """Whether something that this package defines may be built: as a whole of this kind, or ``inside`` of one."""
    home = f"{getattr(found, '__module__', '')}."
    if inside:
        return callable(found) and home.startswith(COMPUTING)
    if kind is not None:
        return inspect.isclass(found) and issubclass(found, kind)
    returned = getattr(found, "__annotations__", {}).get("return")
    reads = returned in {ParsingSet, ParsingSet.__name__}
    return inspect.isfunction(found) and home.startswith("avvp_pl.data.") and reads
