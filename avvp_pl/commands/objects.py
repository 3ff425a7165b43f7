"""One object of a configuration: what it is given, and the message if it cannot be built."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from avvp_pl.errors import InputError, brief, nearest

Kind = TypeVar("Kind")
Values = Mapping[str, Any]

OF_HYDRA = {"_target_", "_args_", "_convert_", "_partial_", "_recursive_"}
VARIADIC = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def build(
    key: str, node: DictConfig, kind: Callable[..., Kind], given: Values | None = None, inside: Values | None = None
) -> Kind:
    """Build the object that the setting ``key`` describes: its class is ``_target_``, the rest are arguments.

    A class or function gets those of ``given`` that it names as arguments and ``node`` does not have, and objects
    inside it get those of ``inside``. Raises :class:`InputError` with the key if the class cannot be imported, lacks an
    argument, does not take one, fails, or is not of the class ``kind``.
    """
    assert isinstance(kind, type)
    given, inside = given or {}, inside or {}
    plain: Any = OmegaConf.to_container(node, resolve=True)
    if not isinstance(plain, dict) or "_target_" not in plain:
        raise InputError(f"{key}: has no _target_, the name of the class to build")
    arguments = {str(name): _completed(f"{key}.{name}", value, inside) for name, value in plain.items()}
    more = _accepted(key, arguments, given)
    _check_arguments(key, arguments | more, given)
    try:
        built: Any = instantiate(arguments, **more, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, InputError):
            raise cause from None
        raise InputError(f"{key}: {type(cause).__name__}: {brief(cause)} (debug=true shows where)") from cause
    if not isinstance(built, kind):
        raise InputError(f"{key}: {arguments['_target_']} does not build an {kind.__module__}.{kind.__name__}")
    return cast("Kind", built)


def _completed(key: str, value: Any, given: Values) -> Any:
    """Return a value in which every object has those of ``given`` that its class names."""
    if isinstance(value, list):
        return [_completed(f"{key}[{number}]", inner, given) for number, inner in enumerate(value)]
    if not isinstance(value, dict):
        return value
    inner = {str(name): _completed(f"{key}.{name}", part, given) for name, part in value.items()}
    if "_target_" in inner:
        inner |= _accepted(key, inner, given)
        _check_arguments(key, inner, given)
    return inner


def _accepted(key: str, node: Values, given: Values) -> dict[str, Any]:
    """Return what of ``given`` the class of a node names as an argument and the node does not have itself."""
    parameters = _parameters(key, node["_target_"])
    return {name: value for name, value in given.items() if name in parameters and name not in node}


def _check_arguments(key: str, node: Values, given: Values) -> None:
    """Raise :class:`InputError` for an argument that is missing or not taken."""
    target, parameters = node["_target_"], _parameters(key, node["_target_"])
    if {"_args_", "_partial_"} & set(node) or not parameters:
        return
    takes_any = any(parameter.kind in VARIADIC for parameter in parameters.values())
    for name in node:
        if name not in parameters and name not in OF_HYDRA and not takes_any:
            taken = f" It takes {', '.join(parameters)}"
            raise InputError(
                f"{key}: {target} does not take the argument {name!r}.{nearest(name, parameters) or taken}"
            )
    for name, parameter in parameters.items():
        if name not in node and parameter.default is inspect.Parameter.empty and parameter.kind not in VARIADIC:
            known = f" ({', '.join(given)} are given to those that name them)" if given else ""
            raise InputError(
                f"{key}: {target} needs the argument {name!r}, which no setting gives{known}; add the setting "
                f"{key}.{name}, or a default value in the code"
            )


def _parameters(key: str, target: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a class or function by name; none where they are not known."""
    try:
        found = _located(str(target))
    except Exception as error:  # whatever a module raises while it is imported
        raise InputError(
            f"{key}: {target} cannot be imported ({type(error).__name__}: {brief(error)}); correct the name, install "
            "its package, or run in the folder that has the package"
        ) from error
    try:
        return inspect.signature(found).parameters
    except (TypeError, ValueError):
        return {}


def _located(target: str) -> Any:
    """Import a class or function, or a method of a class."""
    module, _, name = target.rpartition(".")
    if not module:
        raise ImportError("it names no module")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module or "." not in module:
            raise
        return getattr(_located(module), name)
