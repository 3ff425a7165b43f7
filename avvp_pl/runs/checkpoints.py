"""Checkpoint files: written completely or not at all, and read without trusting them.

A checkpoint is plain data: tensors, numbers and strings. Nothing in it is unpickled, and from the configuration in it
only parts of this package, layers of ``torch.nn``, and what the packages define that the user trusts, are ever built.
"""

from __future__ import annotations

import importlib
import inspect
import io
import pickle
import re
import sys
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from avvp_pl.data.module import ParsingData
from avvp_pl.data.videos import ParsingSet
from avvp_pl.errors import InputError, brief
from avvp_pl.files import atomic_write_bytes
from avvp_pl.parts import Decision, Inference, Labeling, Method
from avvp_pl.settings.identity import FREE, OF_THE_RUN, OF_TRAINING
from avvp_pl.settings.limits import TOP_LEVEL
from avvp_pl.tasks.parsing import ParsingTask
from avvp_pl.types import ParsingNetwork

# The entries of a checkpoint that are needed, and the type of each
CONTENTS = {
    "config": dict,
    "events": list,
    "streams": list,
    "state_dict": dict,
    "callbacks": dict,
    "losses": dict,
    "progress": dict,
    "digests": dict,
    "train_videos": str,
    "epoch": int,
    "global_step": int,
}
FITTED = "fitted"  # an entry that a checkpoint has after its test, if an inference was fitted for it
# What a test builds from the configuration in a checkpoint, by key (a regular expression): an object of this class, or
# (None) what a function returns that reads data. Inside of each may be other objects
BUILT: dict[str, type | None] = {
    r"network": ParsingNetwork,
    r"data\.source": None,
    r"protocol\.task": ParsingTask,
    r"protocol\.decision": Decision,
    r"method": Method,
    r"labeling": Labeling,
    r"inference\.[^.]*": Inference,
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
    "avvp_pl.training.optimization.",
)
# The groups that a test builds something of, or has of its own. All others are information about the training
GROUPS = {"network", "data", "protocol", "method", "labeling", "inference", *OF_THE_RUN}
NEEDED = (
    "network._target_",
    "data.source._target_",
    "method._target_",
    "labeling._target_",
    "inference",
    "protocol.name",
)
FILE_NAME = re.compile(r"[\w=-][\w.=-]*\.ckpt")


class CheckpointFiles(TorchCheckpointIO):
    """Writes and reads checkpoints for Lightning."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace the file, or raise :class:`InputError` and leave it unchanged.

        Lightning would copy a temporary file from elsewhere, and a kill can interrupt the copying.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            atomic_write_bytes(Path(path), content.getbuffer())
        except InputError as error:
            kept = "the previous checkpoint is unharmed" if Path(path).exists() else "there is no checkpoint yet"
            raise InputError(f"{error}; {kept}. Free some space, then resume with resume=auto") from None

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a file without unpickling. The paths in it are restricted to files in its own folder."""
        checkpoint = _load(Path(path))
        for state in checkpoint.get("callbacks", {}).values():
            if isinstance(state, dict) and "best_model_path" in state:
                _keep_to(Path(path).resolve().parent, state)
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint file, but never a folder."""
        if FILE_NAME.fullmatch(Path(path).name):
            Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ``avvp_pl.train`` into main memory; :class:`InputError` for any other file."""
    checkpoint = _load(path)
    for name, kind in CONTENTS.items():
        if not isinstance(checkpoint.get(name), kind):
            raise _foreign(path, f"it has no {name}")
    if not isinstance(checkpoint.get(FITTED, {}), dict):
        raise _foreign(path, f"its {FITTED} is damaged")
    return checkpoint


def add_fitted(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Add to a checkpoint what is no longer as it was trained, because inferences were fitted before the test.

    It is kept apart from the trained weights, with which a training is resumed. ``weights`` are those of the whole
    module.
    """
    checkpoint = read_checkpoint(path)
    trained = checkpoint["state_dict"]
    new = {name: weight.cpu() for name, weight in weights.items() if not torch.equal(weight.cpu(), trained[name])}
    CheckpointFiles().save_checkpoint({**checkpoint, FITTED: new}, path)


def tested_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights for a test: those of the training, and what the inferences were fitted to."""
    return {**checkpoint["state_dict"], **checkpoint.get(FITTED, {})}


def stopped_inside_epoch(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint was saved in the middle of an epoch."""
    progress = checkpoint.get(ParsingData.__qualname__)
    return isinstance(progress, dict) and bool(progress.get("batches"))


def _load(path: Path) -> dict[str, Any]:
    """Read a dictionary of plain data into main memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not compare checksums
        content = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path.absolute()}: no such checkpoint") from None
    except pickle.UnpicklingError:  # torch's message advises to unpickle it anyway
        raise _foreign(path, "it holds more than plain data") from None
    except Exception as error:  # torch raises a dozen kinds on a damaged or foreign file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _foreign(path, reason) from None
    if damaged:
        raise _foreign(path, f"its part {damaged} is damaged")
    if not isinstance(content, dict):
        raise _foreign(path, f"it is a {type(content).__name__}")
    return content


def _keep_to(folder: Path, state: dict[str, Any]) -> None:
    """Let all paths in the state of a checkpoint callback point into ``folder``, as if the run had always been there.

    If the folder was moved, Lightning would forget which score was the best so far. And it removes what the state says
    is an older checkpoint, wherever that path points.
    """

    def here(path: Any) -> str:
        name = str(path).rpartition("/")[2]
        return str(folder / name) if FILE_NAME.fullmatch(name) else ""

    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = here(state.get(key))
    state["best_k_models"] = {here(path): score for path, score in dict(state.get("best_k_models", {})).items()}
    state["dirpath"] = str(folder)


def _foreign(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path.absolute()}: not a checkpoint of avvp_pl.train ({reason}); give another one, or train again"
    )


def last_good(path: Path) -> str:
    """Describe the checkpoint from which a failed training can be resumed."""
    try:
        epoch = read_checkpoint(path)["epoch"]
    except InputError:
        return "there is no checkpoint to resume from. Try a smaller optimizer.learning_rate"
    return (
        f"the last good checkpoint is {path} (epoch {epoch}). To resume from it with other settings, such as a smaller "
        f"optimizer.learning_rate: resume={path} hydra.run.dir=ANOTHER"
    )


def trained_config(
    checkpoint: Mapping[str, Any], path: Path, replaced: Mapping[str, DictConfig], trust: Sequence[str] = ()
) -> DictConfig:
    """Return the configuration of the model in a checkpoint, with some groups ``replaced``.

    Of the trainer, only the settings that say what was trained are kept, as information. Raises :class:`InputError` if
    the configuration would build anything but parts of this package or of the packages in ``trust``, or if it refers to
    anything outside itself, such as the environment.
    """
    config = {name: part for name, part in checkpoint["config"].items() if name not in {*OF_THE_RUN, *replaced}}
    trainer = checkpoint["config"].get("trainer")
    if isinstance(trainer, dict):
        config["trainer"] = {name: trainer[name] for name in OF_TRAINING if name in trainer}
    check_built(config, path, trust)
    trained = OmegaConf.create({**config, **replaced})
    for key in NEEDED:
        if OmegaConf.select(trained, key) is None:
            raise _foreign(path, f"its configuration has no {key}")
    return trained


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


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value in nested containers, with its full key."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{key}[{number}]")
    else:
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


def check_data(videos: ParsingSet, checkpoint: Mapping[str, Any], path: Path) -> None:
    """Raise :class:`InputError` if a checkpoint was trained on other events or streams."""
    if list(videos.events) != checkpoint["events"]:
        raise InputError(
            f"{path} was trained on {len(checkpoint['events'])} events that are not those of the data "
            f"({len(videos.events)}); give the data of the same events in the same order (data/classes.txt)"
        )
    if videos.streams != checkpoint["streams"]:
        raise InputError(f"{path} was trained on the streams {checkpoint['streams']}, the data has {videos.streams}")


def load_weights(module: nn.Module, checkpoint: Mapping[str, Any], path: Path, new: tuple[str, ...] = ()) -> None:
    """Load the weights of a checkpoint; :class:`InputError` if they belong to another network.

    Weights whose names start with one of ``new`` belong to parts that were replaced, and are unchanged.
    """
    check_weights(module, checkpoint, path, new)
    weights = {name: weight for name, weight in checkpoint["state_dict"].items() if not str(name).startswith(new)}
    module.load_state_dict(weights, strict=not new)


def part_of(checkpoint: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the weights whose names start with ``prefix``, without it, in the form that :func:`load_weights` takes."""
    weights = {str(name): weight for name, weight in checkpoint["state_dict"].items()}
    return {"state_dict": {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}}


def check_weights(module: nn.Module, checkpoint: Mapping[str, Any], path: Path, new: tuple[str, ...] = ()) -> None:
    """Raise :class:`InputError` if a weight of a checkpoint is missing, unknown, or has another shape."""
    needed = {name: tuple(weight.shape) for name, weight in module.state_dict().items()}
    found = {name: tuple(getattr(weight, "shape", ("no tensor",))) for name, weight in checkpoint["state_dict"].items()}
    for name in sorted({*needed, *found}, key=str):
        if not str(name).startswith(new) and needed.get(name) != found.get(name):
            raise InputError(
                f"{path}: its weights are of another network: {name} has {_shape(found, name)}, "
                f"the settings need {_shape(needed, name)}"
            )


def _shape(shapes: Mapping[str, tuple[Any, ...]], name: str) -> str:
    return f"the shape {list(shapes[name])}" if name in shapes else "nothing"


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = ()) -> list[str]:
    """Return the changed settings that decide what a run computes, as ``key: old, now new``.

    ``free`` are keys of settings that may change, beside those that always may.
    """
    old, new = (
        {key: value for key, value in leaves(dict(config)) if not FREE.fullmatch(key) and key not in free}
        for config in (before, now)
    )
    return [
        f"{key}: {old.get(key, 'missing')}, now {new.get(key, 'missing')}"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]
